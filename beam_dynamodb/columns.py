"""Rows of one shape to wire bytes, column by column: a quarter of the cost of row by row.

`values` calls Python a dozen times for each row. Here rows of the same attributes are turned on
their side, and a column whose values are all of one plain type goes through one loop in C. The
bytes are those of `values.wire`. What can't be had this way, or is wrong, raises; the caller then
takes the rows one by one, which finds the one to blame. `row_encoder` is quicker still, where it
was compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain, repeat
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from beam_dynamodb.numbers import (
    USUAL_FLOATS,
    decimal_text,
    float_text,
    int_text,
    is_short,
    is_usual,
)
from beam_dynamodb.table import NESTING_MAX_DEPTH
from beam_dynamodb.values import (
    ATTRIBUTE_NAME_MAX_BYTES,
    AttributeValue,
    attribute_value,
    base64_text,
    wire,
)

try:
    from beam_dynamodb.row_encoder import RowEncoder
except ImportError:  # it was installed where there is no compiler
    RowEncoder = None  # type: ignore[assignment, misc]

__all__ = ["Block", "Bound", "Column", "NotUniformError", "RowEncoder", "row_encoder"]


class NotUniformError(Exception):
    """The rows differ too much to be taken together."""


class Column:
    """One attribute of all the rows.

    Attributes:
        values: Its value in each row.
        kinds: The types that the values have.
        kind: The type that every one of them has; None where they differ.
    """

    __slots__ = ("_encoded", "kind", "kinds", "values")

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.kinds = set(map(type, values))
        self.kind: type | None = next(iter(self.kinds)) if len(self.kinds) == 1 else None
        self._encoded: list[AttributeValue] | None = None

    def attribute_values(self) -> list[AttributeValue]:
        """The values as AttributeValues, as `values` makes them.

        Raises:
            RowError: One of them cannot be stored.
        """
        if self._encoded is None:
            self._encoded = list(map(attribute_value, self.values))
        return self._encoded

    def has_nulls(self) -> bool:
        """Whether a value is NULL in DynamoDB.

        Raises:
            RowError: One of them cannot be stored.
        """
        if self.kind in _PLAIN:
            return self.kind is type(None)
        return any("NULL" in value for value in self.attribute_values())

    def pieces(self) -> tuple[str, list[str] | list[bytes], str]:
        """Each value's JSON: what stands before all of them, what each adds, what stands behind.

        Long texts are bytes.

        Raises:
            RowError: A value cannot be stored.
            TypeError: A text has no UTF-8.
        """
        plain = _PLAIN.get(self.kind) if self.kind is not None else None
        if plain is not None:
            before, encode, after = plain
            return before, encode(self.values), after
        return "", [_wire(value).decode() for value in self.attribute_values()], ""

    def bound(self) -> Bound | None:
        """How many bytes the values may take, in the table and about as many on the wire.

        Returns:
            None where only `pieces` can tell, or tell whether all of them can be stored.

        Raises:
            UnicodeError: A text has no UTF-8.
        """
        bound = _BOUNDS.get(self.kind) if self.kind is not None else None
        return bound(self.values) if bound else None


class Block:
    """Rows of one shape, turned on their side.

    Attributes:
        columns: The columns by the attributes' names.
        rows: How many rows there are.
    """

    __slots__ = ("columns", "rows")

    def __init__(self, rows: Sequence[Any]) -> None:
        """Turns rows on their side.

        Args:
            rows: Dicts; not empty.

        Raises:
            NotUniformError: They are no dicts or have other attributes each, or may be in wire
                form.
        """
        if set(map(type, rows)) != {dict}:
            raise NotUniformError
        names = tuple(rows[0])
        if not all(map(names.__eq__, map(tuple, rows))) or set(map(type, names)) != {str}:
            raise NotUniformError
        self.columns = {name: Column(list(map(itemgetter(name), rows))) for name in names}
        self.rows = len(rows)
        first = self.columns[names[0]]
        if "" in self.columns or any(issubclass(kind, dict) for kind in first.kinds):
            raise NotUniformError

    @property
    def is_plain(self) -> bool:
        """Whether all values are of plain types, which anything can be done with."""
        return all(column.kinds <= _PLAIN.keys() for column in self.columns.values())

    def wire(self, before: str, after: str) -> list[bytes]:
        """Each row's item as JSON in UTF-8, between `before` and `after`.

        Raises:
            NotUniformError: An attribute name is too long.
            RowError: A value cannot be stored.
            TypeError: A text has no UTF-8.
            UnicodeError: The same.
        """
        fixed = [before + "{"]
        moving: list[Any] = []
        for label, column in self._labelled():
            opening, pieces, closing = column.pieces()
            fixed[-1] += f"{label}:{opening}"
            fixed.append(closing + ",")
            moving.append(pieces)
        fixed[-1] = fixed[-1][:-1] + "}" + after
        if all(type(pieces[0]) is str for pieces in moving):
            return list(map(str.encode, map("".join, _interleaved(fixed, moving))))
        # Long texts are bytes already, and to copy them once more is most of what they cost.
        moving = [
            pieces if type(pieces[0]) is bytes else map(str.encode, pieces) for pieces in moving
        ]
        joined: Callable[[Any], bytes] = b"".join
        return list(map(joined, _interleaved(map(str.encode, fixed), moving)))

    def bound(self) -> Bound | None:
        """How many bytes the rows may take, in the table and about as many on the wire.

        Returns:
            None where only `wire` can tell, or tell whether all of them can be stored. Else it
            raises nothing.

        Raises:
            NotUniformError: An attribute name is too long.
            UnicodeError: A text has no UTF-8.
        """
        total = largest = 0
        for label, column in self._labelled():
            bound = column.bound()
            if bound is None:
                return None
            total += bound.total + len(label) * self.rows
            largest += bound.largest + len(label.encode())
        return Bound(self.rows, total, largest)

    def _labelled(self) -> Iterator[tuple[str, Column]]:
        for name, column in self.columns.items():
            yield _label(name), column


def row_encoder(before: str, after: str, readers: tuple[Any, ...]) -> RowEncoder | None:
    """What does the work of a `Block` for small rows in less time.

    Args:
        before: What stands before each row's item, as in `Block.wire`.
        after: What stands behind it.
        readers: The `KeyReader`s whose identities are wanted.

    Returns:
        None where this package was installed without a compiler.
    """
    if RowEncoder is None:
        return None
    return RowEncoder(
        before,
        after,
        readers,
        label_of=_label,
        piece_of=_piece,
        flat=_FLAT,
        floats=USUAL_FLOATS,
        deepest=NESTING_MAX_DEPTH,
        longest_name=ATTRIBUTE_NAME_MAX_BYTES,
    )


class Bound(NamedTuple):
    """How much there is at most.

    Attributes:
        rows: How many rows there are.
        total: About how many bytes they take together.
        largest: The most that one may take in the table.
    """

    rows: int
    total: int
    largest: int


_LONG = 256
"""Characters from which on orjson is quicker. It takes a kilobyte of memory for each text first,
and to hold many short ones made in it costs far more than to make them."""


def _interleaved(fixed: Iterable[Any], moving: Iterable[Iterable[Any]]) -> Iterable[Any]:
    """What every row has alike, and after each piece of that but the last its own piece."""
    *befores, last = map(repeat, fixed)
    parts = chain.from_iterable(zip(befores, moving, strict=True))
    return zip(*parts, last, strict=False)


def _label(name: str) -> str:
    label = _json(name)
    if len(label.encode()) > ATTRIBUTE_NAME_MAX_BYTES:
        raise NotUniformError
    return label


def _piece(value: Any) -> tuple[bytes, bool]:
    """A single value's JSON, and whether anything can be done with it."""
    plain = _PLAIN.get(type(value))
    if plain is None:
        is_plain = type(value) in _SETS and _PLAIN.keys() >= set(map(type, value))
        return _wire(attribute_value(value)), is_plain
    before, encode, after = plain
    [text] = encode((value,))
    return f"{before}{text if isinstance(text, str) else text.decode()}{after}".encode(), True


def _wire(value: AttributeValue) -> bytes:
    """A value's JSON; raises as `values.wire`."""
    return wire({"": value})[len('{"":') : -1]


def _json(text: str) -> str:
    return encode_basestring(text) if len(text) < _LONG else orjson.dumps(text).decode()


def _strings(values: Sequence[str]) -> list[str] | list[bytes]:
    short = max(map(len, values)) < _LONG
    return list(map(encode_basestring, values)) if short else list(map(orjson.dumps, values))


def _integers(values: Sequence[int]) -> list[str]:
    return list(map(str if is_short(values) else int_text, values))


def _each(text_of: Callable[[Any], str]) -> Callable[[Sequence[Any]], list[str]]:
    return lambda values: list(map(text_of, values))


_PLAIN: dict[type, tuple[str, Callable[[Sequence[Any]], list[str] | list[bytes]], str]] = {
    str: ('{"S":', _strings, "}"),
    int: ('{"N":"', _integers, '"}'),
    bool: ('{"BOOL":', _each(lambda value: "true" if value else "false"), "}"),
    type(None): ('{"NULL":true', _each(lambda _: ""), "}"),
    float: ('{"N":"', _each(float_text), '"}'),
    Decimal: ('{"N":"', _each(decimal_text), '"}'),
    bytes: ('{"B":"', _each(base64_text), '"}'),
}
"""How the values of a plain type are written: the text around each, and what makes its own."""


_SETS = frozenset([set, frozenset])
_FLAT = _SETS.union(_PLAIN, [date, datetime, time, timedelta, UUID])

_NUMBER_BYTES = 24
"""More than any number takes in the table; on the wire it may be twice that."""


def _bound_of_texts(values: Sequence[str]) -> Bound:
    sizes = [len(each) if each.isascii() else len(each.encode()) for each in values]
    return Bound(len(sizes), sum(sizes), max(sizes))


def _bound_of_bytes(values: Sequence[bytes]) -> Bound:
    sizes = list(map(len, values))
    return Bound(len(sizes), sum(sizes) * 4 // 3, max(sizes))


def _bound_of_numbers(are_usual: Callable[[Any], bool]) -> Callable[[Sequence[Any]], Bound | None]:
    each = _NUMBER_BYTES
    return lambda values: (
        Bound(len(values), each * len(values), each) if are_usual(values) else None
    )


def _bound_of_words(values: Sequence[Any]) -> Bound:
    return Bound(len(values), len(values), 1)


_BOUNDS: dict[type, Callable[[Sequence[Any]], Bound | None]] = {
    str: _bound_of_texts,
    bytes: _bound_of_bytes,
    int: _bound_of_numbers(is_short),
    float: _bound_of_numbers(is_usual),
    bool: _bound_of_words,
    type(None): _bound_of_words,
}
"""The plain types whose values are quickly seen to be storable. A Decimal has to be spelled."""
