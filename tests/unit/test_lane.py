"""A lane by hand: fences, supersession, halves; `tests/properties/test_writer.py` has the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from beam_dynamodb import lane as lanes
from beam_dynamodb.lane import Batch, Flight, Lane
from beam_dynamodb.retry import Pace
from beam_dynamodb.table import BATCH_MAX_WIRE_BYTES
from beam_dynamodb.write_requests import Request, Requests


def request(key: str | None, version: int = 0, body: bytes | None = None) -> Request:
    return Request("t", key, key, 0, body or b'{"version":%d}' % version, (version,))


def accept(lane: Lane, *requests: Request) -> int:
    return lane.accept(Requests.of(requests))


def fly(lane: Lane, *, full: bool = False) -> Flight:
    flight = lane.next_flight(0.0, full=full)
    assert flight is not None
    return flight


def flown(lane: Lane, *keys: str) -> Flight:
    accept(lane, *map(request, keys))
    return fly(lane)


def land(lane: Lane, flight: Flight, again: Sequence[int]) -> Batch:
    still, _ = lane.landed(flight, again)
    assert still is not None
    return still


def all_of(flight: Flight) -> Sequence[int]:
    return range(len(flight.batch))


def versions(flight: Flight) -> list[object]:
    return [request.origin[0] for request in flight.batch.requests]


def test_only_a_full_batch_goes_while_more_may_come() -> None:
    lane = Lane("t", 2, Pace(9))
    accept(lane, request("a"))
    assert lane.next_flight(0.0, full=True) is None
    accept(lane, request("b"))
    assert len(fly(lane, full=True).batch) == 2


def test_what_comes_in_parts_goes_in_full_batches() -> None:
    lane = Lane("t", 4, Pace(9))
    for start in range(0, 12, 3):
        accept(lane, *(request(str(n), n) for n in range(start, start + 3)))
    assert [versions(fly(lane, full=True)) for _ in range(3)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert lane.next_flight(0.0, full=False) is None


def test_large_full_batches_go_two_by_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "TOGETHER", 2)
    lane = Lane("t", 2, Pace(9))
    large = [request(str(number), number, b"x" * 70_000) for number in range(6)]
    accept(lane, *large[:2])
    fly(lane, full=True)  # only what has gone tells that they are large
    accept(lane, *large[2:5])
    assert not lane.has_next(0.05, full=True, room=100)
    assert lane.has_next(0.05, full=False, room=100)
    assert not lane.is_behind
    accept(lane, large[5])
    assert lane.has_next(0.05, full=True, room=100)
    assert lane.is_behind
    assert [versions(fly(lane, full=True)) for _ in range(2)] == [[2, 3], [4, 5]]
    accept(lane, *map(request, "abcd"))
    fly(lane, full=True)
    assert lane.has_next(0.05, full=True, room=100), "small ones go alone again"


def test_where_large_rows_come_slowly_a_full_batch_waits_for_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "TOGETHER", 2)
    lane = Lane("t", 1, Pace(9))
    for now in (7.0, 8.0, 9.0):
        accept(lane, request(str(now), 0, b"x" * 140_000))
        assert lane.has_next(now, full=True, room=100)
        lane.next_flight(now, full=True)
    accept(lane, request("another", 0, b"x" * 140_000))
    assert not lane.has_next(9.05, full=True, room=100)
    assert lane.has_next(9.15, full=True, room=100)


def test_where_one_call_may_be_on_its_way_no_full_batch_waits_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "TOGETHER", 2)
    lane = Lane("t", 1, Pace(1))
    for key in "ab":
        accept(lane, request(key, 0, b"x" * 140_000))
        assert lane.has_next(0.0, full=True, room=100)
        fly(lane)


def test_a_batch_is_cut_where_the_wire_would_overflow() -> None:
    lane = Lane("t", 25, Pace(9))
    half = b"x" * (BATCH_MAX_WIRE_BYTES // 2 - 2000)
    accept(lane, request("a", 1, half), request("b", 2, half), request("c", 3, half))
    accept(lane, request("d", 4))
    assert [versions(fly(lane)) for _ in range(2)] == [[1, 2], [3, 4]]


def test_a_batch_whose_newer_requests_are_larger_is_cut_again() -> None:
    lane = Lane("t", 25, Pace(9))
    half = b"x" * (BATCH_MAX_WIRE_BYTES // 2 - 2000)
    accept(lane, *map(request, "abcd"))
    assert accept(lane, *(request(key, n, half) for n, key in enumerate("abcd"))) == 4
    assert accept(lane, request("d", 9, half)) == 1, "what was cut off is still superseded"
    assert [versions(fly(lane)) for _ in range(2)] == [[0, 1], [2, 9]]
    assert lane.next_flight(0.0, full=False) is None


def test_what_is_cut_off_and_waits_is_superseded() -> None:
    lane = Lane("t", 25, Pace(9))
    half = b"x" * (BATCH_MAX_WIRE_BYTES // 2 - 2000)
    accept(lane, *map(request, "abc"))
    accept(lane, *(request(key, 1, half) for key in "abc"))
    assert len(fly(lane).batch) == 2
    assert accept(lane, request("c", 2)) == 1
    assert versions(fly(lane)) == [2]


def test_a_newer_request_takes_the_place_of_a_waiting_one() -> None:
    lane = Lane("t", 2, Pace(9))
    assert accept(lane, request("a", 1)) == 0
    accept(lane, request("b", 2))
    assert accept(lane, request("a", 3)) == 1
    assert versions(fly(lane)) == [3, 2]


def test_of_requests_that_come_together_the_last_of_a_key_goes() -> None:
    lane = Lane("t", 3, Pace(9))
    assert accept(lane, request("a", 1), request("b", 2), request("a", 3), request("a", 4)) == 2
    assert versions(fly(lane)) == [4, 2]


def test_a_newer_request_waits_until_the_older_one_has_landed() -> None:
    lane = Lane("t", 2, Pace(9))
    accept(lane, request("a", 1))
    flight = fly(lane)
    accept(lane, request("a", 2))
    assert lane.next_flight(0.0, full=False) is None
    assert lane.landed(flight, ()) == (None, 0)
    assert versions(fly(lane)) == [2]


def test_a_newer_request_replaces_an_older_one_that_comes_back() -> None:
    lane = Lane("t", 2, Pace(9))
    accept(lane, request("a", 1))
    flight = fly(lane)
    assert not lane.is_overtaken(flight.batch.requests[0])
    accept(lane, request("a", 2))
    assert lane.is_overtaken(flight.batch.requests[0])
    still, superseded = lane.landed(flight, all_of(flight))
    assert still is not None
    assert superseded == 1
    lane.later(still, 10.0)
    lane.wake(9.9)
    assert lane.next_flight(0.0, full=False) is None
    assert lane.next_wake == 10.0
    assert accept(lane, request("a", 3)) == 1, "it waits, and may still be superseded"
    lane.wake(10.0)
    assert versions(fly(lane)) == [3]
    assert lane.next_flight(0.0, full=False) is None


def test_what_wakes_goes_before_what_is_ready() -> None:
    lane = Lane("t", 3, Pace(9))
    accept(lane, request("a", 1), request("b", 2))
    flight = fly(lane)
    accept(lane, request("c", 3))
    lane.later(land(lane, flight, all_of(flight)), 1.0)
    lane.wake(2.0)
    flight = fly(lane)
    assert versions(flight) == [1, 2, 3]
    assert flight.batch.attempts == [2, 2, 1]


def test_halves_go_one_after_the_other_the_first_before_the_second() -> None:
    lane = Lane("t", 4, Pace(9))
    accept(lane, *(request(None, number) for number in range(3)))
    flight = fly(lane)
    lane.apart(land(lane, flight, all_of(flight)))
    first = fly(lane)
    assert (versions(first), first.alone) == ([0, 1], True)
    assert lane.next_flight(0.0, full=False) is None
    lane.apart(land(lane, first, all_of(first)))
    order: list[object] = []
    while (part := lane.next_flight(0.0, full=False)) is not None:
        order += versions(part)
        lane.landed(part, ())
    assert order == [0, 1, 2]
    assert lane.is_empty


def test_a_newer_request_supersedes_one_in_a_half() -> None:
    lane = Lane("t", 4, Pace(9))
    accept(lane, request("a", 1), request("b", 2))
    flight = fly(lane)
    lane.apart(land(lane, flight, all_of(flight)))
    assert accept(lane, request("b", 3)) == 1
    first = fly(lane)
    lane.landed(first, ())
    assert (versions(first), versions(fly(lane))) == ([1], [3])


def test_without_fences_batches_go_one_after_the_other() -> None:
    lane = Lane("t", 2, Pace(9))
    accept(lane, request(None, 1))
    flight = fly(lane)
    accept(lane, request(None, 2))
    assert lane.next_flight(0.0, full=False) is None
    lane.later(land(lane, flight, all_of(flight)), 1.0)
    assert lane.next_flight(0.0, full=False) is None, "the older one is still to be written"
    lane.wake(1.0)
    flight = fly(lane)
    assert versions(flight) == [1]
    lane.landed(flight, ())
    assert versions(fly(lane)) == [2]


def test_a_key_that_came_to_its_end_may_come_again() -> None:
    lane = Lane("t", 2, Pace(9))
    for version in range(3):
        accept(lane, request("a", version), request("b", version))
        lane.landed(fly(lane, full=True), ())
        assert not lane.meets
    assert lane.is_empty


def test_a_request_meets_one_that_came_long_before() -> None:
    lane = Lane("t", 4, Pace(9))
    for start in range(0, 15, 3):
        accept(lane, *(request(str(n), n) for n in range(start, start + 3)))
    assert accept(lane, request("6", 66), request("13", 133)) == 2
    flights = [versions(fly(lane)) for _ in range(4)]
    assert flights == [[0, 1, 2, 3], [4, 5, 66, 7], [8, 9, 10, 11], [12, 133, 14]]


def test_what_was_split_is_found_by_a_newer_one() -> None:
    lane = Lane("t", 3, Pace(9))
    flight = flown(lane, "a", "b")
    accept(lane, *(request(key) for key in "cdef"), request("c", 1))
    lane.later(land(lane, flight, all_of(flight)), 0.0)
    lane.wake(0.0)
    assert versions(fly(lane)) == [0, 0, 1], "a and b, filled up with c"
    assert accept(lane, request("d", 1), request("e", 1)) == 2
    assert versions(fly(lane)) == [1, 1, 0]


def test_a_lane_is_behind_where_full_batches_lack_a_place_and_no_two_of_a_key_meet() -> None:
    lane = Lane("t", 2, Pace(2))
    accept(lane, request("a"))
    assert not lane.is_behind, "no batch is full"
    accept(lane, request("b"), request("c"), request("d"))
    assert lane.is_behind
    accept(lane, request("d", 1))
    assert not lane.is_behind, "what waits is superseded"
    accept(lane, request("e"))
    assert lane.is_behind
    lane.pace.answered(0, throttled=1.0)
    assert not lane.is_behind, "it is to go slowly"


def test_where_the_key_is_forgotten_on_the_way_all_go_in_the_order_of_their_arrival() -> None:
    lane = Lane("t", 2, Pace(9))
    flight = flown(lane, "a", "b")
    accept(lane, request("a", 1), request("c", 1), request("c", 2))
    accept(lane, request(None, 3))
    assert not lane.is_behind
    lane.later(land(lane, flight, [0]), 0.0)
    accept(lane, request("c", 4), request("c", 5))
    lane.wake(0.0)
    seen = []
    while not lane.is_empty:
        flight = fly(lane)
        assert lane.next_flight(0.0, full=False) is None, "one after the other"
        seen.append(versions(flight))
        lane.landed(flight, ())
    assert seen == [[0], [2, 1], [3, 4], [5]]


def _stick(lane: Lane) -> None:
    lane.stuck_since = 0.0


@pytest.mark.parametrize(
    "happens",
    [
        lambda lane: accept(lane, request("b")),
        lambda lane: flown(lane, "b"),
        lambda lane: lane.later(land(lane, flown(lane, "b"), [0]), 9.0),
        lambda lane: lane.apart(land(lane, flown(lane, "b"), [0])),
        lambda lane: lane.heat("S1:b", 9.0),
        lambda lane: lane.pace.answered(0, throttled=1.0),
        _stick,
    ],
    ids=["ready", "flying", "put off", "apart", "hot", "slowed", "stuck"],
)
def test_a_lane_is_as_new_until_something_is_left_of_what_happened(
    happens: Callable[[Lane], object],
) -> None:
    lane = Lane("t", 2, Pace(9))
    lane.landed(flown(lane, "a"), ())
    assert lane.is_as_new
    happens(lane)
    assert not lane.is_as_new
