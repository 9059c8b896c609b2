"""What a job's operator sees, what travels to workers, and what an update may rely on."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.internal import pickler
from apache_beam.metrics.metric import Lineage, MetricsFilter
from apache_beam.testing import test_stream
from apache_beam.transforms.display import DisplayData

from beam_dynamodb import WriteToDynamoDB
from beam_dynamodb.testing import Faults, Throttle, Unprocessed
from beam_dynamodb.to_request import ToRequest
from beam_dynamodb.write_steps import WriteBundle, WriteLatest, WriteLatestUntilTimeout
from tests.beam.helpers import (
    LEGACY,
    REGION,
    TABLE,
    Rows,
    ends,
    pipeline,
    run_rows,
    serving,
    sink,
    stateful_payloads,
)

ROWS: Rows = [({"id": number % 60, "v": number}, 0.0) for number in range(100)]
SECRET = "wJalrXUtnFEMI"


def distributions(result: Any) -> dict[str, Any]:
    found = result.metrics().query(MetricsFilter().with_namespace("beam_dynamodb"))
    return {each.key.metric.name: each.committed for each in found["distributions"]}


def test_the_counters_add_up() -> None:
    rows = [*ROWS, ({"id": 1, "v": float("nan")}, 0.0), ({"id": 1, "op": "-U"}, 0.0)]
    rows = [({"op": "+I", **row}, at) for row, at in rows]
    with serving(Faults.script([Unprocessed((0, 1))])) as server:
        run = run_rows(
            server,
            rows,
            partitioned_by=["id"],
            change_kind="op",
            handling=lambda write: write.with_exception_handling(),
        )
        calls, items = server.stats().calls["BatchWriteItem"], server.stats().items
    found = run.counters
    assert found["received"] == 102 == ends(found)
    assert (found["written"], found["superseded"], found["failed"], found["ignored"]) == (
        60, 40, 1, 1,
    )  # fmt: skip
    assert found["retried"] == found["throttled"] == 2
    assert found["batches"] == calls
    sizes, latency = (distributions(run.result)[n] for n in ("batch_size", "batch_latency_ms"))
    assert (sizes.count, sizes.sum) == (calls, items) == (calls, 62)
    assert sizes.max <= 25
    assert latency.count == calls
    assert found["wire_bytes"] > 60 * 20


def test_the_time_lost_to_throttling_is_told_to_the_autoscaler() -> None:
    hint = Throttle(retry_after_ms=1200)
    with serving(Faults.script([hint, hint])) as server:
        run = run_rows(server, ROWS[:5], primary_key=["id"])
    assert run.counters["cumulativeThrottlingSeconds"] == 2


def test_the_lineage_names_each_table() -> None:
    with serving(tables=["my.table"]) as server:
        run = run_rows(server, ROWS, table="my.table")
    assert Lineage.query(run.result.metrics(), Lineage.SINK) == {f"dynamodb:{REGION}.`my.table`"}


def transform(**options: Any) -> WriteToDynamoDB:
    return WriteToDynamoDB(
        TABLE,
        aws_region=REGION,
        aws_credentials_basic_accesskeyid="AKIAIOSFODNN7EXAMPLE",
        aws_credentials_basic_secretkey=SECRET,
        **options,
    )


def test_display_data_shows_the_options_but_no_credentials() -> None:
    write = transform(partitioned_by=["id", "at"], sink_batch_max_size=5)
    items = DisplayData.create_from(write).items
    shown = {each.key: each.value for each in items}
    assert shown["table_name"] == TABLE
    assert shown["aws_region"] == REGION
    assert shown["partitioned_by"] == "id, at"
    assert shown["sink_batch_max_size"] == "5"
    assert SECRET not in repr(items)
    assert "AKIA" not in str(shown)
    assert SECRET not in repr(write) + repr(write._settings)


def test_the_transform_and_its_steps_travel_and_hold_no_client() -> None:
    write = transform().with_exception_handling()
    for each in (
        write,
        ToRequest(write._settings, None, 32, travel=True),
        WriteBundle(write._settings, None),
        WriteLatest(write._settings, None),
        WriteLatestUntilTimeout(write._settings, None),
    ):
        data = pickler.dumps(each)
        assert b"botocore" not in data
        assert b"socket" not in data
        assert type(pickler.loads(data)) is type(each)


def test_what_an_update_of_a_running_job_relies_on_does_not_change() -> None:
    """Step names, state and timer ids, and the coders of both: the contract with older jobs."""
    with serving() as server:
        begin = pipeline(LEGACY)
        rows = begin | test_stream.TestStream()
        _ = rows | sink(server, partitioned_by=["id"]).with_exception_handling()
    steps = {
        each.unique_name
        for each in begin.to_runner_api().components.transforms.values()
        if each.spec.urn == "beam:transform:pardo:v1"
    }
    assert {
        "WriteToDynamoDB/ToRequest/ParDo(ToRequest)",
        "WriteToDynamoDB/WriteLatest/ParDo(WriteLatestUntilTimeout)",
    } <= steps
    [(_, payload)] = stateful_payloads(begin).items()
    assert set(payload.state_specs) == {"held"}
    assert {name.removeprefix("ts-") for name in payload.timer_family_specs} == {
        "window_end",
        "flush_timeout",
    }


def test_an_empty_input_is_no_trouble() -> None:
    with serving() as server:
        begin = pipeline()
        _ = begin | beam.Create([]) | sink(server, partitioned_by=["id"])
        begin.run().wait_until_finish()
        assert server.db.accepted == 0
