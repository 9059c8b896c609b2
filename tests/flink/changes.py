"""Logs of changes for a streaming job, and how the writes that came of them are judged."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from beam_dynamodb.testing import FakeServer, Write
from tests.beam.helpers import TABLE

BEGIN = 1_000_000_000.0
"""The event time of row 0; each further one is 10 ms later."""


class ChangeLog:
    """Files of changes that grow as the test says; a key is always in the same file."""

    def __init__(self, folder: Path, *, files: int = 1, keys: int = 100) -> None:
        self.paths = [folder / f"changes-{each}.jsonl" for each in range(files)]
        self.keys = keys
        self.table: dict[int, int] = {}
        """The replay of all that was written so far: the version of each key."""
        self.deletes: dict[int, list[int]] = defaultdict(list)
        self.rows = 0
        for path in self.paths:
            path.write_text("")

    @property
    def flag(self) -> str:
        return f"--changes={','.join(map(str, self.paths))}"

    def add(self, rows: int = 1, *, at: float | None = None) -> None:
        """The next changes: mostly updates, some deletes, now and then the row as it was before."""
        lines: dict[Path, list[str]] = defaultdict(list)
        for version in range(self.rows, self.rows + rows):
            key = version * 7 % self.keys
            kind = "-D" if version % 11 == 5 else "+U"
            path = self.paths[key % len(self.paths)]
            row = {"id": key, "v": version, "note": "x" * (version % 50)}
            time = BEGIN + version / 100 if at is None else at
            if kind == "+U" and version % 5 == 0:
                before = {**row, "v": -1, "kind": "-U", "at": time}
                lines[path].append(json.dumps(before) + "\n")
            lines[path].append(json.dumps({**row, "kind": kind, "at": time}) + "\n")
            if kind == "-D":
                self.table.pop(key, None)
                self.deletes[key].append(version)
            else:
                self.table[key] = version
        self.rows += rows
        for path, several in lines.items():
            with path.open("a") as file:
                file.write("".join(several))

    def end(self) -> None:
        for path in self.paths:
            with path.open("a") as file:
                file.write("null\n")


def versions(server: FakeServer) -> dict[int, int]:
    """The table at the endpoint: the version of each key."""
    try:
        return {int(item["id"]["N"]): int(item["v"]["N"]) for item in server.db.items(TABLE)}
    except (KeyError, RuntimeError):  # it was written to meanwhile
        return {}


@dataclass(frozen=True)
class Judged:
    """What a log of writes shows.

    Attributes:
        rewinds: The most often that a write of one key landed after a newer one. Each restart of
            the job may rewind a key once, as it repeats what came after the checkpoint; each
            further one breaks the order per key.
        twice: How many puts came again.
    """

    rewinds: int
    twice: int


def judged(writes: Iterable[Write], log: ChangeLog) -> Judged:
    newest: dict[int, int] = {}
    rewinds: Counter[int] = Counter()
    seen: Counter[tuple[int, int]] = Counter()
    for write in writes:
        key = int(write.key[0])
        before = newest.get(key, -1)
        if write.item is not None:
            version = int(write.item["v"]["N"])
            seen[key, version] += 1
        else:
            version = _deleted(log.deletes[key], before)
        rewinds[key] += version < before
        newest[key] = version
    return Judged(max(rewinds.values(), default=0), sum(n - 1 for n in seen.values()))


def _deleted(deletes: list[int], before: int) -> int:
    """A delete tells no version: the first one that can follow, else the first of all."""
    place = bisect_left(deletes, before)
    return deletes[place] if place < len(deletes) else deletes[0]
