"""What DynamoDB does with a call: its tables, its limits, its answers; no sockets and no clock.

As strict as the service wherever a write is concerned (API Reference, *BatchWriteItem*,
*PutItem*; Developer Guide, *Quotas*), and held to AWS's DynamoDB Local by a test that runs
against both. What it does not do (expressions, queries, transactions) it refuses by name.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from beam_dynamodb.sizes import stored_size
from beam_dynamodb.table import (
    BATCH_MAX_REQUESTS,
    BATCH_MAX_WIRE_BYTES,
    KeyType,
    is_table_name,
)
from beam_dynamodb.testing.attributes import Item, Key, Refused
from beam_dynamodb.testing.tables import Change, Table, created_table, plain_name, size_of

__all__ = ["WRITES", "FakeDynamoDB", "Item", "Key", "Refused", "Write"]

WRITES = ("BatchWriteItem", "PutItem", "DeleteItem")
"""The operations that write items."""

_BATCH_GET_MAX_KEYS = 100
_LIST_MAX_TABLES = 100
_PAGE_BYTES = 1024 * 1024
_READ_UNIT = 4096


class Write(NamedTuple):
    """One write that the service accepted.

    Attributes:
        sequence: Its place among all writes of this service, from 1 on.
        time: When it was accepted: the `now` of its call.
        table: The table's name.
        key: Which item it wrote.
        data: The stored item as JSON, or None for a delete.
    """

    sequence: int
    time: float
    table: str
    key: Key
    data: bytes | None

    @property
    def is_delete(self) -> bool:
        """Whether it deleted the item, rather than put it."""
        return self.data is None

    @property
    def item(self) -> Item | None:
        """The item that was put, as it was stored; None for a delete."""
        return None if self.data is None else dict(orjson.loads(self.data))


class _Call(NamedTuple):
    """What comes with a request besides its members."""

    now: float
    wire_bytes: int
    held: Collection[int]


class FakeDynamoDB:
    """DynamoDB in memory, for tests: keeps the service's rules and speaks its JSON.

    It takes `CreateTable`, `DescribeTable`, `ListTables`, `DeleteTable`, `PutItem`, `GetItem`,
    `DeleteItem`, `BatchWriteItem`, `BatchGetItem` and `Scan`. A table is `ACTIVE` as soon as it
    is created. Any violation refuses the whole call, and then nothing of it is written. Numbers
    are stored, and come back, in their plain form: `1.50E2` as `150`. Not safe for several
    threads at once; `FakeServer` gives it one.

        db = FakeDynamoDB()
        db.create_table("user_behavior", {"user_id": "N", "item_id": "S"})
        db.call("PutItem", {"TableName": "user_behavior", "Item": {...}})
        assert db.items("user_behavior") == [{...}]

    Attributes:
        region: The region in its tables' ARNs; an ARN of another one is not found.
        account: The account in its tables' ARNs; likewise.
        writes: Every accepted write in the order in which it took effect; empty without a log.
        accepted: How many writes were accepted, with or without a log.
    """

    def __init__(
        self,
        *,
        region: str = "us-east-1",
        account: str = "000000000000",
        keep_log: bool = True,
        log_size: int | None = None,
    ) -> None:
        """Starts without tables.

        Args:
            region: The region in its tables' ARNs.
            account: The account in its tables' ARNs.
            keep_log: Whether `writes` is kept. A million small writes take some 300 MB.
            log_size: Keep only this many of the latest writes; None keeps all.
        """
        self.region = region
        self.account = account
        self.writes: deque[Write] = deque(maxlen=log_size if keep_log else 0)
        self.accepted = 0
        self._tables: dict[str, Table] = {}
        self._operations: dict[str, Callable[[dict[str, Any], _Call], dict[str, Any]]] = {
            "CreateTable": self._create_table,
            "DescribeTable": self._describe_table,
            "ListTables": self._list_tables,
            "DeleteTable": self._delete_table,
            "PutItem": self._put_item,
            "GetItem": self._get_item,
            "DeleteItem": self._delete_item,
            "BatchWriteItem": self._batch_write_item,
            "BatchGetItem": self._batch_get_item,
            "Scan": self._scan,
        }

    # --- for tests -------------------------------------------------------------------------

    def create_table(self, name: str, key: Mapping[str, KeyType]) -> None:
        """Makes an on-demand table.

        Args:
            name: The table's name.
            key: The key attributes' types by name, the partition key first: `{"id": "S"}`.

        Raises:
            Refused: The table is there already, or DynamoDB would not take its name or key.
        """
        self.call(
            "CreateTable",
            {
                "TableName": name,
                "AttributeDefinitions": [
                    {"AttributeName": attribute, "AttributeType": kind}
                    for attribute, kind in key.items()
                ],
                "KeySchema": [
                    {"AttributeName": attribute, "KeyType": role}
                    for attribute, role in zip(key, ("HASH", "RANGE"), strict=False)
                ],
                "BillingMode": "PAY_PER_REQUEST",
            },
        )

    def items(self, table: str) -> list[Item]:
        """All items of a table, ordered by the text of their keys.

        Raises:
            Refused: There is no such table.
        """
        return [orjson.loads(data) for _, data in self._table(table).after(None)]

    def arn(self, table: str) -> str:
        """The ARN of a table.

        Raises:
            Refused: There is no such table.
        """
        return self._table(table).arn

    def keys(self, operation: str, request: Mapping[str, Any]) -> list[tuple[str, Item]]:
        """The keys that a write asks for, in its order, before any check.

        Returns:
            Pairs of the table's name or ARN as asked for and the key attributes as sent; what
            is missing or no table at all is left out. Empty for other operations.
        """
        found = []
        for name, item in _writes_of(operation, request):
            table = self._found(name)
            parts = table.key if table else ()
            found.append((name, {p.name: item[p.name] for p in parts if p.name in item}))
        return found

    # --- the service -----------------------------------------------------------------------

    def call(
        self,
        operation: str,
        request: dict[str, Any],
        *,
        now: float = 0.0,
        wire_bytes: int | None = None,
        held: Collection[int] = (),
    ) -> dict[str, Any]:
        """Does what DynamoDB does for one request.

        Args:
            operation: The operation's name, such as `BatchWriteItem`.
            request: The request's JSON.
            now: The time in seconds since 1970, for the log and for creation dates.
            wire_bytes: The size of the request's body; measured here when not given.
            held: The positions, from 0 on and over all tables, of the writes of a
                BatchWriteItem that the service does not get round to: they come back in
                `UnprocessedItems`. A PutItem or DeleteItem with any is throttled.

        Returns:
            The answer's JSON.

        Raises:
            Refused: The answer is an error.
        """
        handler = self._operations.get(operation)
        if handler is None:
            raise Refused(
                f"The operation {operation} is unknown here.", code="UnknownOperationException"
            )
        if type(request) is not dict:
            raise Refused("The request is no JSON object.", code="SerializationException")
        _check_members(operation, request)
        if wire_bytes is None:
            wire_bytes = _wire_bytes(request)
        given = {name: value for name, value in request.items() if value is not None}
        return handler(given, _Call(now, wire_bytes, held))

    def _table(self, name: object) -> Table:
        if name is None:
            raise Refused(
                "Value null at 'tableName' failed to satisfy constraint: Member must not be null"
            )
        if not isinstance(name, str) or not is_table_name(name):
            raise Refused(
                "Invalid table/index name.  Table/index names must be between 3 and 255 "
                "characters long, and may contain only the characters a-z, A-Z, 0-9, '_', '-', "
                "and '.'"
            )
        table = self._found(name)
        if table is None:
            raise Refused(
                f"Requested resource not found: Table: {name} not found",
                code="ResourceNotFoundException",
            )
        return table

    def _found(self, name: str) -> Table | None:
        return self._tables.get(plain_name(name, self.region, self.account))

    # --- tables ----------------------------------------------------------------------------

    def _create_table(self, request: dict[str, Any], call: _Call) -> dict[str, Any]:
        name = request.get("TableName")
        if isinstance(name, str) and self._found(name):
            raise Refused(f"Table already exists: {name}", code="ResourceInUseException")
        table = created_table(request, self.region, self.account, call.now)
        self._tables[table.name] = table
        return {"TableDescription": table.described()}

    def _describe_table(self, request: dict[str, Any], _call: _Call) -> dict[str, Any]:
        return {"Table": self._table(request.get("TableName")).described()}

    def _list_tables(self, request: dict[str, Any], _call: _Call) -> dict[str, Any]:
        limit = _limit(request, default=_LIST_MAX_TABLES)
        if limit > _LIST_MAX_TABLES:
            raise Refused(f"Limit must be less than or equal to {_LIST_MAX_TABLES}")
        after = request.get("ExclusiveStartTableName", "")
        names = [name for name in sorted(self._tables) if name > after]
        answer: dict[str, Any] = {"TableNames": names[:limit]}
        if len(names) > limit:
            answer["LastEvaluatedTableName"] = names[limit - 1]
        return answer

    def _delete_table(self, request: dict[str, Any], _call: _Call) -> dict[str, Any]:
        table = self._table(request.get("TableName"))
        if table.description.get("DeletionProtectionEnabled"):
            raise Refused("The table is protected against deletion: disable that first")
        del self._tables[table.name]
        return {"TableDescription": {**table.described(), "TableStatus": "DELETING"}}

    # --- writes ----------------------------------------------------------------------------

    def _put_item(self, request: dict[str, Any], call: _Call) -> dict[str, Any]:
        if request.get("Item") is None:
            raise Refused("Item to put in PutItem cannot be null")
        change = self._table(request.get("TableName")).put(request["Item"])
        return self._write_one(change, request, call)

    def _delete_item(self, request: dict[str, Any], call: _Call) -> dict[str, Any]:
        change = self._table(request.get("TableName")).delete(_key_member(request))
        return self._write_one(change, request, call)

    def _write_one(self, change: Change, request: dict[str, Any], call: _Call) -> dict[str, Any]:
        returned = request.get("ReturnValues", "NONE")
        if returned not in ("NONE", "ALL_OLD"):
            raise Refused("Return values set to invalid value")
        if call.held:
            raise Refused(
                "The level of configured provisioned throughput for the table was exceeded.",
                code="ProvisionedThroughputExceededException",
            )
        answer = {}
        old = change.table.items.get(change.key)
        if returned == "ALL_OLD" and old is not None:
            answer["Attributes"] = orjson.loads(old)
        if _wants_capacity(request):
            units = change.table.write_units(change)
            answer["ConsumedCapacity"] = _capacity(request, change.table, units)
        self._apply(change, call.now)
        return answer

    def _batch_write_item(self, request: dict[str, Any], call: _Call) -> dict[str, Any]:
        tables = _request_items(request, "BatchWriteItem", BATCH_MAX_REQUESTS)
        if call.wire_bytes > BATCH_MAX_WIRE_BYTES:
            raise Refused("The request is too large.", code="413", status=413)
        changes = [change for name, asked in tables for change in self._changes(name, asked)]
        if len({(change.table.name, change.key) for change in changes}) < len(changes):
            raise Refused("Provided list of item keys contains duplicates")
        accepted = [c for i, c in enumerate(changes) if i not in call.held]
        answer: dict[str, Any] = {"UnprocessedItems": _unprocessed(tables, call.held)}
        if _wants_capacity(request):
            answer["ConsumedCapacity"] = _batch_capacity(request, accepted)
        for change in accepted:
            self._apply(change, call.now)
        return answer

    def _changes(self, name: str, asked_list: Iterable[Any]) -> list[Change]:
        table = self._table(name)
        return [
            table.put(content) if is_put else table.delete(content)
            for is_put, content in map(_put_or_delete, asked_list)
        ]

    def _apply(self, change: Change, now: float) -> None:
        change.table.apply(change)
        self.accepted += 1
        if self.writes.maxlen != 0:
            self.writes.append(
                Write(self.accepted, now, change.table.name, change.key, change.data)
            )

    # --- reads -----------------------------------------------------------------------------

    def _get_item(self, request: dict[str, Any], _call: _Call) -> dict[str, Any]:
        table = self._table(request.get("TableName"))
        data = table.items.get(table.exact_key(_key_member(request)))
        answer: dict[str, Any] = {} if data is None else {"Item": orjson.loads(data)}
        if _wants_capacity(request):
            units = _read_units(size_of(data) if data else 0, request)
            answer["ConsumedCapacity"] = _capacity(request, table, units)
        return answer

    def _batch_get_item(self, request: dict[str, Any], _call: _Call) -> dict[str, Any]:
        wanted = request.get("RequestItems")
        if type(wanted) is dict:
            wanted = {name: _keys_member(asked) for name, asked in wanted.items()}
        answer: dict[str, Any] = {"Responses": {}, "UnprocessedKeys": {}}
        for name, keys in _request_items(
            {"RequestItems": wanted}, "BatchGetItem", _BATCH_GET_MAX_KEYS
        ):
            table = self._table(name)
            identities = [table.exact_key(key) for key in keys]
            if len(set(identities)) < len(identities):
                raise Refused("Provided list of item keys contains duplicates")
            answer["Responses"][name] = [
                orjson.loads(table.items[key]) for key in identities if key in table.items
            ]
        return answer

    def _scan(self, request: dict[str, Any], _call: _Call) -> dict[str, Any]:
        table = self._table(request.get("TableName"))
        limit = _limit(request, default=None)
        select = request.get("Select", "ALL_ATTRIBUTES")
        if select not in ("ALL_ATTRIBUTES", "COUNT"):
            raise Refused("Select must be ALL_ATTRIBUTES or COUNT where nothing is projected")
        items: list[Item] = []
        size, last = 0, None
        for key, data in table.after(_start_key(table, request)):
            items.append(orjson.loads(data))
            size += stored_size(items[-1])
            if size > _PAGE_BYTES or len(items) == limit:
                last = key
                break
        answer: dict[str, Any] = {"Count": len(items), "ScannedCount": len(items)}
        if select != "COUNT":
            answer["Items"] = items
        if last is not None:
            answer["LastEvaluatedKey"] = table.key_item(last)
        if _wants_capacity(request):
            answer["ConsumedCapacity"] = _capacity(request, table, _read_units(size, request))
        return answer


# --- reading requests ----------------------------------------------------------------------

_ONE_WRITE = {"TableName", "ReturnValues", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"}
_MEMBERS: dict[str, set[str]] = {
    "CreateTable": {
        "TableName", "AttributeDefinitions", "KeySchema", "BillingMode", "ProvisionedThroughput",
        "GlobalSecondaryIndexes", "LocalSecondaryIndexes", "Tags", "DeletionProtectionEnabled",
    },
    "DescribeTable": {"TableName"},
    "ListTables": {"Limit", "ExclusiveStartTableName"},
    "DeleteTable": {"TableName"},
    "PutItem": _ONE_WRITE | {"Item"},
    "DeleteItem": _ONE_WRITE | {"Key"},
    "GetItem": {"TableName", "Key", "ConsistentRead", "ReturnConsumedCapacity"},
    "BatchWriteItem": {"RequestItems", "ReturnConsumedCapacity", "ReturnItemCollectionMetrics"},
    "BatchGetItem": {"RequestItems"},
    "Scan": {
        "TableName", "Limit", "ExclusiveStartKey", "Select", "ConsistentRead",
        "ReturnConsumedCapacity",
    },
}  # fmt: skip


_TYPES: dict[str, type] = {
    "AttributeDefinitions": list,
    "BillingMode": str,
    "ConsistentRead": bool,
    "DeletionProtectionEnabled": bool,
    "ExclusiveStartTableName": str,
    "GlobalSecondaryIndexes": list,
    "KeySchema": list,
    "Limit": int,
    "LocalSecondaryIndexes": list,
    "ProvisionedThroughput": dict,
    "RequestItems": dict,
    "ReturnConsumedCapacity": str,
    "ReturnValues": str,
    "Select": str,
    "TableName": str,
    "Tags": list,
}


def _check_members(operation: str, request: Mapping[str, Any]) -> None:
    for name in request.keys() - _MEMBERS[operation]:
        raise Refused(
            f"{operation} with {name} is beyond this fake: use DynamoDB Local.",
            code="NotImplemented",
            status=501,
        )
    for name, value in request.items():
        if value is not None and type(value) is not _TYPES.get(name, type(value)):
            raise Refused(f"{name} has a value of a wrong type.", code="SerializationException")
    if request.get("ReturnConsumedCapacity") not in (None, "NONE", "TOTAL", "INDEXES"):
        raise Refused("ReturnConsumedCapacity must be one of INDEXES, TOTAL, NONE")


def _wire_bytes(request: Mapping[str, Any]) -> int:
    try:
        return len(orjson.dumps(request))
    except TypeError as error:  # such as half of a surrogate pair, which no client could send
        raise Refused("The request is no JSON.", code="SerializationException") from error


def _writes_of(operation: str, request: Mapping[str, Any]) -> Iterator[tuple[str, Item]]:
    """The table and the item or key of each write, as far as they can be made out."""
    if operation in ("PutItem", "DeleteItem"):
        content = request.get("Item" if operation == "PutItem" else "Key")
        yield str(request.get("TableName")), content if isinstance(content, dict) else {}
    tables = request.get("RequestItems") if operation == "BatchWriteItem" else None
    for name, asked_list in tables.items() if isinstance(tables, dict) else ():
        for asked in asked_list if isinstance(asked_list, list) else ():
            yield name, _item_or_key(asked)


def _item_or_key(asked: Any) -> Item:
    for kind, member in (("PutRequest", "Item"), ("DeleteRequest", "Key")):
        content = asked.get(kind) if isinstance(asked, dict) else None
        if isinstance(content, dict) and isinstance(content.get(member), dict):
            return dict(content[member])
    return {}


def _request_items(
    request: Mapping[str, Any], operation: str, most: int
) -> list[tuple[str, list[Any]]]:
    tables = request.get("RequestItems")
    if not tables:
        raise Refused(f"{operation} cannot have a null or no requests set")
    for name, asked in tables.items():
        if not asked:
            raise Refused(
                f"The {operation} request list for a table cannot be null or empty: {name}"
            )
        if type(asked) is not list:
            raise Refused(f"RequestItems.{name} is no list.", code="SerializationException")
    if sum(map(len, tables.values())) > most:
        raise Refused(f"Too many items requested for the {operation} call")
    return list(tables.items())


def _put_or_delete(asked: Any) -> tuple[bool, Any]:
    """Whether a WriteRequest is a put, and its item or key."""
    if type(asked) is not dict:
        raise Refused("A write request is no object.", code="SerializationException")
    put, delete = asked.get("PutRequest"), asked.get("DeleteRequest")
    if (put is None) == (delete is None):
        raise Refused(
            "Supplied WriteRequest must contain exactly one of PutRequest and DeleteRequest"
        )
    content, member = (delete, "Key") if put is None else (put, "Item")
    if type(content) is not dict:
        raise Refused("A write request is no object.", code="SerializationException")
    if content.get(member) is None:
        raise Refused(f"The supplied {member} must not be null")
    return delete is None, content[member]


def _key_member(request: Mapping[str, Any]) -> Any:
    if request.get("Key") is None:
        raise Refused("Cannot have null key for GetItem, DeleteItem, or UpdateItem")
    return request["Key"]


def _keys_member(asked: Any) -> Any:
    if type(asked) is not dict or asked.keys() - {"Keys", "ConsistentRead"}:
        raise Refused(
            "BatchGetItem takes Keys and ConsistentRead here.", code="NotImplemented", status=501
        )
    return asked.get("Keys")


def _limit(request: Mapping[str, Any], default: Any) -> Any:
    limit = request.get("Limit", default)
    if limit is not None and limit < 1:
        raise Refused("Limit must be greater than or equal to 1")
    return limit


def _start_key(table: Table, request: Mapping[str, Any]) -> Key | None:
    start = request.get("ExclusiveStartKey")
    return None if start is None else table.exact_key(start)


# --- sizes and capacity --------------------------------------------------------------------


def _unprocessed(
    tables: Iterable[tuple[str, list[Any]]], held: Collection[int]
) -> dict[str, list[Any]]:
    if not held:
        return {}
    left: dict[str, list[Any]] = {}
    asked = [(name, one) for name, asked_list in tables for one in asked_list]
    for position, (name, one) in enumerate(asked):
        if position in held:
            left.setdefault(name, []).append(one)
    return left


def _wants_capacity(request: Mapping[str, Any]) -> bool:
    return bool(request.get("ReturnConsumedCapacity", "NONE") != "NONE")


def _capacity(request: Mapping[str, Any], table: Table, units: float) -> dict[str, Any]:
    capacity: dict[str, Any] = {"TableName": table.name, "CapacityUnits": units}
    if request["ReturnConsumedCapacity"] == "INDEXES":
        capacity["Table"] = {"CapacityUnits": units}
    return capacity


def _batch_capacity(request: Mapping[str, Any], changes: Iterable[Change]) -> list[dict[str, Any]]:
    units: dict[Table, float] = {}
    for change in changes:
        units[change.table] = units.get(change.table, 0.0) + change.table.write_units(change)
    return [_capacity(request, table, total) for table, total in units.items()]


def _read_units(size: int, request: Mapping[str, Any]) -> float:
    blocks = max(1, math.ceil(size / _READ_UNIT))
    return float(blocks) if request.get("ConsistentRead") else blocks / 2
