"""Programs fetched or built once, by Maven or Go; they stay in `.cache` of the checkout."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["ENVIRON", "NotAvailableError", "cached", "copy_jars", "program", "run"]

_CACHE = Path(__file__).parents[1] / ".cache"

ENVIRON = dict(os.environ)
"""The environment as this process got it: Maven and Go may need proxies and certificates from
there, which the tests hide."""


class NotAvailableError(Exception):
    """A program cannot be had on this machine; the text says what is missing."""


def copy_jars(pom: Path, purpose: str, into: Path) -> None:
    """Copies the jars that a pom depends on, with all that these depend on.

    Raises:
        NotAvailableError: Maven is missing.
        RuntimeError: Maven failed; the message has its last words.
    """
    run(
        program("mvn", purpose), "-q", "-B", "-f", str(pom),
        "dependency:copy-dependencies", f"-DoutputDirectory={into}",
    )  # fmt: skip


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, made once; whoever comes second finds it whole or not at all."""
    place = _CACHE / name
    if not place.exists():
        _CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
            made = Path(temporary) / name
            made.mkdir()
            make(made)
            with contextlib.suppress(OSError):  # another process was quicker
                made.rename(place)
    return place


def program(name: str, purpose: str) -> str:
    """The path of a program.

    Raises:
        NotAvailableError: It is not there.
    """
    path = shutil.which(name)
    if path is None:
        raise NotAvailableError(f"{purpose} needs the program {name}, which is not on the PATH")
    return path


def run(*command: str, **environ: str) -> str:
    """Runs a command to its end, and returns what it printed.

    Args:
        *command: Program and arguments.
        **environ: Additions to the environment.

    Raises:
        RuntimeError: It failed; the message has its last words.
    """
    done = subprocess.run(
        command,
        env={**ENVIRON, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
    return done.stdout
