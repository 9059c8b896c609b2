"""Any Python value as JSON that a person can read and edit, and that gives the same value back.

What JSON has itself stands as it is; the rest is an object of one tag, `{"$decimal": "1.50"}`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from beam_dynamodb.errors import RowError
from beam_dynamodb.faults import step
from beam_dynamodb.numpy_values import numpy_conversion
from beam_dynamodb.times import ExactTime, seconds_text
from beam_dynamodb.values import attribute_value, base64_text, python_value, row_mapping

__all__ = ["Unreadable", "dumps", "loads", "unreadable"]

_EXACT_INT = 2**53
"""The integers up to here are the same in every JSON reader (RFC 8259, section 6)."""

_LONG_INT_BITS = 4096
"""Longer integers stand in base 16, which Python reads and writes at any length."""

_MAX_DEPTH = 100
"""Three times what DynamoDB takes, and little enough for every JSON reader's stack."""

_MAX_VALUES = 1_000_000
"""More than fit into an item, and an end to what contains itself many times over."""

_TEXT_CHARACTERS = 1_000

# JSON escapes the other line breaks itself. Many readers take these three for ends of lines.
_ONE_LINE = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class Unreadable:
    """Stands for a value that JSON cannot bring back: what type it had, and its text.

    No sink stores it, so it must be replaced before its row can be written.

    Attributes:
        kind: The name of the value's type.
        text: Its repr, at most 1,000 characters; or why there is none.
    """

    __slots__ = ("kind", "text")

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unreadable):
            return NotImplemented
        return (self.kind, self.text) == (other.kind, other.text)

    def __hash__(self) -> int:
        return hash((self.kind, self.text))

    def __repr__(self) -> str:
        return f"Unreadable({self.kind!r}, {self.text!r})"


def dumps(value: object) -> str:
    """One line of JSON for a value; never fails, whatever the value is.

    These come back from `loads` as equal values of the same types, nested in any way: None, bool,
    int, float (NaN and infinity too), str (half surrogate pairs too), Decimal, bytes, bytearray,
    datetime (a time zone as its offset, and without fold), date, time, timedelta, `ExactTime`,
    UUID, list, tuple, set, frozenset, dict. Rows of other types come back as dicts; values of
    other types that a sink stores come back as a value that is stored alike; all others, rows in
    sets or as keys of maps, and what contains itself, as `Unreadable`.
    """
    encoded = _Encoder().encode(value)
    # Not orjson, which goes less deep than our depth with its tags.
    return json.dumps(encoded, ensure_ascii=False, allow_nan=False).translate(_ONE_LINE)


def loads(line: str) -> Any:
    """The value that `dumps` made a line of.

    Raises:
        ValueError: It is no JSON, or has a tag that nobody knows or that does not fit its value.
    """
    if not _is_unicode(line):
        raise ValueError("it is not in UTF-8")
    try:
        return _decoded(json.loads(line, parse_constant=_refuse_constant))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def unreadable(value: object) -> tuple[str, Unreadable] | None:
    """The path and the content of the first `Unreadable` in a value that `loads` gave."""
    return next(_unreadable(value, ""), None)


def _unreadable(value: object, path: str) -> Iterator[tuple[str, Unreadable]]:
    if isinstance(value, Unreadable):
        yield path, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _unreadable(name, f"{path} (a key)".lstrip())
            yield from _unreadable(each, path + step(name if isinstance(name, str) else repr(name)))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, each in enumerate(value):
            yield from _unreadable(each, f"{path}[{index}]")


# --- to JSON -------------------------------------------------------------------------------


class _Encoder:
    """Encodes one value; knows what it is inside of and how much it has seen."""

    def __init__(self) -> None:
        self._around: set[int] = set()
        self._seen = 0

    def encode(self, value: Any) -> Any:
        plain = _PLAIN.get(type(value))
        if plain is not None:
            self._seen += 1
            return plain(value)
        if id(value) in self._around:
            return _lost(value, "it contains itself")
        if len(self._around) >= _MAX_DEPTH or self._seen >= _MAX_VALUES:
            return _lost(value, "there is too much of it")
        self._seen += 1
        self._around.add(id(value))
        try:
            return self._compound(value)
        except Exception:
            return _lost(value, _repr(value))
        finally:
            self._around.discard(id(value))

    def _compound(self, value: Any) -> Any:
        kind = type(value)
        if kind is dict:
            return self._map(value)
        if kind is list:
            return [self.encode(each) for each in value]
        if kind is tuple:
            return {"$tuple": [self.encode(each) for each in value]}
        if kind in (set, frozenset):
            members = [self._hashable(each) for each in value]
            return {f"${kind.__name__}": sorted(members, key=json.dumps)}
        if kind in (datetime, time):
            return {f"${kind.__name__}": value.isoformat()}
        if kind is Unreadable:
            return _unreadable_json(value.kind, value.text)
        return self.encode(_simpler(value))

    def _map(self, values: Mapping[Any, Any]) -> Any:
        if all(type(name) is str and name[:1] != "$" and _is_unicode(name) for name in values):
            return {name: self.encode(each) for name, each in values.items()}
        return {"$map": [[self._hashable(k), self.encode(v)] for k, v in values.items()]}

    def _hashable(self, value: Any) -> Any:
        """A member of a set or key of a map, which must be fit for that when it comes back."""
        encoded = self.encode(value)
        try:
            hash(_decoded(encoded))
        except Exception:  # a row is a dict by then
            return _lost(value, _repr(value))
        return encoded


def _simpler(value: Any) -> Any:
    """A value of a type of Python's own that a sink stores in the same way.

    Raises:
        Exception: There is none.
    """
    kind = type(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, AbstractSet):
        return set(value)
    try:
        return dict(row_mapping(value))
    except RowError:
        pass  # it is no row
    for base in (list, tuple):
        if isinstance(value, base):
            return base(value)
    convert = numpy_conversion(kind)
    return python_value(attribute_value(value), Decimal) if convert is None else convert(value)


def _lost(value: object, text: str) -> dict[str, Any]:
    kind = type(value)
    return _unreadable_json(f"{kind.__module__}.{kind.__qualname__}", text)


def _unreadable_json(kind: str, text: str) -> dict[str, Any]:
    return {"$unreadable": {"type": _text(kind), "text": _text(text)}}


def _repr(value: object) -> str:
    try:
        return repr(value)[:_TEXT_CHARACTERS]
    except Exception as fault:
        return f"its repr raised {type(fault).__name__}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: str) -> Any:
    if _is_unicode(value):
        return value
    return {"$text": value.encode("unicode_escape").decode("ascii")}


def _int(value: int) -> Any:
    if -_EXACT_INT <= value <= _EXACT_INT:
        return value
    return {"$int": str(value) if value.bit_length() <= _LONG_INT_BITS else hex(value)}


def _float(value: float) -> Any:
    is_finite = value - value == 0
    return value if is_finite else {"$float": repr(value)}


_PLAIN: dict[type, Callable[[Any], Any]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    str: _text,
    int: _int,
    float: _float,
    Decimal: lambda value: {"$decimal": str(value)},
    bytes: lambda value: {"$bytes": base64_text(value)},
    bytearray: lambda value: {"$bytearray": base64_text(value)},
    memoryview: lambda value: {"$bytes": base64_text(value.tobytes())},
    ExactTime: lambda value: {"$exacttime": str(value)},
    date: lambda value: {"$date": value.isoformat()},
    timedelta: lambda value: {"$timedelta": seconds_text(value)},
    UUID: lambda value: {"$uuid": str(value)},
}
"""The types without parts, whose encoding cannot fail."""


# --- from JSON -----------------------------------------------------------------------------


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    tags = [name for name in value if name[:1] == "$"]
    if not tags:
        return {name: _decoded(each) for name, each in value.items()}
    if len(value) > 1 or tags[0] not in _FROM_TAG:
        raise ValueError(
            f"'{tags[0]}' is no tag that is known here; attributes whose names begin with $ must "
            'be written {"$map": [[name, value], …]}'
        )
    try:
        return _FROM_TAG[tags[0]](value[tags[0]])
    except (ValueError, TypeError, ArithmeticError, AttributeError, KeyError) as cause:
        raise ValueError(f"'{tags[0]}' has a value that does not fit it: {cause}") from cause


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is no JSON; write {{"$float": "{name.lower()}"}}')


def _map_of(pairs: Any) -> dict[Any, Any]:
    return {_decoded(name): _decoded(each) for name, each in pairs}


def _unreadable_of(content: Any) -> Unreadable:
    return Unreadable(str(_decoded(content["type"])), str(_decoded(content["text"])))


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_FROM_TAG: dict[str, Callable[[Any], Any]] = {
    "$text": lambda text: text.encode("ascii").decode("unicode_escape"),
    "$int": lambda text: int(text, 0),
    "$float": float,
    "$decimal": lambda text: Decimal(str(text)),
    "$bytes": _bytes,
    "$bytearray": lambda text: bytearray(_bytes(text)),
    "$datetime": datetime.fromisoformat,
    "$exacttime": ExactTime.of,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda text: timedelta(microseconds=int(Decimal(text).scaleb(6))),
    "$uuid": UUID,
    "$tuple": lambda values: tuple(map(_decoded, values)),
    "$set": lambda values: set(map(_decoded, values)),
    "$frozenset": lambda values: frozenset(map(_decoded, values)),
    "$map": _map_of,
    "$unreadable": _unreadable_of,
}
