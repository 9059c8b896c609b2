"""When faults happen, and what they plan."""

from __future__ import annotations

import pickle
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb.testing import (
    AccessDenied,
    ClockSkew,
    Delayed,
    Expired,
    Fault,
    Faults,
    HalfAnswer,
    Hang,
    Plan,
    Rejected,
    Reset,
    ServerError,
    Slow,
    Throttle,
    Unprocessed,
    WrongCrc32,
)
from beam_dynamodb.testing.__main__ import parse_fault, parse_table

ONE = [None]
SOME = {ServerError(): 0.2, ServerError(written=True): 0.1, Reset("after"): 0.1, Slow(1): 0.1}


def plans(faults: Faults, calls: int = 50, writes: int = 5) -> list[Plan]:
    return [faults.next("BatchWriteItem").plan([None] * writes) for _ in range(calls)]


def shape(plan: Plan) -> tuple[Any, ...]:
    code = plan.refusal and (plan.refusal.code, plan.refusal.status)
    return code, plan.applied, plan.held, plan.ending, plan.answered_after


def test_script_meets_the_writes_in_order_and_nothing_else() -> None:
    faults = Faults.script([Hang(), None, WrongCrc32()], then=Slow(2.0))
    first = faults.next("PutItem").plan(ONE)
    assert first.ending == "silence"
    assert faults.next("DescribeTable").plan([]) == Plan()
    assert faults.next("DeleteItem").plan(ONE) == Plan()
    assert faults.next("BatchWriteItem").plan(ONE).wrong_crc32
    assert [plan.answered_after for plan in plans(faults, 3)] == [2.0, 2.0, 2.0]
    assert faults.counts == {"calls": 6, "Hang": 1, "WrongCrc32": 1, "Slow": 3, "items held": 0}


def test_other_operations_can_be_named() -> None:
    faults = Faults.script([AccessDenied()], operations=["DescribeTable"])
    assert faults.next("PutItem").plan(ONE) == Plan()
    refusal = faults.next("DescribeTable").plan([]).refusal
    assert refusal is not None
    assert refusal.code == "AccessDeniedException"


def test_no_faults_by_default() -> None:
    assert plans(Faults()) == [Plan()] * 50


@given(seed=st.integers(0, 2**32), share=st.floats(0, 1))
def test_chance_is_decided_by_the_seed_and_the_number_of_the_call(seed: int, share: float) -> None:
    one, other = (Faults.random(seed, SOME, unprocessed=share) for _ in range(2))
    assert list(map(shape, plans(one))) == list(map(shape, plans(other)))
    assert one.counts == other.counts


def test_another_seed_gives_other_faults() -> None:
    seeds = [
        tuple(map(shape, plans(Faults.random(seed, SOME, unprocessed=0.2)))) for seed in range(9)
    ]
    assert len(set(seeds)) == 9


def test_what_one_call_holds_does_not_change_what_the_next_one_meets() -> None:
    small, large = (Faults.random(3, SOME, unprocessed=0.5) for _ in range(2))
    one = [plan.ending for plan in plans(small, writes=1)]
    assert one == [plan.ending for plan in plans(large, writes=25)]


def test_probabilities_are_kept() -> None:
    faults = Faults.random(5, SOME, unprocessed=0.1)
    plans(faults, calls=4000, writes=10)
    counts = faults.counts
    assert 0.27 < counts["ServerError"] / 4000 < 0.33
    assert 0.08 < counts["Reset"] / 4000 < 0.12
    # Items of refused calls are not held: three calls in ten are.
    assert 0.09 < counts["items held"] / (40_000 * 0.7) < 0.11


def test_call_whose_writes_would_all_come_back_is_throttled() -> None:
    faults = Faults.random(1, unprocessed=1.0)
    [plan] = plans(faults, calls=1)
    assert plan.refusal is not None
    assert plan.refusal.code == "ProvisionedThroughputExceededException"
    assert not plan.held
    assert faults.counts["Throttle"] == 1


@pytest.mark.parametrize(
    "wrong",
    [{"calls": {Hang(): 0.6, Expired(): 0.6}}, {"calls": {Hang(): -0.1}}, {"unprocessed": -1.0},
     {"unprocessed": 1.5}],
)  # fmt: skip
def test_impossible_probabilities_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Faults.random(1, **wrong)


def test_unprocessed_takes_positions_or_a_share() -> None:
    rng = Random(1)
    assert Unprocessed((0, 3)).plan(range(25), rng).held == {0, 3}
    assert Unprocessed().plan(range(4), rng).held == {0, 1, 2, 3}
    assert 30 < len(Unprocessed(share=0.5).plan(range(100), rng).held) < 70


def test_fault_of_certain_keys_goes_before_the_others() -> None:
    faults = (
        Faults.always(Hang())
        .on_keys(lambda table, key: key == {"pk": {"S": "hot"}}, Unprocessed())
        .on_keys(lambda table, key: table == "poison", Rejected())
    )
    hot, cold = ("tab", {"pk": {"S": "hot"}}), ("tab", {"pk": {"S": "cold"}})

    verdict = faults.next("BatchWriteItem")
    assert verdict.needs_keys
    assert verdict.plan([cold, hot, cold, hot]).held == {1, 3}
    assert faults.next("BatchWriteItem").plan([cold]).ending == "silence"
    refusal = faults.next("BatchWriteItem").plan([cold, ("poison", {})]).refusal
    assert refusal is not None
    assert refusal.code == "ValidationException"
    assert (faults.counts["Unprocessed"], faults.counts["Rejected"]) == (1, 1)


def test_only_a_reset_before_leaves_the_body_unread() -> None:
    told = [Reset("before"), Reset("within"), Reset("after"), None]
    faults = Faults.script(told)
    assert [faults.next("PutItem").unread for _ in told] == [True, False, False, False]


@pytest.mark.parametrize(
    ("code", "member"),
    [
        ("ProvisionedThroughputExceededException", "ThrottlingReasons"),
        ("RequestLimitExceeded", "ThrottlingReasons"),
        ("ThrottlingException", "throttlingReasons"),
    ],
)
def test_reasons_are_spelled_as_each_error_spells_them(code: str, member: str) -> None:
    reason = ("TableWriteKeyRangeThroughputExceeded", "arn:aws:dynamodb:…:table/tab")
    refusal = Throttle(code, reasons=(reason,)).plan([], Random(1)).refusal
    assert refusal is not None
    assert refusal.extra == {member: [{"reason": reason[0], "resource": reason[1]}]}


@pytest.mark.parametrize("then", [Slow(1.0), Unprocessed(), WrongCrc32(), ClockSkew(9)])
def test_late_write_is_never_acknowledged(then: Fault) -> None:
    with pytest.raises(ValueError, match="as if the write had happened"):
        Delayed(1.0, then)


def test_faults_are_values() -> None:
    for fault in (Delayed(1.0, Reset("after")), Throttle(reasons=(("a", "b"),)), HalfAnswer()):
        assert pickle.loads(pickle.dumps(fault)) == fault
        assert len({fault, pickle.loads(pickle.dumps(fault))}) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("HalfAnswer", HalfAnswer()),
        ("Reset,when=after", Reset("after")),
        ("ServerError,status=503,written=true", ServerError(503, written=True)),
        ("Throttle,code=ThrottlingException,retry_after_ms=50",
         Throttle("ThrottlingException", retry_after_ms=50)),
        ("Slow,seconds=0.5", Slow(0.5)),
    ],
)  # fmt: skip
def test_fault_is_read_from_the_command_line(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["Fault", "Faults", "Nothing", "Reset,at=after", "random"])
def test_unknown_fault_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition(",")[0]):
        parse_fault(text)


def test_table_is_read_from_the_command_line() -> None:
    assert parse_table("tab:pk=S,sk=N") == ("tab", {"pk": "S", "sk": "N"})
    for wrong in ("tab", "tab:", "tab:pk", "tab:=S"):
        with pytest.raises(ValueError, match="NAME:ATTRIBUTE=TYPE"):
            parse_table(wrong)
