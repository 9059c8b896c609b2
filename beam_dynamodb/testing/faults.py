"""What goes wrong between a client and DynamoDB, as values, and when: by script or by chance.

A fault says what it does as a `Plan`; the server carries plans out and knows no fault by name.
The errors are those of the Developer Guide, *Error handling with DynamoDB*.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeAlias

from typing_extensions import override

from beam_dynamodb.testing.rules import WRITES, Item, Refused

__all__ = [
    "AccessDenied",
    "ClockSkew",
    "Delayed",
    "Expired",
    "Fault",
    "Faults",
    "HalfAnswer",
    "Hang",
    "InvalidCredentials",
    "Plan",
    "Rejected",
    "Reset",
    "ServerError",
    "Slow",
    "TableGone",
    "Throttle",
    "Unprocessed",
    "WrongCrc32",
]

Ending: TypeAlias = Literal["answer", "half", "half-reset", "reset", "silence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the server does with one call. The default is to do what DynamoDB does.

    Attributes:
        refusal: The error to answer with, or None for the service's own answer.
        html: Answer the error as a load balancer does: a page of HTML without an error code.
        headers: Further headers of the answer.
        applied: Whether what the call asks for happens.
        applied_after: Seconds until it happens; the answer does not wait for it.
        held: Positions of the writes that come back in `UnprocessedItems`.
        by_arn: Whether these come back under their table's ARN instead of its name.
        answered_after: Seconds until the answer is sent.
        ending: What the client gets: the whole `answer`; `half` of its body and an orderly
            close; `half-reset`: half and a connection reset; a `reset` alone; or `silence`.
        unread: Whether the connection is reset as soon as the request's head is there.
        wrong_crc32: Whether the answer's x-amz-crc32 does not fit its body.
        clock_skew: Seconds by which the server's clock is ahead of the true time; None where
            nobody looks at it.
        skew_code: The error's code where a signature's date is too far from that clock.
    """

    refusal: Refused | None = None
    html: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    applied: bool = True
    applied_after: float = 0.0
    held: frozenset[int] = frozenset()
    by_arn: bool = False
    answered_after: float = 0.0
    ending: Ending = "answer"
    unread: bool = False
    wrong_crc32: bool = False
    clock_skew: float | None = None
    skew_code: str = "InvalidSignatureException"


NO_FAULT = Plan()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one call. Faults are values: equal, hashable, picklable."""

    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        """What the server shall do.

        Args:
            positions: The positions, within the call, of the writes that the fault is meant for.
            rng: Where chance comes from.
        """
        raise NotImplementedError


# --- the service says no -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Throttle(Fault):
    """The whole call is throttled; nothing is written.

    Attributes:
        code: `ProvisionedThroughputExceededException`, `ThrottlingException` or
            `RequestLimitExceeded`.
        reasons: DynamoDB's throttling reasons, as (reason, resource ARN) pairs, such as
            `("TableWriteKeyRangeThroughputExceeded", "arn:…")`. The service spells the member
            `throttlingReasons` for ThrottlingException, else `ThrottlingReasons`.
        retry_after_ms: The header `x-amz-retry-after`, in milliseconds, or None.
    """

    code: str = "ProvisionedThroughputExceededException"
    reasons: tuple[tuple[str, str], ...] = ()
    retry_after_ms: int | None = None

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        member = "throttlingReasons" if self.code == "ThrottlingException" else "ThrottlingReasons"
        reasons = [{"reason": reason, "resource": arn} for reason, arn in self.reasons]
        hint = self.retry_after_ms
        return Plan(
            refusal=Refused(
                "The level of configured provisioned throughput for the table was exceeded. "
                "Consider increasing your provisioning level with the UpdateTable API.",
                code=self.code,
                extra={member: reasons} if reasons else {},
            ),
            headers={} if hint is None else {"x-amz-retry-after": str(hint)},
            applied=False,
        )


@dataclass(frozen=True, slots=True)
class ServerError(Fault):
    """DynamoDB answers 500 or 503.

    Attributes:
        status: 500 (`InternalServerError`) or 503 (`ServiceUnavailable`).
        written: Whether the write did happen, which a client cannot know.
        html: Whether the answer is a load balancer's HTML page without an error code.
    """

    status: int = 500
    written: bool = False
    html: bool = False

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        code = "ServiceUnavailable" if self.status == 503 else "InternalServerError"
        refusal = Refused("Internal server error", code=code, status=self.status)
        return Plan(refusal=refusal, html=self.html, applied=self.written)


@dataclass(frozen=True, slots=True)
class Rejected(Fault):
    """Any other error answer; nothing is written.

    With `Faults.on_keys` it makes a poison row: the whole call is refused for this one key.

    Attributes:
        code: The error's code.
        status: The HTTP status.
        message: The error's message.
    """

    code: str = "ValidationException"
    status: int = 400
    message: str = "One or more parameter values were invalid"

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        refusal = Refused(self.message, code=self.code, status=self.status)
        return Plan(refusal=refusal, applied=False)


@dataclass(frozen=True, slots=True)
class Expired(Rejected):
    """The session token has expired: `ExpiredTokenException`."""

    code: str = "ExpiredTokenException"
    message: str = "The security token included in the request is expired"


@dataclass(frozen=True, slots=True)
class InvalidCredentials(Rejected):
    """Nobody knows the access key: `UnrecognizedClientException`."""

    code: str = "UnrecognizedClientException"
    message: str = "The security token included in the request is invalid."


@dataclass(frozen=True, slots=True)
class AccessDenied(Rejected):
    """The caller may not write this table: `AccessDeniedException`."""

    code: str = "AccessDeniedException"
    message: str = "User is not authorized to perform this operation on this resource"


@dataclass(frozen=True, slots=True)
class TableGone(Rejected):
    """Somebody deleted the table: `ResourceNotFoundException`."""

    code: str = "ResourceNotFoundException"
    message: str = "Requested resource not found"


@dataclass(frozen=True, slots=True)
class ClockSkew(Fault):
    """The server's clock differs from the true time, as a client's own clock may do.

    Its Date header says so, and a request whose signature is dated more than five minutes away
    from it is refused with `InvalidSignatureException`. Meant for `Faults.always`: a client that
    corrects its clock gets through then.

    Attributes:
        seconds: How far the server's clock is ahead; negative where it is behind.
        code: The error's code; some services say `RequestExpired`.
    """

    seconds: float
    code: str = "InvalidSignatureException"

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        return Plan(clock_skew=self.seconds, skew_code=self.code)


# --- the service does a part ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unprocessed(Fault):
    """Some writes of a BatchWriteItem come back in `UnprocessedItems`; the others are written.

    A PutItem or DeleteItem that it hits is throttled.

    Attributes:
        positions: Which writes of the call, from 0 on; None lets `share` decide.
        share: The probability of each write to come back.
        by_arn: Whether they come back under the table's ARN, as DynamoDB may do, instead of
            the name that the request used.
    """

    positions: tuple[int, ...] | None = None
    share: float = 1.0
    by_arn: bool = False

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        if self.positions is None:
            held = frozenset(i for i in positions if rng.random() < self.share)
        else:
            held = frozenset(self.positions)
        return Plan(held=held, by_arn=self.by_arn)


# --- the network ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """The write happens at once, the answer comes late; so answers overtake each other.

    Attributes:
        seconds: How late.
    """

    seconds: float

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        return Plan(answered_after=self.seconds)


@dataclass(frozen=True, slots=True)
class Hang(Fault):
    """No answer ever comes, and the connection stays open: a read timeout.

    Attributes:
        written: Whether the write did happen.
    """

    written: bool = False

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        return Plan(applied=self.written, ending="silence")


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """The connection is reset (RST).

    Attributes:
        when: `before`: when the request's head is there, nothing is written; `within`: in the
            middle of the answer's body; `after`: after the write happened, before the answer.
    """

    when: Literal["before", "within", "after"] = "before"

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        if self.when == "before":
            return Plan(applied=False, ending="reset", unread=True)
        return Plan(ending="half-reset" if self.when == "within" else "reset")


@dataclass(frozen=True, slots=True)
class HalfAnswer(Fault):
    """The write happens, half of the answer's body arrives, and the connection is closed."""

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        return Plan(ending="half")


@dataclass(frozen=True, slots=True)
class WrongCrc32(Fault):
    """The write happens, and the answer's x-amz-crc32 does not fit its body."""

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        return Plan(wrong_crc32=True)


@dataclass(frozen=True, slots=True)
class Delayed(Fault):
    """The write happens late: perhaps after the client has given up and tried again.

    Attributes:
        seconds: How late it happens.
        then: What the client sees, at once: a fault that does not answer that all is well.

    Raises:
        ValueError: `then` would answer that all is well.
    """

    seconds: float
    then: Fault = field(default_factory=Hang)

    def __post_init__(self) -> None:
        plan = self.then.plan((), Random(0))
        if plan.refusal is None and plan.ending == "answer":
            raise ValueError(f"{self.then} answers as if the write had happened already")

    @override
    def plan(self, positions: Sequence[int], rng: Random) -> Plan:
        plan = self.then.plan(positions, rng)
        return dataclasses.replace(plan, applied=True, applied_after=self.seconds)


_THROTTLE = Throttle()


# --- when ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _OnKeys:
    matches: Callable[[str, Item], bool]
    fault: Fault


class Faults:
    """Which fault meets which call.

    Made by `script`, `random` or `always`; `Faults()` has none. The calls that count are the
    writes, in the order in which they reach the server, so a DescribeTable does not use up a
    script. `on_keys` adds faults for single items, and they go before the others.

    Attributes:
        counts: How many calls each fault met, by its name; `items held` counts the writes that
            came back unprocessed, `calls` all calls that could have met one.
    """

    def __init__(
        self,
        choose: Callable[[int, Random], Fault | None] = lambda _number, _rng: None,
        *,
        operations: Iterable[str] = WRITES,
        seed: int = 0,
        unprocessed: float = 0.0,
        by_arn: bool = False,
    ) -> None:
        """Takes any rule; `script`, `random` and `always` give the usual ones.

        Args:
            choose: Gives the fault of a call from its number, from 0 on, and a source of chance
                that depends on the seed and this number alone.
            operations: The operations that it is asked for.
            seed: For all that happens by chance.
            unprocessed: The probability of each write to come back unprocessed in a call that
                is otherwise carried out. Where all of a call's writes would, it is throttled.
            by_arn: Whether these come back under the table's ARN.
        """
        self.counts: Counter[str] = Counter()
        self._choose = choose
        self._operations = frozenset(operations)
        self._seed = seed
        self._item_fault = Unprocessed(share=unprocessed, by_arn=by_arn) if unprocessed else None
        self._on_keys: list[_OnKeys] = []

    @classmethod
    def script(
        cls,
        faults: Sequence[Fault | None],
        *,
        then: Fault | None = None,
        operations: Iterable[str] = WRITES,
    ) -> Faults:
        """One fault, or None, for each call in order.

        Args:
            faults: The faults.
            then: What all calls after these meet.
            operations: The operations that count.
        """
        told = tuple(faults)
        return cls(
            lambda number, _rng: told[number] if number < len(told) else then,
            operations=operations,
        )

    @classmethod
    def always(cls, fault: Fault, *, operations: Iterable[str] = WRITES) -> Faults:
        """The same fault for every call."""
        return cls(lambda _number, _rng: fault, operations=operations)

    @classmethod
    def random(
        cls,
        seed: int,
        calls: Mapping[Fault, float] | None = None,
        *,
        unprocessed: float = 0.0,
        by_arn: bool = False,
        operations: Iterable[str] = WRITES,
    ) -> Faults:
        """Faults by chance: a seed and the number of a call decide what it meets.

            Faults.random(7, {ServerError(): 0.01, Reset("after"): 0.01}, unprocessed=0.1)

        Args:
            seed: Where chance starts.
            calls: The probability of each fault; together at most 1.
            unprocessed: The probability of each write to come back unprocessed in a call that
                meets no error. Where all of a call's writes would, it is throttled.
            by_arn: Whether these come back under the table's ARN.
            operations: The operations that count.

        Raises:
            ValueError: A probability is out of range.
        """
        chances = dict(calls or {})
        sums = [unprocessed, *chances.values(), sum(chances.values())]
        if min(sums) < 0 or max(sums) > 1 + 1e-9:
            raise ValueError("probabilities lie between 0 and 1, those of calls also in sum")

        def choose(_number: int, rng: Random) -> Fault | None:
            point = rng.random()
            for fault, chance in chances.items():
                if point < chance:
                    return fault
                point -= chance
            return None

        return cls(choose, operations=operations, seed=seed, unprocessed=unprocessed, by_arn=by_arn)

    def on_keys(self, matches: Callable[[str, Item], bool], fault: Fault) -> Faults:
        """Adds a fault that meets each call with a write of certain keys, and returns itself.

        `Unprocessed` holds just these writes back; another fault meets the whole call.

        Args:
            matches: Told the table as the request names it and the key attributes as it sends
                them; says whether the fault is meant for this write.
            fault: The fault.
        """
        self._on_keys.append(_OnKeys(matches, fault))
        return self

    def next(self, operation: str) -> Verdict:
        """What the next call meets; asked for when the head of the call is there."""
        if operation not in self._operations:
            return Verdict(None, None, (), None, self.counts)
        number = self.counts["calls"]
        self.counts["calls"] += 1
        rng = Random(self._seed * 1_000_003 + number)
        fault = self._choose(number, rng)
        return Verdict(rng, fault, tuple(self._on_keys), self._item_fault, self.counts)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one call meets, before its body is known."""

    _rng: Random | None
    _fault: Fault | None
    _on_keys: tuple[_OnKeys, ...]
    _on_items: Unprocessed | None
    _counts: Counter[str]

    @property
    def unread(self) -> bool:
        """Whether the request's body is not to be read at all."""
        return isinstance(self._fault, Reset) and self._fault.when == "before"

    @property
    def needs_keys(self) -> bool:
        """Whether `plan` looks at the keys, and not only at how many there are."""
        return bool(self._on_keys)

    def plan(self, keys: Sequence[tuple[str, Item] | None]) -> Plan:
        """What the server shall do, now that the body is known.

        Args:
            keys: The table and key of each write; None for each where `needs_keys` is false.
        """
        if self._rng is None:
            return NO_FAULT
        fault, positions = self._meets(keys)
        plan = fault.plan(positions, self._rng) if fault else NO_FAULT
        if self._on_items and plan.applied and not plan.held and plan.refusal is None:
            held = self._on_items.plan(range(len(keys)), self._rng).held
            if fault is None and held and len(held) == len(keys):
                fault, plan = _THROTTLE, _THROTTLE.plan((), self._rng)
            else:
                plan = dataclasses.replace(plan, held=held, by_arn=self._on_items.by_arn)
        if fault is not None:
            self._counts[type(fault).__name__] += 1
        self._counts["items held"] += len(plan.held)
        return plan

    def _meets(self, keys: Sequence[tuple[str, Item] | None]) -> tuple[Fault | None, Sequence[int]]:
        for rule in self._on_keys:
            hit = [i for i, key in enumerate(keys) if key and rule.matches(*key)]
            if hit:
                return rule.fault, hit
        return self._fault, range(len(keys))
