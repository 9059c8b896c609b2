"""One test class for DynamoDB's rules, run against AWS's DynamoDB Local and against our fake.

Where both agree here, a pipeline tested with the fake meets what it would meet there. DynamoDB
Local has ways of its own, which the fake does not share and which nothing here asks for: it
counts two units for the delete of a missing item in a batch (AWS documents one), keeps numbers
inside lists and maps as they were spelled, takes 1 and 1.0 as two keys of a BatchGetItem, digits
of any script in numbers, and JSON of the wrong type, such as a number without quotes.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from beam_dynamodb.numbers import canonical_number
from beam_dynamodb.sizes import stored_size
from beam_dynamodb.table import BATCH_MAX_WIRE_BYTES, ITEM_MAX_BYTES
from beam_dynamodb.testing import FakeDynamoDB, FakeServer, Refused

VALIDATION = "ValidationException"
NOT_FOUND = "ResourceNotFoundException"


def dynamodb(endpoint: str) -> Any:
    """A plain botocore client without retries, which sends whatever it is given."""
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )


def schema(**key: str) -> dict[str, Any]:
    """CreateTable's members for a key: `pk="S", sk="N"`."""
    return {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in key.items()
        ],
        "KeySchema": [
            {"AttributeName": name, "KeyType": role}
            for name, role in zip(key, ("HASH", "RANGE"), strict=False)
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }


def put(item: dict[str, Any]) -> dict[str, Any]:
    return {"PutRequest": {"Item": item}}


def delete(key: dict[str, Any]) -> dict[str, Any]:
    return {"DeleteRequest": {"Key": key}}


def pair(pk: str, sk: str = "1", **attributes: Any) -> dict[str, Any]:
    """An item of the table whose key is (pk: S, sk: N)."""
    return {"pk": {"S": pk}, "sk": {"N": sk}, **attributes}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"S": "x"}
    for level in range(levels):
        value = {"L": [value]} if level % 2 else {"M": {"m": value}}
    return value


@contextlib.contextmanager
def refused(code: str = VALIDATION) -> Iterator[None]:
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == code


class Tables:
    """Tables of each kind of key on one server."""

    def __init__(self, client: Any) -> None:
        self.client = client
        suffix = uuid.uuid4().hex
        self.pair = self.create(f"pair-{suffix}", pk="S", sk="N")
        self.number = self.create(f"number-{suffix}", pk="N")
        self.binary = self.create(f"binary-{suffix}", pk="B", sk="B")
        self.texts = self.create(f"texts-{suffix}", pk="S", sk="S")
        self.indexed = f"indexed-{suffix}"
        definition = schema(pk="S", g="S")
        index = {
            "IndexName": "by-g",
            "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }
        definition["KeySchema"].pop()
        client.create_table(TableName=self.indexed, GlobalSecondaryIndexes=[index], **definition)

    def create(self, name: str, **key: str) -> str:
        self.client.create_table(TableName=name, **schema(**key))
        return name

    def write(self, *requests: dict[str, Any], table: str | None = None, **more: Any) -> Any:
        return self.client.batch_write_item(
            RequestItems={table or self.pair: list(requests)}, **more
        )

    def get(self, key: dict[str, Any], table: str | None = None) -> Any:
        answer = self.client.get_item(TableName=table or self.pair, Key=key, ConsistentRead=True)
        return answer.get("Item")

    def scan(self, table: str, **more: Any) -> Iterator[dict[str, Any]]:
        pages = self.client.get_paginator("scan").paginate(
            TableName=table, ConsistentRead=True, **more
        )
        return itertools.chain.from_iterable(page["Items"] for page in pages)


@pytest.fixture(scope="session")
def fake_endpoint() -> Iterator[str]:
    with FakeServer(FakeDynamoDB()) as server:
        yield server.endpoint


@pytest.fixture(scope="class")
def endpoint(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.cls.server))


@pytest.fixture(scope="class")
def tables(endpoint: str) -> Tables:
    return Tables(dynamodb(endpoint))


@pytest.fixture
def pk() -> str:
    """A partition key that no other test uses."""
    return uuid.uuid4().hex


STORED = {
    "empty-string": ({"S": ""}, {"S": ""}),
    "blank-string": ({"S": " "}, {"S": " "}),
    "wide-characters": ({"S": "ü€𝄞\x00"}, {"S": "ü€𝄞\x00"}),
    "empty-binary": ({"B": b""}, {"B": b""}),
    "binary": ({"B": b"\x00\xff"}, {"B": b"\x00\xff"}),
    "false": ({"BOOL": False}, {"BOOL": False}),
    "null": ({"NULL": True}, {"NULL": True}),
    "empty-list": ({"L": []}, {"L": []}),
    "empty-map": ({"M": {}}, {"M": {}}),
    "string-set-of-empty": ({"SS": [""]}, {"SS": [""]}),
    "binary-set-of-empty": ({"BS": [b""]}, {"BS": [b""]}),
    "number-set": ({"NS": ["1.0"]}, {"NS": ["1"]}),
    "31-levels": (nested(31), nested(31)),
    **{
        f"number {text}": ({"N": text}, {"N": plain})
        for text, plain in {
            "1.50E2": "150",
            "+1": "1",
            "1.": "1",
            ".5": "0.5",
            "-0": "0",
            "0E999": "0",
            "007": "7",
            "-1.50E-3": "-0.0015",
            "1e5": "100000",
            "1" * 38: "1" * 38,
            "1" * 38 + "0": "1" * 38 + "0",
            "0." + "1" * 38: "0." + "1" * 38,
            "1." + "0" * 60: "1",
            "9.99E125": "999" + "0" * 123,
            "-9.99E125": "-999" + "0" * 123,
            "1E-130": "0." + "0" * 129 + "1",
        }.items()
    },
}

REFUSED = {
    "no-type": {},
    "two-types": {"S": "a", "N": "1"},
    "null-false": {"NULL": False},
    "empty-string-set": {"SS": []},
    "empty-number-set": {"NS": []},
    "empty-binary-set": {"BS": []},
    "duplicate-strings": {"SS": ["a", "a"]},
    "duplicate-numbers": {"NS": ["1", "1.0"]},
    "duplicate-binaries": {"BS": [b"a", b"a"]},
    "number-set-of-words": {"NS": ["x"]},
    "null-in-set": {"SS": ["a", None]},
    "32-levels": nested(32),
    "empty-name-inside": {"M": {"": {"S": "a"}}},
    "no-type-inside": {"L": [{}]},
    **{
        f"number {text}": {"N": text}
        for text in (
            "1" * 39, "0." + "1" * 39, "1E126", "-1E126", "1E-131", "1E999", "NaN", "Infinity",
            "-Infinity", "", " 1", "1 ", "1_0", "0x1", "1d", "--1", "1e", ".", "e1",
        )
    },
}  # fmt: skip

WRONG_PUTS = {
    "key-part-missing": {"pk": {"S": "a"}},
    "key-of-wrong-type": {"pk": {"S": "a"}, "sk": {"S": "1"}},
    "key-null": {"pk": {"NULL": True}, "sk": {"N": "1"}},
    "empty-key": {"pk": {"S": ""}, "sk": {"N": "1"}},
    "long-key": {"pk": {"S": "a" * 2049}, "sk": {"N": "1"}},
    "long-key-in-bytes": {"pk": {"S": "€" * 683}, "sk": {"N": "1"}},
    "number-key-too-precise": {"pk": {"S": "a"}, "sk": {"N": "1" * 39}},
    "empty-name": {"pk": {"S": "a"}, "sk": {"N": "1"}, "": {"S": "x"}},
    "no-attributes": {},
}

WRONG_KEYS = {
    "key-part-missing": {"pk": {"S": "a"}},
    "one-too-many": {"pk": {"S": "a"}, "sk": {"N": "1"}, "x": {"S": "1"}},
    "another-attribute": {"pk": {"S": "a"}, "x": {"N": "1"}},
    "key-of-wrong-type": {"pk": {"S": "a"}, "sk": {"S": "1"}},
    "empty-key": {"pk": {"S": ""}, "sk": {"N": "1"}},
    "long-key": {"pk": {"S": "a" * 2049}, "sk": {"N": "1"}},
    "no-attributes": {},
}


def index(*key: str, name: str = "by-x", **changed: Any) -> dict[str, Any]:
    roles = zip(key, ("HASH", "RANGE"), strict=False)
    keys = [{"AttributeName": each, "KeyType": role} for each, role in roles]
    return {
        "IndexName": name,
        "KeySchema": keys,
        "Projection": {"ProjectionType": "ALL"},
        **changed,
    }


def with_global(*indexes: dict[str, Any]) -> dict[str, Any]:
    return {"GlobalSecondaryIndexes": list(indexes)}


def with_local(*indexes: dict[str, Any], **key: str) -> dict[str, Any]:
    """A table with local indexes and the key (pk: S, sk: S), or another one."""
    definition = schema(**(key or {"pk": "S", "sk": "S", "x": "S"}))
    return {**definition, "LocalSecondaryIndexes": list(indexes)}


def projected(*names: str, kind: str = "INCLUDE") -> dict[str, Any]:
    return {"ProjectionType": kind, "NonKeyAttributes": list(names)}


def provisioned(read: Any, write: Any, *indexes: dict[str, Any]) -> dict[str, Any]:
    return {
        "BillingMode": "PROVISIONED",
        "ProvisionedThroughput": {"ReadCapacityUnits": read, "WriteCapacityUnits": write},
        **(with_global(*indexes) if indexes else {}),
    }


UNITS = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}

WRONG_TABLES = {
    "throughput": {"BillingMode": "PROVISIONED"},
    "no-reads": provisioned(0, 1),
    "no-word-of-writes": provisioned(1, None),
    "too-many-reads": provisioned(40_001, 1),
    "index-without-throughput": provisioned(1, 1, index("pk")),
    "index-without-writes": provisioned(
        1, 1, index("pk", ProvisionedThroughput={"ReadCapacityUnits": 1})
    ),
    "undefined": {"AttributeDefinitions": [{"AttributeName": "q", "AttributeType": "S"}]},
    "type": {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "BOOL"}]},
    "unused": {"AttributeDefinitions": schema(pk="S", q="S")["AttributeDefinitions"]},
    "twice": {
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": kind} for kind in ("S", "N")
        ]
    },
    "no-key": {"KeySchema": []},
    "no-hash": {"KeySchema": [{"AttributeName": "pk", "KeyType": "RANGE"}]},
    "same": {"KeySchema": [{"AttributeName": "pk", "KeyType": kind} for kind in ("HASH", "RANGE")]},
    "empty-name": schema(**{"": "S"}),
    "long-name": schema(**{"p" * 256: "S"}),
    "long-name-in-bytes": schema(**{"ü" * 128: "S"}),
    "no-indexes": with_global(),
    "nameless-index": with_global(index("pk", name="")),
    "name-of-index": with_global(index("pk", name="b c")),
    "same-indexes": with_global(index("pk"), index("pk")),
    "index-of-unknown": with_global(index("q")),
    "21-indexes": with_global(*(index("pk", name=f"by-{n}") for n in range(21))),
    "no-projection": with_global(index("pk", Projection={})),
    "projection": with_global(index("pk", Projection={"ProjectionType": "SOME"})),
    "includes-nothing": with_global(index("pk", Projection=projected())),
    "all-and-more": with_global(index("pk", Projection=projected("x", kind="ALL"))),
    "includes-twice": with_global(index("pk", Projection=projected("x", "x"))),
    "includes-nameless": with_global(index("pk", Projection=projected(""))),
    "local-without-range": with_local(index("pk"), pk="S", sk="S"),
    "local-of-hash-table": with_local(
        index("pk", "x"), pk="S", x="S"
    ) | {"KeySchema": schema(pk="S")["KeySchema"]},
    "local-of-other-hash": with_local(index("x", "sk")),
    "local-and-global": with_local(index("pk", "x")) | with_global(index("pk")),
    "6-locals": with_local(
        *(index("pk", name, name=f"by-{name}") for name in "abcdef"),
        **dict.fromkeys(["pk", "sk", *"abcdef"], "S"),
    ),
}  # fmt: skip

TABLES = {
    "long-name": schema(**{"ü" * 127: "S"}),
    "20-indexes": with_global(*(index("pk", name=f"by-{n}") for n in range(20))),
    "local": with_local(index("pk", "x")),
    "local-like-table": with_local(index("pk", "sk"), pk="S", sk="S"),
    "keys-only": with_global(index("pk", Projection={"ProjectionType": "KEYS_ONLY"})),
    "included": with_global(index("pk", Projection=projected("x", "y"))),
    "provisioned": provisioned(1, 40_000, index("pk", ProvisionedThroughput=UNITS)),
}

SHAPES = {
    "string": {},
    "numbers": {"n": {"N": "1234567.89"}, "m": {"N": "-1E-20"}, "z": {"N": "0"}},
    "binary": {"b": {"B": b"x" * 1001}},
    "sets": {"s": {"SS": ["a", "bc"]}, "n": {"NS": ["1", "-2.25"]}, "b": {"BS": [b"a", b"bcd"]}},
    "nested": {"l": {"L": [{"S": "ab"}, {"M": {"k": {"N": "7"}}}]}, "e": {"M": {}}},
    "flags": {"t": {"BOOL": True}, "n": {"NULL": True}, "ü": {"S": "ü€"}},
}


def numbers() -> st.SearchStrategy[str]:
    """Texts of numbers in and out of range, in many spellings."""
    digits = st.from_regex(r"[+-]?(0{0,2}[1-9][0-9]{0,3}0{0,3}|0)(\.[0-9]{0,4})?", fullmatch=True)
    exponents = st.one_of(st.none(), st.integers(-5, 5), st.sampled_from((-131, -130, 122, 125)))
    return st.builds(lambda text, e: text if e is None else f"{text}E{e}", digits, exponents)


def attribute_values() -> st.SearchStrategy[dict[str, Any]]:
    """Attribute values in DynamoDB's JSON, most of them valid, with bytes for binaries."""
    scalars = st.one_of(
        st.builds(lambda text: {"S": text}, st.text(max_size=3)),
        st.builds(lambda text: {"N": text}, numbers()),
        st.builds(lambda data: {"B": data}, st.binary(max_size=3)),
        st.builds(lambda flag: {"BOOL": flag}, st.booleans()),
        st.builds(lambda members: {"SS": members}, st.lists(st.text(max_size=1), max_size=3)),
        st.builds(lambda members: {"NS": members}, st.lists(numbers(), max_size=3)),
        st.sampled_from([{"NULL": True}, {"NULL": False}, {}, {"S": "a", "N": "1"}]),
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.builds(lambda members: {"L": members}, st.lists(inner, max_size=3)),
            st.builds(
                lambda members: {"M": members},
                st.dictionaries(st.text(max_size=2), inner, max_size=3),
            ),
        ),
        max_leaves=5,
    )


def write_requests() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Batches over few keys, so that duplicates, deletes and overwrites are frequent."""
    keys = st.builds(
        lambda text, number: {"pk": {"S": text}, "sk": {"N": number}},
        st.sampled_from(["a", "b", "a$", ""]),
        st.one_of(st.sampled_from(["1", "1.0", "1E0", "2", "-0", "0"]), numbers()),
    )
    puts = st.builds(lambda key, value: put({**key, "v": value}), keys, attribute_values())
    return st.lists(st.one_of(puts, st.builds(delete, keys)), min_size=1, max_size=4)


class Rules:
    """What a DynamoDB accepts and refuses. A subclass names the fixture of its endpoint."""

    server: str

    # --- values ------------------------------------------------------------------------

    @pytest.mark.parametrize("given_", STORED.values(), ids=STORED)
    def test_value_is_stored_in_its_plain_form(
        self, tables: Tables, pk: str, given_: tuple[Any, Any]
    ) -> None:
        sent, stored = given_
        tables.write(put(pair(pk, x=sent)))
        assert tables.get(pair(pk)) == pair(pk, x=stored)

    @pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
    def test_bad_value_refuses_the_whole_batch(self, tables: Tables, pk: str, value: Any) -> None:
        with refused():
            tables.write(put(pair(pk)), put(pair(pk, "2", x=value)))
        with refused():
            tables.client.put_item(TableName=tables.pair, Item=pair(pk, x=value))
        assert tables.get(pair(pk)) is None

    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
    def test_item_has_at_most_400_kb_as_stored(
        self, tables: Tables, pk: str, shape: dict[str, Any]
    ) -> None:
        item = pair(pk, **shape, pad={"S": ""})
        room = ITEM_MAX_BYTES - stored_size(_as_json(item))
        tables.write(put({**item, "pad": {"S": "a" * room}}))
        with refused():
            tables.write(put({**item, "pad": {"S": "a" * (room + 1)}}))
        assert len(tables.get(pair(pk))["pad"]["S"]) == room

    # --- keys --------------------------------------------------------------------------

    @pytest.mark.parametrize("item", WRONG_PUTS.values(), ids=WRONG_PUTS)
    def test_put_needs_a_whole_valid_key(self, tables: Tables, pk: str, item: Any) -> None:
        with refused():
            tables.write(put(pair(pk)), put(item))
        with refused():
            tables.client.put_item(TableName=tables.pair, Item=item)
        assert tables.get(pair(pk)) is None

    @pytest.mark.parametrize("key", WRONG_KEYS.values(), ids=WRONG_KEYS)
    def test_delete_and_get_take_just_the_key(self, tables: Tables, pk: str, key: Any) -> None:
        with refused():
            tables.write(put(pair(pk)), delete(key))
        with refused():
            tables.client.delete_item(TableName=tables.pair, Key=key)
        with refused():
            tables.client.get_item(TableName=tables.pair, Key=key)
        assert tables.get(pair(pk)) is None

    def test_longest_keys_are_taken(self, tables: Tables) -> None:
        texts = {"pk": {"S": "a" * 2048}, "sk": {"S": "b" * 1024}}
        binaries = {"pk": {"B": b"a" * 2048}, "sk": {"B": b"b" * 1024}}
        tables.write(put(texts), table=tables.texts)
        tables.write(put(binaries), table=tables.binary)
        assert tables.get(texts, tables.texts) == texts
        assert tables.get(binaries, tables.binary) == binaries

    @pytest.mark.parametrize(
        ("kind", "pk_size", "sk_size"),
        [("S", 1, 1025), ("B", 1, 1025), ("B", 2049, 1), ("B", 0, 1)],
    )
    def test_key_of_wrong_length_is_refused(
        self, tables: Tables, kind: str, pk_size: int, sk_size: int
    ) -> None:
        character, table = ("a", tables.texts) if kind == "S" else (b"a", tables.binary)
        key = {"pk": {kind: character * pk_size}, "sk": {kind: character * sk_size}}
        with refused():
            tables.write(put(key), table=table)
        with refused():
            tables.write(delete(key), table=table)

    def test_blank_key_is_a_key(self, tables: Tables) -> None:
        tables.write(put(pair(" ")))
        assert tables.get(pair(" ")) == pair(" ")

    @pytest.mark.parametrize(
        "value", [{"N": "1"}, {"S": ""}, {"S": "x" * 2049}], ids=["type", "empty", "long"]
    )
    def test_bad_index_key_refuses_the_whole_batch(
        self, tables: Tables, pk: str, value: Any
    ) -> None:
        with refused():
            tables.write(
                put({"pk": {"S": pk}}), put({"pk": {"S": "b"}, "g": value}), table=tables.indexed
            )
        assert tables.get({"pk": {"S": pk}}, tables.indexed) is None

    def test_index_key_may_be_missing_or_fit(self, tables: Tables, pk: str) -> None:
        items = [{"pk": {"S": pk}}, {"pk": {"S": f"{pk}-2"}, "g": {"S": "x" * 2048}}]
        tables.write(*map(put, items), table=tables.indexed)
        assert tables.get({"pk": items[1]["pk"]}, tables.indexed) == items[1]

    # --- batches -----------------------------------------------------------------------

    def test_batch_has_at_most_25_requests(self, tables: Tables, pk: str) -> None:
        requests = [put(pair(pk, str(n))) for n in range(26)]
        with refused():
            tables.write(*requests)
        assert tables.get(pair(pk, "0")) is None
        tables.write(*requests[:25])
        assert tables.get(pair(pk, "24")) == pair(pk, "24")

    def test_25_requests_count_over_all_tables(self, tables: Tables, pk: str) -> None:
        with refused():
            tables.client.batch_write_item(
                RequestItems={
                    tables.pair: [put(pair(pk, str(n))) for n in range(13)],
                    tables.number: [put({"pk": {"N": str(n)}}) for n in range(13)],
                }
            )

    def test_batch_without_requests_is_refused(self, tables: Tables) -> None:
        with refused():
            tables.write()
        with refused():
            tables.client.batch_write_item(RequestItems={})

    def test_request_is_either_a_put_or_a_delete(self, tables: Tables, pk: str) -> None:
        for request in ({}, {**put(pair(pk)), **delete(pair(pk))}, {"PutRequest": {}}):
            with refused():
                tables.write(request)

    @pytest.mark.parametrize(
        ("one", "other"),
        [("1", "1"), ("1", "1.0"), ("1", "1E0"), ("100", "1E2"), ("0", "-0"), ("0.5", ".50")],
    )
    def test_key_twice_in_a_batch_is_refused(
        self, tables: Tables, pk: str, one: str, other: str
    ) -> None:
        first, second = pair(pk, one), pair(pk, other)
        for twice in (
            (put(first), put(second)),
            (put(first), delete(second)),
            (delete(first), delete(second)),
        ):
            with refused():
                tables.write(*twice)
        assert tables.get(first) is None

    def test_keys_that_only_look_alike_are_taken(self, tables: Tables) -> None:
        keys = [("a$", "b"), ("a", "$b"), ("A", "b"), ("a", "b"), ("ab", " "), ("é", "b"),
                ("e\u0301", "b")]  # fmt: skip
        items = [{"pk": {"S": one}, "sk": {"S": other}} for one, other in keys]
        tables.write(*map(put, items), table=tables.texts)
        assert [tables.get(item, tables.texts) for item in items] == items

    def test_one_key_in_two_tables_is_taken(self, tables: Tables) -> None:
        other = tables.create(f"other-{uuid.uuid4().hex}", pk="N")
        item = {"pk": {"N": "77"}}
        tables.client.batch_write_item(
            RequestItems={tables.number: [put(item)], other: [put(item)]}
        )
        assert tables.get(item, tables.number) == tables.get(item, other) == item

    @given(one=numbers(), other=numbers())
    @example(one="1", other="1.0")
    @settings(suppress_health_check=[HealthCheck.differing_executors])
    def test_number_keys_are_one_exactly_when_they_are_equal(
        self, tables: Tables, one: str, other: str
    ) -> None:
        fake = FakeDynamoDB()
        fake.create_table("tab", {"pk": "N"})
        requests = [put({"pk": {"N": one}}), put({"pk": {"N": other}})]
        expected = _outcome(
            lambda: fake.call("BatchWriteItem", {"RequestItems": {"tab": requests}})
        )
        assert _outcome(lambda: tables.write(*requests, table=tables.number)) == expected

    def test_request_has_at_most_16_mb_on_the_wire(self, endpoint: str, pk: str) -> None:
        client = dynamodb(endpoint)
        tables = Tables(client)
        sizes = iter([BATCH_MAX_WIRE_BYTES + 1, BATCH_MAX_WIRE_BYTES])

        def pad(params: dict[str, Any], **_: Any) -> None:
            params["body"] += b" " * (next(sizes) - len(params["body"]))

        client.meta.events.register("before-call.dynamodb.BatchWriteItem", pad)
        with pytest.raises((ClientError, HTTPClientError)):
            tables.write(put(pair(pk)))
        assert tables.get(pair(pk)) is None
        tables.write(put(pair(pk)))
        assert tables.get(pair(pk)) == pair(pk)

    def test_25_of_the_largest_items_are_taken(self, tables: Tables, pk: str) -> None:
        tables.write(*(put(pair(pk, str(n), x={"S": "a" * 409_000})) for n in range(25)))
        assert tables.get(pair(pk, "24")) is not None

    # --- tables ------------------------------------------------------------------------

    def test_unknown_table_is_not_found(self, tables: Tables, pk: str) -> None:
        client, key = tables.client, pair(pk)
        with refused(NOT_FOUND):
            client.batch_write_item(RequestItems={tables.pair: [put(key)], "unknown": [put(key)]})
        for operation in (client.describe_table, client.delete_table, client.scan):
            with refused(NOT_FOUND):
                operation(TableName="unknown")
        with refused(NOT_FOUND):
            client.put_item(TableName="unknown", Item=key)
        with refused(NOT_FOUND):
            client.get_item(TableName="unknown", Key=key)
        assert tables.get(key) is None

    @pytest.mark.parametrize("name", ["ab", "a!b", "a" * 256, "a b", "täble"])
    def test_impossible_table_name_is_refused(self, tables: Tables, name: str) -> None:
        with refused():
            tables.write(put(pair("a")), table=name)
        with refused():
            tables.client.create_table(TableName=name, **schema(pk="S"))

    def test_long_attribute_name_is_refused(self, tables: Tables, pk: str) -> None:
        for attributes in ({"n" * 65_536: {"S": "x"}}, {"m": {"M": {"n" * 65_536: {"S": "x"}}}}):
            with refused():
                tables.write(put(pair(pk, **attributes)))
        tables.write(put(pair(pk, **{"n" * 65_535: {"S": "x"}})))

    def test_arn_stands_for_the_name(self, tables: Tables, pk: str) -> None:
        arn = tables.client.describe_table(TableName=tables.pair)["Table"]["TableArn"]
        assert tables.write(put(pair(pk)), table=arn)["UnprocessedItems"] == {}
        assert tables.get(pair(pk), arn) == tables.get(pair(pk), tables.pair) == pair(pk)

    def test_described_table_tells_its_key(self, tables: Tables) -> None:
        told = tables.client.describe_table(TableName=tables.pair)["Table"]
        wanted = schema(pk="S", sk="N")
        assert told["TableStatus"] == "ACTIVE"
        assert told["KeySchema"] == wanted["KeySchema"]
        assert told["AttributeDefinitions"] == wanted["AttributeDefinitions"]
        assert told["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        assert told["TableArn"].endswith(f":table/{tables.pair}")

    def test_table_is_created_once_and_deleted_once(self, tables: Tables) -> None:
        name = tables.create(f"once-{uuid.uuid4().hex}", pk="S")
        with refused("ResourceInUseException"):
            tables.create(name, pk="S")
        tables.client.delete_table(TableName=name)
        with refused(NOT_FOUND):
            tables.client.delete_table(TableName=name)

    @pytest.mark.parametrize("change", WRONG_TABLES.values(), ids=WRONG_TABLES)
    def test_impossible_table_is_refused(self, tables: Tables, change: dict[str, Any]) -> None:
        name = f"bad-{uuid.uuid4().hex}"
        with refused():
            tables.client.create_table(TableName=name, **{**schema(pk="S"), **change})
        with refused(NOT_FOUND):
            tables.client.describe_table(TableName=name)

    @pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
    def test_table_may_have_many_shapes(self, tables: Tables, change: dict[str, Any]) -> None:
        name = f"good-{uuid.uuid4().hex}"
        tables.client.create_table(TableName=name, **{**schema(pk="S"), **change})
        told = tables.client.describe_table(TableName=name)["Table"]
        assert told["KeySchema"] == change.get("KeySchema", schema(pk="S")["KeySchema"])

    def test_protected_table_is_not_deleted(self, tables: Tables) -> None:
        name = f"protected-{uuid.uuid4().hex}"
        definition = schema(pk="S")
        tables.client.create_table(TableName=name, DeletionProtectionEnabled=True, **definition)
        with refused():
            tables.client.delete_table(TableName=name)
        assert tables.client.describe_table(TableName=name)

    def test_provisioned_table_tells_its_throughput(self, tables: Tables) -> None:
        name = f"provisioned-{uuid.uuid4().hex}"
        definition = {**schema(pk="S"), "BillingMode": "PROVISIONED"}
        units = {"ReadCapacityUnits": 3, "WriteCapacityUnits": 7}
        tables.client.create_table(TableName=name, ProvisionedThroughput=units, **definition)
        told = tables.client.describe_table(TableName=name)["Table"]["ProvisionedThroughput"]
        assert (told["ReadCapacityUnits"], told["WriteCapacityUnits"]) == (3, 7)

    def test_tables_are_listed_in_pages_by_name(self, tables: Tables) -> None:
        first = tables.client.list_tables(Limit=1)
        assert first["LastEvaluatedTableName"] == first["TableNames"][0]
        pages = tables.client.get_paginator("list_tables").paginate(
            PaginationConfig={"PageSize": 2}
        )
        names = [name for page in pages for name in page["TableNames"]]
        assert names == sorted(names)
        assert {tables.pair, tables.number} <= set(names)
        with refused():
            tables.client.list_tables(Limit=0)

    # --- single writes, reads, capacity --------------------------------------------------

    def test_old_item_is_returned_when_asked_for(self, tables: Tables, pk: str) -> None:
        client, item = tables.client, pair(pk, x={"S": "old"})
        asked = {"TableName": tables.pair, "ReturnValues": "ALL_OLD"}
        assert "Attributes" not in client.put_item(Item=item, **asked)
        assert client.put_item(Item=pair(pk), **asked)["Attributes"] == item
        assert client.delete_item(Key=pair(pk), **asked)["Attributes"] == pair(pk)
        assert "Attributes" not in client.delete_item(Key=pair(pk), **asked)
        with refused():
            client.put_item(Item=item, TableName=tables.pair, ReturnValues="ALL_NEW")

    def test_put_replaces_the_whole_item_and_delete_removes_it(
        self, tables: Tables, pk: str
    ) -> None:
        tables.write(put(pair(pk, x={"S": "1"}, y={"S": "2"})))
        tables.write(put(pair(pk, x={"S": "3"})))
        assert tables.get(pair(pk)) == pair(pk, x={"S": "3"})
        tables.write(delete(pair(pk, "1.0")), delete(pair(pk, "2")))
        assert tables.get(pair(pk)) is None

    def test_write_costs_a_unit_for_each_kb_of_the_larger_item(
        self, tables: Tables, pk: str
    ) -> None:
        def units(*requests: dict[str, Any]) -> float:
            answer = tables.write(*requests, ReturnConsumedCapacity="TOTAL")
            [capacity] = answer["ConsumedCapacity"]
            return float(capacity["CapacityUnits"])

        assert units(put(pair(pk))) == 1
        assert units(put(pair(pk, x={"S": "a" * 2500}))) == 3
        assert units(put(pair(pk)), put(pair(pk, "2"))) == 4
        assert units(delete(pair(pk)), delete(pair(pk, "2"))) == 2

    def test_capacity_is_told_only_when_asked_for(self, tables: Tables, pk: str) -> None:
        assert "ConsumedCapacity" not in tables.write(put(pair(pk)))
        assert "ConsumedCapacity" not in tables.write(put(pair(pk)), ReturnConsumedCapacity="NONE")
        told = tables.write(put(pair(pk)), ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]
        assert told == [
            {"TableName": tables.pair, "CapacityUnits": 1.0, "Table": {"CapacityUnits": 1.0}}
        ]
        with refused():
            tables.write(put(pair(pk)), ReturnConsumedCapacity="ALL")

    def test_scan_goes_through_all_items_in_pages(self, tables: Tables) -> None:
        table = tables.create(f"scan-{uuid.uuid4().hex}", pk="S", sk="N")
        items = [pair(f"k{n % 3}", str(n)) for n in range(10)]
        tables.write(*map(put, items), table=table)
        found = list(tables.scan(table, Limit=3))
        assert _comparable(found) == _comparable(items)
        page = tables.client.scan(TableName=table, Limit=4, Select="COUNT", ConsistentRead=True)
        assert (page["Count"], page["ScannedCount"]) == (4, 4)
        assert page["LastEvaluatedKey"].keys() == {"pk", "sk"}
        assert "Items" not in page
        with refused():
            tables.client.scan(TableName=table, Limit=0)
        with refused():
            tables.client.scan(TableName=table, Select="SOME")
        with refused():
            tables.client.scan(TableName=table, ExclusiveStartKey={"pk": {"S": "a"}})

    def test_page_of_a_scan_ends_past_1_mb(self, tables: Tables) -> None:
        table = tables.create(f"large-{uuid.uuid4().hex}", pk="S")
        items = [{"pk": {"S": str(n)}, "x": {"S": "a" * 399_000}} for n in range(7)]
        tables.write(*map(put, items), table=table)
        assert tables.client.scan(TableName=table, ConsistentRead=True)["Count"] == 3
        assert len(list(tables.scan(table))) == 7

    def test_batch_get_returns_what_is_there(self, tables: Tables, pk: str) -> None:
        client = tables.client
        tables.write(put(pair(pk)))

        def get(*keys: dict[str, Any]) -> Any:
            wanted = {tables.pair: {"Keys": list(keys), "ConsistentRead": True}}
            return client.batch_get_item(RequestItems=wanted)["Responses"][tables.pair]

        assert get(pair(pk), pair(pk, "2")) == [pair(pk)]
        for wrong in ([], [pair(pk), pair(pk)], [{"pk": {"S": pk}}],
                      [pair(pk, str(n)) for n in range(101)]):  # fmt: skip
            with refused():
                get(*wrong)

    def test_unknown_operation_is_refused(self, endpoint: str) -> None:
        client = dynamodb(endpoint)
        rename = _retarget("Frobnicate")
        client.meta.events.register("before-call.dynamodb.ListTables", rename)
        with refused("UnknownOperationException"):
            client.list_tables()


def _retarget(operation: str) -> Any:
    def change(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["X-Amz-Target"] = f"DynamoDB_20120810.{operation}"

    return change


def _as_json(value: Any) -> Any:
    """Bytes as the base64 text that JSON carries."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _as_json(inner) for name, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list) else value


def _outcome(call: Any) -> str:
    """`ok`, or the code of the error."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except Refused as refusal:
        return refusal.code
    return "ok"


class TestFakeServer(Rules):
    server = "fake_endpoint"


@pytest.mark.usefixtures("dynamodb_local")
class TestDynamoDBLocal(Rules):
    server = "dynamodb_local"

    @given(batches=st.lists(write_requests(), min_size=1, max_size=4))
    @settings(suppress_health_check=[HealthCheck.differing_executors])
    def test_fake_does_the_same_with_any_batches(
        self, tables: Tables, same: str, batches: list[list[dict[str, Any]]]
    ) -> None:
        for item in list(tables.scan(same)):
            tables.write(delete({name: item[name] for name in ("pk", "sk")}), table=same)
        fake = FakeDynamoDB()
        fake.create_table("tab", {"pk": "S", "sk": "N"})
        for batch in batches:
            request = {"RequestItems": {"tab": _as_json(batch)}}
            expected = _outcome(lambda batch=batch: tables.write(*batch, table=same))
            assert _outcome(lambda r=request: fake.call("BatchWriteItem", r)) == expected
        assert _comparable(fake.items("tab")) == _comparable(_as_json(list(tables.scan(same))))


@pytest.fixture(scope="class")
def same(tables: Tables) -> str:
    return tables.create(f"same-{uuid.uuid4().hex}", pk="S", sk="N")


def _comparable(items: list[dict[str, Any]]) -> list[str]:
    """Items, sets and maps in one order, numbers in one spelling."""
    return sorted(str(_ordered(item)) for item in items)


def _ordered(value: Any) -> Any:
    if isinstance(value, list):
        return [_ordered(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    ordered = {}
    for name, inner in sorted(value.items()):
        if name == "N" and isinstance(inner, str):
            ordered[name] = canonical_number(inner)
        elif name == "NS" and isinstance(inner, list):
            ordered[name] = sorted(map(canonical_number, inner))
        elif name in ("SS", "BS") and isinstance(inner, list):
            ordered[name] = sorted(inner)
        else:
            ordered[name] = _ordered(inner)
    return ordered
