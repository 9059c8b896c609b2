"""One table's requests on their way: which wait, which fly, and which may go next. Pure.

A lane keeps the promise of order: no two requests of one fence are in flight at the same time,
a newer one takes the place of an older one that still waits, and where nobody knows what became
of an older one, a newer one is held back until it must be settled. Where the table's key is
unknown nobody knows which requests are of one key, so the batches go strictly one after the other.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import count

from beam_dynamodb.batches import ENVELOPE_BYTES, cut_size
from beam_dynamodb.hashes import TOGETHER
from beam_dynamodb.identity import partition_of
from beam_dynamodb.retry import Pace
from beam_dynamodb.table import BATCH_MAX_WIRE_BYTES
from beam_dynamodb.write_requests import Request, Requests

__all__ = ["Batch", "Flight", "Lane"]

_WORTH_WAITING = 128 * 1024
"""Bytes of a batch from which on the next ones go two by two, since both are hashed together."""

_LONGEST_PAUSE = 0.1
"""Seconds since the last batch up to which a full one waits for another; later there is time."""


class Batch:
    """Requests that go together, and what has happened to each of them.

    Attributes:
        requests: The requests; one is replaced when a newer one of its fence supersedes it.
        attempts: How many calls have carried each.
        strikes: How many calls of its fence have failed in a row.
        noted: Whether its lane has noted which fences wait in it.
    """

    __slots__ = ("attempts", "noted", "requests", "strikes")

    def __init__(
        self,
        requests: Requests,
        attempts: list[int] | None = None,
        strikes: list[int] | None = None,
        *,
        noted: bool = False,
    ) -> None:
        self.requests = requests
        self.attempts = attempts or [0] * len(requests)
        self.strikes = strikes or [0] * len(requests)
        self.noted = noted

    def __len__(self) -> int:
        return len(self.attempts)

    def __iadd__(self, others: Batch) -> Batch:
        self.requests += others.requests
        self.attempts += others.attempts
        self.strikes += others.strikes
        return self

    def select(self, places: Sequence[int]) -> Batch:
        """Those in some places."""
        return Batch(
            self.requests.select(places),
            [self.attempts[place] for place in places],
            [self.strikes[place] for place in places],
            noted=self.noted,
        )

    def split(self, size: int) -> tuple[Batch, Batch]:
        """The first ones, and the others."""
        requests, attempts, strikes = self.requests, self.attempts, self.strikes
        return (
            Batch(requests.part(0, size), attempts[:size], strikes[:size], noted=self.noted),
            Batch(requests.part(size), attempts[size:], strikes[size:], noted=self.noted),
        )

    def supersede(self, newer: Request) -> None:
        """Puts a newer request in the place of the present one of its fence."""
        place = self.requests.fences.index(newer.fence)
        self.requests[place] = newer
        self.attempts[place] = 0


class Flight:
    """A batch that was sent and is not answered yet.

    Attributes:
        lane: The lane it came from.
        batch: What it carries, in the order of the call.
        size: The bytes of its requests' bodies.
        sent: When it was sent.
        alone: Whether it is part of a batch that was taken apart.
    """

    __slots__ = ("alone", "batch", "lane", "sent", "size")

    def __init__(self, lane: Lane, batch: Batch, sent: float, *, alone: bool) -> None:
        self.lane = lane
        self.batch = batch
        self.size = sum(map(len, batch.requests.bodies))
        self.sent = sent
        self.alone = alone


class Lane:
    """The requests for one table between `accept` and their end.

    Attributes:
        table: The table.
        pace: How many of its batches may be on their way; tables have their capacity each.
        meets: Whether any of those accepted last met another one of its fence.
        stuck_since: When the first call failed since anything was written, if one did.
        failed_at: When the last call failed.
        told_at: When it was last told that nothing is written, or that began.
        settled_at: When it is known of every call what became of it.
    """

    def __init__(self, table: str, max_batch: int, pace: Pace) -> None:
        """Makes an empty lane whose batches have at most `max_batch` requests."""
        self.table = table
        self.pace = pace
        self.meets = False
        self.stuck_since: float | None = None
        self.failed_at = 0.0
        self.told_at = 0.0
        self.settled_at = 0.0
        self._max_batch = max_batch
        self._ready: deque[Batch] = deque()
        self._ready_count = 0
        self._held_fences: set[str] = set()  # of all that came and has not come to its end
        self._waiting: dict[str, Batch] = {}  # where those wait that were noted
        self._parts: deque[Batch] = deque()
        self._part_is_flying = False
        self._key_is_unknown = False
        self._flights = 0
        self._last_flight_at = 0.0
        self._last_flight_size = 0
        self._later: list[tuple[float, int, Batch]] = []
        self._ticket = count()
        self._doubts: dict[str, tuple[bytes, float]] = {}
        self._hot: dict[str, float] = {}

    def __repr__(self) -> str:
        return (
            f"<Lane {self.table} [{self._ready_count} ready | {self._flights} flights | "
            f"{sum(map(len, self._put_off()))} later]>"
        )

    @property
    def flights(self) -> int:
        """Batches on their way."""
        return self._flights

    @property
    def together(self) -> int:
        """How many full batches go at a time: two where the last one was large."""
        if self._last_flight_size < _WORTH_WAITING or self._key_is_unknown:
            return 1
        return min(TOGETHER, self.pace.limit)

    @property
    def is_behind(self) -> bool:
        """Whether full batches lack a place, and nothing is gained while they wait.

        Where requests meet others of their fences something is: those that wait are superseded.
        """
        return (
            self._lacks_together() <= 0
            and not self.pace.is_slowed
            and not self.meets
            and not self._key_is_unknown
        )

    @property
    def is_empty(self) -> bool:
        """Whether all it accepted has come to its end."""
        return not (self._flights or self._ready or self._later or self._parts)

    @property
    def is_as_new(self) -> bool:
        """Whether nothing that it holds or has seen matters to what comes next."""
        return (
            self.is_empty and self.stuck_since is None and not self.pace.is_slowed and not self._hot
        )

    # --- what comes in -------------------------------------------------------------------

    def accept(self, requests: Requests) -> int:
        """Takes requests in, in their order; returns how many older ones they supersede."""
        fences = requests.fences
        if fences[0] is None and not self._key_is_unknown:
            self._forget_fences()
        if self._key_is_unknown:
            self._append(requests)
            return 0
        distinct = set(fences)
        self.meets = len(distinct) < len(fences) or not distinct.isdisjoint(self._held_fences)
        if self.meets:
            self._note_ready()
            return sum(map(self._accept, requests))
        self._held_fences |= distinct
        self._append(requests)
        return 0

    def _accept(self, request: Request) -> bool:
        fence = str(request.fence)
        older = self._waiting.get(fence)
        if older is not None:
            older.supersede(request)
            return True
        one = Requests.of([request])
        if fence in self._held_fences:  # all that wait are noted, so it is on its way
            self._waiting[fence] = Batch(one, noted=True)
        else:
            self._held_fences.add(fence)
            self._append(one)
            last = self._ready[-1]
            if not last.noted:
                self._note(last.requests, last)
        return False

    def _append(self, requests: Requests) -> None:
        """Makes requests ready, in batches as full as may be."""
        self._ready_count += len(requests)
        start = self._room(self._ready[-1], requests.bodies) if self._ready else 0
        if start:
            last, part = self._ready[-1], requests.part(0, start)
            last += Batch(part)
            if last.noted:
                self._note(part, last)
        while start < len(requests):
            stop = start + cut_size(requests.bodies[start : start + self._max_batch])
            self._ready.append(Batch(requests.part(start, stop)))
            start = stop

    def _room(self, batch: Batch, bodies: Sequence[bytes]) -> int:
        """How many of these bodies, from the first on, may join a batch."""
        count = self._max_batch - len(batch)
        if count <= 0:
            return 0
        free = BATCH_MAX_WIRE_BYTES - sum(map(len, batch.requests.bodies)) - len(batch)
        return 0 if len(bodies[0]) + ENVELOPE_BYTES >= free else cut_size(bodies, count, free)

    def _forget_fences(self) -> None:
        """From now on nobody knows the table's key, so what waited for a flight just waits."""
        self._key_is_unknown = True
        placed = {*self._ready, *self._parts, *self._put_off()}
        for batch in self._waiting.values():
            batch.noted = False
            if batch not in placed:
                self._ready.append(batch)
                self._ready_count += len(batch)
        self._waiting.clear()
        self._held_fences.clear()

    def _put_off(self) -> Iterable[Batch]:
        return (batch for _, _, batch in self._later)

    def _note_ready(self) -> None:
        """Notes where each ready request waits: called when a fence comes again, as few do."""
        for batch in self._ready:
            if not batch.noted:
                self._note(batch.requests, batch)

    def _note(self, requests: Requests, batch: Batch) -> None:
        if not self._key_is_unknown:
            self._waiting.update(dict.fromkeys(requests.fences, batch))
            batch.noted = True

    # --- what goes out -------------------------------------------------------------------

    def has_next(self, now: float, *, full: bool, room: int) -> bool:
        """Whether `next_flight` is worth asking: mostly it is not, where there are many tables.

        Args:
            now: The time.
            full: As for `next_flight`.
            room: How many requests may still come before batches go that are not full.
        """
        if self._parts:
            return True
        return self._has_ready(full=full) and not (full and self._waits_for_another(now, room))

    def _has_ready(self, *, full: bool) -> bool:
        return self._ready_count >= (self._max_batch if full else 1)

    def _waits_for_another(self, now: float, room: int) -> bool:
        """Whether a full batch of large requests waits for a second one: if that comes quickly."""
        is_quick = now - self._last_flight_at < _LONGEST_PAUSE
        return is_quick and 0 < self._lacks_together() <= room

    def _lacks_together(self) -> int:
        """How many requests lack until all full batches that go together are ready, if any do."""
        return self._max_batch * self.together - self._ready_count

    def next_flight(self, now: float, *, full: bool) -> Flight | None:
        """Takes the next batch off the lane; None if there is none that may go now.

        Args:
            now: The time.
            full: Whether only a batch of the maximal size may go.
        """
        if self._key_is_unknown and (self._flights or self._later or now < self.settled_at):
            return None
        while self._parts and not self._part_is_flying:
            batch = self._may_go(self._parts.popleft(), now)
            if batch:
                self._part_is_flying = True
                return self._take_off(batch, now, alone=True)
        while self._has_ready(full=full):
            batch = self._may_go(self._next_ready(), now)
            if batch:
                return self._take_off(batch, now, alone=False)
        return None

    def _next_ready(self) -> Batch:
        """The next batch, filled up from those behind it."""
        ready = self._ready
        batch = self._cut(ready.popleft())
        while ready and (room := self._room(batch, ready[0].requests.bodies)):
            more = ready.popleft()
            if room < len(more):
                more, rest = more.split(room)
                if rest.noted:
                    self._note(rest.requests, rest)
                ready.appendleft(rest)
            if batch.noted is not more.noted:
                self._note(batch.requests, batch)
                self._note(more.requests, more)
            batch += more
        self._ready_count -= len(batch)
        return batch

    def _cut(self, batch: Batch) -> Batch:
        """As much of a batch as one call carries: newer requests may be larger than the older."""
        size = cut_size(batch.requests.bodies) if batch.noted else len(batch)
        if size == len(batch):
            return batch
        batch, rest = batch.split(size)
        self._note(batch.requests, batch)
        self._note(rest.requests, rest)
        self._ready.appendleft(rest)
        return batch

    def wake(self, now: float) -> None:
        """Makes those ready whose time to wait is over, before what is ready already."""
        while self._doubts:
            fence, (_, until) = next(iter(self._doubts.items()))
            if until > now:
                break
            del self._doubts[fence]
        if self._hot:  # else each request of what goes is looked at one by one
            self._hot = {key: until for key, until in self._hot.items() if until > now}
        while self._later and self._later[0][0] <= now:
            batch = heapq.heappop(self._later)[2]
            if self._key_is_unknown:  # also before the other parts of its own batch
                self._parts.appendleft(batch)
            else:
                self._ready.appendleft(batch)
                self._ready_count += len(batch)

    @property
    def next_wake(self) -> float | None:
        """When the next request that waits may be sent again."""
        return self._later[0][0] if self._later else None

    def _may_go(self, batch: Batch, now: float) -> Batch | None:
        """Those of a batch that need not be held back, if any; the others are put off."""
        if not self._doubts and not self._hot:
            return batch
        going: list[int] = []
        for place, request in enumerate(batch.requests):
            until = self._held_until(request, now)
            if until > now:
                self.later(batch.select([place]), until)
            else:
                going.append(place)
        return batch.select(going) if going else None

    def _held_until(self, request: Request, now: float) -> float:
        fence = request.fence
        if fence is None:
            return 0.0
        doubtful, until = self._doubts.get(fence, (request.body, 0.0))
        if doubtful is request.body:  # to repeat it is harmless
            until = 0.0
        return max(until, self._hot.get(partition_of(fence), 0.0))

    def _take_off(self, batch: Batch, now: float, *, alone: bool) -> Flight:
        batch.attempts = [each + 1 for each in batch.attempts]
        if batch.noted:
            for fence in batch.requests.fences:
                del self._waiting[fence]
            batch.noted = False
        self._flights += 1
        flight = Flight(self, batch, now, alone=alone)
        self._last_flight_at, self._last_flight_size = now, flight.size
        return flight

    def is_overtaken(self, request: Request) -> bool:
        """Whether a newer request waits for one that is on its way."""
        return request.fence in self._waiting

    # --- what comes back -----------------------------------------------------------------

    def landed(self, flight: Flight, again: Sequence[int]) -> tuple[Batch | None, int]:
        """Ends a flight: newer requests that waited for its fences are ready.

        Args:
            flight: The flight.
            again: The places of those that were not written and should be tried again.

        Returns:
            The newest requests of the fences of `again`, if there are any, which must be put
            off or apart; and how many of `again` are superseded by newer ones.
        """
        self._flights -= 1
        if flight.alone:
            self._part_is_flying = False
        still = flight.batch.select(again) if again else None
        if self._key_is_unknown:
            return still, 0
        fences = flight.batch.requests.fences
        self._held_fences.difference_update(fences)
        if still is not None:
            self._held_fences.update(still.requests.fences)
        newer = [] if self._waiting.keys().isdisjoint(fences) else self._newer(fences)
        superseded = 0
        for batch in newer:
            self._held_fences.update(batch.requests.fences)
            if still is not None and batch.requests.fences[0] in still.requests.fences:
                still.supersede(batch.requests[0])
                superseded += 1
            else:
                self._ready.append(batch)
                self._ready_count += 1
        return still, superseded

    def _newer(self, fences: Sequence[str]) -> list[Batch]:
        """The requests that wait for these fences, each a batch of its own."""
        return [self._waiting[fence] for fence in fences if fence in self._waiting]

    def later(self, batch: Batch, when: float) -> None:
        """Puts requests that `landed` gave back off until a moment."""
        if self._key_is_unknown:
            when = max(when, self.settled_at)
        self._note(batch.requests, batch)
        heapq.heappush(self._later, (when, next(self._ticket), batch))

    def apart(self, batch: Batch) -> None:
        """Puts the requests of a refused batch back as two halves, to find the culprit.

        The halves go one after the other: where the table's key is unknown, both may hold
        requests of one key.
        """
        halves = [half for half in batch.split((len(batch) + 1) // 2) if half]
        for half in halves:
            self._note(half.requests, half)
        self._parts.extendleft(reversed(halves))

    def doubt(self, flight: Flight, until: float) -> None:
        """Notes that nobody knows whether a flight's requests were or will still be written.

        Until then only the same requests may be sent again, no newer ones of their fences.
        """
        if not self._key_is_unknown:
            for request in flight.batch.requests:
                fence = str(request.fence)
                self._doubts.pop(fence, None)  # so that they stand in the order of their ends
                self._doubts[fence] = (request.body, until)
        self.settled_at = max(self.settled_at, until)

    def heat(self, partition: str, until: float) -> None:
        """Holds all requests of one partition key back; its key range is throttled."""
        self._hot[partition] = max(until, self._hot.get(partition, 0.0))
