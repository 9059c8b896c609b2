"""Whether rows wait for later ones of their record: where that spares writes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Holding"]

_WORTH_HOLDING = 0.02
"""Where this share of the rows is superseded, many are held: each of them spares a write."""

_LOOK_AGAIN = 400
"""After so many times that few rows were packed it is looked again whether many would pay."""


class Holding:
    """Tells by what became of rows whether many should be held, or few.

    To hold many costs memory and the processor's cache, and meanwhile nothing goes on. So that is
    done to begin with, and as long as it pays. Afterwards it is now and then counted, of rows that
    go on in small packs, how many would have been superseded if as many had been held as may be.

    Attributes:
        pays: Whether as many rows should be held as may be.
    """

    def __init__(self, most_rows: int, most_bytes: int) -> None:
        """Takes how many rows, and how many bytes of them, may be held."""
        self.pays = True
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._packs_to_look = 0
        self._start_look()

    def start_bundle(self) -> None:
        """What was seen in the bundle before is not superseded by what comes now."""
        self._seen.clear()

    def packed(self, identities: Sequence[str], size: int, superseded: int) -> None:
        """Learns from rows that were held together and now go on.

        Args:
            identities: The identity of each.
            size: How many bytes they had.
            superseded: How many of them were superseded by others.
        """
        if superseded >= _WORTH_HOLDING * len(identities):
            self.pays = True
        elif self.pays:
            self.pays = False
            self._packs_to_look = _LOOK_AGAIN
            self._start_look()
        elif self._packs_to_look:
            self._packs_to_look -= 1
        else:
            self._look(identities, size)

    def _start_look(self) -> None:
        self._seen: set[str] = set()
        self._rows = self._bytes = self._repeated = 0

    def _look(self, identities: Sequence[str], size: int) -> None:
        seen = len(self._seen)
        self._seen.update(identities)
        self._rows += len(identities)
        self._bytes += size
        self._repeated += len(identities) - (len(self._seen) - seen)
        if self._rows >= self._most_rows or self._bytes >= self._most_bytes:
            self.pays = self._repeated >= _WORTH_HOLDING * self._rows
            self._packs_to_look = _LOOK_AGAIN
            self._start_look()
