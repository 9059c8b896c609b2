"""What a DynamoDB table is to a writer: its key, and the limits DynamoDB sets.

The limits are those of the DynamoDB Developer Guide, *Quotas* and *BatchWriteItem*.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "BATCH_MAX_REQUESTS",
    "BATCH_MAX_WIRE_BYTES",
    "HASH_KEY_MAX_BYTES",
    "ITEM_MAX_BYTES",
    "NESTING_MAX_DEPTH",
    "NUMBER_MAX_DIGITS",
    "NUMBER_MAX_EXPONENT",
    "NUMBER_MIN_EXPONENT",
    "RANGE_KEY_MAX_BYTES",
    "KeyType",
    "TableKey",
    "is_table_name",
]

BATCH_MAX_REQUESTS = 25
"""Puts and deletes in one BatchWriteItem call."""

BATCH_MAX_WIRE_BYTES = 16 * 1024 * 1024
"""Bytes of one BatchWriteItem call as it travels: the JSON text, not the stored size."""

ITEM_MAX_BYTES = 400 * 1024
"""Stored bytes of one item: attribute names and values."""

HASH_KEY_MAX_BYTES = 2048
RANGE_KEY_MAX_BYTES = 1024

NUMBER_MAX_DIGITS = 38
"""Significant digits of a number."""

NUMBER_MAX_EXPONENT = 125
"""A number's first digit stands at most at 10 to this power (9.99…E+125)."""

NUMBER_MIN_EXPONENT = -130
"""A number other than 0 is at least 1E-130 from 0."""

NESTING_MAX_DEPTH = 32
"""Levels of lists and maps, the item itself being the first."""

KeyType = Literal["S", "N", "B"]

_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_TABLE_ARN = re.compile(r"arn:[a-z0-9-]+:dynamodb:[a-z0-9-]+:\d*:table/[A-Za-z0-9_.-]{3,255}")


def is_table_name(name: str) -> bool:
    """Whether DynamoDB could have a table of this name, or this is a table's ARN."""
    return bool(_TABLE_NAME.fullmatch(name) or _TABLE_ARN.fullmatch(name))


@dataclass(frozen=True, slots=True)
class TableKey:
    """The primary key of a table: one attribute, or a partition key and a sort key.

    Attributes:
        names: The key attributes' names, the partition key first.
        types: Their types in the same order, or None where nobody told (`primary_key=` names
            the attributes only; DescribeTable tells the types too).
    """

    names: tuple[str, ...]
    types: tuple[KeyType, ...] | None = None

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> TableKey:
        """The key of a table as DescribeTable describes it.

        Raises:
            KeyError: It is no table's description.
        """
        types = {
            each["AttributeName"]: each["AttributeType"]
            for each in description["AttributeDefinitions"]
        }
        schema = sorted(description["KeySchema"], key=lambda each: each["KeyType"] != "HASH")
        names = tuple(each["AttributeName"] for each in schema)
        return cls(names, tuple(types[name] for name in names))

    @property
    def max_bytes(self) -> tuple[int, ...]:
        """The longest value of each key attribute in bytes."""
        return (HASH_KEY_MAX_BYTES, RANGE_KEY_MAX_BYTES)[: len(self.names)]

    def __str__(self) -> str:
        return ", ".join(self.names)
