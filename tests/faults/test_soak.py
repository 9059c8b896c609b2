"""A small soak of several seeds; `make soak` runs the large one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = {"seed 1": ["--seed=1"], "seed 2, keyed": ["--seed=2", "--keyed"], "seed 3": ["--seed=3"]}


@pytest.fixture(scope="module")
def soaks() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All at once: at the end each waits until its last lost call is settled."""
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak", "--rows=20000", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, options in RUNS.items()
    }
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", RUNS)
def test_every_promise_is_kept(soaks: dict[str, subprocess.Popen[str]], name: str) -> None:
    report, errors = soaks[name].communicate(timeout=150)
    assert soaks[name].returncode == 0, report + errors[-2000:]
    assert report.count("kept") == 6
