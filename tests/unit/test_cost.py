"""What a row costs, counted instead of timed: calls of functions, objects for the collector.

The numbers are the same on every machine. A change that makes the work of a row half as much again
fails here, and has to say why.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from beam_dynamodb.batches import keep_latest
from beam_dynamodb.client import Answer, Call
from beam_dynamodb.columns import RowEncoder
from beam_dynamodb.gate import Gate
from beam_dynamodb.identity import places_by_shard
from beam_dynamodb.lane import Flight, Lane
from beam_dynamodb.packs import Pack, elements_of
from beam_dynamodb.requests import RequestFactory
from beam_dynamodb.retry import Pace
from beam_dynamodb.table import TableKey
from beam_dynamodb.write_requests import Requests, Same
from beam_dynamodb.writer import Writer, WriterLimits

ROWS = 5_000
WINDOWS = ("the global one",)


class Echo:
    """A channel whose batches are written at once."""

    room = 1

    def __init__(self) -> None:
        self._answers: list[Answer] = []
        self.batches: list[int] = []
        self.elements = 0

    def send(self, calls: Sequence[Call]) -> None:
        self.batches += [len(call.bodies) for call in calls]
        self._answers += [Answer(call.tag) for call in calls]

    def poll(self, timeout: float) -> list[Answer]:
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        """There is nothing to close."""


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"user_id": n, "item_id": n * 7, "category_id": n % 997, "behavior": "pv"}
        for n in range(count)
    ]


def converted(elements: list[dict[str, Any]], *, travel: bool = True) -> Requests:
    factory = RequestFactory("t", TableKey(("user_id",), ("N",)), ("user_id",))
    requests = Requests()
    for start in range(0, len(elements), 200):
        block = elements[start : start + 200]
        columns = [block, Same(0), Same(WINDOWS)]
        requests += factory.requests(block, columns[1], *columns, travel=travel).requests
    return requests


def packed(requests: Requests) -> list[bytes]:
    by_shard = places_by_shard(requests.identities, 8).values()
    return [Pack(keep_latest(requests.select(places))).to_bytes() for places in by_shard]


def written(packs: list[bytes]) -> Echo:
    echo = Echo()
    writer = Writer(echo, WriterLimits(25, 300.0, Gate(50), Gate(10_000)))
    for data in packs:
        writer.write(Pack.from_bytes(data).requests)
        echo.elements += len(list(elements_of(writer.take_tally().written)))
    writer.finish()
    echo.elements += len(list(elements_of(writer.take_tally().written)))
    return echo


def calls(work: Callable[[], Any]) -> Counter[str]:
    """How many functions of Python, and how many built-in ones Python calls, are called."""
    seen: Counter[str] = Counter()

    def count(frame: Any, event: str, argument: Any) -> None:
        seen[event] += 1

    work()  # what is done only once is not counted
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return seen


ELEMENTS = rows(ROWS)
REQUESTS = converted(ELEMENTS)
PACKS = packed(REQUESTS)

STEPS: dict[str, tuple[Callable[[], Any], float, float]] = {
    "to requests": (lambda: converted(ELEMENTS), 0.3, 2.0),
    "to packs": (lambda: packed(REQUESTS), 0.06, 3.0),
    "to DynamoDB": (lambda: written(PACKS), 3.0, 3.0),
}
"""Each step of the way: the most calls of Python's and of built-in functions for a row."""


@pytest.mark.parametrize("step", STEPS)
def test_a_row_costs_few_calls(step: str) -> None:
    work, most, most_built_in = STEPS[step]
    seen = calls(work)
    figures = seen["call"] / ROWS, seen["c_call"] / ROWS
    print(f"{step}: {figures[0]:.2f} calls and {figures[1]:.2f} built-in calls a row")
    assert figures[0] <= most
    assert figures[1] <= most_built_in


def test_all_rows_arrive_in_full_batches() -> None:
    """What is counted above is the whole work."""
    echo = written(PACKS)
    assert echo.batches == [25] * (ROWS // 25)
    assert echo.elements == ROWS


@pytest.mark.parametrize("travel", [False, True])
def test_no_row_leaves_work_to_the_garbage_collector(travel: bool) -> None:
    """Objects that live for a while are looked at again and again: no such object per row."""
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        held = converted(ELEMENTS, travel=travel), list(map(Pack.from_bytes, PACKS))
        grown = len(gc.get_objects()) - before
    finally:
        gc.enable()
    lists = [column for column in held[0].columns if isinstance(column, list)]
    are_kept = not travel or RowEncoder is None
    assert list(map(len, lists)) == [ROWS] * (2 + are_kept), "identities, bodies; rows"
    assert grown < ROWS / 10, "the columns, and not much more"


def test_a_thousand_rows_more_cost_no_more_each() -> None:
    few, many = rows(1_000), rows(4_000)
    assert calls(lambda: converted(many)).total() <= 4.1 * calls(lambda: converted(few)).total()


def test_a_partition_key_that_was_hot_makes_no_later_row_cost_more() -> None:
    requests = converted(rows(1_000))

    def sent(*hot: str) -> list[Flight | None]:
        lane = Lane("t", 25, Pace(50))
        for partition in hot:
            lane.heat(partition, until=1.0)
        lane.wake(2.0)
        lane.accept(requests)
        return list(iter(lambda: lane.next_flight(2.0, full=True), None))

    assert len(sent("N1:1")) == 1_000 / 25
    assert calls(lambda: sent("N1:1")).total() < calls(sent).total() + 50


@pytest.mark.parametrize("seen", [100, 1_000])
def test_tables_of_earlier_bundles_make_no_later_row_cost_more(seen: int) -> None:
    echo = Echo()
    writer = Writer(echo, WriterLimits(25, 300.0, Gate(50), Gate(10_000)))

    def bundle(table: str) -> None:
        row = RequestFactory(table, TableKey(("user_id",))).request(ELEMENTS[0], 0)
        assert row is not None
        writer.write(Requests.of([row]))
        writer.finish()
        writer.take_tally()

    bundle("t")
    alone = calls(lambda: bundle("t")).total()
    for number in range(seen):
        bundle(f"t{number}")
    assert calls(lambda: bundle("t")).total() < 2 * alone
    assert echo.batches == [1] * (seen + 5)
