"""Verdicts, waits and pace."""

from __future__ import annotations

import pytest

from beam_dynamodb.errors import ServiceError
from beam_dynamodb.retry import VERDICTS, Backoff, Pace, Verdict, judge

RETRIED = {
    "InternalServerError",
    "InternalFailure",
    "InternalError",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "RequestTimeout",
    "RequestTimeoutException",
    "TransactionInProgressException",
    "TransactionConflictException",
    "TransactionConflict",
    "ReplicatedWriteConflictException",
    "ResourceInUseException",
    "ConnectionError",
    "NoAnswer",
    "ConnectTimeout",
    "ReadTimeout",
    "BadResponse",
    "Crc32Mismatch",
    "ClockSkewCorrected",
    "CredentialsRefreshed",
}
THROTTLED = {
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
    "LimitExceededException",
    "UnprocessedItems",
}
POISON = {
    "ValidationException",
    "ItemCollectionSizeLimitExceededException",
    "SerializationException",
    "RequestEntityTooLarge",
}


@pytest.mark.parametrize("code", sorted(VERDICTS))
def test_each_code_has_the_verdict_that_aws_documents(code: str) -> None:
    expected = (
        Verdict.RETRY
        if code in RETRIED
        else Verdict.THROTTLED
        if code in THROTTLED
        else Verdict.POISON
        if code in POISON
        else Verdict.FATAL
    )
    # The status must not matter where the code is known.
    assert judge(ServiceError("x", code=code, status=400)) is expected
    assert judge(ServiceError("x", code=code, status=500)) is expected


def test_the_lists_above_have_no_code_that_the_table_lacks() -> None:
    assert RETRIED | THROTTLED | POISON <= VERDICTS.keys()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, Verdict.RETRY),
        (400, Verdict.FATAL),
        (403, Verdict.FATAL),
        (404, Verdict.FATAL),
        (408, Verdict.RETRY),
        (413, Verdict.POISON),
        (429, Verdict.THROTTLED),
        (500, Verdict.RETRY),
        (503, Verdict.RETRY),
        (599, Verdict.RETRY),
    ],
)
def test_an_unknown_code_is_judged_by_its_status(status: int, expected: Verdict) -> None:
    assert judge(ServiceError("x", code="NeverHeardOf", status=status)) is expected


@pytest.mark.parametrize(
    ("attempt", "verdict", "most"),
    [
        (1, Verdict.RETRY, 0.025),
        (2, Verdict.RETRY, 0.05),
        (5, Verdict.RETRY, 0.4),
        (1, Verdict.THROTTLED, 0.1),
        (4, Verdict.THROTTLED, 0.8),
        (20, Verdict.THROTTLED, 20.0),
        (5_000, Verdict.RETRY, 20.0),
    ],
)
def test_the_wait_grows_to_its_cap_with_full_jitter(
    attempt: int, verdict: Verdict, most: float
) -> None:
    backoff = Backoff()
    assert backoff.delay(attempt, verdict, lambda: 0.0) == 0.0
    assert backoff.delay(attempt, verdict, lambda: 0.5) == pytest.approx(most / 2)
    assert backoff.delay(attempt, verdict, lambda: 1.0) == pytest.approx(most)


def test_the_servers_hint_is_waited_for_but_not_forever() -> None:
    backoff = Backoff()
    assert backoff.delay(1, Verdict.THROTTLED, lambda: 0.0, hint=3.0) == 3.0
    assert backoff.delay(1, Verdict.THROTTLED, lambda: 0.0, hint=86_400.0) == backoff.cap


@pytest.mark.parametrize("verdict", [Verdict.FATAL, Verdict.POISON])
def test_what_never_passes_never_waits(verdict: Verdict) -> None:
    assert Backoff().delay(9, verdict, lambda: 1.0, hint=5.0) == 0.0


def test_the_pace_starts_at_the_most_and_halves_once_for_what_was_on_its_way() -> None:
    pace = Pace(16)
    assert pace.limit == 16
    pace.answered(3, throttled=1.0)
    assert pace.limit == 8
    for _ in range(3):  # these were sent before the pace was known to be too fast
        pace.answered(2, throttled=1.0)
    assert pace.limit == 8
    pace.answered(0, throttled=1.0)
    assert pace.limit == 4


def test_the_pace_never_falls_below_one_and_grows_by_one_a_round() -> None:
    pace = Pace(8)
    for _ in range(50):
        pace.answered(0, throttled=1.0)
    assert pace.limit == 1
    pace.answered(0)
    assert pace.limit == 2
    for _ in range(2):
        pace.answered(0)
    assert 2 <= pace.limit <= 3
    for _ in range(1_000):
        pace.answered(7)
    assert pace.limit == 8


@pytest.mark.parametrize(("share", "least", "most"), [(0.04, 30, 50), (0.2, 5, 15), (0.9, 1, 2)])
def test_the_pace_settles_by_the_share_that_is_throttled(
    share: float, least: int, most: int
) -> None:
    pace = Pace(50)
    for _ in range(2_000):
        pace.answered(pace.limit - 1, throttled=share)
    assert least <= pace.limit <= most
