"""A lane by hand: fences, supersession, halves; `tests/properties/test_writer.py` has the rest."""

from __future__ import annotations

from beam_dynamodb.lane import Flight, Lane
from beam_dynamodb.requests import Request
from beam_dynamodb.retry import Pace


def request(key: str | None, version: int = 0) -> Request:
    return Request("t", key, key, 0, b"{}", version)


def fly(lane: Lane, *, full: bool = False) -> Flight:
    flight = lane.next_flight(0.0, full=full)
    assert flight is not None
    return flight


def versions(flight: Flight) -> list[object]:
    return [entry.request.origin for entry in flight.entries]


def test_only_a_full_batch_goes_while_more_may_come() -> None:
    lane = Lane("t", 2, Pace(9))
    lane.accept(request("a"))
    assert lane.next_flight(0.0, full=True) is None
    lane.accept(request("b"))
    assert len(fly(lane, full=True).entries) == 2


def test_a_newer_request_takes_the_place_of_a_waiting_one() -> None:
    lane = Lane("t", 2, Pace(9))
    assert lane.accept(request("a", 1)) is None
    lane.accept(request("b", 2))
    superseded = lane.accept(request("a", 3))
    assert superseded is not None
    assert superseded.origin == 1
    assert versions(fly(lane)) == [3, 2]


def test_a_newer_request_waits_until_the_older_one_has_landed() -> None:
    lane = Lane("t", 2, Pace(9))
    lane.accept(request("a", 1))
    flight = fly(lane)
    lane.accept(request("a", 2))
    assert lane.next_flight(0.0, full=False) is None
    assert lane.landed(flight, ()) == ([], [])
    assert versions(fly(lane)) == [2]


def test_a_newer_request_replaces_an_older_one_that_comes_back() -> None:
    lane = Lane("t", 2, Pace(9))
    lane.accept(request("a", 1))
    flight = fly(lane)
    lane.accept(request("a", 2))
    still, superseded = lane.landed(flight, flight.entries)
    assert [each.origin for each in superseded] == [1]
    lane.later(still, 10.0)
    lane.wake(9.9)
    assert lane.next_flight(0.0, full=False) is None
    assert lane.next_wake == 10.0
    lane.wake(10.0)
    assert versions(fly(lane)) == [2]
    assert lane.next_flight(0.0, full=False) is None


def test_what_wakes_goes_before_what_is_ready() -> None:
    lane = Lane("t", 3, Pace(9))
    lane.accept(request("a", 1))
    lane.accept(request("b", 2))
    flight = fly(lane)
    lane.accept(request("c", 3))
    still, _ = lane.landed(flight, flight.entries)
    lane.later(still, 1.0)
    lane.wake(2.0)
    assert versions(fly(lane)) == [1, 2, 3]


def test_halves_go_one_after_the_other_the_first_before_the_second() -> None:
    lane = Lane("t", 4, Pace(9))
    for number, key in enumerate([None, None, None]):
        lane.accept(request(key, number))
    flight = fly(lane)
    still, _ = lane.landed(flight, flight.entries)
    lane.apart(still)
    first = fly(lane)
    assert (versions(first), first.alone) == ([0, 1], True)
    assert lane.next_flight(0.0, full=False) is None
    lane.apart(lane.landed(first, first.entries)[0])
    order: list[object] = []
    while (part := lane.next_flight(0.0, full=False)) is not None:
        order += versions(part)
        lane.landed(part, ())
    assert order == [0, 1, 2]


def test_without_fences_batches_go_one_after_the_other() -> None:
    lane = Lane("t", 2, Pace(9))
    lane.accept(request(None, 1))
    flight = fly(lane)
    lane.accept(request(None, 2))
    assert lane.next_flight(0.0, full=False) is None
    lane.later(lane.landed(flight, flight.entries)[0], 1.0)
    assert lane.next_flight(0.0, full=False) is None, "the older one is still to be written"
    lane.wake(1.0)
    flight = fly(lane)
    assert versions(flight) == [1]
    lane.landed(flight, ())
    assert versions(fly(lane)) == [2]
