"""`Holding`: many rows wait where later ones supersede them, few where none do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import pytest

from beam_dynamodb import holding
from beam_dynamodb.holding import Holding

MANY, FEW = 10_000, 500
MEGABYTE = 1024 * 1024


def fed(made: Holding, identities: Iterable[str], size: int = 50_000) -> Iterator[bool]:
    """Packs rows as a step does; tells after each pack whether many are held."""
    rows = iter(identities)
    while pack := list(islice(rows, MANY if made.pays else FEW)):
        made.packed(pack, size, len(pack) - len(set(pack)))
        yield made.pays


def keys(start: int, stop: int) -> list[str]:
    return [str(number) for number in range(start, stop)]


def settled(many: int = MANY, size: int = 16 * MEGABYTE) -> Holding:
    """One that has seen that to hold many does not pay."""
    made = Holding(many, size)
    made.packed(keys(0, MANY), MEGABYTE, 0)
    assert not made.pays
    return made


def looking(made: Holding) -> Holding:
    """The same one, at the moment when it begins to look again."""
    for _ in range(holding._LOOK_AGAIN):
        made.packed(keys(0, FEW), 1, 0)
    return made


def test_many_are_held_to_begin_with_and_few_once_none_were_superseded() -> None:
    made = Holding(MANY, 16 * MEGABYTE)
    assert made.pays
    assert not any(fed(made, keys(0, 1_000_000)))


def test_many_are_held_as_long_as_a_share_of_them_is_superseded() -> None:
    made = Holding(MANY, 16 * MEGABYTE)
    assert all(fed(made, [str(n % 9_800) for n in range(100_000)]))


def test_many_are_held_as_soon_as_a_few_supersede_each_other() -> None:
    made = settled()
    made.packed(keys(0, FEW), 1, FEW // 50)
    assert made.pays


@pytest.mark.parametrize(("distinct", "pays"), [(9_800, True), (9_801, False), (5_000, True)])
def test_rows_that_come_again_after_many_others_are_noticed(distinct: int, pays: bool) -> None:
    made = looking(settled())
    rows = [str(n % distinct) for n in range(MANY)]
    for start in range(0, MANY, FEW):
        assert not made.pays  # they go on all the while
        made.packed(rows[start : start + FEW], 1, 0)
    assert made.pays is pays


def test_between_two_looks_nothing_is_kept() -> None:
    made = settled()
    made.packed(keys(0, FEW), 1, 0)
    assert not made._seen
    looking(made)
    for start in range(0, MANY, FEW):
        made.packed(keys(start, start + FEW), 1, 0)
    assert not made._seen


def test_rows_of_another_bundle_are_not_superseded() -> None:
    made = looking(settled())
    for _ in range(MANY // FEW):
        made.packed(keys(0, FEW), 1, 0)
        made.start_bundle()
    assert not made.pays


def test_of_large_rows_no_more_are_compared_than_could_be_held() -> None:
    made = looking(settled(size=2 * MEGABYTE))
    made.packed(keys(0, 10), MEGABYTE, 0)
    made.packed(keys(10, 20), MEGABYTE, 0)  # the look ends: these could be held together
    assert not made._seen
    made.packed(keys(0, 10), MEGABYTE, 0)
    assert not made.pays
