"""How many bytes an item counts in DynamoDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from beam_dynamodb.numbers import number_size
from beam_dynamodb.values import AttributeValue

__all__ = ["binary_size", "stored_size"]


def stored_size(item: Mapping[str, AttributeValue]) -> int:
    """The bytes that the item counts in DynamoDB, which allows `ITEM_MAX_BYTES` of them.

    Always less than `len(wire(item))`, therefore an item that is small on the wire is small.

    The rule is that of the DynamoDB Developer Guide, *DynamoDB item sizes and formats*: names
    and strings are their UTF-8 bytes; binaries their raw bytes; BOOL and NULL 1; a list or map 3,
    and 1 for each of its elements, besides the elements and their names; a set just its members.
    Numbers, where the guide is vague, are as `numbers.number_size` says.
    """
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: AttributeValue) -> int:
    ((tag, payload),) = value.items()
    return _SIZES[tag](payload)


def binary_size(text: str) -> int:
    """The bytes that a `B`'s base64 text stands for."""
    return len(text) // 4 * 3 - text[-2:].count("=")


_SIZES: dict[str, Callable[[Any], int]] = {
    "S": lambda text: len(text.encode()),
    "N": number_size,
    "B": binary_size,
    "BOOL": lambda _: 1,
    "NULL": lambda _: 1,
    "L": lambda values: 3 + sum(1 + _value_size(value) for value in values),
    "M": lambda values: 3 + len(values) + stored_size(values),
    "SS": lambda texts: sum(len(text.encode()) for text in texts),
    "NS": lambda texts: sum(map(number_size, texts)),
    "BS": lambda texts: sum(map(binary_size, texts)),
}
