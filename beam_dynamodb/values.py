"""What a Python value is in DynamoDB: its AttributeValue, and its bytes on the wire.

The mapping is that of Flink's DynamoDB SQL connector, so that the same row gives the same item,
and goes on where Flink stops: sets, nested lists, maps of rows, Python's and numpy's own types.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import orjson

from beam_dynamodb.errors import RowError
from beam_dynamodb.faults import Refused, cause_of, row_error, step, within
from beam_dynamodb.numbers import (
    canonical_number,
    decimal_text,
    float_text,
    int_text,
    number_text,
)
from beam_dynamodb.numpy_values import numpy_conversion, without_nanoseconds
from beam_dynamodb.table import NESTING_MAX_DEPTH, NUMBER_MAX_DIGITS
from beam_dynamodb.times import date_text, datetime_text, seconds_text, time_text

__all__ = [
    "ATTRIBUTE_NAME_MAX_BYTES",
    "AttributeValue",
    "attribute_value",
    "attribute_values",
    "base64_text",
    "python_value",
    "register_row",
    "register_value",
    "row_mapping",
    "wire",
]

AttributeValue = dict[str, Any]
"""One value as DynamoDB's JSON has it: `{"S": "x"}`, `{"N": "1"}`, `{"L": [{"BOOL": True}]}`.

Ready for any JSON encoder: `B` and `BS` hold base64 text.
"""

ATTRIBUTE_NAME_MAX_BYTES = 65535
"""The longest attribute name in UTF-8 bytes, at any level."""

T = TypeVar("T")
_Encoder = Callable[[Any, int], AttributeValue]
_ToMapping = Callable[[Any], Mapping[Any, Any]]

_SUPPORTED = (
    "a string, number, boolean, bytes, None, date, time, datetime, timedelta, UUID, Enum, list, "
    "tuple, set, dict, NamedTuple or dataclass"
)
_ROWS = "a dict, beam.Row, NamedTuple or dataclass"


# --- the public face -----------------------------------------------------------------------


def attribute_values(row: object, *, ignore_nulls: bool = False) -> dict[str, AttributeValue]:
    """Turns a row into a DynamoDB item.

    Args:
        row: A mapping with text keys, a NamedTuple, a dataclass, an instance of a registered row
            type, or an item that is in wire form already (`{"user_id": {"N": "1"}, …}`), which
            is taken as such when every attribute of it has that form, and then checked. A valid
            item has a scalar key attribute, therefore no valid row can be mistaken.
        ignore_nulls: Leaves out attributes that would be NULL. As with Flink's
            `sink.ignore-nulls`, this concerns the row's own attributes, none inside of them.

    Returns:
        The item by attribute name, in the row's order. It keeps DynamoDB's rules for names,
        numbers, sets and nesting; its size, and what its key must be, are not judged here.

    Raises:
        RowError: The row or a value in it cannot be stored; its `path` says which.
    """
    try:
        values = row if type(row) is dict else _row_mappings[type(row)](row)
        if isinstance(next(iter(values.values()), None), dict) and _is_wire_form(values):
            item = _checked_entries(values, 2)
        else:
            item = _entries(values, 2, _attribute_name)
    except Exception as error:
        raise row_error(error) from cause_of(error)
    if ignore_nulls:
        return {name: value for name, value in item.items() if "NULL" not in value}
    return item


def attribute_value(value: object) -> AttributeValue:
    """Turns one value, an attribute of a row, into its AttributeValue.

    Raises:
        RowError: It cannot be stored; `path` leads from the value to what is at fault in it.
    """
    try:
        return _encoders[type(value)](value, 2)
    except Exception as error:
        raise row_error(error) from cause_of(error)


def python_value(value: AttributeValue, number_of: Callable[[str], Any]) -> Any:
    """The plain Python value that a sink stores as this AttributeValue.

    Args:
        value: As `attribute_value` gives it.
        number_of: Makes a number of its text.
    """
    [(tag, payload)] = value.items()
    if tag == "L":
        return [python_value(each, number_of) for each in payload]
    if tag == "M":
        return {name: python_value(each, number_of) for name, each in payload.items()}
    if tag == "N":
        return number_of(payload)
    if tag == "NS":
        return set(map(number_of, payload))
    return _FROM_WIRE[tag](payload)


_FROM_WIRE: dict[str, Callable[[Any], Any]] = {
    "S": str,
    "B": base64.b64decode,
    "BOOL": bool,
    "NULL": lambda _: None,
    "SS": set,
    "BS": lambda values: set(map(base64.b64decode, values)),
}


def row_mapping(row: object) -> Mapping[str, Any]:
    """The row's own attributes by name, as they are before any is encoded.

    Raises:
        RowError: It is no row.
    """
    try:
        return _row_mappings[type(row)](row)
    except Exception as error:
        raise row_error(error) from cause_of(error)


def register_row(kind: type[T], to_mapping: Callable[[T], Mapping[str, Any]]) -> None:
    """Makes instances of a type rows, and maps where they stand inside a row.

    Args:
        kind: The type; its subclasses follow unless they are registered themselves.
        to_mapping: Gives the attributes of one instance, not yet encoded.

    Raises:
        ValueError: As `register_value`.
    """
    _check_may_change(kind)
    _declared_rows[kind] = to_mapping
    _forget_resolved()


def register_value(kind: type[T], encode: Callable[[T], AttributeValue]) -> None:
    """Makes instances of a type values.

    Args:
        kind: The type; its subclasses follow unless they are registered themselves.
        encode: Gives the AttributeValue, best by way of `attribute_value`. What it raises
            becomes a RowError with the path of the value.

    Raises:
        ValueError: It is a type of Python's own whose values many steps encode by themselves.
    """
    _check_may_change(kind)
    _declared[kind] = lambda value, _: encode(value)
    _forget_resolved()


def wire(item: Mapping[str, AttributeValue]) -> bytes:
    """The item as JSON in UTF-8, as it travels within a request.

    Args:
        item: What `attribute_values` gave.

    Raises:
        RowError: A text holds half of a surrogate pair, which UTF-8 cannot express, or an
            attribute name is longer than `ATTRIBUTE_NAME_MAX_BYTES`.
    """
    try:
        encoded = orjson.dumps(item)
    except TypeError as error:
        raise _not_utf8(item) from error
    if len(encoded) > ATTRIBUTE_NAME_MAX_BYTES:
        _check_name_lengths(item)
    return encoded


def base64_text(value: bytes | bytearray) -> str:
    """Bytes as the text that `B` holds."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")


# --- scalars -------------------------------------------------------------------------------


def _str(value: str, _: int) -> AttributeValue:
    return {"S": value}


def _int(value: int, _: int) -> AttributeValue:
    return {"N": int_text(value)}


def _float(value: float, _: int) -> AttributeValue:
    return {"N": float_text(value)}


def _decimal(value: Decimal, _: int) -> AttributeValue:
    return {"N": decimal_text(value)}


def _bool(value: bool, _: int) -> AttributeValue:
    return {"BOOL": value}


def _null(_value: None, _: int) -> AttributeValue:
    return {"NULL": True}


def _bytes(value: bytes | bytearray, _: int) -> AttributeValue:
    return {"B": base64_text(value)}


def _memoryview(value: memoryview, _: int) -> AttributeValue:
    return {"B": base64_text(value.tobytes())}


def _date(value: date, _: int) -> AttributeValue:
    return {"S": date_text(value)}


def _time(value: time, _: int) -> AttributeValue:
    return {"S": time_text(value)}


def _datetime(value: datetime, _: int) -> AttributeValue:
    return {"S": datetime_text(value)}


def _timedelta(value: timedelta, _: int) -> AttributeValue:
    return {"N": seconds_text(value)}


def _uuid(value: UUID, _: int) -> AttributeValue:
    return {"S": str(value)}


def _enum(value: Enum, depth: int) -> AttributeValue:
    return _encoders[type(value.value)](value.value, depth)


# --- lists, sets, maps ---------------------------------------------------------------------

_MAX_INT = 10**NUMBER_MAX_DIGITS
_MIN_INT = -_MAX_INT


def _check_depth(depth: int) -> None:
    if depth > NESTING_MAX_DEPTH:
        raise Refused(
            f"the value is nested deeper than DynamoDB's {NESTING_MAX_DEPTH} levels, of which the "
            "item is the first; flatten it or write it as a string"
        )


def _list(values: Sequence[Any], depth: int) -> AttributeValue:
    _check_depth(depth)
    return {"L": _elements(values, depth + 1, _encoded)}


def _encoded(value: object, depth: int) -> AttributeValue:
    return _encoders[type(value)](value, depth)


def _elements(values: Sequence[Any], depth: int, encode: _Encoder) -> list[AttributeValue]:
    """Encodes a list's elements, which stand at `depth`."""
    elements: list[AttributeValue] = []
    try:
        for value in values:
            elements.append(encode(value, depth))  # noqa: PERF401 - its length locates a fault
    except Exception as error:
        raise within(f"[{len(elements)}]", error) from cause_of(error)
    return elements


def _set(values: AbstractSet[Any], _: int) -> AttributeValue:
    members = [_scalar(value) for value in values]
    tags = {member[0] for member in members}
    if len(tags) != 1 or not tags <= {"S", "N", "B"}:
        raise Refused(
            "a set must hold only strings, only numbers or only bytes, and at least one; "
            "write a list, or None for an empty one"
        )
    return _distinct(tags.pop() + "S", [member[1] for member in members])


def _distinct(tag: str, payloads: list[str]) -> AttributeValue:
    members = set(map(canonical_number, payloads)) if tag == "NS" else set(payloads)
    if not members:
        raise Refused("a set must not be empty; write None or an empty list instead")
    if len(members) < len(payloads):
        raise Refused("two members of the set are equal in DynamoDB; write each once, or a list")
    # Sorted, since a set's order differs between processes and the same row must give one item.
    return {tag: sorted(payloads)}


def _map(values: Mapping[Any, Any], depth: int) -> AttributeValue:
    _check_depth(depth)
    return {"M": _entries(values, depth + 1, _key_text)}


def _entries(
    values: Mapping[Any, Any], depth: int, as_name: Callable[[object], str]
) -> dict[str, AttributeValue]:
    """Encodes a mapping's values, which stand at `depth`.

    `as_name` gives the name for each key that is not a plain text already, or refuses it.
    """
    entries: dict[str, AttributeValue] = {}
    encoders = _encoders
    name: Any = None
    try:
        for name, value in values.items():
            if type(name) is not str or not name:
                name = as_name(name)
            kind = type(value)
            # What most values are goes without a call: a fifth of the time of a flat row.
            if kind is str:
                entries[name] = {"S": value}
            elif kind is int and _MIN_INT < value < _MAX_INT:
                entries[name] = {"N": f"{value}"}
            else:
                entries[name] = encoders[kind](value, depth)
    except Exception as error:
        raise within(step(name), error) from cause_of(error)
    if len(entries) != len(values):
        raise Refused("two keys of the map are the same text in DynamoDB; rename one")
    return entries


def _attribute_name(name: object) -> str:
    if not isinstance(name, str):
        raise Refused(f"attribute names must be strings, not {_type_name(type(name))}")
    if not name:
        raise Refused("attribute names must not be empty")
    return str.__str__(name)


def _key_text(key: object) -> str:
    """A map's key as the text that Flink makes of it: `7`, `true`, `2022-11-10`, base64."""
    tag, payload = _scalar(key)
    if tag == "BOOL":
        return "true" if payload else "false"
    if tag not in ("S", "N", "B"):
        raise Refused(f"a map's keys must be scalars, not {_type_name(type(key))}")
    if not payload:
        raise Refused("a map's keys must not be empty")
    return str(payload)


def _scalar(value: object) -> tuple[str, Any]:
    """Tag and payload of a set's member or a map's key, which have no path of their own."""
    try:
        return _encoders[type(value)](value, NESTING_MAX_DEPTH).popitem()
    except Exception as error:
        fault = within("", error)
        fault.path = ""
        raise fault from cause_of(error)


# --- items in wire form --------------------------------------------------------------------

_MEMBERS = (list, tuple, set, frozenset)
_PAYLOADS: dict[str, tuple[type, ...]] = {
    "S": (str,),
    "N": (str,),
    "B": (str, bytes, bytearray, memoryview),
    "BOOL": (bool,),
    "NULL": (bool,),
    "L": (list, tuple),
    "M": (dict,),
    "SS": _MEMBERS,
    "NS": _MEMBERS,
    "BS": _MEMBERS,
}
"""The AttributeValue tags, and what Python types belong to each."""


def _is_wire_form(values: Mapping[Any, Any]) -> bool:
    return all(map(_is_tagged, values.values()))


def _is_tagged(value: object) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((tag, payload),) = value.items()
    return isinstance(tag, str) and isinstance(payload, _PAYLOADS.get(tag, ()))


def _checked_entries(values: Mapping[Any, Any], depth: int) -> dict[str, AttributeValue]:
    entries: dict[str, AttributeValue] = {}
    name: Any = None
    try:
        for name, value in values.items():
            entries[_attribute_name(name)] = _checked(value, depth)
    except Exception as error:
        raise within(step(name), error) from cause_of(error)
    return entries


def _checked(value: Any, depth: int) -> AttributeValue:
    """A value in wire form as an AttributeValue of our own: it keeps the rules, B is base64."""
    if not _is_tagged(value):
        raise Refused(
            'an item in wire form must hold values such as {"S": "text"}, each one of '
            f"{', '.join(_PAYLOADS)} with what belongs to it"
        )
    ((tag, payload),) = value.items()
    if tag in ("SS", "NS", "BS"):
        return _distinct(str(tag), [_checked({tag[0]: one}, depth)[tag[0]] for one in payload])
    if tag in ("L", "M"):
        _check_depth(depth)
    if tag == "L":
        return {"L": _elements(payload, depth + 1, _checked)}
    if tag == "M":
        return {"M": _checked_entries(payload, depth + 1)}
    return {str(tag): _checked_scalar(tag, payload)}


def _checked_scalar(tag: str, payload: Any) -> str | bool:
    if tag == "N":
        return number_text(str.__str__(payload))
    if tag == "B":
        return base64_text(_decoded(payload) if isinstance(payload, str) else bytes(payload))
    if tag == "NULL" and payload is not True:
        raise Refused("NULL must be true")
    return str.__str__(payload) if tag == "S" else bool(payload)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("B must be bytes, or base64 text with its padding") from None


# --- which encoder a type has --------------------------------------------------------------


class _ByType(dict[type, T]):
    """What belongs to each type; found once for a type, then only looked up."""

    def __init__(self, find: Callable[[type], T]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, kind: type) -> T:
        found = self[kind] = self._find(kind)
        return found


_declared: dict[type, _Encoder] = {
    str: _str,
    int: _int,
    float: _float,
    bool: _bool,
    type(None): _null,
    Decimal: _decimal,
    bytes: _bytes,
    bytearray: _bytes,
    memoryview: _memoryview,
    datetime: _datetime,
    date: _date,
    time: _time,
    timedelta: _timedelta,
    UUID: _uuid,
    list: _list,
    tuple: _list,
    dict: _map,
    set: _set,
    frozenset: _set,
}
_declared_rows: dict[type, _ToMapping] = {}

_AS_BASE: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    datetime: without_nanoseconds,
    timedelta: without_nanoseconds,
}
"""What makes a subclass's value its base type's, where the encoder relies on that."""


def _find_encoder(kind: type) -> _Encoder:
    if kind in _declared:
        return _declared[kind]
    if issubclass(kind, Enum):
        return _enum
    to_mapping = _find_row_mapping(kind)
    if to_mapping is not None:
        return lambda value, depth: _map(to_mapping(value), depth)
    for base in kind.__mro__:
        if base in _declared:
            return _converting(_AS_BASE.get(base), _declared[base])
    if issubclass(kind, AbstractSet):
        return _set
    convert = numpy_conversion(kind)
    return _converting(convert, _encoded) if convert else _unsupported


def _converting(convert: Callable[[Any], Any] | None, encode: _Encoder) -> _Encoder:
    if convert is None:
        return encode
    return lambda value, depth: encode(convert(value), depth)


def _find_row_mapping(kind: type) -> _ToMapping | None:
    """How an instance becomes a mapping, where the type has named fields."""
    for base in kind.__mro__:
        if base in _declared_rows:
            return _declared_rows[base]
    fields = getattr(kind, "_fields", None)
    if issubclass(kind, tuple) and isinstance(fields, tuple):
        return lambda row: dict(zip(fields, row, strict=True))
    if dataclasses.is_dataclass(kind):
        return _attributes_of(tuple(field.name for field in dataclasses.fields(kind)))
    return (lambda row: row) if issubclass(kind, Mapping) else None


def _attributes_of(names: tuple[str, ...]) -> _ToMapping:
    if len(names) < 2:
        return lambda row: {name: getattr(row, name) for name in names}
    values = attrgetter(*names)
    return lambda row: dict(zip(names, values(row), strict=True))


def _row_mapping(kind: type) -> _ToMapping:
    to_mapping = _find_row_mapping(kind)
    if to_mapping is None:
        raise Refused(f"a row must be {_ROWS}, not {_type_name(kind)}")
    return to_mapping


_FIXED = frozenset([str, int, float, bool, type(None), Decimal, bytes, list, tuple, dict])
"""What nobody may register, since many rows at once are encoded without asking for these."""


def _check_may_change(kind: type) -> None:
    if kind in _FIXED:
        name = _type_name(kind)
        raise ValueError(
            f"how a {name} is stored can't be changed; register a subclass of {name}, or convert "
            "the values before the sink."
        )


def _unsupported(value: object, _: int) -> NoReturn:
    raise Refused(f"{_type_name(type(value))} cannot be stored; convert it to {_SUPPORTED}")


def _type_name(kind: type) -> str:
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


_encoders = _ByType(_find_encoder)
_row_mappings = _ByType(_row_mapping)


def _forget_resolved() -> None:
    _encoders.clear()
    _row_mappings.clear()


# --- names and texts that cannot travel ----------------------------------------------------


def _texts(values: Mapping[str, AttributeValue], path: str = "") -> Iterator[tuple[str, str, bool]]:
    """The names and strings of an item: path of each, the text, whether it is a name.

    A name's path is that of the map around it, as a long or broken one cannot be shown.
    """
    for name, value in values.items():
        yield path, name, True
        yield from _value_texts(value, path + step(name))


def _value_texts(value: AttributeValue, path: str) -> Iterator[tuple[str, str, bool]]:
    ((tag, payload),) = value.items()
    if tag == "S":
        yield path, payload, False
    elif tag == "SS":
        yield from ((path, text, False) for text in payload)
    elif tag == "M":
        yield from _texts(payload, path)
    elif tag == "L":
        for index, element in enumerate(payload):
            yield from _value_texts(element, f"{path}[{index}]")


def _not_utf8(item: Mapping[str, AttributeValue]) -> RowError:
    for path, text, is_name in _texts(item):
        try:
            text.encode()
        except UnicodeEncodeError:
            what = "an attribute name" if is_name else "the text"
            reason = f"{what} holds half of a surrogate pair; it must be valid Unicode"
            return row_error(Refused(reason, path))
    return row_error(Refused("the item is not in DynamoDB's JSON form"))


def _check_name_lengths(item: Mapping[str, AttributeValue]) -> None:
    for path, text, is_name in _texts(item):
        if is_name and len(text.encode()) > ATTRIBUTE_NAME_MAX_BYTES:
            raise row_error(
                Refused(
                    "an attribute name is too long; the most is "
                    f"{ATTRIBUTE_NAME_MAX_BYTES} bytes in UTF-8",
                    path,
                )
            )
