"""Where the failed rows of a run go: into a file, counted, each with its place in its file."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beam_dynamodb.replay import WriteDeadLetters
from pipelines.live import Count
from pipelines.sources import ToDeadLetter

__all__ = ["FailedRows"]


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
