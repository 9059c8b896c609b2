"""`Gate` and its shares: places are never lost, and those that nobody looks after are lent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb.gate import Gate
from tests.fakes import FakeClock

PLACES = 5
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["take", "give", "leave", "come_back"]),
        st.integers(0, 6),
    ),
    max_size=40,
)


@given(steps=STEPS, pauses=st.booleans())
def test_in_the_end_all_places_are_free_again(
    steps: list[tuple[int, str, int]], pauses: bool
) -> None:
    clock = FakeClock()
    gate = Gate(PLACES, clock)
    shares = [gate.share() for _ in range(3)]
    away: set[int] = set()
    for number, step, count in steps:
        share = shares[number]
        if step == "leave":
            share.leave()
            away.add(number)
        else:
            share.come_back()
            away.discard(number)
        if step == "take":
            share.take(count)
        elif step == "give":
            share.give(min(count, share.held))
        if pauses:
            clock.now += 0.4
        else:
            assert sum(each.held for each in shares) + gate.free == PLACES
        working = sum(each.held for place, each in enumerate(shares) if place not in away)
        assert 0 <= gate.free <= PLACES
        assert pauses or working <= PLACES
    for share in shares:
        share.come_back()
        share.give(share.held)
    assert gate.free == PLACES


def test_places_that_were_left_for_a_second_are_lent_and_not_given_back_twice() -> None:
    clock = FakeClock()
    gate = Gate(3, clock)
    left, other = gate.share(), gate.share()
    assert left.take(9) == 3
    left.leave()
    clock.now += 0.9
    assert other.take(2) == 0
    clock.now += 0.2
    assert other.take(2) == 2
    left.come_back()
    left.give(3)  # two of which the other one has
    assert gate.free == 1
    other.give(2)
    assert gate.free == 3


def test_a_writer_that_works_keeps_its_places() -> None:
    clock = FakeClock()
    gate = Gate(3, clock)
    working, other = gate.share(), gate.share()
    working.take(3)
    working.leave()
    working.come_back()
    clock.now += 60.0
    assert other.take(1) == 0


def test_what_a_forgotten_writer_had_is_lent_too() -> None:
    clock = FakeClock()
    gate = Gate(3, clock)
    forgotten = gate.share()
    forgotten.take(3)
    forgotten.leave()
    del forgotten
    clock.now += 1.1
    assert gate.share().take(3) == 3
