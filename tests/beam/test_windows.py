"""Windows and timestamps go through unharmed, on each runner; nothing that waits is forgotten."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.testing import test_stream
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindows,
    Sessions,
    SlidingWindows,
    TimestampedValue,
    WindowFn,
)

from beam_dynamodb.identity import KeyReader, places_by_shard
from beam_dynamodb.testing import FakeServer
from tests.beam.helpers import (
    FN_API,
    LEGACY,
    Collected,
    Rows,
    counters,
    ends,
    input_of,
    pipeline,
    replay,
    run_rows,
    serving,
    sink,
    stateful_payloads,
    stored,
)

ROWS: Rows = [({"id": number % 40, "v": number}, number / 4) for number in range(200)]
WINDOWINGS = [GlobalWindows(), FixedWindows(10), SlidingWindows(10, 5), Sessions(3)]
KEYS: list[Any] = [(), ["id"]]


def windows_of(rows: Rows, windowing: WindowFn) -> Counter[Any]:
    return Counter(
        (row["v"], seconds, window)
        for row, seconds in rows
        for window in windowing.assign(WindowFn.AssignContext(seconds, row))
    )


@pytest.fixture(params=[FN_API, LEGACY, "prism"])
def runner(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("prism") if request.param == "prism" else request.param


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
@pytest.mark.parametrize("windowing", WINDOWINGS, ids=lambda each: type(each).__name__)
def test_each_element_is_written_once_and_keeps_its_windows_and_timestamp(
    runner: str, windowing: WindowFn, partitioned_by: Any
) -> None:
    with serving() as server:
        run = run_rows(
            server, ROWS, runner=runner, windowing=windowing, partitioned_by=partitioned_by
        )
        assert stored(server) == replay(ROWS)
        accepted = server.db.accepted
    seen = Counter((row["v"], seconds, window) for row, seconds, window in run.written.all)
    written = {row["v"] for row in run.written.elements}
    assert len(written) == accepted
    if runner != LEGACY:
        assert run.counters["written"] == accepted
        assert run.counters["received"] == len(ROWS) == ends(run.counters)
    assert seen == windows_of([each for each in ROWS if each[0]["v"] in written], windowing)


def test_dead_letters_keep_windows_and_timestamps_too() -> None:
    rows = [({"id": number, "v": float("nan")}, number * 3.0) for number in range(10)]
    windowing = SlidingWindows(10, 5)
    with serving() as server:
        run = run_rows(
            server,
            rows,
            windowing=windowing,
            handling=lambda write: write.with_exception_handling(),
        )
    assert run.counters["failed"] == 10
    seen = Counter((each.element["id"], at, window) for each, at, window in run.failed.all)
    numbered = [({"id": 0, "v": row["id"]}, at) for row, at in rows]
    assert seen == windows_of(numbered, windowing)


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_a_bounded_input_far_larger_than_the_buffer_in_many_windows(partitioned_by: Any) -> None:
    rows = [({"id": number, "v": number}, float(number)) for number in range(600)]
    with serving() as server:
        run = run_rows(
            server,
            rows,
            windowing=SlidingWindows(3, 1),
            partitioned_by=partitioned_by,
            sink_batch_max_size=10,
            sink_requests_max_buffered=11,
        )
        assert stored(server) == replay(rows)
    assert run.counters["written"] == 600
    assert len(run.written.all) == 3 * 600


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_large_items_are_cut_by_the_bytes_of_a_call(partitioned_by: Any) -> None:
    rows = [({"id": number, "v": "\x01" * 350_000}, 0.0) for number in range(12)]
    with serving() as server:
        run = run_rows(server, rows, partitioned_by=partitioned_by)
        assert len(server.db.items("events")) == 12
    assert run.counters["written"] == 12
    assert run.counters["batches"] == 2  # 2.1 MB each on the wire, as "\\u0001"; a call has 16


def test_several_worker_processes_write_everything_once() -> None:
    rows = [({"id": number, "v": number}, 0.0) for number in range(300)]
    flags = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    with serving() as server:
        begin = pipeline(FN_API, *flags)
        _ = input_of(begin, rows) | sink(server, partitioned_by=["id"])
        result = begin.run()
        result.wait_until_finish()
        assert stored(server) == replay(rows)
    assert counters(result)["written"] == 300


# --- unbounded input -----------------------------------------------------------------------


def stream(
    events: test_stream.TestStream, server: FakeServer, windowing: WindowFn, **options: Any
) -> Collected:
    written = Collected()
    flags = PipelineOptions([])
    flags.view_as(StandardOptions).streaming = True
    begin = beam.Pipeline(runner=LEGACY, options=flags)
    rows = begin | events | beam.WindowInto(windowing)
    result = rows | sink(server, **{"partitioned_by": ["id"], **options})
    _ = result.written | (written | "Collect")
    begin.run().wait_until_finish()
    return written


def at(seconds: float, key: int, version: int) -> TimestampedValue:
    return TimestampedValue({"id": key, "v": version}, seconds)


def test_what_waits_is_written_when_the_flush_timeout_is_over() -> None:
    events = (
        test_stream.TestStream()
        .add_elements([at(1, 1, 1), at(2, 1, 2)])
        .advance_processing_time(int(time.time()) + 10)
        .add_elements([at(3, 1, 3)])
        .advance_processing_time(10)
        .advance_watermark_to_infinity()
    )
    with serving() as server:
        written = stream(events, server, GlobalWindows(), sink_flush_buffer_timeout=5000)
        values = [write.item["v"]["N"] for write in server.db.writes]
    assert values == ["2", "3"]
    assert [row["v"] for row in written.elements] == [2, 3]
    assert [seconds for _, seconds, _ in written.all] == [2.0, 3.0]


@pytest.mark.parametrize("timeout", [3_600_000, 2**63 - 1])
def test_before_the_flush_timeout_everything_waits_for_the_latest(timeout: int) -> None:
    events = test_stream.TestStream().advance_processing_time(int(time.time()))
    for version in range(10):
        events = events.add_elements([at(version, 1, version)]).advance_processing_time(0.1)
    events = events.advance_watermark_to_infinity()
    with serving() as server:
        written = stream(events, server, GlobalWindows(), sink_flush_buffer_timeout=timeout)
        assert server.db.accepted == 1
    assert [row["v"] for row in written.elements] == [9]


def test_what_waits_is_written_when_the_watermark_passes_the_end_of_its_window() -> None:
    events = (
        test_stream.TestStream()
        .add_elements([at(1, 1, 1), at(4, 1, 2)])
        .advance_watermark_to(10)
        .add_elements([at(12, 1, 3)])
        .advance_watermark_to_infinity()
    )
    with serving() as server:
        written = stream(events, server, FixedWindows(10), sink_flush_buffer_timeout=3_600_000)
        values = [write.item["v"]["N"] for write in server.db.writes]
    assert values == ["2", "3"]
    assert [window.start.micros for _, _, window in written.all] == [0, 10_000_000]


def test_a_row_in_several_windows_is_written_when_the_first_of_them_ends() -> None:
    events = (
        test_stream.TestStream()
        .add_elements([at(6, 1, 1)])  # in [0, 10) and [5, 15)
        .advance_watermark_to(10)
        .add_elements([at(11, 1, 2)])
        .advance_watermark_to_infinity()
    )
    with serving() as server:
        written = stream(events, server, SlidingWindows(10, 5), sink_flush_buffer_timeout=3_600_000)
        assert server.db.accepted == 2
    assert Counter(row["v"] for row in written.elements) == {1: 2, 2: 2}


def test_a_superseded_row_of_an_earlier_window_keeps_no_other_row_waiting() -> None:
    key, *_, other = of_one_shard()
    events = (
        test_stream.TestStream()
        .add_elements([at(12, key, 1)])
        .add_elements([at(3, key, 0)])  # older, so it is not written
        .add_elements([at(4, other, 2)])
        .advance_watermark_to(10)
        .add_elements([at(15, other, 3)])
        .advance_watermark_to_infinity()
    )
    with serving() as server:
        written = stream(events, server, FixedWindows(10), sink_flush_buffer_timeout=3_600_000)
        assert stored(server) == {key: "1", other: "3"}
    assert Counter(row["v"] for row in written.elements) == {1: 1, 2: 1, 3: 1}


def of_one_shard() -> list[int]:
    """Keys whose records wait together."""
    keys = list(range(100))
    identities = [KeyReader("any", ["id"]).identity({"id": {"N": str(key)}}) for key in keys]
    return [keys[place] for place in places_by_shard(identities, 32)[0]]


@pytest.mark.parametrize("windowing", WINDOWINGS, ids=lambda each: type(each).__name__)
def test_late_rows_are_written_as_well(windowing: WindowFn) -> None:
    events = (
        test_stream.TestStream()
        .add_elements([at(1, 1, 1)])
        .advance_watermark_to(1000)
        .add_elements([at(2, 2, 2)])
        .advance_watermark_to_infinity()
    )
    with serving() as server:
        written = stream(events, server, windowing)
        assert stored(server) == {1: "1", 2: "2"}
    assert {row["v"] for row in written.elements} == {1, 2}


def test_a_trickle_of_single_rows_loses_none() -> None:
    events = test_stream.TestStream()
    for number in range(30):
        events = events.add_elements([at(number, number, number)])
        events = events.advance_watermark_to(number)
        events = events.advance_processing_time(1)
    with serving() as server:
        written = stream(events.advance_watermark_to_infinity(), server, FixedWindows(7))
        assert len(stored(server)) == 30
    assert len(written.elements) == 30


def test_a_bounded_input_needs_no_processing_time_timer_and_an_unbounded_one_has_it() -> None:
    with serving() as server:
        bounded = pipeline()
        _ = bounded | beam.Create([{"id": 1, "v": 1}]) | sink(server, partitioned_by=["id"])
        unbounded = pipeline(LEGACY)
        _ = unbounded | test_stream.TestStream() | sink(server, partitioned_by=["id"])
    assert timers(bounded) == set()
    assert timers(unbounded) == {"window_end", "flush_timeout"}


def timers(begin: beam.Pipeline) -> set[str]:
    return {
        spec
        for payload in stateful_payloads(begin).values()
        for spec in (name.removeprefix("ts-") for name in payload.timer_family_specs)
    }
