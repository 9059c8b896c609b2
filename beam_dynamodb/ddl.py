"""Flink's CREATE TABLE: what a table declares, with errors that say where and in Flink's words.

CREATE TABLE [IF NOT EXISTS] name (
column type [NOT NULL] …, PRIMARY KEY (column, …) NOT ENFORCED
) [COMMENT 'text'] [PARTITIONED BY (column, …)] WITH ('key' = 'value', …)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from beam_dynamodb.errors import OptionError, SourceNotSupportedError, SqlError
from beam_dynamodb.options import SinkOptions
from beam_dynamodb.sql_text import Token, TokenStream, statements
from beam_dynamodb.sql_types import Column, SqlType

__all__ = ["Table", "create_table", "parse_table", "sql_type"]

COLUMN_OPTIONS = ("change-kind", "order-by")
"""Options of the WITH clause that name a column, beyond those of the sink."""


@dataclass(frozen=True)
class Table:
    """What a CREATE TABLE declares.

    Attributes:
        name: The table's name in SQL, without catalog and database.
        columns: The columns that are written, in order.
        computed: The expression of each computed column by name, standing where it stands in the
            text; they are never written.
        primary_key: The columns of PRIMARY KEY.
        partitioned_by: The columns of PARTITIONED BY.
        options: The WITH clause.
        comment: Its COMMENT.
        if_not_exists: Whether it says IF NOT EXISTS.
        places: Where each option's key stands, for errors.
        order: The names of all columns, computed ones too, as they are declared; empty where a
            table was not read from a text.
    """

    name: Token
    columns: tuple[Column, ...]
    computed: Mapping[str, str]
    primary_key: tuple[str, ...]
    partitioned_by: tuple[str, ...]
    options: Mapping[str, str]
    comment: str = ""
    if_not_exists: bool = False
    places: Mapping[str, Token] | None = None
    order: tuple[str, ...] = ()

    @property
    def change_kind(self) -> str | None:
        """The column that tells +I, +U, -U and -D, as the option `change-kind` says."""
        return self.options.get("change-kind")

    @property
    def order_by(self) -> str | None:
        """The column that is greatest in a key's latest row, as the option `order-by` says."""
        return self.options.get("order-by")

    def with_options(self, others: Mapping[str, Any]) -> Table:
        """The same table, these options standing in for those of its WITH clause."""
        return replace(self, options={**self.options, **others})

    def sink_options(self) -> dict[str, str]:
        """The options of the sink alone."""
        return {key: value for key, value in self.options.items() if key not in COLUMN_OPTIONS}

    @property
    def key_names(self) -> tuple[str, ...]:
        """The attributes to deduplicate by: PARTITIONED BY, else the primary key."""
        return self.partitioned_by or self.primary_key

    def check_sink(self) -> SinkOptions:
        """The options of a sink of connector dynamodb.

        Raises:
            SqlError: An option is unknown, missing or not allowed; it points at the option.
        """
        try:
            self._check_column_options()
            return SinkOptions.parse(self.sink_options(), beside=COLUMN_OPTIONS)
        except OptionError as fault:
            place = (self.places or {}).get(fault.option or "", self.name)
            if "required options are missing" in fault.message:
                place = self.name
            raise SqlError(
                f"Unable to create a sink for writing table '{self.name.text}': {fault.message} "
                f"(line {place.line}, column {place.column})",
                line=place.line,
                column=place.column,
                option=fault.option,
            ) from fault

    def check_column(self, option: str, value: str | None) -> None:
        """Refuses the value of an option that is to name a column and does not; None is none.

        Raises:
            OptionError: There is no such column; the text says which there are.
        """
        names = [each.name for each in self.columns]
        if value is not None and value not in names:
            raise OptionError(
                f"Invalid value for option '{option}': it must be one of the columns {names}, "
                f"not '{value}'.",
                option=option,
            )

    def _check_column_options(self) -> None:
        for option in COLUMN_OPTIONS:
            self.check_column(option, self.options.get(option))
        if self.order_by is not None and not self.key_names:
            raise OptionError(
                "Invalid value for option 'order-by': it says which row of a key is the latest, "
                "so the table needs PARTITIONED BY or PRIMARY KEY.",
                option="order-by",
            )


def parse_table(ddl: str) -> Table:
    """Reads the CREATE TABLE of a sink.

    Args:
        ddl: One statement, with or without its semicolon.

    Raises:
        SqlError: It is something else, or declares what cannot be written.
        SourceNotSupportedError: It is a query.
    """
    found = list(statements(ddl))
    if not found:
        raise SqlError("SQL parse failed. The text holds no statement.", line=1, column=1)
    if found[0].next.is_word("SELECT"):
        raise SourceNotSupportedError
    if len(found) > 1:
        found[1].next.fail("One CREATE TABLE is expected, but a second statement follows")
    return create_table(found[0])


def create_table(stream: TokenStream) -> Table:
    """Reads a CREATE TABLE from its first word to its last.

    Raises:
        SqlError: It is something else, or declares what cannot be.
    """
    stream.expect("CREATE")
    stream.found("TEMPORARY")
    stream.expect("TABLE")
    if_not_exists = stream.found("IF", "NOT", "EXISTS")
    name = _table_name(stream)
    body = _Body(stream)
    comment = stream.text().text if stream.found("COMMENT") else ""
    partitioned_by = _partitioned_by(stream, body)
    options, places = _options(stream)
    if stream.next.is_word("LIKE", "AS"):
        stream.next.fail(
            f"CREATE TABLE … {stream.next.text.upper()} is not supported: name columns"
        )
    stream.finish()
    if body.primary_key and partitioned_by and set(body.primary_key) != set(partitioned_by):
        name.fail(
            f"PARTITIONED BY ({', '.join(partitioned_by)}) must name the columns of PRIMARY KEY "
            f"({', '.join(body.primary_key)}) where both are declared"
        )
    return Table(
        name=name,
        columns=tuple(body.columns.values()),
        computed=body.computed,
        primary_key=body.primary_key,
        partitioned_by=partitioned_by,
        options=options,
        comment=comment,
        if_not_exists=if_not_exists,
        places=places,
        order=tuple(body.order),
    )


def _table_name(stream: TokenStream) -> Token:
    name = stream.name("a table's name")
    while stream.found("."):
        name = stream.name("a table's name")
    return name


# --- columns -------------------------------------------------------------------------------


_CONSTRAINTS = ("CONSTRAINT", "PRIMARY", "UNIQUE")


class _Body:
    """What stands between the parentheses of a CREATE TABLE."""

    def __init__(self, stream: TokenStream) -> None:
        self._stream = stream
        self.columns: dict[str, Column] = {}
        self.computed: dict[str, str] = {}
        self.order: list[str] = []
        self.primary_key: tuple[str, ...] = ()
        self._key: list[Token] = []
        self._time: Token | None = None
        stream.expect("(")
        while True:
            self._element()
            if stream.found(")"):
                break
            if not stream.found(","):
                stream.refuse('"," or ")"')
        if not self.columns:
            stream.next.fail("A table needs a column that can be written")
        self._settle()

    def _element(self) -> None:
        stream = self._stream
        if stream.next.is_word("WATERMARK") and stream.ahead(1).is_word("FOR"):
            self._watermark()
        elif stream.next.is_word(*_CONSTRAINTS):
            place = self._primary_key()
            self._set_primary_key(place, name_list(stream))
            _not_enforced(stream, place)
        else:
            self._column()

    def _watermark(self) -> None:
        stream = self._stream
        place = stream.expect("WATERMARK", "FOR")
        if self._time is not None:
            place.fail("Multiple WATERMARK statements is not supported yet")
        self._time = stream.name("a column's name")
        while stream.found("."):
            stream.name("a field's name")
        stream.expect("AS")
        _expression(stream)

    def _primary_key(self) -> Token:
        stream = self._stream
        if stream.found("CONSTRAINT"):
            stream.name("a constraint's name")
        if stream.next.is_word("UNIQUE"):
            stream.next.fail("UNIQUE constraint is not supported yet")
        return stream.expect("PRIMARY", "KEY")

    def _set_primary_key(self, place: Token, names: list[Token]) -> None:
        if self._key:
            place.fail("Duplicate primary key definition")
        if len(names) > 2:
            place.fail(
                "PRIMARY KEY has at most two columns, DynamoDB's partition key and sort key, "
                f"not {len(names)}"
            )
        self._key = names

    def _settle(self) -> None:
        """Checks what may name columns that are declared after it."""
        for name in self._key:
            if name.text not in self.columns:
                name.fail(
                    f"Primary key column '{name.text}' is not defined in the table schema. "
                    f"Available columns: {list(self.columns)}"
                )
            if name.text in self.primary_key:
                name.fail(f"A primary key must not contain duplicate columns. Found: {name.text}")
            self.primary_key += (name.text,)
            self.columns[name.text] = Column(name.text, self.columns[name.text].type.not_null())
        if self._time is not None and self._time.text not in self.order:
            self._time.fail(
                f"The rowtime attribute field '{self._time.text}' is not defined in the table "
                f"schema. Available columns: {self.order}"
            )

    def _column(self) -> None:
        stream = self._stream
        name = stream.name("a column's name")
        if name.text in self.columns or name.text in self.computed:
            name.fail(f"Duplicate column '{name.text}'")
        self.order.append(name.text)
        if stream.found("AS"):
            self.computed[name.text] = _expression(stream)
            self._comment()
            return
        kind = sql_type(stream)
        if stream.next.is_word("METADATA"):
            stream.next.fail(
                f"Column '{name.text}' is a metadata column, which no table here has: the "
                "connector dynamodb doesn't implement the SupportsWritingMetadata interface"
            )
        self.columns[name.text] = Column(name.text, kind)
        if stream.next.is_word(*_CONSTRAINTS):
            place = self._primary_key()
            self._set_primary_key(place, [name])
            _not_enforced(stream, place)
        self._comment()

    def _comment(self) -> None:
        if self._stream.found("COMMENT"):
            self._stream.text()


def _not_enforced(stream: TokenStream, place: Token) -> None:
    if not stream.found("NOT", "ENFORCED"):
        place.fail(
            "Flink doesn't support ENFORCED mode for PRIMARY KEY constraint. ENFORCED/NOT ENFORCED "
            "controls if the constraint checks are performed on the incoming/outgoing data: say "
            "NOT ENFORCED"
        )


def _expression(stream: TokenStream) -> str:
    """Takes all up to what ends an element: a comma, a parenthesis, a comment."""
    first, depth = stream.next, 0
    while not stream.ended and (depth or not _ends_expression(stream)):
        token = stream.take()
        if token.kind == "sign":
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
    if stream.next is first:
        stream.refuse("an expression")
    return stream.since(first)


def _ends_expression(stream: TokenStream) -> bool:
    if stream.next.is_word("COMMENT"):
        return stream.ahead(1).kind == "text" and stream.ahead(2).is_word(",", ")")
    return stream.next.is_word(",", ")")


def name_list(stream: TokenStream) -> list[Token]:
    """Takes names in parentheses."""
    stream.expect("(")
    names = [stream.name("a column's name")]
    while stream.found(","):
        names.append(stream.name("a column's name"))
    stream.expect(")")
    return names


def _partitioned_by(stream: TokenStream, body: _Body) -> tuple[str, ...]:
    if not stream.found("PARTITIONED", "BY"):
        return ()
    names = name_list(stream)
    for name in names:
        if name.text not in body.columns:
            by_lower = {each.lower(): each for each in body.columns}
            near = difflib.get_close_matches(name.text.lower(), by_lower, n=1)
            hint = f". Did you mean '{by_lower[near[0]]}'?" if near else ""
            name.fail(
                f"Partition column '{name.text}' not defined in the table schema. "
                f"Available columns: {list(body.columns)}{hint}"
            )
    return tuple(dict.fromkeys(each.text for each in names))


def _options(stream: TokenStream) -> tuple[dict[str, str], dict[str, Token]]:
    values: dict[str, str] = {}
    places: dict[str, Token] = {}
    if stream.ended:
        return values, places
    stream.expect("WITH")
    stream.keep_secret()
    stream.expect("(")
    while True:
        key = stream.text("an option's key in single quotes")
        stream.expect("=")
        value = stream.text("the option's value in single quotes")
        if key.text in values:
            key.fail(f"Option '{key.text}' is given twice", option=key.text)
        values[key.text], places[key.text] = value.text, key
        if stream.found(")"):
            return values, places
        if not stream.found(","):
            stream.refuse('"," or ")"')


# --- types ---------------------------------------------------------------------------------

_SHORT = {
    "INTEGER": "INT",
    "DEC": "DECIMAL",
    "NUMERIC": "DECIMAL",
    "CHARACTER": "CHAR",
}
_WITH_LENGTH = ("CHAR", "VARCHAR", "BINARY", "VARBINARY")
_PLAIN = ("STRING", "BYTES", "BOOLEAN", "TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DATE")
_MOST = {"TIME": 9, "TIMESTAMP": 9, "TIMESTAMP_LTZ": 9, "DECIMAL": 38}
_UNITS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")
_ELSEWHERE = {
    "BLOB": "BYTES",
    "DATETIME": "TIMESTAMP",
    "LONG": "BIGINT",
    "NUMBER": "DECIMAL",
    "REAL": "FLOAT",
    "TEXT": "STRING",
    "UUID": "STRING",
}
"""What other databases call a type of Flink's."""

_REFUSED = ("MULTISET", "RAW", "NULL", "SYMBOL", "VARIANT", "UNKNOWN")


def sql_type(stream: TokenStream) -> SqlType:
    """Takes a type with its parameters, and whether it takes nulls.

    Raises:
        SqlError: No such type exists, or no value of it can be written.
    """
    place = stream.name("a type")
    if place.kind == "name":
        place.fail(f"Unknown identifier '{place.text}': a type is expected")
    name = _SHORT.get(place.text.upper(), place.text.upper())
    read = _readers().get(name)
    kind = read(stream, name) if read else _refuse_type(place, name)
    while stream.found("ARRAY"):
        kind = SqlType("ARRAY", elements=(kind,))
    if stream.found("NOT", "NULL"):
        return kind.not_null()
    stream.found("NULL")
    return kind


def _refuse_type(place: Token, name: str) -> NoReturn:
    if name in _REFUSED:
        place.fail(f"Converter not found for {name}: no value of this type can be written")
    known = [_ELSEWHERE[name]] if name in _ELSEWHERE else []
    near = known or difflib.get_close_matches(name, _readers(), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    place.fail(f"SQL parse failed. Unknown type '{place.text}'.{hint}")


def _readers() -> Mapping[str, Callable[[TokenStream, str], SqlType]]:
    return {
        **dict.fromkeys(_PLAIN, lambda _, name: SqlType(name)),
        **dict.fromkeys(_WITH_LENGTH, _with_length),
        "DOUBLE": _double,
        "DECIMAL": _decimal,
        "TIME": _time,
        "TIMESTAMP": _timestamp,
        "TIMESTAMP_LTZ": lambda stream, name: SqlType(name, _precision(stream, name, 6)),
        "INTERVAL": _interval,
        "ARRAY": _array,
        "MAP": _map,
        "ROW": _row,
    }


def _with_length(stream: TokenStream, name: str) -> SqlType:
    if name in ("CHAR", "BINARY") and stream.found("VARYING"):
        name = f"VAR{name}"
    length = 1
    if stream.found("("):
        place = stream.next
        length = stream.number()
        if length < 1:
            place.fail(f"{name} must have a length of at least 1")
        stream.expect(")")
    return SqlType(name, length)


def _double(stream: TokenStream, name: str) -> SqlType:
    stream.found("PRECISION")
    return SqlType(name)


def _decimal(stream: TokenStream, name: str) -> SqlType:
    if not stream.found("("):
        return SqlType(name, 10, 0)
    place = stream.next
    precision = stream.number()
    scale = stream.number() if stream.found(",") else 0
    stream.expect(")")
    if not 1 <= precision <= _MOST[name] or scale > precision:
        place.fail(
            f"Decimal precision must be between 1 and 38 (both inclusive), and its scale between 0 "
            f"and the precision, not {precision} and {scale}"
        )
    return SqlType(name, precision, scale)


def _precision(stream: TokenStream, name: str, default: int) -> int:
    if not stream.found("("):
        return default
    place = stream.next
    precision = stream.number()
    stream.expect(")")
    if precision > _MOST[name]:
        place.fail(f"{name} precision must be between 0 and {_MOST[name]} (both inclusive)")
    return precision


def _time(stream: TokenStream, name: str) -> SqlType:
    kind = SqlType(name, _precision(stream, name, 0))
    stream.found("WITHOUT", "TIME", "ZONE")
    return kind


def _timestamp(stream: TokenStream, name: str) -> SqlType:
    precision = _precision(stream, name, 6)
    if stream.found("WITH", "LOCAL", "TIME", "ZONE"):
        return SqlType("TIMESTAMP_LTZ", precision)
    if stream.next.is_word("WITH"):
        stream.next.fail(
            "Converter not found for TIMESTAMP WITH TIME ZONE: declare TIMESTAMP_LTZ, an instant"
        )
    stream.found("WITHOUT", "TIME", "ZONE")
    return SqlType(name, precision)


def _interval(stream: TokenStream, _: str) -> SqlType:
    place = stream.next
    units = [_unit(stream)]
    if stream.found("TO"):
        units.append(_unit(stream))
    of_months = {each in ("YEAR", "MONTH") for each in units}
    if len(of_months) > 1 or _UNITS.index(units[0]) > _UNITS.index(units[-1]):
        place.fail(f"No interval goes from {units[0]} to {units[-1]}")
    return SqlType("INTERVAL YEAR TO MONTH" if of_months == {True} else "INTERVAL DAY TO SECOND")


def _unit(stream: TokenStream) -> str:
    if not stream.next.is_word(*_UNITS):
        stream.refuse(" or ".join(_UNITS))
    unit = stream.take().text.upper()
    if stream.found("("):
        stream.number()
        stream.expect(")")
    return unit


def _array(stream: TokenStream, name: str) -> SqlType:
    stream.expect("<")
    element = sql_type(stream)
    stream.expect(">")
    return SqlType(name, elements=(element,))


def _map(stream: TokenStream, name: str) -> SqlType:
    stream.expect("<")
    place = stream.next
    key = sql_type(stream)
    if key.name in ("ARRAY", "MAP", "ROW"):
        place.fail(f"The keys of a MAP must be scalars, not {key.name}")
    stream.expect(",")
    value = sql_type(stream)
    stream.expect(">")
    return SqlType(name, elements=(replace(key, nullable=False), value))


def _row(stream: TokenStream, name: str) -> SqlType:
    closing = ")" if stream.next.is_word("(") else ">"
    stream.expect("(" if closing == ")" else "<")
    fields: dict[str, SqlType] = {}
    while True:
        field = stream.name("a field's name")
        if field.text in fields:
            field.fail(f"Duplicate field '{field.text}' in ROW")
        fields[field.text] = sql_type(stream)
        if stream.next.kind == "text":
            stream.take()  # a field's comment
        if stream.found(closing):
            return SqlType(name, fields=tuple(fields.items()))
        if not stream.found(","):
            stream.refuse(f'"," or "{closing}"')
