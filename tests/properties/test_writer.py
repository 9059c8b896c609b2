"""Whatever goes wrong: every request ends once, the newest of a key stays, limits hold."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from beam_dynamodb import lane
from beam_dynamodb.errors import ServiceError
from beam_dynamodb.gate import Gate
from beam_dynamodb.requests import Put, RequestFactory
from beam_dynamodb.table import TableKey
from beam_dynamodb.testing import (
    AccessDenied,
    Delayed,
    FakeDynamoDB,
    Fault,
    Faults,
    HalfAnswer,
    Hang,
    Rejected,
    Reset,
    ServerError,
    Slow,
    TableGone,
    Throttle,
    Unprocessed,
    WrongCrc32,
)
from beam_dynamodb.write_requests import Request, Requests
from beam_dynamodb.writer import Tally, Writer, WriterLimits
from tests.fakes import FakeClock, FakeTable

TABLE = "events"
POISON = 666

PASSING: list[Fault | None] = [
    None,
    None,
    Throttle(),
    Throttle(code="ThrottlingException"),
    Throttle(code="RequestLimitExceeded"),
    Unprocessed(share=0.5),
    Unprocessed(share=0.9, by_arn=True),
    ServerError(),
    ServerError(status=503),
    ServerError(written=True),
    Slow(2.0),
    Reset("before"),
    Reset("within"),
    Reset("after"),
    HalfAnswer(),
    WrongCrc32(),
    Hang(),
    Hang(written=True),
    Delayed(5.0, Reset("before")),
    Delayed(9.0, Hang()),
    Throttle(reasons=(("TableWriteKeyRangeThroughputExceeded", "arn"),)),
]


@pytest.fixture(autouse=True, scope="module", params=["one by one", "two by two"])
def together(request: pytest.FixtureRequest) -> Iterator[str]:
    """All of this holds where each batch counts as small, and where each counts as large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "TOGETHER", 2)
        if request.param == "two by two":
            patch.setattr(lane, "_WORTH_WAITING", 0)
        yield request.param


def faults() -> st.SearchStrategy[list[Fault | None]]:
    return st.lists(st.sampled_from(PASSING), max_size=30)


def key_numbers() -> st.SearchStrategy[list[int]]:
    """The keys of the requests in order; few, so that they meet again and again."""
    return st.lists(st.integers(0, 6), max_size=60)


class Bench:
    """A writer on a fake table, and what came of it."""

    def __init__(
        self,
        *,
        script: list[Fault | None],
        seed: int = 0,
        batch_size: int = 4,
        in_flight: int = 3,
        buffered: int = 20,
        retry_timeout: float = 1e6,
        then: Fault | None = None,
        key_known: bool = True,
    ) -> None:
        rng = random.Random(seed)
        self.db = FakeDynamoDB()
        self.db.create_table(TABLE, {"id": "N"})
        self.clock = FakeClock()
        self.table = FakeTable(
            self.db,
            self.clock,
            faults=Faults.script(script, then=then),
            latency=lambda: rng.random(),
        )
        self.limits = WriterLimits(batch_size, retry_timeout, Gate(in_flight), Gate(buffered))
        self.writer = Writer(self.table, self.limits, clock=self.clock, rnd=rng.random)
        self.factory = RequestFactory(TABLE, TableKey(("id",)) if key_known else None)
        self.tally = Tally()

    def request(self, key: int, version: int) -> Request:
        # An empty set is what no item may have; made by hand, since our own check refuses it.
        request = self.factory.request(Put({"id": key, "version": version}), 0, (key, version))
        assert request is not None
        if version == POISON:
            body = request.body.replace(b'"version":{"N":"666"}', b'"version":{"SS":[]}')
            request = request._replace(body=body)
        return request

    def write(self, requests: list[Request]) -> None:
        self.writer.write(Requests.of(requests))

    def take(self) -> None:
        tally = self.writer.take_tally()
        self.tally.written += tally.written
        self.tally.failures += tally.failures
        self.tally.superseded += tally.superseded
        self.tally.batch_sizes += tally.batch_sizes
        self.tally.retried += tally.retried
        self.tally.throttled += tally.throttled
        self.tally.throttled_seconds += tally.throttled_seconds

    def run(self, keys: list[int], *, bundle: int = 25) -> None:
        requests = [self.request(key, version) for version, key in enumerate(keys)]
        for start in range(0, len(requests), bundle):
            self.write(requests[start : start + bundle])
            assert self.writer.held <= self.limits.buffered.places
            self.take()
        self.writer.finish()
        self.take()

    def stored(self) -> dict[int, int]:
        return {int(item["id"]["N"]): int(item["version"]["N"]) for item in self.db.items(TABLE)}


def test_a_call_without_an_answer_is_settled_by_when_it_was_sent_itself() -> None:
    script = [None, Delayed(9.0, Hang(written=True))]
    bench = Bench(script=script, batch_size=1, in_flight=2)
    waits = iter([9.0])
    bench.table.looking_up = lambda: next(waits, 0.0)
    bench.table.read_timeout = 0.1
    bench.run([1, 2, 2], bundle=2)
    bench.table.run_out()
    assert bench.stored() == {1: 0, 2: 2}


@given(
    keys=key_numbers(),
    script=faults(),
    seed=st.integers(0, 2**16),
    batch_size=st.integers(1, 5),
    in_flight=st.integers(1, 5),
    buffered=st.integers(6, 30),
    bundle=st.integers(1, 30),
    looking_up=st.sampled_from([0.0, 9.0]),
)
def test_every_request_ends_once_and_the_newest_of_each_key_stays(
    keys: list[int],
    script: list[Fault | None],
    seed: int,
    batch_size: int,
    in_flight: int,
    buffered: int,
    bundle: int,
    looking_up: float,
) -> None:
    bench = Bench(
        script=script, seed=seed, batch_size=batch_size, in_flight=in_flight, buffered=buffered
    )
    rng = random.Random(seed)
    bench.table.looking_up = lambda: looking_up * rng.randrange(2)
    bench.run(keys, bundle=bundle)
    tally = bench.tally
    note(f"{bench.table.calls}")

    assert tally.failures == []
    assert len(tally.written) + tally.superseded == len(keys)
    assert not [
        each for each, times in Counter(r.origin for r in tally.written).items() if times > 1
    ]
    assert bench.stored() == {key: version for version, key in enumerate(keys)}
    assert all(size <= batch_size for size in tally.batch_sizes)
    assert bench.table.most_in_flight <= in_flight
    bench.run(keys, bundle=bundle)
    assert len(tally.written) + tally.superseded == 2 * len(keys), "a key was not let go"
    assert bench.writer.held == 0
    assert bench.limits.in_flight.free == in_flight, "places were not given back"
    assert bench.limits.buffered.free == buffered, "places were not given back"


@given(keys=key_numbers(), script=faults(), seed=st.integers(0, 2**16))
def test_writes_of_a_key_land_in_the_order_of_their_arrival(
    keys: list[int], script: list[Fault | None], seed: int
) -> None:
    bench = Bench(script=script, seed=seed)
    bench.run(keys, bundle=3)
    seen: dict[Any, int] = {}
    for write in bench.db.writes:
        assert write.item is not None
        version = int(write.item["version"]["N"])
        assert version >= seen.get(write.key, -1), "an older write landed after a newer one"
        seen[write.key] = version


@given(
    keys=st.lists(st.integers(0, 50), min_size=1, max_size=60, unique=True),
    poison=st.sets(st.integers(0, 59), max_size=4),
    script=faults(),
    key_known=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_poison_record_fails_alone_and_its_neighbours_are_written(
    keys: list[int],
    poison: set[int],
    script: list[Fault | None],
    key_known: bool,
    seed: int,
) -> None:
    bench = Bench(script=script, seed=seed, batch_size=25, key_known=key_known)
    versions = {key: POISON if place in poison else place for place, key in enumerate(keys)}
    bench.write([bench.request(key, version) for key, version in versions.items()])
    bench.writer.finish()
    bench.take()
    failed = {failure.request.origin[0] for failure in bench.tally.failures}
    assert failed == {key for key, version in versions.items() if version == POISON}
    assert {failure.error.code for failure in bench.tally.failures} <= {"ValidationException"}
    assert not any(failure.retriable for failure in bench.tally.failures)
    assert set(bench.stored()) == set(keys) - failed


@given(
    keys=st.lists(st.integers(0, 3), max_size=30),
    script=faults(),
    seed=st.integers(0, 2**16),
    in_flight=st.integers(1, 4),
    batch_size=st.integers(1, 25),
)
def test_without_a_known_key_all_are_written_in_the_order_of_their_arrival(
    keys: list[int],
    script: list[Fault | None],
    seed: int,
    in_flight: int,
    batch_size: int,
) -> None:
    # Requests of one key that meet in a call are refused by DynamoDB, and taken apart.
    bench = Bench(
        script=script, seed=seed, batch_size=batch_size, in_flight=in_flight, key_known=False
    )
    bench.run(keys, bundle=30)
    assert bench.tally.failures == []
    assert len(bench.tally.written) == len(keys)
    assert bench.stored() == {key: version for version, key in enumerate(keys)}


@given(
    keys=key_numbers(),
    script=faults(),
    broken=st.sampled_from([Throttle(), ServerError(), Unprocessed(share=1.0), Reset("before")]),
    seed=st.integers(0, 2**16),
)
def test_a_service_that_stays_broken_ends_in_failures_and_nothing_failed_is_stored(
    keys: list[int], script: list[Fault | None], broken: Fault, seed: int
) -> None:
    # Only faults after which it is known that nothing was written.
    known = [each for each in script if each is None or isinstance(each, (Throttle, Unprocessed))]
    bench = Bench(script=known, then=broken, seed=seed, retry_timeout=30.0)
    began = bench.clock.now
    bench.run(keys)
    tally = bench.tally
    assert len(tally.written) + len(tally.failures) + tally.superseded == len(keys)
    assert all(failure.retriable for failure in tally.failures)
    stored = bench.stored()
    written = {request.origin for request in tally.written}
    assert {(key, version) for key, version in stored.items()} <= written
    assert bench.clock.now - began < 30.0 * (2 + len(bench.table.calls))


@pytest.mark.parametrize("fault", [AccessDenied(), TableGone()])
@given(keys=st.lists(st.integers(0, 9), min_size=1, max_size=40), calm=st.integers(0, 4))
def test_a_fatal_answer_ends_it_at_once_with_nothing_left_in_flight(
    fault: Fault, keys: list[int], calm: int
) -> None:
    bench = Bench(script=[None] * calm, then=fault, batch_size=3)
    began = bench.clock.now
    try:
        bench.run(keys)
    except ServiceError as error:
        assert error.code in ("AccessDeniedException", "ResourceNotFoundException")
        assert bench.clock.now - began < 60.0
    else:
        assert len(bench.table.calls) <= calm
    assert bench.writer.held == 0
    before = len(bench.db.writes)
    bench.table.run_out()
    assert len(bench.db.writes) == before, "a write landed after the writer had ended"


@given(keys=st.lists(st.integers(0, 9), min_size=1, max_size=40), seed=st.integers(0, 2**16))
def test_fail_on_error_retries_nothing(keys: list[int], seed: int) -> None:
    bench = Bench(script=[], then=Unprocessed(share=0.5), seed=seed, retry_timeout=0.0)
    bench.run(keys)
    assert bench.tally.retried == 0
    assert all(failure.attempts == 1 for failure in bench.tally.failures)
    assert len(bench.tally.written) + len(bench.tally.failures) + bench.tally.superseded == len(
        keys
    )


@given(keys=key_numbers(), script=faults(), seed=st.integers(0, 2**16), upto=st.integers(0, 60))
def test_after_abandon_nothing_lands_any_more(
    keys: list[int], script: list[Fault | None], seed: int, upto: int
) -> None:
    bench = Bench(script=script, seed=seed)
    bench.write([bench.request(key, n) for n, key in enumerate(keys[:upto])])
    bench.writer.abandon()
    assert bench.clock.now - 1_000.0 < 120.0, "it must not wait for a hung call forever"
    before = list(bench.db.writes)
    bench.table.run_out()
    assert list(bench.db.writes) == before
    assert bench.writer.held == 0


def test_large_batches_are_handed_over_two_by_two_as_far_as_there_are_places(
    together: str,
) -> None:
    bench = Bench(script=[], batch_size=2, in_flight=3, buffered=60)
    bench.write([bench.request(key, key) for key in range(17)])
    bench.writer.finish()
    assert sorted(bench.stored()) == list(range(17))
    assert bench.table.most_in_flight == 3
    assert max(bench.table.sent) == (2 if together == "two by two" else 1)
    assert sum(bench.table.sent) == 9


def test_where_one_call_may_be_on_its_way_each_goes_alone() -> None:
    bench = Bench(script=[], batch_size=2, in_flight=1)
    bench.run(list(range(15)))
    assert bench.table.sent == [1] * 8
    bench = Bench(script=[], batch_size=2, in_flight=9)
    bench.table.connections = 1
    bench.run(list(range(15)))
    assert bench.table.sent == [1] * 8


def test_slow_progress_never_gives_up() -> None:
    # Each call writes a part and takes long; together far longer than the timeout.
    bench = Bench(script=[], then=Unprocessed(share=0.6), retry_timeout=40.0, batch_size=25)
    bench.run(list(range(20)))
    assert bench.tally.failures == []
    assert bench.stored() == {key: key for key in range(20)}


def test_throttling_slows_the_pace_and_is_reported_in_seconds() -> None:
    calm = Bench(script=[], in_flight=8, batch_size=1)
    calm.run(list(range(40)))
    throttled = Bench(script=[Throttle()] * 40, in_flight=8, batch_size=1)
    throttled.run(list(range(40)))
    assert calm.tally.throttled == 0
    assert calm.tally.throttled_seconds == 0.0
    assert throttled.tally.throttled == 40
    assert throttled.tally.throttled_seconds > 0.0
    assert throttled.stored() == calm.stored()


def writing_at_once(latency: float) -> Bench:
    """Sixty records in one write, three calls of four at a time, room for all."""
    bench = Bench(script=[], batch_size=4, in_flight=3, buffered=200)
    bench.table.latency = lambda: latency
    bench.write([bench.request(key, 0) for key in range(60)])
    return bench


def test_while_answers_come_a_write_lasts_until_all_full_batches_are_on_their_way(
    together: str,
) -> None:
    bench = writing_at_once(latency=0.01)
    assert bench.writer.held == 3 * 4
    waiting_for_another = together == "two by two"
    assert len(bench.table.calls) == 60 / 4 - waiting_for_another


def test_where_answers_are_long_in_coming_a_write_does_not_wait_for_a_place() -> None:
    bench = writing_at_once(latency=1.0)
    assert bench.writer.held == 60
    assert bench.clock.now - 1_000.0 < 0.1


def test_where_records_meet_newer_ones_a_write_does_not_wait_for_a_place() -> None:
    bench = writing_at_once(latency=0.01)
    now = bench.clock.now
    bench.write([bench.request(key, 1) for key in range(60)])
    assert bench.clock.now == now
    bench.write([bench.request(key, 2) for key in range(60)])
    bench.writer.finish()
    bench.take()
    assert bench.tally.superseded == 60, "all of the second write"


def test_no_full_batch_waits_for_one_that_there_is_no_room_for() -> None:
    bench = Bench(script=[], batch_size=4, in_flight=3, buffered=7)
    bench.table.latency = lambda: 0.001
    for key in range(20):
        bench.write([bench.request(key, 0)])
        bench.clock.now += 0.01  # fast enough for a second one to be waited for
    bench.writer.finish()
    assert sorted(bench.stored()) == list(range(20))
    assert [len(call) for call in bench.table.calls] == [4, 4, 4, 4, 4]


def test_a_request_is_never_larger_than_16_mb() -> None:
    bench = Bench(script=[], batch_size=25)
    big = "x" * 390_000
    requests = [
        bench.factory.request(Put({"id": n, "version": n, "big": big, "more": '"' * 9_000}), 0)
        for n in range(80)
    ]
    bench.write([each for each in requests if each is not None])
    bench.writer.finish()
    bench.take()
    assert len(bench.tally.written) == 80
    for call in bench.table.calls:
        assert len(orjson.dumps(call)) < 16 * 1024 * 1024


def test_a_newer_write_waits_until_an_unanswered_older_one_is_settled() -> None:
    bench = Bench(script=[Delayed(8.0, Reset("before"))], batch_size=1)
    bench.write([bench.request(1, 1)])
    bench.write([bench.request(1, 2)])
    bench.writer.finish()
    versions = [write.item["version"]["N"] for write in bench.db.writes if write.item]
    assert versions[-1] == "2"
    assert bench.stored() == {1: 2}


def test_a_bundle_ends_only_when_an_unanswered_write_is_settled() -> None:
    # Else a newer write of the next bundle could land before it.
    bench = Bench(script=[Delayed(8.0, Reset("before"))], batch_size=1)
    bench.write([bench.request(1, 1)])
    bench.writer.finish()
    before = len(bench.db.writes)
    bench.table.run_out()
    assert len(bench.db.writes) == before


KEY_RANGE = Throttle(reasons=(("TableWriteKeyRangeThroughputExceeded", "arn"),))


def test_a_hot_partition_key_is_found_and_slowed_alone() -> None:
    bench = Bench(script=[], batch_size=5, in_flight=4)
    hot_for = 60.0

    def is_hot(_table: str, key: Any) -> bool:
        return bool(key["id"]["N"] == "3") and bench.clock.now < 1_000.0 + hot_for

    bench.table.faults.on_keys(is_hot, KEY_RANGE)
    bench.write([bench.request(key, key) for key in range(20)])
    bench.writer.finish()
    times = {int(write.item["id"]["N"]): write.time for write in bench.db.writes if write.item}
    assert set(times) == set(range(20))
    assert max(time for key, time in times.items() if key != 3) < 1_000.0 + 15.0
    assert times[3] >= 1_000.0 + hot_for
    calls = [
        call
        for call in bench.table.calls
        if any(each["PutRequest"]["Item"]["id"]["N"] == "3" for each in call)
    ]
    assert len(calls) < 40, "it is not asked for again and again"


# --- several tables --------------------------------------------------------------------------


def two_tables(fault: Fault, **options: Any) -> tuple[Bench, RequestFactory]:
    """A bench with a second table whose calls all meet the fault."""
    bench = Bench(script=[], **options)
    bench.db.create_table("broken", {"id": "N"})
    bench.table.faults.on_keys(lambda table, _key: table == "broken", fault)
    bench.table.latency = lambda: 0.01
    return bench, RequestFactory("broken", TableKey(("id",)))


@pytest.mark.parametrize("fault", [Throttle(), Unprocessed(share=1.0), ServerError()])
def test_a_table_that_never_progresses_ends_while_another_one_progresses(fault: Fault) -> None:
    bench, broken = two_tables(fault, retry_timeout=30.0, batch_size=1)
    request = broken.request(Put({"id": 1, "version": 1}), 0)
    assert request is not None
    bench.write([request])
    for number in range(120):
        bench.write([bench.request(number, number + n) for n in range(4)])
        bench.clock.now += 1.0
    bench.take()
    assert [failure.request for failure in bench.tally.failures] == [request]
    bench.writer.finish()


def test_a_throttled_table_does_not_slow_the_others() -> None:
    bench, broken = two_tables(
        Throttle(), retry_timeout=30.0, in_flight=8, buffered=200, batch_size=1
    )
    for number in range(80):
        request = broken.request(Put({"id": number, "version": 1}), 0, (number, 1))
        assert request is not None
        bench.write([request, bench.request(number, number)])
    bench.writer.finish()
    bench.take()
    assert len(bench.tally.failures) == 80
    last = max(write.time for write in bench.db.writes)
    assert last < 1_000.0 + 1.0, "80 calls of 0.01 s, a few at a time"


# --- the budget ------------------------------------------------------------------------------


@pytest.mark.parametrize("broken_for", [10, 100])
def test_it_is_told_now_and_then_why_nothing_is_written(
    caplog: pytest.LogCaptureFixture, broken_for: int
) -> None:
    bench = Bench(script=[], retry_timeout=300.0)
    until = bench.clock.now + broken_for
    bench.table.faults = Faults(lambda *_: Throttle() if bench.clock.now < until else None)
    bench.run([1, 2])
    told = [record.getMessage() for record in caplog.records if "Nothing" in record.msg]
    assert len(told) <= broken_for // 30
    assert bool(told) is (broken_for > 60), "no wait is longer than 20 s"
    for each in told:
        assert each.startswith(f"Nothing was written to table '{TABLE}' for ")
        assert "300 s ('sink.retry.timeout')" in each
        assert "ProvisionedThroughputExceededException" in each
    assert bench.stored() == {1: 0, 2: 1}


def test_the_time_between_two_bundles_is_not_time_without_progress() -> None:
    bench = Bench(script=[], then=Throttle(), retry_timeout=30.0)
    bench.run([1])
    assert len(bench.tally.failures) == 1
    bench.clock.now += 600.0
    bench.table.faults = Faults.script([Throttle()])
    bench.run([2])
    assert len(bench.tally.failures) == 1, "the second one was tried only once"
    assert bench.stored() == {2: 0}


def test_the_time_in_which_the_input_pauses_is_not_time_without_progress() -> None:
    # A rest smaller than a batch is tried again when more comes, or at the end of the bundle.
    bench = Bench(script=[Throttle(), Throttle()], retry_timeout=300.0, batch_size=2)
    bench.write([bench.request(1, 1), bench.request(2, 2)])
    while not bench.writer.take_tally().throttled:
        bench.clock.now += 0.1
        bench.write([bench.request(3, 3)])
    bench.clock.now += 400.0
    bench.writer.finish()
    bench.take()
    assert bench.tally.failures == []
    assert bench.stored() == {1: 1, 2: 2, 3: 3}


def test_an_older_write_whose_budget_is_over_gives_way_to_a_newer_one() -> None:
    # As a dead letter it could be replayed, over the newer one.
    bench = Bench(script=[Throttle(), Hang(), Hang()], batch_size=1, retry_timeout=30.0)
    bench.write([bench.request(1, 1)])
    while len(bench.table.calls) < 3:
        bench.clock.now += 0.1
        bench.write([bench.request(2, 0)])
    bench.write([bench.request(1, 2)])
    bench.writer.finish()
    bench.take()
    assert bench.tally.failures == []
    assert bench.stored() == {1: 2, 2: 0}


@pytest.mark.parametrize("code", ["CredentialsRefreshed", "ClockSkewCorrected"])
def test_what_was_mended_is_no_failure_whatever_the_budget(code: str) -> None:
    # Else a refusal of credentials could become a dead letter, or fail a job that could go on.
    bench = Bench(script=[Rejected(code, status=400)], retry_timeout=0.0)
    bench.run([1, 2, 3])
    assert bench.tally.failures == []
    assert len(bench.stored()) == 3


# --- calls nobody knows the end of -----------------------------------------------------------


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_that_had_no_answer_leaves_the_call_unsettled(status: int) -> None:
    bench = Bench(script=[Delayed(8.0, ServerError(status, html=True))], batch_size=1)
    bench.write([bench.request(1, 1)])
    bench.write([bench.request(1, 2)])
    bench.writer.finish()
    versions = [write.item["version"]["N"] for write in bench.db.writes if write.item]
    assert versions[-1] == "2"
    bench.table.run_out()
    assert bench.stored() == {1: 2}


def test_the_time_it_takes_to_connect_does_not_count_for_settling_a_lost_call() -> None:
    bench = Bench(script=[Delayed(8.0, Reset("before"))], batch_size=1)
    bench.table.connecting = 9.0
    bench.write([bench.request(1, 1)])
    bench.table.connecting = 0.0
    bench.write([bench.request(1, 2)])
    bench.writer.finish()
    bench.table.run_out()
    assert bench.stored() == {1: 2}


def test_without_a_known_key_the_next_batch_waits_for_a_lost_one_that_was_given_up() -> None:
    bench = Bench(
        script=[Delayed(8.0, Reset("before"))], batch_size=1, key_known=False, retry_timeout=0.0
    )
    bench.write([bench.request(1, 1), bench.request(1, 2)])
    bench.writer.finish()
    bench.table.run_out()
    assert bench.stored() == {1: 2}


# --- several writers -------------------------------------------------------------------------


def test_a_writer_whose_input_is_slow_does_not_hold_up_another_one() -> None:
    bench = Bench(script=[], batch_size=1, in_flight=2, buffered=2)
    bench.limits = WriterLimits(1, 1e6, Gate(2, bench.clock), Gate(2, bench.clock))
    slow, quick = (
        Writer(bench.table, bench.limits, clock=bench.clock),
        Writer(
            FakeTable(bench.db, bench.clock), bench.limits, clock=bench.clock, rnd=random.random
        ),
    )
    slow.write(Requests.of([bench.request(key, 1) for key in (1, 2)]))
    began = bench.clock.now
    quick.write(Requests.of([bench.request(key, 1) for key in range(3, 30)]))
    quick.finish()
    assert bench.clock.now - began < 2.0
    slow.finish()
    assert sorted(bench.stored()) == list(range(1, 30))
    assert (bench.limits.in_flight.free, bench.limits.buffered.free) == (2, 2)


# --- exceptions nobody expects ---------------------------------------------------------------


@pytest.mark.parametrize("broken", [{"fence": ["unhashable"]}, {"body": None}])
def test_whatever_is_raised_in_between_no_place_is_kept(broken: dict[str, Any]) -> None:
    bench = Bench(script=[], batch_size=2)
    requests = [bench.request(key, key) for key in range(9)]
    requests[5] = requests[5]._replace(**broken)
    with pytest.raises(TypeError):
        bench.write(requests)
    bench.writer.abandon()
    bench.writer.close()
    assert bench.limits.in_flight.free == 3
    assert bench.limits.buffered.free == 20
