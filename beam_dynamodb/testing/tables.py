"""One table of the fake: its key, its items in store, and how it describes itself."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from beam_dynamodb.sizes import stored_size
from beam_dynamodb.table import ITEM_MAX_BYTES
from beam_dynamodb.testing.attributes import (
    Item,
    Key,
    KeyPart,
    Refused,
    key_of,
    stored_item,
)
from beam_dynamodb.testing.schemas import is_plain_name, schema_of

__all__ = ["Change", "Table", "created_table", "plain_name", "size_of"]

_WRITE_UNIT = 1024


class Change(NamedTuple):
    """One write that passed all checks and was not applied yet."""

    table: Table
    key: Key
    data: bytes | None


@dataclass(slots=True, eq=False)
class Table:
    """A table and its items.

    Attributes:
        name: Its name.
        arn: Its ARN.
        description: What DescribeTable tells of it, as far as it never changes.
        key: The parts of its key.
        indexed: The key attributes of its secondary indexes that are not its own.
        items: The stored items as JSON, by key.
    """

    name: str
    arn: str
    description: dict[str, Any]
    key: tuple[KeyPart, ...]
    indexed: tuple[KeyPart, ...]
    items: dict[Key, bytes] = field(default_factory=dict)
    _sorted: list[Key] | None = None

    def put(self, item: object) -> Change:
        """The put of an item that passes all checks; nothing is written yet."""
        stored = stored_item(item)
        key = key_of(stored, self.key)
        for part in self.indexed:
            if part.name in stored:
                key_of(stored, (part,))
        data = orjson.dumps(stored)
        # An item takes fewer bytes in store than as JSON, so most need not be measured.
        if len(data) > ITEM_MAX_BYTES and stored_size(stored) > ITEM_MAX_BYTES:
            raise Refused("Item size has exceeded the maximum allowed size")
        # A copy: orjson cuts its result from a far bigger buffer, and the rest would be lost.
        return Change(self, key, memoryview(data).tobytes())

    def delete(self, key: object) -> Change:
        """The delete of a key that passes all checks; nothing is written yet."""
        return Change(self, self.exact_key(key), None)

    def exact_key(self, key: object) -> Key:
        """The key, where it consists of just the key attributes."""
        stored = stored_item(key)
        if len(stored) != len(self.key):
            raise Refused(
                "The provided key element does not match the schema: "
                "The number of conditions on the keys is invalid"
            )
        return key_of(stored, self.key)

    def apply(self, change: Change) -> None:
        """Writes."""
        if change.data is None:
            if self.items.pop(change.key, None) is not None:
                self._sorted = None
            return
        if change.key not in self.items:
            self._sorted = None
        self.items[change.key] = change.data

    def after(self, key: Key | None) -> Iterator[tuple[Key, bytes]]:
        """The items that follow a key in the order of a scan."""
        if self._sorted is None:
            self._sorted = sorted(self.items)
        keys = self._sorted
        start = 0 if key is None else bisect.bisect_right(keys, key)
        return ((keys[i], self.items[keys[i]]) for i in range(start, len(keys)))

    def key_item(self, key: Key) -> Item:
        """A key as the attributes it consists of."""
        return {part.name: {part.type: value} for part, value in zip(self.key, key, strict=True)}

    def write_units(self, change: Change) -> float:
        """What a write costs: a unit for each KB of the larger one of the old and new item."""
        sizes = [size_of(data) for data in (self.items.get(change.key), change.data) if data]
        return float(max(1, math.ceil(max(sizes, default=0) / _WRITE_UNIT)))

    def described(self) -> dict[str, Any]:
        """What DescribeTable tells; its size in bytes is a rough one, as the service's is."""
        return {
            **self.description,
            "TableStatus": "ACTIVE",
            "ItemCount": len(self.items),
            "TableSizeBytes": sum(map(len, self.items.values())),
        }


def created_table(request: Mapping[str, Any], region: str, account: str, now: float) -> Table:
    """The table that a CreateTable asks for.

    Raises:
        Refused: Its name, key, indexes or throughput are not as DynamoDB has them.
    """
    name = request.get("TableName")
    if not is_plain_name(name):
        raise Refused("TableName must have 3 to 255 of a-z, A-Z, 0-9, '_', '-' and '.'")
    schema = schema_of(request)
    arn = f"arn:aws:dynamodb:{region}:{account}:table/{name}"
    return Table(str(name), arn, _description(request, arn, now), *schema)


def plain_name(name: str, region: str, account: str) -> str:
    """The table's name, out of its ARN if need be; an ARN from elsewhere stays as it is."""
    _, here, plain = name.partition(f":{region}:{account}:table/")
    return plain if here else name


def size_of(data: bytes) -> int:
    """The bytes that an item counts in store."""
    return stored_size(orjson.loads(data))


def _description(request: Mapping[str, Any], arn: str, now: float) -> dict[str, Any]:
    kept = ("TableName", "AttributeDefinitions", "KeySchema",
            "GlobalSecondaryIndexes", "LocalSecondaryIndexes",
            "DeletionProtectionEnabled")  # fmt: skip
    description = {name: request[name] for name in kept if request.get(name)}
    none = {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
    description |= {
        "CreationDateTime": now,
        "ProvisionedThroughput": {
            "NumberOfDecreasesToday": 0,
            **(request.get("ProvisionedThroughput") or none),
        },
        "TableArn": arn,
    }
    if request.get("BillingMode") == "PAY_PER_REQUEST":
        description["BillingModeSummary"] = {"BillingMode": "PAY_PER_REQUEST"}
    return description
