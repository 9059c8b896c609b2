"""Limits that all writers of a process share: calls in flight, requests held. Pure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Gate", "Share"]

_LOOKED_AFTER = 1.0
"""Seconds for which places count that their writer has left; DynamoDB answers in milliseconds."""


class Gate:
    """A number of places, of which each writer has its share. Thread-safe.

    A writer works only when its bundle brings it something. Where the step before takes long, its
    calls are answered and nobody looks, so after a second others may have the places it left.
    """

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Makes a gate with so many free places."""
        self.places = places
        self._free = places
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[Share, float] = {}

    @property
    def free(self) -> int:
        """How many places are free at this moment."""
        return self._free

    def share(self) -> Share:
        """A new writer's share, which is empty."""
        return Share(self)

    def _take(self, wanted: int) -> int:
        with self._lock:
            if self._free < wanted and self._left:
                self._lend()
            taken = min(wanted, self._free)
            self._free -= taken
            return taken

    def _give(self, places: int) -> None:
        with self._lock:
            self._free += places

    def _leave(self, share: Share) -> None:
        with self._lock:
            self._left[share] = self._clock()

    def _come_back(self, share: Share) -> None:
        with self._lock:
            self._left.pop(share, None)

    def _lend(self) -> None:
        """Frees what was left for so long."""
        now = self._clock()
        for share, since in list(self._left.items()):
            if now - since >= _LOOKED_AFTER:
                del self._left[share]
                self._free += share._lend()  # noqa: SLF001 - the two are one


class Share:
    """What one writer holds of a gate's places. For one thread.

    Attributes:
        held: How many places it took and did not give back.
    """

    __slots__ = ("_gate", "_lent", "held")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._lent = 0
        self.held = 0

    def take(self, wanted: int) -> int:
        """Takes up to so many places; returns how many were free."""
        taken = self._gate._take(wanted)  # noqa: SLF001 - the two are one
        self.held += taken
        return taken

    def give(self, places: int) -> None:
        """Gives places back; those first that others have already."""
        self.held -= places
        lent = min(places, self._lent)
        self._lent -= lent
        self._gate._give(places - lent)  # noqa: SLF001

    def leave(self) -> None:
        """Tells that nobody looks after what is held, until `come_back`."""
        if self.held:
            self._gate._leave(self)  # noqa: SLF001

    def come_back(self) -> None:
        """Ends what `leave` began."""
        self._gate._come_back(self)  # noqa: SLF001

    def _lend(self) -> int:
        """Lends all that is not lent; the gate asks for it, under its lock, while it is left."""
        lent, self._lent = self.held - self._lent, self.held
        return lent
