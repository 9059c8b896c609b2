"""One table's requests on their way: which wait, which fly, and which may go next. Pure.

A lane keeps the promise of order: no two requests of one fence are in flight at the same time,
a newer one takes the place of an older one that still waits, and where nobody knows what became
of an older one, a newer one is held back until it must be settled. Where the table's key is
unknown nobody knows which requests are of one key, so the batches go strictly one after the other.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from itertools import count

from beam_dynamodb.batches import cut_size
from beam_dynamodb.identity import partition_of
from beam_dynamodb.requests import Request
from beam_dynamodb.retry import Pace

__all__ = ["Entry", "Flight", "Lane"]


class Entry:
    """A request in a lane, and what has happened to it.

    Attributes:
        request: The request; replaced when a newer one of its fence supersedes it.
        attempts: How many calls have carried it.
        strikes: How many calls of its fence have failed in a row.
    """

    __slots__ = ("attempts", "request", "strikes")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.attempts = 0
        self.strikes = 0

    def supersede(self, newer: Request) -> Request:
        """Puts a newer request in the place of the present one, and returns that."""
        older, self.request, self.attempts = self.request, newer, 0
        return older


class Flight:
    """A batch that was sent and is not answered yet.

    Attributes:
        lane: The lane it came from.
        entries: What it carries, in the order of the call.
        sent: When it was sent.
        alone: Whether it is part of a batch that was taken apart.
    """

    __slots__ = ("alone", "entries", "lane", "sent")

    def __init__(self, lane: Lane, entries: list[Entry], sent: float, *, alone: bool) -> None:
        self.lane = lane
        self.entries = entries
        self.sent = sent
        self.alone = alone


class Lane:
    """The requests for one table between `accept` and their end.

    Attributes:
        table: The table.
        pace: How many of its batches may be on their way; tables have their capacity each.
        stuck_since: When the first call failed since anything was written, if one did.
        failed_at: When the last call failed.
        settled_at: When it is known of every call what became of it.
    """

    def __init__(self, table: str, max_batch: int, pace: Pace) -> None:
        """Makes an empty lane whose batches have at most `max_batch` requests."""
        self.table = table
        self.pace = pace
        self.stuck_since: float | None = None
        self.failed_at = 0.0
        self.settled_at = 0.0
        self._max_batch = max_batch
        self._ready: deque[Entry] = deque()
        self._waiting: dict[str, Entry] = {}
        self._flying: set[str] = set()
        self._parts: deque[list[Entry]] = deque()
        self._part_is_flying = False
        self._key_is_unknown = False
        self._flights = 0
        self._later: list[tuple[float, int, list[Entry]]] = []
        self._ticket = count()
        self._doubts: dict[str, tuple[Request, float]] = {}
        self._hot: dict[str, float] = {}

    def __repr__(self) -> str:
        return (
            f"<Lane {self.table} [{len(self._ready)} ready | {len(self._flying)} flying | "
            f"{sum(len(each) for _, _, each in self._later)} later]>"
        )

    @property
    def flights(self) -> int:
        """Batches on their way."""
        return self._flights

    @property
    def is_empty(self) -> bool:
        """Whether all it accepted has come to its end."""
        return not (self._flights or self._ready or self._later or self._parts)

    # --- what comes in -------------------------------------------------------------------

    def accept(self, request: Request) -> Request | None:
        """Takes a request in; returns the older one that it supersedes, if there is one."""
        fence = request.fence
        if fence is None:
            self._key_is_unknown = True
            self._ready.append(Entry(request))
            return None
        older = self._waiting.get(fence)
        if older is not None:
            return older.supersede(request)
        entry = Entry(request)
        self._waiting[fence] = entry
        if fence not in self._flying:
            self._ready.append(entry)
        return None

    # --- what goes out -------------------------------------------------------------------

    def next_flight(self, now: float, *, full: bool) -> Flight | None:
        """Takes the next batch off the lane; None if there is none that may go now.

        Args:
            now: The time.
            full: Whether only a batch of the maximal size may go.
        """
        if self._key_is_unknown and (self._flights or self._later or now < self.settled_at):
            return None
        while self._parts and not self._part_is_flying:
            entries = self._may_go(self._parts.popleft(), now)
            if entries:
                self._part_is_flying = True
                return self._take_off(entries, now, alone=True)
        ready = self._ready
        while ready and not (full and len(ready) < self._max_batch):
            size = cut_size((each.request.body for each in ready), self._max_batch)
            entries = self._may_go([ready.popleft() for _ in range(size)], now)
            if entries:
                return self._take_off(entries, now, alone=False)
        return None

    def wake(self, now: float) -> None:
        """Makes those ready whose time to wait is over, before what is ready already."""
        while self._doubts:
            fence, (_, until) = next(iter(self._doubts.items()))
            if until > now:
                break
            del self._doubts[fence]
        while self._later and self._later[0][0] <= now:
            entries = heapq.heappop(self._later)[2]
            if self._key_is_unknown:  # also before the other parts of its own batch
                self._parts.appendleft(entries)
            else:
                self._ready.extendleft(reversed(entries))

    @property
    def next_wake(self) -> float | None:
        """When the next request that waits may be sent again."""
        return self._later[0][0] if self._later else None

    def _may_go(self, entries: list[Entry], now: float) -> list[Entry]:
        """Those of the entries that need not be held back; the others are put off."""
        if not self._doubts and not self._hot:
            return entries
        going: list[Entry] = []
        for entry in entries:
            until = self._held_until(entry.request, now)
            if until > now:
                self.later([entry], until)
            else:
                going.append(entry)
        return going

    def _held_until(self, request: Request, now: float) -> float:
        fence = request.fence
        if fence is None:
            return 0.0
        doubtful, until = self._doubts.get(fence, (request, 0.0))
        if doubtful is request:  # to repeat it is harmless
            until = 0.0
        return max(until, self._hot.get(partition_of(fence), 0.0))

    def _take_off(self, entries: list[Entry], now: float, *, alone: bool) -> Flight:
        for entry in entries:
            entry.attempts += 1
            fence = entry.request.fence
            if fence is not None:
                del self._waiting[fence]
                self._flying.add(fence)
        self._flights += 1
        return Flight(self, entries, now, alone=alone)

    def is_overtaken(self, entry: Entry) -> bool:
        """Whether a newer request waits for an entry that is on its way."""
        return entry.request.fence in self._waiting

    # --- what comes back -----------------------------------------------------------------

    def landed(self, flight: Flight, again: Iterable[Entry]) -> tuple[list[Entry], list[Request]]:
        """Ends a flight: its fences open, and newer requests that waited for them are ready.

        Args:
            flight: The flight.
            again: Those of its entries that were not written and should be tried again.

        Returns:
            Those of `again` that still are the newest of their fence, and the requests of those
            that are superseded by a newer one.
        """
        self._flights -= 1
        if flight.alone:
            self._part_is_flying = False
        left = set(map(id, again))
        still: list[Entry] = []
        superseded: list[Request] = []
        for entry in flight.entries:
            fence = entry.request.fence
            newer = None
            if fence is not None:
                self._flying.discard(fence)
                newer = self._waiting.get(fence)
            if newer is not None:
                if id(entry) in left:
                    superseded.append(entry.supersede(newer.request))
                    self._waiting[str(fence)] = entry
                    still.append(entry)
                else:
                    self._ready.append(newer)
            elif id(entry) in left:
                if fence is not None:
                    self._waiting[fence] = entry
                still.append(entry)
        return still, superseded

    def later(self, entries: list[Entry], when: float) -> None:
        """Puts entries that `landed` gave back off until a moment."""
        if self._key_is_unknown:
            when = max(when, self.settled_at)
        if entries:
            heapq.heappush(self._later, (when, next(self._ticket), entries))

    def apart(self, entries: list[Entry]) -> None:
        """Puts the entries of a refused batch back as two halves, to find the culprit.

        The halves go one after the other: where the table's key is unknown, both may hold
        requests of one key.
        """
        middle = (len(entries) + 1) // 2
        self._parts.extendleft(part for part in (entries[middle:], entries[:middle]) if part)

    def doubt(self, flight: Flight, until: float) -> None:
        """Notes that nobody knows whether a flight's requests were or will still be written.

        Until then only the same requests may be sent again, no newer ones of their fences.
        """
        for entry in flight.entries:
            fence = entry.request.fence
            if fence is not None:
                self._doubts.pop(fence, None)  # so that they stand in the order of their ends
                self._doubts[fence] = (entry.request, until)
        self.settled_at = max(self.settled_at, until)

    def heat(self, partition: str, now: float, until: float) -> None:
        """Holds all requests of one partition key back; its key range is throttled."""
        self._hot = {key: each for key, each in self._hot.items() if each > now}
        self._hot[partition] = max(until, self._hot.get(partition, 0.0))
