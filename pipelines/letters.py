"""Where the failed rows of a run go: into a new file, counted, each with its place in its file."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection

from beam_dynamodb.errors import OptionError
from beam_dynamodb.replay import WriteDeadLetters
from pipelines.live import Count
from pipelines.sources import ToDeadLetter

__all__ = ["FailedRows", "check_new"]


def check_new(path: str | None) -> None:
    """Refuses a file of dead letters that holds something, which a run would write over.

    Args:
        path: What `--dead_letters` says, on any file system that Beam knows; None says nothing.

    Raises:
        OptionError: There is such a file, and it is not empty. An empty one is what an earlier run
            without failures left.
    """
    if path and FileSystems.exists(path) and _holds_something(path):
        raise OptionError(
            f"'--dead_letters' must be a new file: {path} holds something, which would be lost. "
            "Name another file, or move that one away, after a replay if it holds dead letters.",
            option="dead_letters",
        )


def _holds_something(path: str) -> bool:
    if not FileSystems.get_filesystem(path).size(path):
        return False
    try:
        with FileSystems.open(path) as file:  # a compressed one of no line is some bytes long
            return bool(file.read(1))
    except Exception:
        return True  # it can't be unpacked, so it is another's


class FailedRows(beam.PTransform[Any, Any]):
    """Writes failed rows into a file, which `pipelines.replay` reads; for an `ErrorHandler`."""

    def __init__(self, path: str, namespace: str, run: str) -> None:
        """Nothing is written yet.

        Args:
            path: The file, on any file system that Beam knows.
            namespace: That of the counter `failed`.
            run: What this process calls the run.
        """
        super().__init__()
        self._path = path
        self._names = namespace, "failed", run

    def expand(self, failed: PCollection[Any]) -> Any:
        """Writes them."""
        return (
            failed
            | "Count" >> beam.ParDo(Count(*self._names))
            | "Locate" >> beam.ParDo(ToDeadLetter())
            | "ToFile" >> WriteDeadLetters(self._path)
        )
