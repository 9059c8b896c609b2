"""The whole pipeline's promises, for any rows, keys, times, windows, bundles and faults."""

from __future__ import annotations

from collections import Counter

from apache_beam.testing import test_stream
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindows,
    Sessions,
    SlidingWindows,
    TimestampedValue,
    WindowFn,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_dynamodb.testing import (
    Fault,
    Faults,
    Rejected,
    Reset,
    ServerError,
    Slow,
    Throttle,
    WrongCrc32,
)
from tests.beam.helpers import Rows, ends, replay, run_rows, serving, stored
from tests.beam.test_windows import stream, windows_of

POISON = 6  # the server refuses each call with this key; a quirk that only it can know
BAD = float("nan")  # no value of an item

CALLS: dict[Fault, float] = {
    ServerError(): 0.05,
    ServerError(written=True): 0.05,
    Reset("after"): 0.05,
    Throttle(): 0.05,
    Slow(0.05): 0.1,
    WrongCrc32(): 0.05,
}


def windowings() -> st.SearchStrategy[WindowFn]:
    return st.sampled_from([GlobalWindows(), FixedWindows(5), SlidingWindows(6, 2), Sessions(2)])


@st.composite
def rows_in_order(draw: st.DrawFn, *, bad: bool, longest: int = 60) -> Rows:
    """Rows whose times never go back; a few of them can't be written."""
    steps = draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=longest))
    now, rows = 0.0, []
    for version, (key, step) in enumerate(steps):
        now += step / 2
        value = BAD if bad and draw(st.integers(0, 15)) == 0 else version
        rows.append(({"id": key if bad or key != POISON else 0, "v": value, "n": version}, now))
    return rows


@settings(max_examples=10, deadline=None)
@given(
    rows=rows_in_order(bad=True),
    windowing=windowings(),
    keyed=st.booleans(),
    seed=st.integers(0, 2**16),
    batch_size=st.integers(1, 5),
    in_flight=st.integers(1, 5),
    buffered=st.integers(6, 30),
)
def test_every_row_ends_once_in_its_windows_and_the_table_equals_the_replay(
    rows: Rows,
    windowing: WindowFn,
    keyed: bool,
    seed: int,
    batch_size: int,
    in_flight: int,
    buffered: int,
) -> None:
    faults = Faults.random(seed, CALLS, unprocessed=0.1)
    faults.on_keys(lambda _table, key: key["id"]["N"] == str(POISON), Rejected())
    with serving(faults) as server:
        run = run_rows(
            server,
            rows,
            windowing=windowing,
            handling=lambda write: write.with_exception_handling(),
            primary_key=["id"],
            partitioned_by=["id"] if keyed else (),
            sink_batch_max_size=batch_size,
            sink_requests_max_inflight=in_flight,
            sink_requests_max_buffered=buffered,
        )
        good = [each for each in rows if each[0]["v"] == each[0]["v"] and each[0]["id"] != POISON]
        assert stored(server) == replay(good)
    assert run.counters.get("received", 0) == len(rows) == ends(run.counters)
    written = Counter((row["n"], at, window) for row, at, window in run.written.all)
    failed = Counter((each.element["n"], at, window) for each, at, window in run.failed.all)
    by_number = [({"v": row["n"]}, at) for row, at in rows]
    came = {number for number, _, _ in (*written, *failed)}
    expected = windows_of([each for each in by_number if each[0]["v"] in came], windowing)
    assert written + failed == expected
    assert len({n for n, _, _ in written}) == run.counters.get("written", 0)
    assert len({n for n, _, _ in failed}) == run.counters.get("failed", 0)


@settings(max_examples=4, deadline=None)
@given(
    rows=rows_in_order(bad=False, longest=20),
    cuts=st.lists(
        st.sampled_from(["bundle", "watermark", "clock", None]), min_size=20, max_size=20
    ),
    windowing=windowings(),
    seed=st.integers(0, 2**16),
    keyed=st.booleans(),
)
def test_a_stream_in_any_bundles_ends_as_its_replay(
    rows: Rows, cuts: list[str | None], windowing: WindowFn, seed: int, keyed: bool
) -> None:
    faults = Faults.random(seed, CALLS, unprocessed=0.1)
    with serving(faults) as server:
        written = stream(
            _events(rows, cuts),
            server,
            windowing,
            primary_key=["id"],
            partitioned_by=["id"] if keyed else (),
            sink_batch_max_size=2,
            sink_flush_buffer_timeout=1,
        )
        assert stored(server) == replay(rows)
        newest = {int(value) for value in stored(server).values()}
    assert newest <= {row["n"] for row in written.elements}
    by_number = [({"v": row["n"]}, at) for row, at in rows]
    came = {row["n"] for row in written.elements}
    expected = windows_of([each for each in by_number if each[0]["v"] in came], windowing)
    assert Counter((row["n"], at, window) for row, at, window in written.all) == expected


def _events(rows: Rows, cuts: list[str | None]) -> test_stream.TestStream:
    events, bundle, watermark = test_stream.TestStream(), [], -1.0
    for (row, seconds), cut in zip(rows, cuts, strict=False):
        bundle.append(TimestampedValue(row, seconds))
        if cut is not None:
            events, bundle = events.add_elements(bundle), []
        if cut == "watermark" and seconds > watermark:
            events, watermark = events.advance_watermark_to(seconds), seconds
        if cut == "clock":
            events = events.advance_processing_time(2**31)
    if bundle:
        events = events.add_elements(bundle)
    return events.advance_watermark_to_infinity()
