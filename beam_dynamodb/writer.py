"""Requests to outcomes: keeps batches in flight, retries what is left, gives up when it must.

Everything happens in the caller's thread: `write` sends full batches as places get free, `finish`
the rest, and waits for all answers. Knows neither Beam nor HTTP.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from beam_dynamodb.client import Answer, Call, Channel
from beam_dynamodb.errors import ServiceError
from beam_dynamodb.gate import Gate
from beam_dynamodb.identity import partition_of
from beam_dynamodb.lane import Flight, Lane
from beam_dynamodb.retry import Backoff, Pace, Verdict, judge
from beam_dynamodb.write_requests import Request, Requests

__all__ = ["Failure", "Tally", "Writer", "WriterLimits"]

_logger = logging.getLogger(__name__)

_UNPROCESSED = ServiceError(
    "UnprocessedItems: DynamoDB had no capacity for the item", code="UnprocessedItems", status=200
)
_SETTLED_AFTER = 10.0
"""Seconds; a call whose answer never came is settled this long after all of it was sent: by then
DynamoDB has written it or never will. Its own calls take milliseconds."""

_UNANSWERED = frozenset(["NoAnswer", "ReadTimeout", "BadResponse"])
"""The errors after which nobody knows whether DynamoDB wrote, or will."""

_GATEWAY = frozenset([502, 504])
"""The same as HTTP statuses: what stands between says that it got no answer from DynamoDB."""

_MENDED = frozenset(["CredentialsRefreshed", "ClockSkewCorrected"])
"""The errors whose cause is gone; what comes of it if it is not, the channel says."""

_KEY_RANGE = "KeyRangeThroughputExceeded"
"""What the reasons of a throttled call end with if one partition key got too much."""

_NEXT_ANSWER = 0.02
"""Seconds for which the next answer is worth waiting for, where requests would wait instead."""

_TOLD_EVERY = 30.0
"""Seconds without progress on a table after which it is told, again and again, why that is so."""

_STUCK = (
    "Nothing was written to table '%s' for %.0f s; after %.0f s ('sink.retry.timeout') its records "
    "fail. %s"
)

_MOST_KEPT = 10
"""How many tables' lanes stay from bundle to bundle; to look at a thousand costs milliseconds."""

_LONGEST_WAIT = 1.0
"""Seconds; the longest single wait, so that a change elsewhere in the process is noticed."""


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """What a writer may do; see the options of the same names.

    Attributes:
        batch_size: `sink.batch.max-size`.
        retry_timeout: Seconds until it gives up the requests for a table of which none was
            written meanwhile; 0 to retry nothing (`sink.retry.timeout`, `sink.fail-on-error`).
        in_flight: `sink.requests.max-inflight`, shared by the writers of a process.
        buffered: How many requests they may hold, shared by the writers of a process
            (`sink.requests.max-buffered`, less what may wait to be packed).
    """

    batch_size: int
    retry_timeout: float
    in_flight: Gate
    buffered: Gate


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that was not written.

    Attributes:
        request: The request.
        error: Why.
        attempts: How many calls carried it.
        retriable: Whether the same request may pass later.
    """

    request: Request
    error: ServiceError
    attempts: int
    retriable: bool


@dataclass(slots=True)
class Tally:
    """What a writer did since the tally was last taken.

    Attributes:
        written: Requests that DynamoDB acknowledged.
        failures: Requests that failed for good.
        superseded: Requests that a newer one of their key made needless.
        retried: Requests that were sent once more.
        throttled: Requests that DynamoDB throttled.
        batch_sizes: Requests in each call.
        latencies: Seconds that each call took.
        wire_bytes: Bytes of the requests sent.
        tables: The tables that calls were made for.
        consumed: Capacity units, where they are counted.
        throttled_seconds: Time spent waiting because of throttling.
    """

    written: Requests = field(default_factory=Requests)
    failures: list[Failure] = field(default_factory=list)
    superseded: int = 0
    retried: int = 0
    throttled: int = 0
    batch_sizes: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    wire_bytes: int = 0
    tables: set[str] = field(default_factory=set)
    consumed: float = 0.0
    throttled_seconds: float = 0.0


class Writer:
    """Writes requests to DynamoDB: in batches, many at once, in order for each key.

    Guarantees: every request accepted ends in exactly one of written, superseded, failed; no two
    requests of one fence are on their way at once; after `finish` or `abandon` none is.
    Not thread-safe. After it raised it must be closed.
    """

    def __init__(
        self,
        channel: Channel,
        limits: WriterLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        rnd: Callable[[], float] = random.random,
        backoff: Backoff | None = None,
    ) -> None:
        """Makes a writer on a channel of its own."""
        self._channel = channel
        self._limits = limits
        self._places = limits.in_flight.share()
        self._room = limits.buffered.share()
        self._clock = clock
        self._random = rnd
        self._backoff = backoff or Backoff()
        self._lanes: dict[str, Lane] = {}
        self._throttled_until = 0.0
        self._fatal: ServiceError | None = None
        self._tally = Tally()

    @property
    def held(self) -> int:
        """Requests accepted whose outcome is not known yet."""
        return self._room.held

    def take_tally(self) -> Tally:
        """What happened since the last call."""
        tally, self._tally = self._tally, Tally()
        return tally

    def write(self, requests: Requests) -> None:
        """Accepts requests and sends full batches.

        Waits where a limit is reached: for room in the buffer as long as it takes, for a place on
        the way only as long as answers come.

        Raises:
            ServiceError: DynamoDB refuses everything (permissions, credentials, no such table).
                Nothing is in flight any more then.
        """
        self._come_back()
        self._take_answers(0.0)  # and learns which connections are still open
        start = 0
        while start < len(requests):
            room = self._room.take(len(requests) - start)
            if not room:
                self._turn()
                continue
            whole = room == len(requests)
            self._accept(requests if whole else requests.part(start, start + room))
            start += room
            self._send(full=True)
        self._catch_up()
        self._places.leave()
        self._room.leave()

    def finish(self) -> None:
        """Sends all there is, waits for the answers, retries what is left.

        Raises:
            ServiceError: As `write`.
        """
        self._come_back()
        while self.held:
            self._turn()
        self._settle()
        if len(self._lanes) > _MOST_KEPT:
            self._lanes = {name: each for name, each in self._lanes.items() if not each.is_as_new}

    def abandon(self) -> None:
        """Waits until what was sent is settled, and forgets everything else.

        After it no write of this writer can land any more.
        """
        self._come_back()
        give_up_at = self._clock() + _SETTLED_AFTER
        while self._places.held and self._clock() < give_up_at:
            for answer in self._channel.poll(_LONGEST_WAIT):
                self._doubt(self._end_flight(answer), answer)
        self._settle()
        self._forget()

    def close(self) -> None:
        """Ends the connections at once, and gives back what is held of shared limits."""
        self._come_back()
        self._channel.close()
        self._places.give(self._places.held)
        self._forget()

    def _come_back(self) -> None:
        self._places.come_back()
        self._room.come_back()

    # --- one turn ------------------------------------------------------------------------

    def _turn(self) -> None:
        """Sends what may go, full batches or not, then waits for answers."""
        self._send(full=False)
        self._take_answers(self._patience())

    def _catch_up(self) -> None:
        """Sends the full batches for which there was no place, as long as answers come.

        Requests that wait cost more than to wait for a place: they leave the processor's cache.
        """
        until = self._clock() + _NEXT_ANSWER
        while self._is_behind() and (rest := until - self._clock()) > 0.0:
            if self._take_answers(rest):
                until = self._clock() + _NEXT_ANSWER
                self._send(full=True)

    def _is_behind(self) -> bool:
        """Whether a full batch lacks a place that an answer would give it."""
        has_place = self._channel.room and self._limits.in_flight.free
        if has_place or not self._places.held:
            return False
        return any(lane.is_behind for lane in self._lanes.values())

    def _take_answers(self, patience: float) -> int:
        """Takes the answers that are there, or the first ones to come; returns how many."""
        began = self._clock()
        answers = self._channel.poll(patience)
        if patience and began < self._throttled_until:
            self._tally.throttled_seconds += self._clock() - began
        for answer in answers:
            self._land(answer)
        if self._fatal is not None:
            self.abandon()
            raise self._fatal
        return len(answers)

    def _patience(self) -> float:
        """How long there is nothing to do but to wait for answers."""
        wakes = [each.next_wake for each in self._lanes.values() if each.next_wake is not None]
        if not wakes:
            return _LONGEST_WAIT if self._places.held else 0.01
        return max(0.0, min(_LONGEST_WAIT, min(wakes) - self._clock()))

    def _settle(self) -> None:
        """Waits until every call without an answer is settled; there seldom is one."""
        settled_at = max((each.settled_at for each in self._lanes.values()), default=0.0)
        while (rest := settled_at - self._clock()) > 0.0:
            self._channel.poll(min(rest, _LONGEST_WAIT))

    def _doubt(self, flight: Flight, answer: Answer) -> None:
        error = answer.error
        if error is not None and (error.code in _UNANSWERED or error.status in _GATEWAY):
            flight.lane.doubt(flight, flight.sent + answer.sending + _SETTLED_AFTER)

    def _accept(self, requests: Requests) -> None:
        for table, part in _by_table(requests):
            lane = self._lanes.get(table)
            if lane is None:
                limits, pace = self._limits, Pace(self._limits.in_flight.places)
                lane = self._lanes[table] = Lane(table, limits.batch_size, pace)
            self._supersede(lane.accept(part))

    def _send(self, *, full: bool) -> None:
        now, room = self._clock(), self._limits.buffered.free
        for lane in self._lanes.values():
            lane.wake(now)
            while lane.has_next(now, full=full, room=room) and (places := self._take_places(lane)):
                flights = self._next_flights(lane, places, now, full=full)
                if not flights:
                    break
                self._launch(flights)

    def _take_places(self, lane: Lane) -> int:
        """Takes places for calls of a lane that go together, as far as there are any."""
        most = min(lane.together, lane.pace.limit - lane.flights, self._channel.room)
        return self._places.take(most) if most > 0 else 0

    def _next_flights(self, lane: Lane, places: int, now: float, *, full: bool) -> list[Flight]:
        """As many flights as there are places for, or fewer; gives the other places back."""
        flights: list[Flight] = []
        while len(flights) < places and (flight := lane.next_flight(now, full=full)):
            flights.append(flight)
        if len(flights) < places:
            self._places.give(places - len(flights))
        return flights

    def _launch(self, flights: Sequence[Flight]) -> None:
        self._channel.send(
            [Call(each.lane.table, each.batch.requests.bodies, each) for each in flights]
        )
        sent = self._clock()  # it may have waited for new credentials or the host's name
        tally = self._tally
        for flight in flights:
            flight.sent = sent
            attempts = flight.batch.attempts
            tally.batch_sizes.append(len(attempts))
            tally.wire_bytes += flight.size
            tally.tables.add(flight.lane.table)
            tally.retried += len(attempts) - attempts.count(1)

    # --- what an answer means ------------------------------------------------------------

    def _end_flight(self, answer: Answer) -> Flight:
        flight = answer.tag
        assert isinstance(flight, Flight)  # noqa: S101 - _launch is the only one to tag
        self._places.give(1)
        self._tally.latencies.append(answer.seconds)
        self._tally.consumed += answer.consumed
        if answer.error is None:
            self._written(flight, answer.unprocessed)
        return flight

    def _land(self, answer: Answer) -> None:
        flight = self._end_flight(answer)
        if answer.error is not None:
            self._doubt(flight, answer)
            self._refused(flight, answer.error)
        elif answer.unprocessed:
            self._again(flight, answer.unprocessed, _UNPROCESSED, Verdict.THROTTLED)
        else:
            flight.lane.pace.answered(flight.lane.flights - 1)
            flight.lane.landed(flight, ())

    def _written(self, flight: Flight, unprocessed: Sequence[int]) -> None:
        requests = flight.batch.requests
        if unprocessed:
            requests = requests.select(_others(len(requests), unprocessed))
        if requests:
            self._tally.written += requests
            self._release(len(requests))
            flight.lane.stuck_since = None

    def _refused(self, flight: Flight, error: ServiceError) -> None:
        verdict = judge(error)
        if verdict is Verdict.FATAL:
            self._fatal = self._fatal or error
        elif verdict is not Verdict.POISON:
            self._again(flight, range(len(flight.batch)), error, verdict)
        elif len(flight.batch) > 1 and self._limits.retry_timeout:
            self._take_apart(flight)
        else:
            self._give_up(flight, range(len(flight.batch)), error, retriable=False)

    def _again(
        self, flight: Flight, left: Sequence[int], error: ServiceError, verdict: Verdict
    ) -> None:
        """Tries those in some places again later, or gives them up if nothing moved for long."""
        now = self._clock()
        if self._is_hopeless(flight, error, now):
            self._give_up(flight, left, error, retriable=True)
            return
        strikes = flight.batch.strikes
        for place in left:
            strikes[place] += 1
        most = max(strikes[place] for place in left)
        delay = self._backoff.delay(most, verdict, self._random, error.retry_after)
        if verdict is Verdict.THROTTLED:
            self._tally.throttled += len(left)
            self._throttled_until = max(self._throttled_until, now + delay)
            if self._throttle(flight, left, error, now + delay):
                return
        still, superseded = flight.lane.landed(flight, left)
        self._supersede(superseded)
        if still is not None:
            flight.lane.later(still, now + delay)

    def _is_hopeless(self, flight: Flight, error: ServiceError, now: float) -> bool:
        """Whether a table has been without progress for too long; other tables don't count."""
        if error.code in _MENDED:
            return False
        lane = flight.lane
        # Where nobody tried for longer than the longest backoff, the input was slow, not the table.
        paused = flight.sent - lane.failed_at > self._backoff.cap + _SETTLED_AFTER
        if lane.stuck_since is None or paused:
            lane.stuck_since = lane.told_at = now
        lane.failed_at = now
        stuck = now - lane.stuck_since
        if now - lane.told_at >= _TOLD_EVERY:
            lane.told_at = now
            _logger.warning(_STUCK, lane.table, stuck, self._limits.retry_timeout, error.message)
        return stuck >= self._limits.retry_timeout

    def _throttle(
        self, flight: Flight, left: Sequence[int], error: ServiceError, until: float
    ) -> bool:
        """Slows down: one partition key where DynamoDB blames its key range, else the pace.

        Returns:
            Whether the flight was taken apart to find the partition key that is to blame.
        """
        reasons = [reason for reason, _ in error.reasons]
        if not reasons or not all(reason.endswith(_KEY_RANGE) for reason in reasons):
            pace, others = flight.lane.pace, flight.lane.flights - 1
            pace.answered(others, len(left) / len(flight.batch))
            return False
        fences = flight.batch.requests.fences
        partitions = {partition_of(fence) for fence in fences if fence is not None}
        if len(partitions) > 1:
            self._take_apart(flight)
            return True
        for partition in partitions:
            flight.lane.heat(partition, until)
        return False

    def _take_apart(self, flight: Flight) -> None:
        still, superseded = flight.lane.landed(flight, range(len(flight.batch)))
        self._supersede(superseded)
        if still is not None:
            flight.lane.apart(still)

    def _give_up(
        self, flight: Flight, left: Sequence[int], error: ServiceError, *, retriable: bool
    ) -> None:
        lane, batch = flight.lane, flight.batch
        failures = [
            Failure(batch.requests[place], error, batch.attempts[place], retriable)
            for place in left
        ]
        if retriable and self._limits.retry_timeout:
            # A dead letter that may be replayed must not be one that is overtaken already.
            failures = [each for each in failures if not lane.is_overtaken(each.request)]
        lane.landed(flight, ())
        if lane.is_empty:  # what comes next has its time before it
            lane.stuck_since = None
        self._tally.failures += failures
        self._release(len(failures))
        self._supersede(len(left) - len(failures))

    def _supersede(self, requests: int) -> None:
        self._tally.superseded += requests
        self._release(requests)

    def _release(self, requests: int) -> None:
        self._room.give(requests)

    def _forget(self) -> None:
        self._lanes.clear()
        self._release(self.held)


def _by_table(requests: Requests) -> Iterable[tuple[str, Requests]]:
    """The requests for each table, in their order."""
    if requests.table is not None:
        return [(requests.table, requests)]
    places: dict[str, list[int]] = {}
    for place, table in enumerate(requests.tables):
        places.setdefault(table, []).append(place)
    return [(table, requests.select(several)) for table, several in places.items()]


def _others(count: int, places: Sequence[int]) -> list[int]:
    """All places but these."""
    return sorted(set(range(count)).difference(places))
