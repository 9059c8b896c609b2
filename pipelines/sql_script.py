"""A SQL script as what it asks for: tables, settings, and the inserts to run. Pure.

The statements are those of Flink's SQL client: CREATE TABLE, DROP TABLE, SET, RESET, INSERT INTO,
and statement sets around INSERTs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from beam_dynamodb.ddl import Table, create_table, name_list
from beam_dynamodb.errors import SourceNotSupportedError, SqlError
from beam_dynamodb.sql_text import Token, TokenStream, statements

__all__ = ["Insert", "Script", "Setting", "parse_script", "sql_of_page"]

_BEGINNINGS = "CREATE|DROP|SET|RESET|INSERT|EXECUTE|BEGIN|END|SELECT"
_BEGINNING = re.compile(rf"(?:{_BEGINNINGS})\b")


@dataclass(frozen=True, slots=True)
class Insert:
    """One INSERT INTO.

    Attributes:
        table: The table that is written.
        partition: The values that PARTITION gives all rows, by column.
        columns: The columns that the query fills, in its order; empty for all others.
        query: The SELECT or VALUES, standing where it stands in the script.
        place: Where the INSERT stands.
    """

    table: Table
    partition: Mapping[str, str]
    columns: tuple[str, ...]
    query: str
    place: Token


@dataclass(frozen=True, slots=True)
class Setting:
    """One SET.

    Attributes:
        value: What it says; never shown, since it may be a secret.
        place: Where its key stands.
    """

    value: str
    place: Token


@dataclass(slots=True)
class Script:
    """What a script asks for.

    Attributes:
        tables: All tables by name.
        settings: What SET says, by key.
        inserts: The INSERTs, in order.
    """

    tables: dict[str, Table] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    inserts: list[Insert] = field(default_factory=list)

    def table(self, name: Token) -> Table:
        """The table of a name.

        Raises:
            SqlError: There is none.
        """
        found = self.tables.get(name.text)
        if found is None:
            name.fail(
                f"Cannot find table '{name.text}' in any of the catalogs; "
                f"the script has created {sorted(self.tables)}"
            )
        return found


def sql_of_page(page: str) -> str:
    """The statements that a page of documentation holds among its prose; all else as blanks.

    A statement begins at the start of a line with its keyword in capitals, and ends with the first
    semicolon at the end of a line. Lines stay where they are.
    """
    kept: list[str] = []
    inside = False
    for line in page.split("\n"):
        inside = inside or bool(_BEGINNING.match(line))
        kept.append(line if inside else "")
        inside = inside and not line.rstrip().endswith(";")
    return "\n".join(kept)


def parse_script(text: str, *, of_page: bool = False) -> Script:
    """Reads a script.

    Args:
        text: The script.
        of_page: Whether it is a page's, where a table may be declared anew by a later example.

    Raises:
        SqlError: It can't be read; it says where.
        SourceNotSupportedError: It is a query of a table that can only be written.
    """
    _check_hints(text)
    script = Script()
    in_set: Token | None = None
    for stream in statements(text):
        started = _starts_set(stream)
        in_set = started or in_set
        if stream.ended:
            continue
        if stream.found("END"):
            if in_set is None:
                stream.next.fail("END without a statement set")
            in_set = None
            stream.finish()
            continue
        _read(script, stream, of_page)
    if in_set is not None:
        in_set.fail("The statement set has no END")
    return script


_HINT = re.compile(r"--[^\n]*|'[^']*'|`[^`]*`|(/\*\+)|/\*.*?\*/", re.DOTALL)


def _check_hints(text: str) -> None:
    """Refuses hints, which stand in comments and would be passed over without a word."""
    hint = next((found for found in _HINT.finditer(text) if found[1]), None)
    if hint is not None:
        line = text.count("\n", 0, hint.start()) + 1
        column = hint.start() - text.rfind("\n", 0, hint.start())
        raise SqlError(
            f"Hints are not supported: declare options in WITH (line {line}, column {column})",
            line=line,
            column=column,
        )


def _starts_set(stream: TokenStream) -> Token | None:
    place = stream.next
    if stream.found("BEGIN", "STATEMENT", "SET"):
        return place
    if stream.found("EXECUTE", "STATEMENT", "SET"):
        stream.expect("BEGIN")
        return place
    return None


def _read(script: Script, stream: TokenStream, of_page: bool) -> None:
    word = stream.next
    stream.found("EXECUTE")
    if stream.next.is_word("CREATE"):
        _create(script, create_table(stream), of_page)
    elif stream.next.is_word("INSERT"):
        script.inserts.append(_insert(script, stream))
    elif stream.found("SET"):
        place = stream.next
        key, value = _setting(stream)
        script.settings[key] = Setting(value, place)
    elif stream.found("RESET"):
        _reset(script, stream)
    elif stream.found("DROP", "TABLE"):
        _drop(script, stream)
    elif stream.next.is_word("SELECT"):
        _refuse_query(script, stream)
    else:
        _refuse(word, stream)


def _refuse(word: Token, stream: TokenStream) -> None:
    if word.is_word("UPDATE", "DELETE", "MERGE"):
        word.fail(
            f"{word.text.upper()} needs a table that can be read. A DynamoDB table takes changes "
            "as rows: declare the option 'change-kind' and insert them"
        )
    stream.refuse("CREATE TABLE, DROP TABLE, SET, RESET, INSERT INTO or a statement set")


def _create(script: Script, table: Table, of_page: bool) -> None:
    if table.name.text in script.tables and not of_page:
        if table.if_not_exists:
            return
        table.name.fail(f"Table '{table.name.text}' already exists")
    script.tables[table.name.text] = table


def _drop(script: Script, stream: TokenStream) -> None:
    if_exists = stream.found("IF", "EXISTS")
    name = stream.name("a table's name")
    stream.finish()
    if name.text not in script.tables and not if_exists:
        name.fail(f"Table '{name.text}' does not exist")
    script.tables.pop(name.text, None)


def _setting(stream: TokenStream) -> tuple[str, str]:
    """`'key' = 'value'`, or as older clients have it `key = value`."""
    stream.keep_secret()
    if stream.next.kind == "text":
        key = stream.take().text
        stream.expect("=")
        value = stream.text().text
    else:
        key = stream.name("an option's key").text
        while not stream.next.is_word("="):
            if stream.ended:
                stream.refuse('"="')
            key += stream.take().text
        stream.expect("=")
        value = ""
        while not stream.ended:
            value += stream.take().text
    stream.finish()
    return key, value


def _reset(script: Script, stream: TokenStream) -> None:
    if stream.ended:
        script.settings.clear()
        return
    script.settings.pop(stream.text().text, None)
    stream.finish()


# --- INSERT --------------------------------------------------------------------------------


def _insert(script: Script, stream: TokenStream) -> Insert:
    place = stream.expect("INSERT")
    if stream.next.is_word("OVERWRITE"):
        stream.next.fail(
            "INSERT OVERWRITE requires that the underlying DynamicTableSink implements the "
            "SupportsOverwrite interface, which no table here does"
        )
    stream.expect("INTO")
    stream.found("TABLE")
    name = stream.name("a table's name")
    while stream.found("."):
        name = stream.name("a table's name")
    table = script.table(name)
    partition = _partition(table, stream) if stream.found("PARTITION") else {}
    columns: tuple[str, ...] = ()
    if stream.next.is_word("("):
        columns = _columns(table, name_list(stream), partition)
    if not stream.next.is_word("SELECT", "VALUES", "WITH"):
        stream.refuse("SELECT or VALUES")
    return Insert(table, partition, columns, stream.rest(), place)


def _columns(table: Table, names: list[Token], partition: Mapping[str, str]) -> tuple[str, ...]:
    taken = dict(partition)
    for name in names:
        taken[_column(table, name, taken)] = ""
    return tuple(each.text for each in names)


def _column(table: Table, name: Token, taken: Mapping[str, str]) -> str:
    known = [each.name for each in table.columns]
    if name.text not in known:
        name.fail(f"Unknown target column '{name.text}'. Available columns: {known}")
    if name.text in taken:
        name.fail(f"Target column '{name.text}' is assigned more than once")
    return name.text


def _partition(table: Table, stream: TokenStream) -> dict[str, str]:
    values: dict[str, str] = {}
    stream.expect("(")
    while True:
        name = stream.name("a partition column's name")
        _column(table, name, values)
        if table.partitioned_by and name.text not in table.partitioned_by:
            name.fail(
                f"'{name.text}' is no partition column: they are {list(table.partitioned_by)}"
            )
        stream.expect("=")
        if stream.next.kind not in ("text", "number") and not stream.next.is_word("TRUE", "FALSE"):
            stream.refuse("a constant")
        values[name.text] = stream.take().text
        if stream.found(")"):
            return values
        if not stream.found(","):
            stream.refuse('"," or ")"')


def _refuse_query(script: Script, stream: TokenStream) -> None:
    place = stream.next
    while not stream.ended:
        if stream.take().is_word("FROM") and stream.next.kind in ("word", "name"):
            table = script.tables.get(stream.next.text)
            if table is None or table.options.get("connector") == "dynamodb":
                raise SourceNotSupportedError
    raise SqlError(
        "A query alone has nowhere to go: insert it into a table whose connector is 'print' "
        f"(line {place.line}, column {place.column})",
        line=place.line,
        column=place.column,
    )
