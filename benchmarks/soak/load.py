"""The changes that a soak writes, and the table that must come of them. The same for each seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

__all__ = ["TABLE", "Load", "is_poison"]

TABLE = "soak"

_CHUNK = 10_000
_KINDS = ("+I", "+U", "-U", "-D")
_WEIGHTS = (55, 30, 5, 10)


def is_poison(key: int) -> bool:
    """Whether DynamoDB refuses every call with this key."""
    return key < 0


@dataclass(frozen=True, slots=True)
class Load:
    """A number of changes, made by chance from a seed.

    Attributes:
        seed: Where chance starts.
        rows: How many changes.
        keys: Of how many keys. How often one is written falls as in Zipf's law.
        poison: The probability of a row that DynamoDB refuses; each has a key of its own.
    """

    seed: int
    rows: int
    keys: int
    poison: float = 0.001

    @property
    def chunks(self) -> list[int]:
        """The numbers to call `changes` with, in order, to get all rows."""
        return list(range(0, self.rows, _CHUNK))

    def changes(self, chunk: int) -> Iterator[dict[str, Any]]:
        """Rows in order: `kind` is the kind of change, `version` the row's number."""
        rng = Random(self.seed * 1_000_003 + chunk)
        for version in range(chunk, min(chunk + _CHUNK, self.rows)):
            if rng.random() < self.poison:
                kind, key = "+I", -1 - version
            else:
                [kind] = rng.choices(_KINDS, _WEIGHTS)
                key = int(self.keys ** rng.random())
            payload = "x" * rng.randrange(200)
            yield {"kind": kind, "id": key, "version": version, "payload": payload}

    def all_changes(self) -> Iterator[dict[str, Any]]:
        """All rows in order."""
        for chunk in self.chunks:
            yield from self.changes(chunk)

    def replayed(self) -> dict[int, int]:
        """The version that each key has in the end."""
        table: dict[int, int] = {}
        for row in self.all_changes():
            if row["kind"] == "-D":
                table.pop(row["id"], None)
            elif row["kind"] != "-U" and not is_poison(row["id"]):
                table[row["id"]] = row["version"]
        return table
