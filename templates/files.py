"""Files to DynamoDB: the pipeline of the Flex template `files` and of the classic template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from beam_dynamodb import ReadDeadLetters
from pipelines.columns import names
from pipelines.sources import ReadRows
from templates.main import main as run
from templates.parameters import FILES
from templates.rows import (
    Values,
    columns_of,
    failures_to,
    is_replay,
    is_true,
    write,
)

__all__ = ["build", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it; see `templates.main`."""
    return run(FILES, build, argv)


def build(pipeline: beam.Pipeline, values: Values) -> None:
    """Puts its steps into a pipeline.

    Raises:
        OptionError: A parameter is not allowed.
    """
    with failures_to(values.get("dead_letters")) as handler:
        source = _source(values).with_error_handler(handler)
        write(pipeline | "Read" >> source, values, handler)


def _source(values: Values) -> Any:
    if is_replay(values):
        return ReadDeadLetters(
            names(values["input"]), only_retriable=is_true(values.get("only_retriable"))
        )
    return ReadRows(
        values["input"],
        format=values.get("format") or "auto",
        columns=columns_of(values),
        csv_null="",
        encoding=values.get("encoding") or "utf-8",
        delimiter=values.get("delimiter"),
        in_order=is_true(values.get("in_order")),
    )
