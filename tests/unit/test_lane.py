"""A lane by hand: fences, supersession, halves; `tests/properties/test_writer.py` has the rest."""

from __future__ import annotations

from beam_dynamodb.lane import Flight, Lane
from beam_dynamodb.requests import Request


def request(key: str | None, version: int = 0) -> Request:
    return Request("t", key, key, 0, b"{}", version)


def fly(lane: Lane, *, full: bool = False) -> Flight:
    flight = lane.next_flight(0.0, full=full)
    assert flight is not None
    return flight


def versions(flight: Flight) -> list[object]:
    return [entry.request.origin for entry in flight.entries]


def test_only_a_full_batch_goes_while_more_may_come() -> None:
    lane = Lane("t", 2)
    lane.accept(request("a"))
    assert lane.next_flight(0.0, full=True) is None
    lane.accept(request("b"))
    assert len(fly(lane, full=True).entries) == 2


def test_a_newer_request_takes_the_place_of_a_waiting_one() -> None:
    lane = Lane("t", 2)
    assert lane.accept(request("a", 1)) is None
    lane.accept(request("b", 2))
    superseded = lane.accept(request("a", 3))
    assert superseded is not None
    assert superseded.origin == 1
    assert versions(fly(lane)) == [3, 2]


def test_a_newer_request_waits_until_the_older_one_has_landed() -> None:
    lane = Lane("t", 2)
    lane.accept(request("a", 1))
    flight = fly(lane)
    lane.accept(request("a", 2))
    assert lane.next_flight(0.0, full=False) is None
    assert lane.landed(flight, ()) == ([], [])
    assert versions(fly(lane)) == [2]


def test_a_newer_request_replaces_an_older_one_that_comes_back() -> None:
    lane = Lane("t", 2)
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
    lane = Lane("t", 3)
    lane.accept(request("a", 1))
    lane.accept(request("b", 2))
    flight = fly(lane)
    lane.accept(request("c", 3))
    still, _ = lane.landed(flight, flight.entries)
    lane.later(still, 1.0)
    lane.wake(2.0)
    assert versions(fly(lane)) == [1, 2, 3]


def test_halves_go_one_after_the_other_the_first_before_the_second() -> None:
    lane = Lane("t", 4)
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


def test_no_fence_is_no_order() -> None:
    lane = Lane("t", 2)
    lane.accept(request(None, 1))
    flight = fly(lane)
    assert lane.accept(request(None, 2)) is None
    assert versions(fly(lane)) == [2]
    lane.landed(flight, ())


def test_a_newer_request_is_held_back_until_a_doubtful_older_one_is_settled() -> None:
    lane = Lane("t", 1)
    lane.accept(request("S1:a", 1))
    flight = fly(lane)
    lane.doubt(flight, 10.0)
    lane.accept(request("S1:a", 2))
    lane.landed(flight, ())
    assert lane.next_flight(1.0, full=False) is None
    lane.wake(10.0)
    assert versions(fly(lane)) == [2]


def test_a_lane_forgets_what_is_settled() -> None:
    lane = Lane("t", 1)
    for number in range(100):
        lane.accept(request(f"S2:{number:02}", number))
        flight = fly(lane)
        lane.doubt(flight, 10.0 + number)
        lane.landed(flight, ())
    lane.wake(1_000.0)
    assert not lane._doubts


def test_two_hot_partition_keys_are_both_held_back() -> None:
    lane = Lane("t", 1)
    for key, until in (("S1:a", 5.0), ("S1:b", 9.0)):
        lane.heat(key, 0.0, until)
        lane.accept(request(key))
    assert lane.next_flight(1.0, full=False) is None
    assert lane.next_wake == 5.0
