"""Fixtures of the tests on Flink: an endpoint, and the runners on which the same tests run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from beam_dynamodb.testing import FakeServer
from tests.beam.helpers import serving
from tests.flink.jobs import LOOPBACK, cancel_all, on_prism


@pytest.fixture
def endpoint() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


@pytest.fixture(
    params=[
        pytest.param("flink", marks=pytest.mark.flink),
        pytest.param("prism", marks=pytest.mark.prism),
    ]
)
def runner(request: Any) -> Iterator[list[str]]:
    """The flags of each runner; its workers are threads of this process."""
    if request.param == "prism":
        yield on_prism(request.getfixturevalue("prism"))
        return
    flink = request.getfixturevalue("flink")
    yield [*flink.flags, LOOPBACK]
    cancel_all(flink)
