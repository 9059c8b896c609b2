"""The fake DynamoDB by itself: what is not the service's own rule, and what only it can tell."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb.testing import FakeDynamoDB, Refused


def put(pk: str, **attributes: Any) -> dict[str, Any]:
    return {"PutRequest": {"Item": {"pk": {"S": pk}, **attributes}}}


def delete(pk: str) -> dict[str, Any]:
    return {"DeleteRequest": {"Key": {"pk": {"S": pk}}}}


def a_table(**options: Any) -> FakeDynamoDB:
    db = FakeDynamoDB(**options)
    db.create_table("tab", {"pk": "S"})
    return db


def write(db: FakeDynamoDB, *requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return db.call("BatchWriteItem", {"RequestItems": {"tab": list(requests)}}, **more)


@pytest.mark.parametrize(
    "value",
    [
        "text", 1, None, [], {"S": 1}, {"N": 1}, {"B": "!!"}, {"B": "YQ"}, {"BOOL": "true"},
        {"NULL": "true"}, {"SS": "a"}, {"NS": [1]}, {"L": {}}, {"M": []}, {"L": ["a"]},
    ],
    ids=str,
)  # fmt: skip
def test_json_that_the_api_does_not_describe_is_a_serialization_error(value: Any) -> None:
    db = a_table()
    with pytest.raises(Refused) as caught:
        write(db, put("a"), put("b", x=value))
    assert (caught.value.code, caught.value.status) == ("SerializationException", 400)
    assert db.items("tab") == []


@pytest.mark.parametrize("request_", [{}, {"RequestItems": None}, {"RequestItems": {"tab": [{}]}}])
def test_batch_without_writes_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="exactly one|null or no requests"):
        a_table().call("BatchWriteItem", request_)


def test_unknown_type_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        write(a_table(), put("a", x={"X": "1"}))
    assert caught.value.code == "ValidationException"


def test_what_the_fake_cannot_do_is_refused_by_name() -> None:
    request = {"TableName": "tab", "Item": {"pk": {"S": "a"}}, "ConditionExpression": "x = y"}
    with pytest.raises(Refused, match="ConditionExpression") as caught:
        a_table().call("PutItem", request)
    assert caught.value.status == 501


def test_base64_of_one_value_is_one_key() -> None:
    db = FakeDynamoDB()
    db.create_table("bin", {"pk": "B"})
    requests = [{"PutRequest": {"Item": {"pk": {"B": text}}}} for text in ("YQ==", "YR==")]
    with pytest.raises(Refused, match="duplicates"):
        db.call("BatchWriteItem", {"RequestItems": {"bin": requests}})


def test_name_and_arn_are_one_table() -> None:
    db = a_table()
    request = {"RequestItems": {"tab": [put("a")], db.arn("tab"): [put("a")]}}
    with pytest.raises(Refused, match="duplicates"):
        db.call("BatchWriteItem", request)


def test_arn_of_another_place_is_not_found() -> None:
    db = FakeDynamoDB(region="eu-west-1", account="123456789012")
    db.create_table("tab", {"pk": "S"})
    assert db.call("DescribeTable", {"TableName": db.arn("tab")})
    for place in ("us-east-1:123456789012", "eu-west-1:000000000000", "eu-west-1:"):
        request = {"RequestItems": {f"arn:aws:dynamodb:{place}:table/tab": [put("a")]}}
        with pytest.raises(Refused) as caught:
            db.call("BatchWriteItem", request)
        assert caught.value.code == "ResourceNotFoundException"
        assert [item for _, item in db.keys("BatchWriteItem", request)] == [{}]


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("ListTables", {"Limit": "x"}),
        ("ListTables", {"Limit": True}),
        ("ListTables", {"ExclusiveStartTableName": 5}),
        ("Scan", {"TableName": "tab", "Limit": "1"}),
        ("DescribeTable", {"TableName": 5}),
        ("CreateTable", {"TableName": "new", "AttributeDefinitions": "x"}),
        ("CreateTable", {"TableName": "new", "AttributeDefinitions": ["x"]}),
        ("CreateTable", {"TableName": "new", "AttributeDefinitions": [{"AttributeName": []}]}),
        ("BatchWriteItem", {"RequestItems": "x"}),
        ("PutItem", {"TableName": "tab", "Item": {"pk": {"S": "\ud800"}}}),
        ("DeleteItem", {"TableName": "tab", "Key": {"pk": {"S": "\ud800"}}}),
        ("BatchWriteItem", {"RequestItems": {"tab": [put("a", x={"S": "\ud800"})]}}),
        ("BatchWriteItem", {"RequestItems": {"tab": [put("a", **{"\ud800": {"S": "x"}})]}}),
    ],
)
def test_member_of_a_wrong_type_is_a_serialization_error(
    operation: str, request_: dict[str, Any]
) -> None:
    db = a_table()
    with pytest.raises(Refused) as caught:
        db.call(operation, request_)
    assert caught.value.code == "SerializationException"
    assert db.items("tab") == []


def test_null_member_is_a_missing_one() -> None:
    db = a_table()
    assert db.call("ListTables", {"Limit": None, "ExclusiveStartTableName": None}) == {
        "TableNames": ["tab"]
    }


def test_page_of_tables_has_a_most() -> None:
    with pytest.raises(Refused, match="less than or equal to 100"):
        a_table().call("ListTables", {"Limit": 101})


@pytest.mark.parametrize("name", ["n" * 65_536, "ü" * 32_768])
def test_attribute_name_that_is_too_long_is_refused_at_any_depth(name: str) -> None:
    db = a_table()
    for attributes in ({name: {"S": "x"}}, {"m": {"L": [{"M": {name: {"S": "x"}}}]}}):
        with pytest.raises(Refused, match="65535") as caught:
            write(db, put("a", **attributes))
        assert caught.value.code == "ValidationException"
    write(db, put("a", **{name[1:]: {"S": "x"}}))


def test_size_of_the_request_is_measured_where_nobody_tells_it() -> None:
    db = a_table()
    large = [put(str(n), x={"S": "\x01" * 400_000}) for n in range(8)]
    with pytest.raises(Refused) as caught:
        write(db, *large)
    assert caught.value.status == 413


def test_log_tells_each_accepted_write_in_order() -> None:
    db = a_table()
    write(db, put("a", n={"N": "1.0"}), put("b"), now=5.0)
    write(db, delete("a"), now=7.0)
    with pytest.raises(Refused):
        write(db, put("c"), put("c"), now=8.0)
    assert [(w.sequence, w.time, w.table, w.key, w.is_delete, w.item) for w in db.writes] == [
        (1, 5.0, "tab", ("a",), False, {"pk": {"S": "a"}, "n": {"N": "1"}}),
        (2, 5.0, "tab", ("b",), False, {"pk": {"S": "b"}}),
        (3, 7.0, "tab", ("a",), True, None),
    ]


def test_log_judges_the_order_of_each_key() -> None:
    db = a_table()
    for version in ("1", "2", "4", "3"):
        write(db, put("hot", v={"N": version}), put(f"cold-{version}"))
    versions = [w.item["v"]["N"] for w in db.writes if w.item and w.key == ("hot",)]
    stale = [new for old, new in itertools.pairwise(versions) if int(new) < int(old)]
    assert stale == ["3"]


@pytest.mark.parametrize(
    ("options", "kept"), [({"keep_log": False}, []), ({"log_size": 2}, [3, 4])]
)
def test_log_can_be_left_out_or_bounded(options: dict[str, Any], kept: list[int]) -> None:
    db = a_table(**options)
    for pk in "abcd":
        write(db, put(pk))
    assert [w.sequence for w in db.writes] == kept
    assert db.accepted == 4


def test_held_writes_come_back_as_they_were_sent_and_are_not_written() -> None:
    db = a_table()
    requests = [put("a", n={"N": "1.0"}), put("b"), delete("c")]
    answer = write(db, *requests, held={0, 2}, now=1.0)
    assert answer["UnprocessedItems"] == {"tab": [requests[0], requests[2]]}
    assert db.items("tab") == [{"pk": {"S": "b"}}]


def test_held_single_write_is_throttled() -> None:
    db = a_table()
    with pytest.raises(Refused) as caught:
        db.call("PutItem", {"TableName": "tab", "Item": {"pk": {"S": "a"}}}, held={0})
    assert caught.value.code == "ProvisionedThroughputExceededException"
    assert db.accepted == 0


def test_keys_tells_what_a_write_asks_for_before_any_check() -> None:
    db = a_table()
    request = {
        "RequestItems": {"tab": [put("a", x={"N": "1"}), delete("b"), put("")], "no": [put("a")]}
    }
    assert db.keys("BatchWriteItem", request) == [
        ("tab", {"pk": {"S": "a"}}),
        ("tab", {"pk": {"S": "b"}}),
        ("tab", {"pk": {"S": ""}}),
        ("no", {}),
    ]
    one = {"TableName": "tab", "Key": {"pk": {"S": "c"}}}
    assert db.keys("DeleteItem", one) == [("tab", {"pk": {"S": "c"}})]
    assert db.keys("GetItem", one) == []
    assert db.keys("BatchWriteItem", {"RequestItems": {"tab": [7]}}) == [("tab", {})]


def test_request_is_left_as_it_was() -> None:
    db = a_table()
    request = put("a", n={"N": "1.0"}, s={"NS": ["1E0"]}, m={"M": {"x": {"N": "+1"}}})
    write(db, request)
    assert request == put("a", n={"N": "1.0"}, s={"NS": ["1E0"]}, m={"M": {"x": {"N": "+1"}}})


KEYS = st.sampled_from("abcd")
REQUESTS = st.one_of(
    st.builds(delete, KEYS),
    st.builds(lambda pk, n: put(pk, n={"N": str(n)}), KEYS, st.integers(0, 9)),
)
CALLS = st.lists(
    st.tuples(st.lists(REQUESTS, min_size=1, max_size=5), st.frozensets(st.integers(0, 4))),
    max_size=8,
)


@given(calls=CALLS)
def test_table_equals_the_replay_of_the_log(calls: list[tuple[list[Any], frozenset[int]]]) -> None:
    db = a_table()
    left = 0
    for requests, held in calls:
        try:
            answer = write(db, *requests, held=held)
        except Refused as refusal:
            assert "duplicates" in refusal.message
        else:
            left += len(requests) - len(answer["UnprocessedItems"].get("tab", []))
    replayed: dict[Any, Any] = {}
    for entry in db.writes:
        replayed.pop(entry.key, None)
        if entry.item is not None:
            replayed[entry.key] = entry.item
    assert [replayed[key] for key in sorted(replayed)] == db.items("tab")
    assert db.accepted == left
