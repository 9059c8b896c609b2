"""Whether to try again, after how long, and how much may be on its way meanwhile.

Pure: clock and random numbers are arguments. The codes are those of the DynamoDB Developer
Guide, *Error handling with DynamoDB*, and of AWS's *Common errors*; those without an AWS name
are this package's own for what never reached DynamoDB.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from beam_dynamodb.errors import ServiceError

__all__ = ["VERDICTS", "Backoff", "Pace", "Verdict", "judge"]


class Verdict(enum.Enum):
    """What a failed call means for the requests in it."""

    RETRY = "retry"
    """May pass next time: a fault of the service or of the way to it."""

    THROTTLED = "throttled"
    """May pass later: too much was asked at once. Slows the pace."""

    POISON = "poison"
    """Will never pass, because of one or more requests in the call; their neighbours may."""

    FATAL = "fatal"
    """Will never pass, whatever the requests: permissions, credentials, no such table."""


VERDICTS: dict[str, Verdict] = {
    "ProvisionedThroughputExceededException": Verdict.THROTTLED,
    "ThrottlingException": Verdict.THROTTLED,
    "Throttling": Verdict.THROTTLED,
    "ThrottledException": Verdict.THROTTLED,
    "RequestThrottled": Verdict.THROTTLED,
    "RequestThrottledException": Verdict.THROTTLED,
    "RequestLimitExceeded": Verdict.THROTTLED,
    "TooManyRequestsException": Verdict.THROTTLED,
    "SlowDown": Verdict.THROTTLED,
    "LimitExceededException": Verdict.THROTTLED,
    "UnprocessedItems": Verdict.THROTTLED,
    "InternalServerError": Verdict.RETRY,
    "InternalFailure": Verdict.RETRY,
    "InternalError": Verdict.RETRY,
    "ServiceUnavailable": Verdict.RETRY,
    "ServiceUnavailableException": Verdict.RETRY,
    "RequestTimeout": Verdict.RETRY,
    "RequestTimeoutException": Verdict.RETRY,
    "TransactionInProgressException": Verdict.RETRY,
    "TransactionConflictException": Verdict.RETRY,
    "TransactionConflict": Verdict.RETRY,
    "ReplicatedWriteConflictException": Verdict.RETRY,
    "ResourceInUseException": Verdict.RETRY,
    "ConnectionError": Verdict.RETRY,
    "NoAnswer": Verdict.RETRY,
    "ConnectTimeout": Verdict.RETRY,
    "ReadTimeout": Verdict.RETRY,
    "BadResponse": Verdict.RETRY,
    "Crc32Mismatch": Verdict.RETRY,
    "ClockSkewCorrected": Verdict.RETRY,
    "CredentialsRefreshed": Verdict.RETRY,
    "ValidationException": Verdict.POISON,
    "ItemCollectionSizeLimitExceededException": Verdict.POISON,
    "SerializationException": Verdict.POISON,
    "RequestEntityTooLarge": Verdict.POISON,
    "ResourceNotFoundException": Verdict.FATAL,
    "TableNotFoundException": Verdict.FATAL,
    "AccessDeniedException": Verdict.FATAL,
    "AccessDenied": Verdict.FATAL,
    "UnrecognizedClientException": Verdict.FATAL,
    "InvalidClientTokenId": Verdict.FATAL,
    "InvalidSignatureException": Verdict.FATAL,
    "SignatureDoesNotMatch": Verdict.FATAL,
    "IncompleteSignatureException": Verdict.FATAL,
    "IncompleteSignature": Verdict.FATAL,
    "MissingAuthenticationTokenException": Verdict.FATAL,
    "MissingAuthenticationToken": Verdict.FATAL,
    "ExpiredTokenException": Verdict.FATAL,
    "ExpiredToken": Verdict.FATAL,
    "RequestExpired": Verdict.FATAL,
    "RequestTimeTooSkewed": Verdict.FATAL,
    "NotAuthorized": Verdict.FATAL,
    "OptInRequired": Verdict.FATAL,
    "KMSAccessDeniedException": Verdict.FATAL,
    "TlsError": Verdict.FATAL,
    "ProxyError": Verdict.FATAL,
    "UnknownOperationException": Verdict.FATAL,
}
"""What each error code means. One row per code, one test per row."""


def judge(error: ServiceError) -> Verdict:
    """The verdict on a failed call: by its code, else by its HTTP status.

    An unknown 5xx is retried, as is a 408, of a request that did not all arrive in time: nobody
    sends while the input is slow. An unknown 429 is throttling; any other unknown answer is fatal,
    since to repeat it blindly would loop and to drop it would lose data.
    """
    verdict = VERDICTS.get(error.code)
    if verdict is not None:
        return verdict
    if error.status == 429:
        return Verdict.THROTTLED
    if error.status == 413:
        return Verdict.POISON
    passes = error.status >= 500 or error.status in (0, 408)
    return Verdict.RETRY if passes else Verdict.FATAL


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter.

    The rule is that of the AWS Architecture Blog, *Exponential Backoff And Jitter*.

    Attributes:
        base: Seconds; the first wait after a fault is at most this long.
        throttled_base: Seconds; the same after throttling.
        cap: Seconds; no wait is longer.
    """

    base: float = 0.025
    throttled_base: float = 0.1
    cap: float = 20.0

    def delay(
        self,
        attempt: int,
        verdict: Verdict,
        random: Callable[[], float],
        hint: float | None = None,
    ) -> float:
        """Seconds to wait before the next attempt.

        Args:
            attempt: How many attempts have failed, 1 after the first.
            verdict: RETRY or THROTTLED; the others never wait.
            random: Gives a number in [0, 1).
            hint: Seconds the server asked to wait; never less than that, up to the cap.
        """
        if verdict not in (Verdict.RETRY, Verdict.THROTTLED):
            return 0.0
        base = self.throttled_base if verdict is Verdict.THROTTLED else self.base
        # The exponent is bounded since 2.0 ** 1024 is an OverflowError.
        most = min(self.cap, base * 2.0 ** min(attempt - 1, 32))
        return max(random() * most, min(hint or 0.0, self.cap))


class Pace:
    """How many requests may be on their way at once: AIMD over requests.

    Starts at the most that is allowed. An answer makes it grow by one for each round of answers,
    as far as its writes were accepted, and shrink by half, as far as they were throttled: one
    write of 25 that comes back is no reason to stand still. What was on its way already when it
    shrank does not make it shrink again.
    """

    def __init__(self, most: int) -> None:
        """Makes a pace of at most `most` requests in flight (`sink.requests.max-inflight`)."""
        self._most = float(most)
        self._limit = float(most)
        self._deaf = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now; at least 1."""
        return int(self._limit)

    @property
    def is_slowed(self) -> bool:
        """Whether throttling holds it below the most that is allowed."""
        return self._limit < self._most

    def answered(self, in_flight: int, throttled: float = 0.0) -> None:
        """Takes an answer into account.

        Args:
            in_flight: How many other requests are on their way.
            throttled: The share of the request's writes that was throttled, from 0 to 1.
        """
        self._limit = min(self._most, self._limit + (1.0 - throttled) / self._limit)
        if self._deaf:
            self._deaf -= 1
        elif throttled:
            self._limit = max(1.0, self._limit * (1.0 - throttled / 2.0))
            self._deaf = in_flight

    def __repr__(self) -> str:
        return f"<Pace {self.limit} of {int(self._most)}>"
