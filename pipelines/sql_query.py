"""The query of an INSERT: checked when the script is read, evaluated on batches of rows.

DuckDB evaluates it (`docs/decisions` says why), on one table that holds the batch. Knows nothing
of Beam.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]
import sqlglot
from sqlglot import exp

from beam_dynamodb.ddl import Table
from beam_dynamodb.errors import RowError, SourceNotSupportedError, SqlError
from beam_dynamodb.sql_text import parsed, statements
from beam_dynamodb.sql_types import Column, SqlType, convert_row
from pipelines.sql_arrow import arrow_family, arrow_type, family_of, from_arrow, to_arrow
from pipelines.sql_casts import Untranslatable
from pipelines.sql_functions import FlinkQuery, Source, in_duckdb
from pipelines.sql_macros import connect
from pipelines.sql_script import Insert, Script

__all__ = ["Engine", "NotEvaluated", "Plan", "plan"]

_BATCH = "flink_batch"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\w.+:-]*")
_BEAM_SQL = (
    "A SQL job here works row by row. For joins, aggregates and windows run Beam SQL "
    "(apache_beam.transforms.sql.SqlTransform) and write its result with WriteToDynamoDB"
)
_REFUSED: dict[type[exp.Expr], str] = {
    exp.Join: "JOIN",
    exp.Lateral: "LATERAL",
    exp.Group: "GROUP BY",
    exp.Having: "HAVING",
    exp.Distinct: "DISTINCT",
    exp.AggFunc: "An aggregate function",
    exp.Window: "OVER",
    exp.Order: "ORDER BY",
    exp.Limit: "LIMIT",
    exp.Fetch: "FETCH",
    exp.Offset: "OFFSET",
    exp.Union: "UNION",
    exp.Intersect: "INTERSECT",
    exp.Except: "EXCEPT",
    exp.Unnest: "UNNEST",
    exp.TableSample: "TABLESAMPLE",
    exp.Qualify: "QUALIFY",
    exp.Pivot: "PIVOT",
    exp.MatchRecognize: "MATCH_RECOGNIZE",
}


@dataclass(frozen=True)
class Plan:
    """An INSERT that can be run; plain data, so that it can travel to the workers.

    Attributes:
        insert: What was asked.
        source: The table that the query reads, or None where it reads none.
        sql: The query in DuckDB's words, of a table with the source's columns.
        constants: The value of each column that PARTITION gives.
        targets: The columns that the query fills, in its order.
    """

    insert: Insert
    source: Table | None
    sql: str
    constants: Mapping[str, Any]
    targets: tuple[Column, ...]


def plan(script: Script, insert: Insert) -> Plan:
    """Makes sure that an INSERT can be run, and how; nothing is read or written.

    Raises:
        SqlError: It can't; it says where.
        SourceNotSupportedError: It reads a table that can only be written.
    """
    query = _parsed(insert)
    source = _source(script, query, insert)
    _check_columns(query, source, insert)
    _check_names(query, source, insert)
    _check_precision(source)
    sql = _translated(query, source, insert)
    targets = _targets(insert)
    made = Plan(insert, source, sql, _constants(insert), targets)
    _check_result(made, query)
    return made


# --- checks --------------------------------------------------------------------------------


def _parsed(insert: Insert) -> exp.Expr:
    _check_commas(insert.query)
    query = parsed(insert.query, FlinkQuery)
    if isinstance(query, exp.Values):
        return exp.select("*").from_(exp.alias_(query, "v", table=True))
    return query


def _check_commas(query: str) -> None:
    """Refuses a comma that nothing follows, which sqlglot overlooks."""
    for stream in statements(query):
        while not stream.ended:
            if stream.take().is_word(",") and (
                stream.ended or stream.next.is_word("FROM", ")", ",", "WHERE")
            ):
                stream.refuse("an expression")


def _source(script: Script, query: exp.Expr, insert: Insert) -> Table | None:
    views = {each.alias for each in query.find_all(exp.CTE)}
    found = [each for each in query.find_all(exp.Table) if each.name not in views]
    _check_readable(script, found)
    for each in query.walk():
        _check_by_row(each, insert)
    if len(found) > 1:
        _fail(f"The query reads more than one table. {_BEAM_SQL}", found[1], insert)
    if not found:
        return None
    table = script.tables.get(found[0].name)
    if table is None:
        _fail(
            f"Object '{found[0].name}' not found; the script has created {sorted(script.tables)}",
            found[0],
            insert,
        )
    found[0].set("db", None)
    found[0].set("catalog", None)
    return table


def _check_readable(script: Script, found: Sequence[exp.Table]) -> None:
    tables = [script.tables.get(each.name) for each in found]
    if any(each and each.options.get("connector") == "dynamodb" for each in tables):
        raise SourceNotSupportedError


def _check_by_row(node: exp.Expr, insert: Insert) -> None:
    for kind, name in _REFUSED.items():
        if isinstance(node, kind):
            hint = " In place of UNION ALL give each SELECT an INSERT." if kind is exp.Union else ""
            _fail(f"{name} is not supported.{hint} {_BEAM_SQL}", node, insert)
    if isinstance(node, exp.Subquery) and not isinstance(node.parent, (exp.From, exp.Table)):
        _fail(f"A query inside an expression is not supported. {_BEAM_SQL}", node, insert)


def _check_columns(query: exp.Expr, source: Table | None, insert: Insert) -> None:
    """Names columns that are none, where the query is a plain one over its table."""
    if source is None or query.find(exp.Subquery) or query.find(exp.CTE):
        return
    known = [*(each.name for each in source.columns), *source.computed]
    inside = {"MAP", *(unit.name for unit in query.find_all(exp.Var))}
    for column in query.find_all(exp.Column):
        first = column.parts[0].name if len(column.parts) > 1 else column.name
        table = query.find(exp.Table)
        tables = {table.name, table.alias} if table else set()
        if first in known or first in tables or column.name.upper() in inside | _UNITS:
            continue
        near = difflib.get_close_matches(column.name, known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        _fail(f"Column '{column.name}' not found in any table{hint}", column, insert)


def _check_names(query: exp.Expr, source: Table | None, insert: Insert) -> None:
    """Refuses names that DuckDB, to which `id` and `ID` are one, would take for each other."""
    for names in _siblings(source):
        twice = _twice(names)
        if twice and source is not None:
            source.name.fail(
                f"Columns or fields of '{source.name.text}' differ only in case, which is not "
                f"supported where a query reads them: {', '.join(twice)}"
            )
    for select in query.find_all(exp.Select):
        names = [each.alias_or_name for each in select.expressions]
        twice = _twice([each for each in names if each])
        if twice and select is not query:
            _fail(f"Columns of an inner query share a name: {', '.join(twice)}", select, insert)


def _check_precision(source: Table | None) -> None:
    """Refuses times finer than microseconds, of which DuckDB would drop the last digits."""
    if source is None:
        return
    columns = source.columns
    for column, kind in ((each, kind) for each in columns for kind in _kinds(each.type)):
        if kind.name in ("TIMESTAMP", "TIMESTAMP_LTZ") and (kind.precision or 0) > _MICROS:
            source.name.fail(
                f"Column '{column.name}' of '{source.name.text}': a query reads times in "
                f"microseconds, not {kind}. Declare {kind.name}({_MICROS})"
            )


_MICROS = 6


def _kinds(kind: SqlType) -> Iterator[SqlType]:
    """A type and all those within it."""
    yield kind
    for each in (*kind.elements, *(each for _, each in kind.fields)):
        yield from _kinds(each)


def _siblings(source: Table | None) -> Iterator[list[str]]:
    """The names of a table's columns, and of the fields of each ROW in it."""
    if source is None:
        return
    yield [*(each.name for each in source.columns), *source.computed]
    for each in source.columns:
        yield from ([name for name, _ in kind.fields] for kind in _kinds(each.type))


def _twice(names: Sequence[str]) -> list[str]:
    counts = Counter(each.casefold() for each in names)
    return [each for each in names if counts[each.casefold()] > 1]


_UNITS = {
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "SECOND",
    "MINUTE",
    "HOUR",
    "DAY",
    "WEEK",
    "MONTH",
    "QUARTER",
    "YEAR",
}


def _targets(insert: Insert) -> tuple[Column, ...]:
    by_name = {each.name: each for each in insert.table.columns}
    if insert.columns:
        return tuple(by_name[name] for name in insert.columns)
    return tuple(each for name, each in by_name.items() if name not in insert.partition)


def _constants(insert: Insert) -> dict[str, Any]:
    columns = tuple(each for each in insert.table.columns if each.name in insert.partition)
    try:
        return dict(convert_row(columns)(dict(insert.partition)))
    except RowError as fault:
        insert.place.fail(f"PARTITION: {fault.message}")


def _check_result(made: Plan, query: exp.Expr) -> None:
    """Lets DuckDB look at the query, with no row in the table, and compares the columns."""
    insert = made.insert
    try:
        fields = Engine(made).result_schema()
    except duckdb.Error as fault:
        _refuse_binding(fault, query, insert)
    sink = insert.table
    if len(fields) != len(made.targets):
        insert.place.fail(
            f"Column types of query result and sink for '{sink.name.text}' do not match. Cause: "
            f"Different number of columns. Query schema: {[each.name for each in fields]}. "
            f"Sink schema: {[each.name for each in made.targets]}"
        )
    for position, (found, wanted) in enumerate(zip(fields, made.targets, strict=True)):
        family = arrow_family(found.type)
        if family not in (None, family_of(wanted.type)):
            insert.place.fail(
                f"Column types of query result and sink for '{sink.name.text}' do not match. "
                f"Cause: Incompatible types for sink column '{wanted.name}' at position "
                f"{position}: the query gives {family}, the sink takes {wanted.type}. Use CAST"
            )


def _refuse_binding(fault: duckdb.Error, query: exp.Expr, insert: Insert) -> NoReturn:
    words = str(fault).split("\n")[0].partition(": ")[2] or str(fault)
    for node in query.find_all(exp.Anonymous):
        if f"name {str(node.this).lower()} " in words.lower():
            _fail(f"No match found for function signature {node.this}", node, insert)
    insert.place.fail(f"SQL validation failed. {words}")


def _fail(message: str, node: exp.Expr, insert: Insert) -> NoReturn:
    for each in node.walk():
        if "line" in each.meta:
            line = int(each.meta["line"])
            # sqlglot tells the column of the last letter.
            column = int(each.meta["col"]) - (each.meta["end"] - each.meta["start"])
            raise SqlError(f"{message} (line {line}, column {column})", line=line, column=column)
    insert.place.fail(message)


# --- in DuckDB's words ---------------------------------------------------------------------


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _translated(query: exp.Expr, source: Table | None, insert: Insert) -> str:
    """The query in DuckDB's words, over the batch, which stands for the source."""
    batch = _Batch(source)
    try:
        table = _source_query(batch, source, insert)
        known = _known(source)
        return _with(table, in_duckdb(query, lambda sql: batch.kinds(_with(table, sql)), known))
    except Untranslatable as fault:
        _fail(str(fault), fault.node, insert)
    except duckdb.Error as fault:
        _refuse_binding(fault, query, insert)
    except RecursionError:
        insert.place.fail("An expression of the query is nested too deeply")
    finally:
        batch.close()


def _known(source: Table | None) -> Source:
    if source is None:
        return Source("", {})
    times = ("TIME", "TIMESTAMP", "TIMESTAMP_LTZ")
    columns = [each for each in source.columns if each.type.name in times]
    return Source(source.name.text, {each.name: each.type.precision or 0 for each in columns})


def _source_query(batch: _Batch, source: Table | None, insert: Insert) -> str:
    """The batch with the source's computed columns, as a table of WITH; empty without source."""
    if source is None:
        return ""
    columns = ", ".join(
        f"{_computed(batch, source, name, insert)} AS {_quoted(name)}"
        if name in source.computed
        else _quoted(name)
        for name in source.order
    )
    return f"{_quoted(source.name.text)} AS (SELECT {columns} FROM {_BATCH})"  # noqa: S608 - the user's own statement


def _computed(batch: _Batch, source: Table, name: str, insert: Insert) -> str:
    known = Source(_BATCH, _known(source).digits)
    expression = parsed(source.computed[name], FlinkQuery)
    try:
        asked = in_duckdb(exp.select(expression).from_(_BATCH), batch.kinds, known)
    except Untranslatable as fault:
        _fail(f"Computed column '{name}': {fault}", fault.node, insert)
    except (duckdb.Error, sqlglot.errors.SqlglotError) as fault:
        source.name.fail(f"Computed column '{name}': {str(fault).splitlines()[0]}")
    return sqlglot.parse_one(asked, read="duckdb").expressions[0].sql("duckdb")


def _with(table: str, sql: str) -> str:
    if not table:
        return sql
    if sql.upper().startswith("WITH "):
        return f"WITH {table}, {sql[5:]}"
    return f"WITH {table} {sql}"


# --- evaluation ----------------------------------------------------------------------------


class NotEvaluated(NamedTuple):
    """A row of the source on which an expression fails.

    Attributes:
        row: The row.
        reason: Why, without the values.
    """

    row: Mapping[str, Any]
    reason: str


class _Batch:
    """A DuckDB with one table, which holds a batch of the source's rows."""

    def __init__(self, source: Table | None) -> None:
        self._connection = connect()
        self._columns = source.columns if source else ()
        self._arrow = pa.schema([(each.name, arrow_type(each.type)) for each in self._columns])
        self.fill([])

    def close(self) -> None:
        """Gives back its memory."""
        self._connection.close()

    def kinds(self, sql: str) -> list[str]:
        """DuckDB's types of a query's columns, of which nothing is evaluated."""
        return [str(each) for each in self._connection.sql(sql).types]

    def result(self, sql: str) -> pa.Table:
        """What a query gives."""
        return self._connection.sql(sql).to_arrow_table()

    def fill(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Takes other rows in place of those it has."""
        if self._columns:
            table = pa.Table.from_arrays(self._arrays(batch), schema=self._arrow)
            self._connection.register(_BATCH, table)

    def _arrays(self, batch: Sequence[Mapping[str, Any]]) -> list[pa.Array]:
        return [
            to_arrow([row.get(each.name) for row in batch], each.type) for each in self._columns
        ]


class Engine:
    """Evaluates one plan's query, in one thread."""

    def __init__(self, made: Plan) -> None:
        self._plan = made
        self._batch = _Batch(made.source)

    def close(self) -> None:
        """Gives back its memory."""
        self._batch.close()

    def result_schema(self) -> list[Any]:
        """Names and types of the result's columns."""
        try:
            return list(self._result([]).schema)
        finally:
            self.close()

    def rows(self, batch: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any] | NotEvaluated]:
        """The sink's rows of a batch of the source's, in its order.

        Where an expression can't be evaluated, such as a CAST of text that is no number, the
        batch is taken apart until the rows at fault stand alone, each in its place.
        """
        try:
            made = list(self._sink_rows(self._result(batch)))
        except _OF_A_ROW as fault:
            if len(batch) < 2:
                yield NotEvaluated(batch[0], _reason(fault))
                return
            half = len(batch) // 2
            yield from self.rows(batch[:half])
            yield from self.rows(batch[half:])
            return
        yield from made

    def _sink_rows(self, result: pa.Table) -> Iterator[dict[str, Any]]:
        targets, constants = self._plan.targets, self._plan.constants
        columns = [
            from_arrow(values, target.type)
            for values, target in zip(result.columns, targets, strict=True)
        ]
        names = [each.name for each in targets]
        for values in zip(*columns, strict=True):
            yield {**constants, **dict(zip(names, values, strict=True))}

    def _result(self, batch: Sequence[Mapping[str, Any]]) -> pa.Table:
        self._batch.fill(batch)
        return self._batch.result(self._plan.sql)


_OF_A_ROW = (duckdb.Error, pa.ArrowException, ValueError, OverflowError, TypeError)
"""What a value may cause, in DuckDB or on the way there and back."""


def _reason(fault: Exception) -> str:
    """What a fault says, without the values that it quotes."""
    if not isinstance(fault, (duckdb.Error, pa.ArrowException)):
        return (
            "a value of the row, or of the query's result, is no Unicode text, no time of the "
            "years 1 to 9999, or an interval of months where one of seconds is declared"
        )
    words = _QUOTED.sub("'…'", str(fault).split("\n")[0])
    return f"an expression of the query fails: {_NUMBER.sub('…', words)}"
