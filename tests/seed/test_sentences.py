"""Every sentence of the documented page that promises something holds, credentials aside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_stream
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from beam_dynamodb import Delete, ReadFromDynamoDB, SourceNotSupportedError, WriteToDynamoDB
from beam_dynamodb.testing import AccessDenied, FakeDynamoDB, FakeServer, Faults
from tests.seed.services import CountingDynamoDB, tls_server, tunnel
from tests.seed.sinks import (
    TABLE,
    behavior,
    behaviors,
    options,
    user_behavior,
    write,
    write_stream,
)

Start = Callable[..., Any]


# --- Sink: Batch Sink: Streaming Append & Upsert Mode --------------------------------------


def test_the_dynamodb_connector_allows_for_writing_data_into_amazon_dynamodb(
    moto_endpoint: str, create_table: Callable[..., Any]
) -> None:
    table = create_table(moto_endpoint, (("user_id", "N"),))
    write(behaviors(30), options(moto_endpoint, {"table-name": table.name}))
    expected = {"item_id": {"N": "1"}, "category_id": {"N": "7"}, "behavior": {"S": "buy"}}
    items = sorted(table.items(), key=lambda item: int(item["user_id"]["N"]))
    assert items == [{"user_id": {"N": str(user)}, **expected} for user in range(30)]


def test_sink_batch(start: Start) -> None:
    server = start(FakeServer(user_behavior()))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | beam.Create(behaviors(100))
        assert rows.is_bounded
        _ = rows | WriteToDynamoDB.from_options(options(server.endpoint))
    assert len(server.db.items(TABLE)) == 100


def test_sink_streaming_append_mode(start: Start) -> None:
    server = start(FakeServer(user_behavior()))
    now = time.time()
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | PeriodicImpulse(now, now + 1, 0.2) | beam.Map(user_of_the_moment)
        assert not rows.is_bounded
        _ = rows | WriteToDynamoDB.from_options(options(server.endpoint))
    assert len(server.db.items(TABLE)) == 5


def user_of_the_moment(moment: float) -> dict[str, Any]:
    return behavior(int(moment * 10))


def test_sink_streaming_upsert_mode(start: Start) -> None:
    server = start(FakeServer(user_behavior()))
    changes = [
        {"op": "+I", **behavior(1, "view")},
        {"op": "+I", **behavior(2, "view")},
        {"op": "-U", **behavior(1, "view")},
        {"op": "+U", **behavior(1, "buy")},
        {"op": "-D", **behavior(2, "view")},
    ]
    stream = test_stream.TestStream()
    for change in changes:
        stream = stream.add_elements([change])
    write_stream(stream.advance_watermark_to_infinity(), options(server.endpoint), change_kind="op")
    (item,) = server.db.items(TABLE)
    assert (item["user_id"], item["behavior"]) == ({"N": "1"}, {"S": "buy"})
    assert [each.is_delete for each in server.db.writes] == [False, False, False, True]


def test_upsert_mode_writes_and_deletes_elements_that_say_so_themselves(start: Start) -> None:
    server = start(FakeServer(user_behavior()))
    write([behavior(1), behavior(2)], options(server.endpoint))
    write([behavior(2, "return"), Delete({"user_id": 1})], options(server.endpoint))
    (item,) = server.db.items(TABLE)
    assert (item["user_id"], item["behavior"]) == ({"N": "2"}, {"S": "return"})


# --- How to create a DynamoDB table --------------------------------------------------------


def test_a_table_backed_by_a_dynamodb_table_with_minimum_required_options(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = user_behavior()
    host = "dynamodb.us-east-2.amazonaws.com"
    server, authority = tls_server(db, host, tmp_path)
    proxy, asked = start(tunnel(start(server).port))
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("AWS_CA_BUNDLE", authority)
    write(
        behaviors(3),
        {"connector": "dynamodb", "table-name": "user_behavior", "aws.region": "us-east-2"},
    )
    assert len(db.items("user_behavior")) == 3
    assert set(asked) == {f"{host}:443"}


# --- Authorization -------------------------------------------------------------------------


def test_an_appropriate_iam_policy_must_allow_writing_to_the_table(start: Start) -> None:
    server = start(FakeServer(user_behavior(), faults=Faults.always(AccessDenied())))
    with pytest.raises(
        Exception, match="AccessDeniedException for table 'user_behavior'.*dynamodb:BatchWriteItem"
    ):
        write(behaviors(1), options(server.endpoint))
    assert server.stats().calls["BatchWriteItem"] == 1


def test_a_policy_that_allows_nothing_but_writing_is_enough(start: Start) -> None:
    faults = Faults.always(AccessDenied(), operations=["DescribeTable"])
    server = start(FakeServer(user_behavior(), faults=faults))
    twice = [behavior(1, "view"), behavior(2), behavior(1, "buy")]
    write(twice, options(server.endpoint))
    assert [item["behavior"]["S"] for item in server.db.items(TABLE)] == ["buy", "buy"]


# --- Sink Partitioning ---------------------------------------------------------------------


def test_the_dynamodb_sink_supports_client_side_deduplication_via_the_partitioned_by_clause(
    start: Start,
) -> None:
    server = start(FakeServer(user_behavior()))
    clicks = [behavior(user, f"click {n}") for n in range(10) for user in (1, 2, 3)]
    write(clicks, options(server.endpoint), partitioned_by=["user_id"])
    assert [item["behavior"]["S"] for item in server.db.items(TABLE)] == ["click 9"] * 3
    assert len(server.db.writes) == 3


def composite_table() -> FakeDynamoDB:
    db = CountingDynamoDB()
    db.create_table(TABLE, {"user_id": "S", "item_id": "S"})
    return db


def test_the_sink_will_only_send_the_latest_record_for_each_composite_key_within_a_batch(
    start: Start,
) -> None:
    db = composite_table()
    keys = [("a", "b"), ("a", "c"), ("b", "b"), ("a$", "b"), ("a", "$b"), ("ab", "")]
    keys = [(user, item or " ") for user, item in keys]
    rows = [
        {"user_id": user, "item_id": item, "behavior": f"{user}|{item}|{n}"}
        for n in range(5)
        for user, item in keys
    ]
    given = options(start(FakeServer(db)).endpoint)
    write(rows, given, partitioned_by=["user_id", "item_id"])
    sent = [each.item["behavior"]["S"] for each in db.writes]
    assert sorted(sent) == sorted(f"{user}|{item}|4" for user, item in keys)


def test_the_latest_record_of_a_batch_is_that_of_the_latest_event(start: Start) -> None:
    server = start(FakeServer(user_behavior()))
    events = [(behavior(1, "first"), 10), (behavior(1, "last"), 30), (behavior(1, "late"), 20)]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | beam.Create(events, reshuffle=False) | beam.MapTuple(TimestampedValue)
        _ = rows | WriteToDynamoDB.from_options(
            options(server.endpoint), partitioned_by=["user_id"]
        )
    assert [each.item["behavior"]["S"] for each in server.db.writes] == ["last"]


def test_each_batch_sends_its_own_latest_record(start: Start) -> None:
    server = start(FakeServer(user_behavior()))
    stream = test_stream.TestStream()
    for second in (0, 10, 20):
        for what in ("view", "buy"):
            row = behavior(1, f"{what} {second}")
            stream = stream.add_elements([TimestampedValue(row, second)])
        stream = stream.advance_watermark_to(second + 10)
    stream = stream.advance_watermark_to_infinity() | beam.WindowInto(FixedWindows(10))
    write_stream(stream, options(server.endpoint), partitioned_by=["user_id"])
    sent = [each.item["behavior"]["S"] for each in server.db.writes]
    assert sent == ["buy 0", "buy 10", "buy 20"]


def test_without_partition_keys_the_newest_record_of_each_key_stays(
    start: Start,
) -> None:
    server = start(FakeServer(user_behavior()))
    clicks = [behavior(n % 30, str(n)) for n in range(90)]
    write(clicks, options(server.endpoint))
    stored = {item["behavior"]["S"] for item in server.db.items(TABLE)}
    assert stored == {str(n) for n in range(60, 90)}


# --- Notice --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        ReadFromDynamoDB,
        lambda: ReadFromDynamoDB(TABLE, aws_region="us-east-2"),
        lambda: beam.Pipeline(runner=FnApiRunner()) | ReadFromDynamoDB(table=TABLE),
    ],
    ids=["bare", "like the sink", "in a pipeline"],
)
def test_the_current_implementation_is_write_only(read: Callable[[], Any]) -> None:
    with pytest.raises(SourceNotSupportedError) as refused:
        read()
    assert str(refused.value) == (
        "Connector dynamodb can only be used as a sink. It cannot be used as a source."
    )
