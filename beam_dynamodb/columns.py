"""Rows of one shape to wire bytes, column by column: a quarter of the cost of row by row.

`values` calls Python a dozen times for each row. Here rows of the same attributes are turned on
their side, and a column whose values are all of one plain type goes through one loop in C. The
bytes are those of `values.wire`. What can't be had this way, or is wrong, raises; the caller then
takes the rows one by one, which finds the one to blame.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import repeat
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any

import orjson

from beam_dynamodb.numbers import decimal_text, float_text, int_text, is_short
from beam_dynamodb.values import (
    ATTRIBUTE_NAME_MAX_BYTES,
    AttributeValue,
    attribute_value,
    row_mapping,
)

__all__ = ["Block", "Column", "NotUniformError"]


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

    def pieces(self) -> tuple[str, Iterable[str], str]:
        """Each value's JSON: what stands before all of them, what each adds, what stands behind.

        Raises:
            RowError: A value cannot be stored.
            TypeError: A text has no UTF-8.
        """
        plain = _PLAIN.get(self.kind) if self.kind is not None else None
        if plain is not None:
            before, encode, after = plain
            return before, encode(self.values), after
        return "", [orjson.dumps(value).decode() for value in self.attribute_values()], ""


class Block:
    """Rows of one shape, turned on their side.

    Attributes:
        columns: The columns by the attributes' names.
    """

    __slots__ = ("columns",)

    def __init__(self, rows: Sequence[Any]) -> None:
        """Turns rows on their side.

        Args:
            rows: Dicts, or rows of any other type that `values.row_mapping` takes; not empty.

        Raises:
            NotUniformError: They are of several types or have other attributes each, or may be
                in wire form.
            RowError: They are no rows.
        """
        kinds = set(map(type, rows))
        if kinds != {dict}:
            if len(kinds) > 1:
                raise NotUniformError
            rows = [dict(row_mapping(row)) for row in rows]
        names = tuple(rows[0])
        if not all(map(names.__eq__, map(tuple, rows))) or set(map(type, names)) != {str}:
            raise NotUniformError
        self.columns = {name: Column(list(map(itemgetter(name), rows))) for name in names}
        first = self.columns[names[0]]
        if "" in self.columns or any(issubclass(kind, dict) for kind in first.kinds):
            raise NotUniformError

    def wire(self, before: str, after: str) -> list[bytes]:
        """Each row's item as JSON in UTF-8, between `before` and `after`.

        Raises:
            NotUniformError: An attribute name is too long.
            RowError: A value cannot be stored.
            TypeError: A text has no UTF-8.
            UnicodeError: The same.
        """
        parts: list[Iterable[str]] = []
        fixed = before + "{"
        for name, column in self.columns.items():
            label = _json(name)
            if len(label.encode()) > ATTRIBUTE_NAME_MAX_BYTES:
                raise NotUniformError
            opening, pieces, closing = column.pieces()
            parts += (repeat(f"{fixed}{label}:{opening}"), pieces)
            fixed = closing + ","
        texts = map("".join, zip(*parts, repeat(fixed[:-1] + "}" + after)))
        return list(map(str.encode, texts))


_LONG = 256
"""Characters from which on orjson is quicker. It takes a kilobyte of memory for each text first,
and to hold many short ones made in it costs far more than to make them."""


def _json(text: str) -> str:
    return encode_basestring(text) if len(text) < _LONG else orjson.dumps(text).decode()


def _strings(values: Sequence[str]) -> Iterable[str]:
    short = max(map(len, values)) < _LONG
    return map(encode_basestring, values) if short else map(_json, values)


def _integers(values: Sequence[int]) -> Iterable[str]:
    return map(str if is_short(values) else int_text, values)


def _each(text_of: Callable[[Any], str]) -> Callable[[Sequence[Any]], Iterable[str]]:
    return lambda values: map(text_of, values)


def _base64(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


_PLAIN: dict[type, tuple[str, Callable[[Sequence[Any]], Iterable[str]], str]] = {
    str: ('{"S":', _strings, "}"),
    int: ('{"N":"', _integers, '"}'),
    bool: ('{"BOOL":', _each(lambda value: "true" if value else "false"), "}"),
    type(None): ('{"NULL":true', _each(lambda _: ""), "}"),
    float: ('{"N":"', _each(float_text), '"}'),
    Decimal: ('{"N":"', _each(decimal_text), '"}'),
    bytes: ('{"B":"', _each(_base64), '"}'),
}
"""How the values of a plain type are written: the text around each, and what makes its own."""
