"""Our rules for values against DynamoDB Local's: what is refused, and where 400 KB end."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from beam_dynamodb.errors import RowError
from beam_dynamodb.sizes import stored_size
from beam_dynamodb.table import ITEM_MAX_BYTES
from beam_dynamodb.values import attribute_values, wire
from tests.properties.strategies import rows

Call = Callable[[str, bytes], Any]

_AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-2/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=none"
)


@pytest.fixture(scope="module")
def call(dynamodb_local: str) -> Call:
    """Sends an operation's JSON as it is, since boto3 would convert and check it first."""

    def send(operation: str, body: bytes) -> Any:
        headers = {
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": _AUTHORIZATION,
        }
        request = urllib.request.Request(dynamodb_local, body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    return send


@pytest.fixture(scope="module")
def table(call: Call) -> str:
    name = f"values-{uuid.uuid4().hex}"
    definition = {
        "TableName": name,
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    call("CreateTable", json.dumps(definition).encode())
    return name


@pytest.fixture(scope="module")
def put(call: Call, table: str) -> Callable[[bytes], str]:
    """Puts an item's wire bytes; gives DynamoDB's refusal, or nothing."""

    def send(item: bytes) -> str:
        try:
            call("PutItem", b'{"TableName":"%b","Item":%b}' % (table.encode(), item))
        except urllib.error.HTTPError as error:
            with error:
                refusal = json.load(error)
            assert refusal["__type"].endswith("ValidationException"), refusal
            return str(refusal.get("message") or refusal.get("Message"))
        return ""

    return send


def _nested(tag: str, levels: int, innermost: dict[str, Any]) -> dict[str, Any]:
    value = innermost
    for _ in range(levels):
        value = {"L": [value]} if tag == "L" else {"M": {"x": value}}
    return value


_NUMBERS = [
    "1", "+1", "-1", "01", "1.0", ".5", "5.", "1e5", "1e+20", "1E-20", "0", "-0", "-0.0", "0E5",
    "0E-500", "0E500", "", " ", " 1", "1 ", "1_0", "0x1", "1d", "1E", "E1", ".", "-", "--1",
    "1,5", "NaN", "Infinity", "-Infinity", "9.99E125", "1E126", "1.0E126", "0.1E126", "0.01E127",
    "-9.99E125", "-1E126", "1E-130", "-1E-130", "1.5E-130", "9E-131", "1E-131", "-9E-131",
    "9" * 38, "-" + "9" * 38, "9" * 39, "1" * 38 + "0" * 88, "1" * 38 + "0" * 89,
    "1." + "0" * 200, "0" * 200 + "1", "0." + "0" * 129 + "1", "0." + "0" * 130 + "1",
    "9" * 38 + "E88", "9" * 38 + "E89", "9" * 38 + "E-167", "9" * 38 + "E-168",
    "0." + "1" * 38, "0." + "1" * 39, "1." + "1" * 37, "1." + "1" * 38, "1E99999999999",
    "1E-99999999999999999999", "1" + "0" * 400 + "E-400",
]  # fmt: skip

_OTHERS: list[dict[str, Any]] = [
    {"S": ""},
    {"B": ""},
    {"B": "YQ=="},
    {"NULL": True},
    {"NULL": False},
    {"BOOL": False},
    {"L": []},
    {"M": {}},
    {"M": {"": {"S": "x"}}},
    {"SS": []},
    {"NS": []},
    {"BS": []},
    {"SS": [""]},
    {"BS": [""]},
    {"SS": ["a", "a"]},
    {"SS": ["a", "A"]},
    {"NS": ["1", "1.0"]},
    {"NS": ["0", "-0"]},
    {"NS": ["1", "x"]},
    {"NS": ["1", "2"]},
    {"BS": ["YQ==", "YQ=="]},
    {"BS": ["YQ==", "Yg=="]},
    {"L": [{"N": "x"}]},
    {"M": {"a": {"N": "1E200"}}},
    *(_nested(tag, levels, {"S": "x"}) for tag in "LM" for levels in (30, 31, 32, 33)),
    *(_nested(tag, levels, {"SS": ["x"]}) for tag in "LM" for levels in (31, 32)),
    *(_nested(tag, levels, {"L": []}) for tag in "LM" for levels in (30, 31)),
    *(_nested(tag, levels, {"M": {}}) for tag in "LM" for levels in (30, 31)),
]


def _label(value: dict[str, Any]) -> str:
    text = json.dumps(value)
    return text if len(text) < 40 else f"{text[:30]}…{len(text)}"


@pytest.mark.parametrize("value", [*({"N": n} for n in _NUMBERS), *_OTHERS], ids=_label)
def test_we_refuse_exactly_what_dynamodb_refuses(
    put: Callable[[bytes], str], value: dict[str, Any]
) -> None:
    refusal = put(json.dumps({"k": {"S": "k"}, "a": value}).encode())
    try:
        item = attribute_values({"k": {"S": "k"}, "a": value})
    except RowError:
        assert refusal, "refused here, taken by DynamoDB"
    else:
        assert not refusal, "taken here, refused by DynamoDB"
        assert put(wire(item)) == ""


@pytest.mark.parametrize(("length", "taken"), [(65535, True), (65536, False)])
@pytest.mark.parametrize("nested", [False, True])
def test_attribute_names_have_the_same_longest_length(
    put: Callable[[bytes], str], length: int, taken: bool, nested: bool
) -> None:
    value: dict[str, Any] = {"é" + "n" * (length - 2): "x"}
    row = {"k": "k", "a": value} if nested else {"k": "k", **value}
    item = attribute_values(row)
    assert put(json.dumps(item, ensure_ascii=False).encode()).startswith("Attribute name") != taken
    if taken:
        assert wire(item)
        return
    with pytest.raises(RowError, match="65535 bytes"):
        wire(item)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(rows({"id": rows({}).map(len)}))
def test_dynamodb_takes_every_item_and_gives_back_its_meaning(
    put: Callable[[bytes], str], call: Call, table: str, row: dict[str, Any]
) -> None:
    item = {**attribute_values(row), "k": {"S": "roundtrip"}}
    assert put(wire(item)) == ""
    query = {"TableName": table, "Key": {"k": {"S": "roundtrip"}}, "ConsistentRead": True}
    stored = call("GetItem", json.dumps(query).encode())["Item"]
    assert _by_number(stored) == _by_number(item)


def _by_number(value: Any) -> Any:
    """Wire form with numbers by value, and sets without order."""
    if isinstance(value, list):
        return [_by_number(element) for element in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"N"} and isinstance(value["N"], str):
        return Decimal(value["N"])
    if value.keys() == {"NS"} and isinstance(value["NS"], list):
        return set(map(Decimal, value["NS"]))
    if len(value) == 1 and value.keys() & {"SS", "BS"}:
        return {tag: sorted(map(str, members)) for tag, members in value.items()}
    return {name: _by_number(element) for name, element in value.items()}


_SIZED: dict[str, Any] = {
    "text": "ab",
    "text beyond ASCII": 'é😀\u0000"\\',
    "binary of 1": b"a",
    "binary of 2": b"ab",
    "binary of 3": b"abc",
    "true": True,
    "null": None,
    "empty list": [],
    "empty map": {},
    "list": ["ab", 1, None, True, b"x"],
    "nested list": [[], [[1]], {}],
    "map": {"x": "", "yé": None},
    "nested map": {"x": {"y": [{"z": -1}]}},
    "string set": {"a", "bc", ""},
    "number set": {1, 22, -333},
    "binary set": {b"a", b"bc", b""},
    "many numbers": list(range(-300, 300)),
    "many names": {f"name{n}": n for n in range(300)},
    **{
        f"number {text}": Decimal(text)
        for text in [
            "0", "1", "-1", "10", "99", "100", "101", "-101", "12345", "-12345", "0.1", "0.01",
            "0.001", "1.5", "-1.5", "12.5", "0.12", "0.012", "1E10", "1E11", "12E11", "9.9E125",
            "1E125", "1E-130", "1E-129", "1.5E-130", "9" * 38, "-" + "9" * 38, "1." + "1" * 37,
            "0." + "1" * 38, "0.0" + "1" * 38, "1" * 37 + "0", "1.10", "100.00",
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("value", _SIZED.values(), ids=_SIZED.keys())
def test_the_largest_item_taken_has_a_stored_size_of_400_kb(
    put: Callable[[bytes], str], value: Any
) -> None:
    row = {"k": "k", "value": value, "filler": ""}
    row["filler"] = "x" * (ITEM_MAX_BYTES - stored_size(attribute_values(row)))
    item = attribute_values(row)
    assert stored_size(item) == ITEM_MAX_BYTES
    assert put(wire(item)) == ""
    item["filler"]["S"] += "x"
    assert "Item size has exceeded" in put(wire(item))


_FULL: dict[str, Any] = {
    "text": "é" * 204_000,
    "binary": b"b" * 409_000,
    "numbers": [Decimal("-1.2345")] * 8_000,
    "maps": [{"x": [None, True]}] * 3_000,
    "names": {f"{n:06d}": n for n in range(10_000)},
    "string set": {f"{n:06d}" for n in range(10_000)},
    "number set": set(range(-5_000, 5_000)),
    "binary set": {n.to_bytes(4, "big") for n in range(10_000)},
}


@pytest.mark.parametrize("value", _FULL.values(), ids=_FULL.keys())
def test_an_item_with_much_of_one_type_ends_at_the_same_byte(
    put: Callable[[bytes], str], value: Any
) -> None:
    row = {"k": "k", "value": value, "filler": ""}
    left = ITEM_MAX_BYTES - stored_size(attribute_values(row))
    assert put(wire(attribute_values({**row, "filler": "x" * left}))) == ""
    refusal = put(wire(attribute_values({**row, "filler": "x" * (left + 1)})))
    assert "Item size has exceeded" in refusal
