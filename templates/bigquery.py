"""BigQuery to DynamoDB: the pipeline of the Flex template `bigquery`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.bigquery import ReadFromBigQuery

from beam_dynamodb import OptionError
from pipelines.columns import names
from templates.main import main as run
from templates.parameters import BIGQUERY
from templates.rows import Values, check_one_of, failures_to, write

__all__ = ["build", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it; see `templates.main`."""
    return run(BIGQUERY, build, argv)


def build(pipeline: beam.Pipeline, values: Values) -> None:
    """Puts its steps into a pipeline.

    Raises:
        OptionError: A parameter is not allowed.
    """
    rows = pipeline | "Read" >> _source(values)
    with failures_to(values.get("dead_letters")) as handler:
        write(rows, values, handler)


def _source(values: Values) -> Any:
    """Reads by the Storage API: no export to Cloud Storage, and columns keep their types."""
    check_one_of(values, "query", "input_table")
    query, table = values.get("query"), values.get("input_table")
    common = {"method": ReadFromBigQuery.Method.DIRECT_READ}
    if query:
        for name in ("row_restriction", "selected_fields"):
            if values.get(name):
                raise OptionError(
                    f"'{name}' goes with 'input_table', not with 'query'.", option=name
                )
        return ReadFromBigQuery(query=query, use_standard_sql=True, **common)
    return ReadFromBigQuery(
        table=table,
        row_restriction=values.get("row_restriction"),
        selected_fields=names(values.get("selected_fields") or "") or None,
        **common,
    )
