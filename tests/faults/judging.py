"""How a log of writes is judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from beam_dynamodb.testing import FakeServer, Write


def number(write: Write, field: str) -> int:
    """A number that was put."""
    assert write.item is not None
    return int(write.item[field]["N"])


def stale_writes(server: FakeServer, field: str = "v") -> list[Write]:
    """The puts that landed after one of their key whose number was greater."""
    newest: dict[Any, int] = {}
    stale = []
    for write in server.db.writes:
        version = number(write, field)
        if version < newest.get(write.key, version):
            stale.append(write)
        newest[write.key] = max(version, newest.get(write.key, version))
    return stale


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for what another thread or process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
