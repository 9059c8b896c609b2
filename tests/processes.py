"""Programs in Python, in processes of their own that find the modules of this one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PRESSES = 4
_PATIENCE_SECONDS = 20.0
"""How long a person waits before pressing again."""


def environment() -> dict[str, str]:
    """This process's environment, with the path by which it finds its modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `python …` to its end, in a folder or else in that of this process."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(),
        check=False,
    )


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Runs `python …` while the block lasts; what is not over by then is killed."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def press_ctrl_c(process: subprocess.Popen[str]) -> str:
    """Presses Ctrl-C, and again where nothing follows; returns what stands on standard error."""
    for _ in range(_PRESSES):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_PATIENCE_SECONDS)[1]
    raise AssertionError(f"it goes on after Ctrl-C was pressed {_PRESSES} times")
