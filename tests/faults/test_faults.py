"""Each fault once through the whole transform, over real HTTP: what comes of it is as promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_dynamodb.testing import (
    AccessDenied,
    ClockSkew,
    Delayed,
    Expired,
    FakeServer,
    Fault,
    Faults,
    HalfAnswer,
    Hang,
    InvalidCredentials,
    Rejected,
    Reset,
    ServerError,
    Slow,
    TableGone,
    Throttle,
    Unprocessed,
    WrongCrc32,
)
from tests.beam.helpers import Rows, Run, ends, replay, run_rows, serving, stored
from tests.faults.judging import stale_writes, wait_until

ROWS: Rows = [({"id": number % 40, "v": number}, 0.0) for number in range(120)]
TABLE_LIMIT = (("TableWriteProvisionedThroughputExceeded", "arn"),)
KEY_RANGE = (("TableWriteKeyRangeThroughputExceeded", "arn"),)


@dataclass(frozen=True)
class Case:
    """What the first calls meet, and the sink's options."""

    script: Sequence[Fault | None]
    then: Fault | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What came of a pipeline."""

    run: Run
    server: FakeServer


# Each is met by the first calls, and everything is written all the same.
PASSING = {
    "throttled": Case([Throttle()]),
    "throttled, ThrottlingException": Case([Throttle(code="ThrottlingException")]),
    "throttled, RequestLimitExceeded": Case([Throttle(code="RequestLimitExceeded")]),
    "throttled, with reasons": Case([Throttle(reasons=TABLE_LIMIT)]),
    "throttled, with throttlingReasons": Case(
        [Throttle(code="ThrottlingException", reasons=TABLE_LIMIT)]
    ),
    "throttled, one key range": Case([Throttle(reasons=KEY_RANGE)]),
    "throttled, with a hint": Case([Throttle(retry_after_ms=300)]),
    "items unprocessed": Case([Unprocessed(share=0.5)] * 3),
    "items unprocessed, under the ARN": Case([Unprocessed(share=0.5, by_arn=True)] * 3),
    "one item unprocessed": Case([Unprocessed(positions=(7,))]),
    "500": Case([ServerError()]),
    "500, but written": Case([ServerError(written=True)]),
    "500 without a code": Case([ServerError(html=True)]),
    "503": Case([ServerError(503)]),
    "slow": Case([Slow(0.5)]),
    "out of order": Case([Slow(0.6), Slow(0.4), Slow(0.2)], options={"sink_batch_max_size": 10}),
    "reset before": Case([Reset("before")]),
    "reset within the answer": Case([Reset("within")]),
    "reset after it was written": Case([Reset("after")]),
    "half an answer": Case([HalfAnswer()]),
    "wrong CRC32": Case([WrongCrc32()]),
    "read timeout": Case([Hang()], options={"sink_http_client_read_timeout": 300}),
    "read timeout, but written": Case(
        [Hang(written=True)], options={"sink_http_client_read_timeout": 300}
    ),
    "reset, and written seconds later": Case([Delayed(3.0, Reset("after"))]),
    "reset on a kept-alive connection, and written seconds later": Case(
        [None, Delayed(3.0, Reset("after"))],
        options={
            "sink_requests_max_inflight": 1,
            "sink_batch_max_size": 1,
            "sink_requests_max_buffered": 2,
        },
    ),
    "clock ahead": Case([], then=ClockSkew(3600.0)),
    "clock behind": Case([], then=ClockSkew(-3600.0, code="RequestExpired")),
}

# Each ends the pipeline at once, in words that say what to do; nothing becomes a dead letter.
FATAL = {
    "expired credentials": (Case([None], then=Expired()), "aws.credentials.provider"),
    "invalid credentials": (Case([None], then=InvalidCredentials()), "aws.credentials.provider"),
    "access denied": (Case([None], then=AccessDenied()), "dynamodb:BatchWriteItem"),
    "table gone": (Case([None], then=TableGone()), "table-name"),
    "clock of a signature it never takes": (
        Case([None], then=Rejected("InvalidSignatureException")),
        "clock",
    ),
}

# Each stays until the time without progress is over; then all that is left are dead letters.
STAYING: dict[str, tuple[Fault, str]] = {
    "throttled": (Throttle(), "ProvisionedThroughputExceededException"),
    "unprocessed": (Unprocessed(share=1.0), "UnprocessedItems"),
    "500": (ServerError(), "InternalServerError"),
    "503 without a code": (ServerError(503, html=True), "HTTP 503"),
}


def outcome(case: Case, *, retry_timeout: int = 60_000) -> Outcome:
    with serving(Faults.script(case.script, then=case.then)) as server:
        run = run_rows(
            server,
            ROWS,
            handling=lambda write: write.with_exception_handling(),
            sink_retry_timeout=retry_timeout,
            **{"sink_requests_max_buffered": 60, **case.options},
        )
        wait_until(lambda: server.stats().delayed == 0)  # else a late write would be forgotten
        return Outcome(run, server)


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Future[Outcome]]]:
    """All at once, since many of them mostly wait until a lost call is settled."""
    with ThreadPoolExecutor(12) as pool:
        slow_first = sorted(PASSING, key=lambda name: name in _SETTLED_AT_ONCE)
        yield {name: pool.submit(outcome, PASSING[name]) for name in slow_first}


_SETTLED_AT_ONCE = {
    name
    for name, case in PASSING.items()
    if not any(isinstance(fault, Reset | HalfAnswer | Hang | Delayed) for fault in case.script)
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_harms_nobody(outcomes: dict[str, Future[Outcome]], name: str) -> None:
    found = outcomes[name].result()
    run, server = found.run, found.server
    assert sum(server.faults.counts.values()) > server.faults.counts["calls"], "no fault was met"
    assert stored(server) == replay(ROWS)
    assert run.failed.elements == []
    assert ends(run.counters) == len(ROWS)
    written = [row["v"] for row in run.written.elements]
    assert len(set(written)) == len(written) == run.counters["written"]
    assert stale_writes(server) == []


@pytest.mark.parametrize("name", FATAL)
def test_what_no_record_is_to_blame_for_ends_the_pipeline_at_once(name: str) -> None:
    case, advice = FATAL[name]
    with serving(Faults.script(case.script, then=case.then)) as server:
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the runner's own type
            run_rows(server, ROWS, handling=lambda write: write.with_exception_handling())
        assert server.stats().calls["BatchWriteItem"] <= 6, "it must not be asked again and again"
    text = str(raised.value)
    assert case.then is not None
    assert getattr(case.then, "code", "") in text
    assert advice in text


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_ends_in_dead_letters_when_the_time_without_progress_is_over(
    name: str,
) -> None:
    fault, code = STAYING[name]
    found = outcome(Case([None], then=fault), retry_timeout=1_500)
    written = {row["v"] for row in found.run.written.elements}
    failed = {each.element["v"]: each for each in found.run.failed.elements}
    assert len(written) == 25
    assert failed
    assert {each.code for each in failed.values()} == {code}
    assert all(each.retriable and each.attempts >= 1 for each in failed.values())
    assert not written & set(failed)
    assert ends(found.run.counters) == len(ROWS)
    assert set(stored(found.server).values()) == {str(version) for version in written}


@pytest.mark.parametrize("fault", [Throttle(), Unprocessed(positions=(3,)), ServerError()])
def test_fail_on_error_retries_nothing_and_fails_the_pipeline(fault: Fault) -> None:
    with serving(Faults.script([None, fault])) as server:
        with pytest.raises(Exception, match="could not be written"):
            run_rows(
                server,
                ROWS,
                handling=lambda write: write.with_exception_handling(),
                sink_fail_on_error=True,
            )
        assert server.faults.counts[type(fault).__name__] == 1
        versions = [write.item["v"]["N"] for write in server.db.writes if write.item]
    assert len(set(versions)) == len(versions), "something was written twice"


# --- credentials that rotate -----------------------------------------------------------------


def credentials_file(path: Path, number: int) -> None:
    path.write_text(
        f"[rotating]\naws_access_key_id = KEY{number}\naws_secret_access_key = hush{number}\n"
        f"aws_session_token = token{number}\n"
    )


def rotated(
    tmp_path: Path, expired: Callable[[int], bool]
) -> tuple[Faults, dict[str, Any], list[int]]:
    """A credentials file that is written anew at each refusal, and whom it refuses."""
    path = tmp_path / "credentials"
    numbers: list[int] = [0]
    credentials_file(path, 0)

    def choose(call: int, _rng: Any) -> Fault | None:
        if not expired(call):
            return None
        numbers.append(numbers[-1] + 1)
        credentials_file(path, numbers[-1])
        return Expired()

    options = {
        "aws_credentials_provider": "PROFILE",
        "aws_credentials_profile_path": str(path),
        "aws_credentials_profile_name": "rotating",
        "sink_requests_max_inflight": 1,
    }
    return Faults(choose), options, numbers


def test_expired_credentials_are_read_anew_and_nothing_is_lost(tmp_path: Path) -> None:
    faults, options, numbers = rotated(tmp_path, lambda call: call == 1)
    with serving(faults) as server:
        run = run_rows(server, ROWS, **options)
    assert numbers == [0, 1]
    assert stored(server) == replay(ROWS)
    assert ends(run.counters) == len(ROWS)


def test_new_credentials_that_are_refused_too_end_the_pipeline(tmp_path: Path) -> None:
    faults, options, numbers = rotated(tmp_path, lambda call: call >= 1)
    with (
        serving(faults) as server,
        pytest.raises(Exception, match="ExpiredTokenException") as raised,
    ):
        run_rows(server, ROWS, **options)
    assert len(numbers) == 3, "one call with the old ones, one with the new ones"
    assert "hush" not in str(raised.value)
    assert "token" not in str(raised.value).replace("security token", "")


# --- by chance -------------------------------------------------------------------------------

# Those after which nobody knows whether DynamoDB wrote cost ten seconds each: a fixed few above.
QUICK: list[Fault | None] = [
    None,
    Throttle(),
    Throttle(reasons=KEY_RANGE),
    Unprocessed(share=0.5),
    Unprocessed(share=0.9, by_arn=True),
    ServerError(),
    ServerError(written=True),
    ServerError(503, html=True),
    Slow(0.05),
    WrongCrc32(),
]


@settings(max_examples=8)
@given(
    script=st.lists(st.sampled_from(QUICK), max_size=15),
    keys=st.lists(st.integers(0, 9), min_size=1, max_size=80),
    batch_size=st.integers(1, 25),
    in_flight=st.integers(1, 8),
    keyed=st.booleans(),
)
def test_whatever_happens_the_table_is_the_replay_of_the_input(
    script: list[Fault | None], keys: list[int], batch_size: int, in_flight: int, keyed: bool
) -> None:
    rows = [({"id": key, "v": version}, 0.0) for version, key in enumerate(keys)]
    with serving(Faults.script(script)) as server:
        run = run_rows(
            server,
            rows,
            partitioned_by=["id"] if keyed else [],
            sink_batch_max_size=batch_size,
            sink_requests_max_inflight=in_flight,
            sink_requests_max_buffered=30,
        )
    assert stored(server) == replay(rows)
    assert ends(run.counters) == len(rows)
    assert stale_writes(server) == []


def test_poison_rows_are_dead_letters_and_their_neighbours_are_written() -> None:
    poison = {3, 17, 18, 39}
    faults = Faults.script(list(chain(*repeat([Unprocessed(share=0.3), ServerError()], 5))))
    faults.on_keys(lambda _table, key: int(key["id"]["N"]) in poison, Rejected())
    with serving(faults) as server:
        run = run_rows(server, ROWS, handling=lambda write: write.with_exception_handling())
    assert {each.element["id"] for each in run.failed.elements} == poison
    assert not any(each.retriable for each in run.failed.elements)
    expected = {key: text for key, text in replay(ROWS).items() if key not in poison}
    assert stored(server) == expected
    assert ends(run.counters) == len(ROWS)


def test_a_poison_row_without_a_handler_fails_the_pipeline_and_is_named() -> None:
    faults = Faults().on_keys(lambda _table, key: key["id"]["N"] == "17", Rejected())
    with (
        serving(faults) as server,
        pytest.raises(Exception, match=r"\{id: 17\} could not be written.*ValidationException"),
    ):
        run_rows(server, ROWS)
