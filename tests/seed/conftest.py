"""Fixtures of the tests of the documented page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Enters a context for the rest of the test: `start(FakeServer(db)).endpoint`."""
    with ExitStack() as stack:
        yield stack.enter_context
