"""A DynamoDB without sockets and without waiting: the fake rules and faults in simulated time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson

from beam_dynamodb.answers import matching
from beam_dynamodb.client import Answer, Call
from beam_dynamodb.errors import ServiceError
from beam_dynamodb.testing import FakeDynamoDB, Faults
from beam_dynamodb.testing.faults import Plan
from beam_dynamodb.testing.rules import Refused


class FakeClock:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class _Call:
    tag: object
    table: str
    bodies: Sequence[bytes]
    plan: Plan
    sent: float
    connecting: float = 0.0
    keys: list[str] = field(default_factory=list)


class FakeTable:
    """A `Channel` onto a `FakeDynamoDB`: answers come late, out of order, or wrong, as told.

    It judges the promise of order itself: a call that carries a key which another call has on
    its way fails the test at once.
    """

    def __init__(
        self,
        db: FakeDynamoDB,
        clock: FakeClock,
        *,
        faults: Faults | None = None,
        latency: Callable[[], float] = lambda: 0.01,
        connections: int = 1_000,
        read_timeout: float = 60.0,
    ) -> None:
        self.db = db
        self.clock = clock
        self.faults = faults or Faults()
        self.latency = latency
        self.connections = connections
        self.read_timeout = read_timeout
        self.connecting = 0.0
        self.looking_up: Callable[[], float] = lambda: 0.0  # the host's name, before each call
        self.calls: list[list[Any]] = []
        self.sent: list[int] = []  # how many calls at once
        self.most_in_flight = 0
        self.closed = False
        self._flying: dict[str, int] = {}
        self._in_flight = 0
        self._events: list[tuple[float, int, Callable[[], Answer | None]]] = []
        self._number = count()

    @property
    def room(self) -> int:
        return self.connections - self._in_flight

    def send(self, calls: Sequence[Call]) -> None:
        assert len(calls) <= self.room
        self.sent.append(len(calls))
        for call in calls:
            self._send(*call)

    def _send(self, table: str, bodies: Sequence[bytes], tag: object) -> None:
        self.clock.now += self.looking_up()
        requests = [orjson.loads(body) for body in bodies]
        asked = {"RequestItems": {table: requests}}
        keys = [orjson.dumps(key).decode() for key in self.db.keys("BatchWriteItem", asked)]
        for key in set(keys):
            assert key not in self._flying, f"{key} is on its way twice"
            self._flying[key] = 1
        self.calls.append(requests)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        plan = self.faults.next("BatchWriteItem").plan(self.db.keys("BatchWriteItem", asked))
        call = _Call(tag, table, bodies, plan, self.clock.now, self.connecting, keys)
        self._start(call, asked)

    def poll(self, timeout: float) -> list[Answer]:
        until = self.clock.now + timeout
        answers: list[Answer] = []
        while self._events and self._events[0][0] <= until and not answers:
            self._step(answers)
        while self._events and self._events[0][0] <= self.clock.now:
            self._step(answers)
        if not answers:
            self.clock.now = max(self.clock.now, until)
        return answers

    def close(self) -> None:
        self.closed = True

    def run_out(self) -> None:
        """Lets everything happen that is still to happen in the service."""
        while self._events:
            self._step([])

    def _step(self, answers: list[Answer]) -> None:
        moment, _, event = heapq.heappop(self._events)
        self.clock.now = max(self.clock.now, moment)
        answer = event()
        if answer is not None:
            answers.append(answer)

    def _at(self, moment: float, event: Callable[[], Answer | None]) -> None:
        heapq.heappush(self._events, (moment, next(self._number), event))

    def _start(self, call: _Call, asked: dict[str, Any]) -> None:
        plan, now = call.plan, call.sent + call.connecting
        answered = now + self.latency() + plan.answered_after
        if plan.ending == "silence":
            answered = now + self.read_timeout
        outcome: list[Any] = [None]
        if plan.applied and plan.applied_after:
            self._at(now + plan.applied_after, lambda: self._apply(asked, plan, outcome))
        elif plan.applied:
            # Between sending and answering, and soon even if the answer never comes.
            applied = now + min((answered - now) * 0.5, 5.0)
            self._at(applied, lambda: self._apply(asked, plan, outcome))
        self._at(answered, lambda: self._answer(call, outcome))

    def _apply(self, asked: dict[str, Any], plan: Plan, outcome: list[Any]) -> None:
        try:
            outcome[0] = self.db.call("BatchWriteItem", asked, now=self.clock.now, held=plan.held)
        except Refused as refused:
            outcome[0] = refused

    def _answer(self, call: _Call, outcome: list[Any]) -> Answer:
        for key in call.keys:
            self._flying.pop(key, None)
        self._in_flight -= 1
        seconds = self.clock.now - call.sent
        plan = call.plan
        if plan.ending == "silence":
            error = _error("ReadTimeout")
            return Answer(call.tag, error=error, seconds=seconds, sending=call.connecting)
        if plan.ending != "answer" or plan.unread:
            code = "BadResponse" if plan.ending.startswith("half") else "NoAnswer"
            error = _error(code)
            return Answer(call.tag, error=error, seconds=seconds, sending=call.connecting)
        if plan.wrong_crc32:
            return Answer(call.tag, error=_error("Crc32Mismatch", 200), seconds=seconds)
        refused = plan.refusal or (outcome[0] if isinstance(outcome[0], Refused) else None)
        if refused is not None:
            error = _error(refused.code, refused.status, str(refused))
            told = refused.extra.get("ThrottlingReasons") or refused.extra.get("throttlingReasons")
            error.reasons = tuple((each["reason"], each["resource"]) for each in told or ())
            return Answer(call.tag, error=error, seconds=seconds)
        returned = [
            each for held in outcome[0].get("UnprocessedItems", {}).values() for each in held
        ]
        unprocessed = matching(call.bodies, returned) if returned else ()
        return Answer(call.tag, unprocessed, seconds=seconds)


def _error(code: str, status: int = 0, message: str = "") -> ServiceError:
    return ServiceError(f"{code}: {message}", code=code, status=status)
