"""The connector `print` of a SQL job: tables that show what is inserted into them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beam_dynamodb.ddl import Table
from beam_dynamodb.sql_types import Column, convert_row
from beam_dynamodb.times import date_text, datetime_text, time_text
from pipelines.sql_options import TableOptions

__all__ = ["Print"]


class Print(beam.PTransform[Any, Any]):
    """A table that prints its rows, `+I[1, view]`, on the worker."""

    def __init__(self, table: Table) -> None:
        """Checks the options.

        Raises:
            SqlError: An option is not allowed.
        """
        super().__init__()
        options = TableOptions(table)
        self._columns = table.columns
        self._identifier = options.text("print-identifier", "") or ""
        self._to_stderr = options.boolean("standard-error")
        options.finish()

    def expand(self, rows: PCollection[Any]) -> PCollection[Any]:
        """Prints them."""
        printing = _PrintRow(self._columns, self._identifier, self._to_stderr)
        return rows | "Print" >> beam.ParDo(printing)


class _PrintRow(beam.DoFn):
    def __init__(self, columns: tuple[Column, ...], identifier: str, to_stderr: bool) -> None:
        self._columns = columns
        self._prefix = f"{identifier}> " if identifier else ""
        self._to_stderr = to_stderr

    def setup(self) -> None:
        """Makes the converter."""
        self._convert = convert_row(self._columns)

    def process(self, row: Mapping[str, Any]) -> Iterable[Any]:
        """Prints the row and passes it on."""
        shown = ", ".join(_shown(each) for each in self._convert(row).values())
        stream = sys.stderr if self._to_stderr else sys.stdout
        print(f"{self._prefix}+I[{shown}]", file=stream, flush=True)
        return [row]


_TEXTS: Mapping[type, Callable[[Any], str]] = {
    date: date_text,
    datetime: datetime_text,
    time: time_text,
}
"""How java.time prints what Python has another text for."""


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_shown(k)}={_shown(v)}' for k, v in value.items())}}}"
    shown = _TEXTS.get(type(value), str)
    return shown(value)
