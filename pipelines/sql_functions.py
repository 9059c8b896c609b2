"""Flink's expressions in DuckDB's words, wherever the two differ. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from sqlglot import exp, parser

from beam_dynamodb.sql_text import Flink
from pipelines import sql_casts
from pipelines.sql_casts import Untranslatable, call, family, whole

__all__ = ["FlinkQuery", "Source", "in_duckdb"]

_AS_THEY_ARE = (
    "TIMESTAMPDIFF", "TIMESTAMPADD", "DATE_FORMAT", "TO_TIMESTAMP", "TO_TIMESTAMP_LTZ", "TO_DATE",
    "FROM_UNIXTIME", "UNIX_TIMESTAMP", "CONCAT", "REGEXP_REPLACE", "REGEXP", "SPLIT_INDEX",
    "JSON_VALUE", "JSON_QUERY", "JSON_EXISTS", "TO_BASE64", "FROM_BASE64", "INITCAP", "SHA1",
    "REGEXP_EXTRACT",
    "SHA224", "SHA256", "SHA384", "SHA512", "MD5", "LOCATE", "INSTR", "ROW", "LOG", "LOG10", "UUID",
    "CONVERT_TZ", "TRUNCATE", "TRUNC", "HEX", "CARDINALITY", "ELEMENT", "CHR", "RAND",
    "RAND_INTEGER", "IFNULL", "CONCAT_WS", "DAYOFWEEK", "LOCALTIME", "LOCALTIMESTAMP",
)  # fmt: skip


class FlinkQuery(Flink):
    """Flink's queries: functions that sqlglot would take for another database's stay as named."""

    INDEX_OFFSET = 0  # an index stays as written

    class Parser(parser.Parser):
        """Flink's functions."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {
            name: build
            for name, build in parser.Parser.FUNCTIONS.items()
            if name not in _AS_THEY_ARE
        }
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: build
            for name, build in parser.Parser.FUNCTION_PARSERS.items()
            if name not in _AS_THEY_ARE
        }
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {
            kind: build
            for kind, build in parser.Parser.NO_PAREN_FUNCTIONS.items()
            if kind.name not in _AS_THEY_ARE
        }


_SIMPLE = {
    "INITCAP": "flink_initcap",
    "SPLIT_INDEX": "flink_split_index",
    "TO_BASE64": "flink_to_base64",
    "FROM_BASE64": "flink_from_base64",
    "INSTR": "instr",
    "REGEXP": "regexp_matches",
    "LOG10": "log10",
    "HEX": "flink_hex",
    "CHR": "chr",
    "MD5": "md5",
    "SHA1": "sha1",
    "SHA256": "sha256",
    "RAND_INTEGER": "flink_rand_integer",
    "IFNULL": "coalesce",
}


_AS_IN_DUCKDB = frozenset([
    "ABS", "ACOS", "AND", "ARRAY", "ASCII", "ASIN", "ATAN", "ATAN2", "CASE", "COALESCE", "COS",
    "COSH", "COT", "CURRENT_DATE", "CURRENT_TIME", "DAY_OF_MONTH",
    "DAY_OF_YEAR", "DEGREES", "EXISTS", "EXP", "HOUR", "IF", "LENGTH", "LN", "LOCALTIME", "LOG",
    "LOWER", "MAP", "MINUTE", "MONTH", "NULLIF", "OR", "OVERLAY", "PI", "POWER",
    "QUARTER", "RADIANS", "REPEAT", "REPLACE", "REVERSE", "SECOND", "SIGN", "SIN", "SINH", "SQRT",
    "STR_POSITION", "TAN", "TANH", "TRIM", "UPPER", "WEEK", "XOR", "YEAR",
])  # fmt: skip
"""The functions, by sqlglot's names, that mean the same in DuckDB."""


@dataclass(frozen=True)
class Source:
    """What a query reads, as its translation needs to know it.

    Attributes:
        name: The table's name.
        digits: The precision of each column that is a time.
    """

    name: str
    digits: Mapping[str, int]


def in_duckdb(query: exp.Expr, kinds: Callable[[str], list[str]], source: Source) -> str:
    """A query of Flink's in DuckDB's words.

    Args:
        query: As `FlinkQuery` parses it.
        kinds: DuckDB's types of the columns of a query in DuckDB's words.
        source: What the query reads.

    Raises:
        Untranslatable: It uses what can't be said in DuckDB.
    """
    return _Translation(kinds, source).query(query.transform(_constructors)).sql("duckdb")


class _Translation:
    """One query's translation, from the inside out, as the types of what is inside decide."""

    def __init__(self, kinds: Callable[[str], list[str]], source: Source) -> None:
        self._kinds = kinds
        self._source = source
        self._ctes: list[exp.Expr] = []
        self._from: exp.Expr | None = None

    def query(self, query: exp.Expr) -> exp.Expr:
        """A SELECT or VALUES, with what it reads from."""
        for each in getattr(query, "ctes", ()):
            self.query(each.this)
            self._ctes.append(each)
        for each in list(_inner(query)):
            self.query(each)
        self._from = query.args.get("from_")
        for root in _expressions(query):
            for node in reversed(list(root.dfs())):
                made = self._translated(node)
                if made is not None:
                    node.replace(made)
        return query

    def _translated(self, node: exp.Expr) -> exp.Expr | None:
        """What stands for a node whose parts are translated; None where it stays."""
        build = _BY_CLASS.get(type(node))
        if isinstance(node, (exp.Add, exp.Sub)) and isinstance(node.right, exp.Interval):
            build = _moved
        name = str(node.this).upper() if isinstance(node, exp.Anonymous) else ""
        if name in _SIMPLE:
            return call(_SIMPLE[name], *(each.copy() for each in node.expressions))
        build = _BUILDERS.get(name, build)
        if build:
            # What stands for it takes its parts, so that its own place is left free.
            return build(_Call(node.copy(), self))
        if isinstance(node, exp.Func) and (name or node.sql_name()) not in _AS_IN_DUCKDB:
            # DuckDB may have one of this name, with another meaning or of many rows.
            name = name or node.sql_name()
            raise Untranslatable(f"No match found for function signature {name}", node)
        return None

    def kind(self, node: exp.Expr) -> str:
        """DuckDB's type of an expression of the SELECT at hand."""
        asked = exp.Select(expressions=[exp.alias_(node.copy(), "k", quoted=True)])
        if self._from is not None:
            asked.set("from_", self._from.copy())
        if self._ctes:
            asked.set("with_", exp.With(expressions=[each.copy() for each in self._ctes]))
        return self._kinds(asked.sql("duckdb"))[0]

    def digits(self, node: exp.Expr) -> int | None:
        """The precision of a time, where it is plain."""
        if isinstance(node, exp.Paren):
            return self.digits(node.this)
        table = self._from.this if self._from is not None else None
        if isinstance(node, exp.Column) and isinstance(table, exp.Table):
            is_source = table.name == self._source.name
            is_column = is_source and node.table in ("", table.alias_or_name)
            return self._source.digits.get(node.name) if is_column else None
        found: int | None = node.meta.get("digits")
        return found

    def text(self, node: exp.Expr) -> exp.Expr:
        """An expression's value as Flink prints it."""
        digits = self.digits(node)
        if digits is not None:
            node.meta["digits"] = digits
        return sql_casts.text(node, self.kind(node))


def _inner(query: exp.Expr) -> Iterator[exp.Expr]:
    """The queries that stand in FROM."""
    found = query.args.get("from_")
    table = found.this if found is not None else None
    if isinstance(table, exp.Subquery):
        yield table.this
    elif isinstance(table, exp.Values):
        yield table


def _expressions(query: exp.Expr) -> Iterator[exp.Expr]:
    """What a query computes: its columns and its condition."""
    yield from list(query.expressions)
    where = query.args.get("where")
    if where is not None:
        yield where


@dataclass(frozen=True)
class _Call:
    """A node to translate, and what tells the types of its parts."""

    node: Any
    by: _Translation

    @property
    def arguments(self) -> list[Any]:
        """What a function is called with."""
        found: list[Any] = self.node.expressions
        return found

    def take(self, fewest: int, most: int) -> list[Any]:
        """The arguments, if they are so many."""
        if not fewest <= len(self.arguments) <= most:
            self.refuse(f"{str(self.node.this).upper()} with {len(self.arguments)} arguments")
        return self.arguments

    def refuse(self, what: str) -> NoReturn:
        """Raises Untranslatable."""
        raise Untranslatable(f"{what} is not supported", self.node)


def _constructors(node: exp.Expr) -> exp.Expr:
    """`MAP[k, v]` and the words that stand for the time, which parse as columns."""
    if isinstance(node, exp.Column) and node.name.upper() in _LOCAL and not node.table:
        return _LOCAL[node.name.upper()].copy()
    if not (isinstance(node, exp.Bracket) and _is_map_word(node.this)):
        return node
    items = node.expressions
    if len(items) % 2:
        raise Untranslatable("MAP[…] needs keys and values in turn", node)
    keys, values = exp.Array(expressions=items[::2]), exp.Array(expressions=items[1::2])
    return exp.Map(keys=keys, values=values)


_LOCAL = {"LOCALTIME": exp.Localtime(), "LOCALTIMESTAMP": call("LOCALTIMESTAMP")}


def _is_map_word(node: exp.Expr) -> bool:
    return (
        isinstance(node, exp.Column)
        and node.name.upper() == "MAP"
        and not node.this.args.get("quoted")
    )


# --- by the types of their operands --------------------------------------------------------


def _division(found: _Call) -> exp.Expr:
    kinds = found.by.kind(found.node.left), found.by.kind(found.node.right)
    return sql_casts.divided(found.node, kinds)


def _cast(found: _Call) -> exp.Expr:
    value = found.node.this
    digits = found.by.digits(value)
    if digits is not None:
        value.meta["digits"] = digits
    return sql_casts.cast(found.node, found.by.kind(value))


def _whole_number(found: _Call) -> exp.Expr:
    """CEIL and FLOOR, which are doubles in DuckDB, and so not exact, of integers too."""
    if found.node.args.get("to") or found.node.args.get("decimals"):
        found.refuse(f"{type(found.node).__name__.upper()} … TO")
    is_whole = family(found.by.kind(found.node.this)) == "integer"
    made: exp.Expr = exp.Paren(this=found.node.this) if is_whole else found.node
    return made


def _round(found: _Call) -> exp.Expr:
    """ROUND of a double goes by its shortest digits, as BigDecimal.valueOf has it."""
    kind = found.by.kind(found.node.this)
    if family(kind) != "double":
        made: exp.Expr = found.node
        return made
    digits = found.node.args.get("decimals") or whole(0)
    return sql_casts.shortened("flink_round", found.node.this, digits, kind)


def _truncate(found: _Call) -> exp.Expr:
    number, *rest = found.take(1, 2)
    digits = rest[0] if rest else whole(0)
    return sql_casts.shortened("flink_truncate", number, digits, found.by.kind(number))


_ANY = 1000
"""As many arguments as anyone writes."""


def _joined(found: _Call) -> exp.Expr:
    """`||`, whose sides Flink makes text."""
    left, right = found.by.text(found.node.left), found.by.text(found.node.right)
    return exp.DPipe(this=left, expression=right, safe=True)


def _concat(found: _Call) -> exp.Expr:
    """CONCAT, which gives NULL where any text is NULL."""
    texts = [found.by.text(each) for each in found.take(1, _ANY)]
    made = texts[0]
    for each in texts[1:]:
        made = exp.DPipe(this=made, expression=each, safe=True)
    return exp.Paren(this=made)


def _concat_ws(found: _Call) -> exp.Expr:
    """CONCAT_WS, which passes over a text that is NULL."""
    return call("concat_ws", *(found.by.text(each) for each in found.take(2, _ANY)))


def _extreme(found: _Call) -> exp.Expr:
    """GREATEST and LEAST, which are NULL where any value is."""
    values = [found.node.this, *found.node.expressions]
    nulls = [exp.Is(this=each.copy(), expression=exp.Null()) for each in values]
    return exp.Case(ifs=[exp.If(this=exp.or_(*nulls), true=exp.Null())], default=found.node)


def _element(found: _Call) -> exp.Expr:
    """An array's element, which is NULL below 1, where DuckDB counts from the end."""
    (index,) = found.node.expressions
    if found.by.kind(found.node.this).endswith("[]"):
        return call("flink_element", found.node.this, index)
    made: exp.Expr = found.node
    made.set("offset", 1)  # what DuckDB counts from: the key stays as it is
    return made


def _cardinality(found: _Call) -> exp.Expr:
    (value,) = found.take(1, 1)
    is_map = found.by.kind(value).startswith("MAP(")
    return exp.cast(call("cardinality" if is_map else "len", value), "BIGINT")


# --- numbers and texts ---------------------------------------------------------------------


def _log(found: _Call) -> exp.Expr:
    numbers = found.take(1, 2)
    return call("ln", *numbers) if len(numbers) == 1 else call("flink_log", *numbers)


def _rand(found: _Call) -> exp.Expr:
    found.take(0, 0)
    return call("random")


def _side(found: _Call) -> exp.Expr:
    name = "flink_left" if isinstance(found.node, exp.Left) else "flink_right"
    return call(name, found.node.this, found.node.expression)


def _substring(found: _Call) -> exp.Expr:
    text, start = found.node.this, found.node.args.get("start") or whole(1)
    length = found.node.args.get("length")
    if length is None:
        return call("flink_substring", text, start)
    return call("flink_substring_of", text, start, length)


def _pad(found: _Call) -> exp.Expr:
    """LPAD and RPAD, which are NULL of a length below 0 and where there is nothing to pad with."""
    length, by = found.node.expression, found.node.args.get("fill_pattern")
    if by is None:
        found.refuse("LPAD or RPAD without what to pad with")
    below = exp.LT(this=exp.Paren(this=length.copy()), expression=whole(0))
    empty = exp.EQ(this=by.copy(), expression=exp.Literal.string(""))
    none = exp.If(this=exp.or_(below, empty), true=exp.Null())
    return exp.Case(ifs=[none], default=found.node)


def _locate(found: _Call) -> exp.Expr:
    return call("flink_locate", *found.take(2, 2))


_GROUP = re.compile(r"\\(.)|\$(\d)(?!\d)|([\\$])")


def _regexp_replace(found: _Call) -> exp.Expr:
    r"""The replacement's groups are `$1` in Java, `\1` in DuckDB."""
    text, pattern, by = found.take(3, 3)
    if not (isinstance(by, exp.Literal) and by.is_string):
        found.refuse("REGEXP_REPLACE by what is no constant")
    made = _GROUP.sub(lambda part: _in_re2(found, part), by.name)
    return call("regexp_replace", text, pattern, exp.Literal.string(made), exp.Literal.string("g"))


def _in_re2(found: _Call, part: re.Match[str]) -> str:
    escaped, group, alone = part.groups()
    if alone:
        found.refuse(f"'{alone}' alone in the replacement of REGEXP_REPLACE")
    return f"\\{group}" if group else escaped.replace("\\", "\\\\")


def _regexp_extract(found: _Call) -> exp.Expr:
    """NULL where nothing matches."""
    text, pattern, *group = found.take(2, 3)
    return call("flink_regexp_extract", text, pattern, *(group or [whole(0)]))


# --- JSON ----------------------------------------------------------------------------------

_JSON_PATH = re.compile(r"(?:(?:lax|strict)\s+)?(\$(?:\.\w+|\['[^'\"]*'\]|\[\d+\])*)")


def _json(found: _Call) -> exp.Expr:
    text, path = found.take(2, 2)
    name = str(found.node.this).upper()
    plain = isinstance(path, exp.Literal) and _JSON_PATH.fullmatch(path.name.strip())
    if not plain:
        found.refuse(f"{name} with a path other than a constant such as '$.a.b[0]'")
    made = re.sub(r"\['([^']*)'\]", r'."\1"', plain[1])
    return call(f"flink_{name.lower()}", text, exp.Literal.string(made))


# --- times ---------------------------------------------------------------------------------


def _extract(found: _Call) -> exp.Expr:
    unit = found.node.name.upper()
    if unit in ("DOW", "DAYOFWEEK"):
        return _from_sunday(found.node.expression)
    if unit == "EPOCH":
        return call("flink_unix_seconds", exp.cast(found.node.expression, "TIMESTAMP"))
    if unit not in _UNITS:
        found.refuse(f"EXTRACT({unit} …)")
    made: exp.Expr = found.node
    return made


_UNITS = (
    "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "DOY", "ISODOW",
    "ISOYEAR", "DECADE", "CENTURY", "MILLENNIUM",
)  # fmt: skip


def _day_of_week(found: _Call) -> exp.Expr:
    return _from_sunday(*found.take(1, 1))


def _from_sunday(moment: exp.Expr) -> exp.Expr:
    """The day of the week, Sunday being 1."""
    return exp.Paren(this=exp.Add(this=call("dayofweek", moment), expression=whole(1)))


def _unit(node: exp.Expr) -> exp.Expr:
    return exp.Literal.string(node.name.lower())


def _timestampdiff(found: _Call) -> exp.Expr:
    """Whole units between two times, rounded towards zero."""
    unit, first, last = found.take(3, 3)
    return call("datesub", _unit(unit), first, last)


def _timestampadd(found: _Call) -> exp.Expr:
    unit, count, moment = found.take(3, 3)
    one = exp.Interval(this=exp.Literal.string("1"), unit=exp.var(unit.name.upper()))
    later = exp.Add(this=moment, expression=exp.Mul(this=exp.Paren(this=count), expression=one))
    return _of_days(exp.Paren(this=later), found.by.kind(moment), one)


def _moved(found: _Call) -> exp.Expr:
    """A time and an interval, which are a DATE where the one is and the other is of days."""
    kind = found.by.kind(found.node.left)
    return _of_days(exp.Paren(this=found.node), kind, found.node.right)


def _of_days(moment: exp.Expr, kind: str, interval: Any) -> exp.Expr:
    unit = interval.unit.name.upper() if interval.unit else ""
    is_date = kind == "DATE" and unit in ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
    return exp.cast(moment, "DATE") if is_date else moment


_JAVA_TIME = {
    "yyyy": "%Y", "yy": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%-m", "dd": "%d",
    "d": "%-d", "HH": "%H", "H": "%-H", "hh": "%I", "h": "%-I", "mm": "%M", "m": "%-M",
    "ss": "%S", "s": "%-S", "SSS": "%g", "SSSSSS": "%f", "SSSSSSSSS": "%n", "a": "%p",
    "EEE": "%a", "E": "%a", "EEEE": "%A", "DDD": "%j",
}  # fmt: skip
_PART = re.compile(r"''|'((?:[^']|'')*)'|([A-Za-z])\2*|.", re.DOTALL)


def _format(node: Any) -> exp.Expr:
    """A pattern of Java's as one of strftime's."""
    if not isinstance(node, exp.Literal):
        raise Untranslatable("the pattern of a time must be a constant", node)
    return exp.Literal.string("".join(_strftime(each, node) for each in _PART.finditer(node.name)))


def _strftime(part: re.Match[str], node: exp.Expr) -> str:
    if part[2]:
        if part[0] not in _JAVA_TIME:
            raise Untranslatable(f"'{part[0]}' in the pattern of a time is not supported", node)
        return _JAVA_TIME[part[0]]
    if part[0] in "'#{}[]":
        raise Untranslatable(f'"{part[0]}" alone in the pattern of a time has no meaning', node)
    text = part[0] if part[1] is None else part[1]
    return text.replace("''", "'").replace("%", "%%")


def _shape(pattern: Any) -> str:
    """What texts of a pattern look like: strptime takes one digit for `MM`, which Java doesn't."""
    return "".join(
        _digits_of(part[0]) if part[2] else re.escape((part[1] or part[0]).replace("''", "'"))
        for part in _PART.finditer(pattern.name)
    )


def _digits_of(letters: str) -> str:
    if letters[0] in "aE" or letters in ("MMM", "MMMM"):
        return "[A-Za-z]+"
    return r"\d{1,2}" if len(letters) == 1 else rf"\d{{{len(letters)}}}"


def _now(found: _Call) -> exp.Expr:
    """The present instant, of milliseconds as in Flink."""
    return _of_millis(call("now"))


def _local_now(found: _Call) -> exp.Expr:
    return _of_millis(exp.cast(call("now"), "TIMESTAMP"))


def _of_millis(moment: exp.Expr) -> exp.Expr:
    made = call("flink_precise", moment, whole(1000))
    made.meta["digits"] = 3
    return made


def _default_format() -> exp.Expr:
    return exp.Literal.string("yyyy-MM-dd HH:mm:ss")


def _date_format(found: _Call) -> exp.Expr:
    moment, pattern = found.take(2, 2)
    return call("strftime", exp.cast(moment, "TIMESTAMP"), _format(pattern))


def _to_timestamp(found: _Call) -> exp.Expr:
    """NULL where the text is no time, as in Flink."""
    text, *pattern = found.take(1, 2)
    if pattern:
        shape = exp.Literal.string(_shape(pattern[0]))
        made = call("flink_strptime", text, _format(pattern[0]), shape)
    else:
        made = exp.TryCast(this=call("flink_moment", text), to=exp.DataType.build("TIMESTAMP"))
    made.meta["digits"] = 3
    return made


def _to_date(found: _Call) -> exp.Expr:
    return exp.TryCast(this=_to_timestamp(found), to=exp.DataType.build("DATE"))


def _to_timestamp_ltz(found: _Call) -> exp.Expr:
    number, *rest = found.take(1, 2)
    precision = rest[0].name if rest else "3"
    if precision not in ("0", "3"):
        raise Untranslatable("the precision of TO_TIMESTAMP_LTZ must be 0 or 3", found.node)
    if family(found.by.kind(number)) != "integer":
        found.refuse("TO_TIMESTAMP_LTZ of what is no integer")
    count: exp.Expr = exp.cast(number, "BIGINT")
    if precision == "0":
        count = exp.Mul(this=count, expression=whole(1000))
    made = exp.cast(call("epoch_ms", count), "TIMESTAMPTZ")
    made.meta["digits"] = 3
    return made


def _from_unixtime(found: _Call) -> exp.Expr:
    seconds, *pattern = found.take(1, 2)
    moment = call("make_timestamp", exp.Mul(this=exp.cast(seconds, "BIGINT"),
                                            expression=whole(1_000_000)))  # fmt: skip
    return call("strftime", moment, _format(pattern[0] if pattern else _default_format()))


def _unix_timestamp(found: _Call) -> exp.Expr:
    if not found.arguments:
        return call("flink_unix_seconds", call("now"))
    text, *pattern = found.take(1, 2)
    parsed = call("strptime", text, _format(pattern[0] if pattern else _default_format()))
    return call("flink_unix_seconds", parsed)


def _row(found: _Call) -> exp.Expr:
    pairs = (
        exp.PropertyEQ(this=exp.to_identifier(f"f{index}"), expression=each)
        for index, each in enumerate(found.arguments)
    )
    return exp.Struct(expressions=list(pairs))


_BY_CLASS: dict[type[exp.Expr], Callable[[_Call], exp.Expr]] = {
    exp.Bracket: _element,
    exp.CurrentTimestamp: _now,
    exp.Div: _division,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Ceil: _whole_number,
    exp.Floor: _whole_number,
    exp.Pad: _pad,
    exp.Round: _round,
    exp.DPipe: _joined,
    exp.Greatest: _extreme,
    exp.Least: _extreme,
    exp.Left: _side,
    exp.Right: _side,
    exp.Substring: _substring,
    exp.Extract: _extract,
}

_BUILDERS: dict[str, Callable[[_Call], exp.Expr]] = {
    "CARDINALITY": _cardinality,
    "CONCAT": _concat,
    "CONCAT_WS": _concat_ws,
    "CURRENT_ROW_TIMESTAMP": _now,
    "DATE_FORMAT": _date_format,
    "DAYOFWEEK": _day_of_week,
    "FROM_UNIXTIME": _from_unixtime,
    "JSON_EXISTS": _json,
    "JSON_QUERY": _json,
    "JSON_VALUE": _json,
    "LOCALTIMESTAMP": _local_now,
    "LOCATE": _locate,
    "LOG": _log,
    "NOW": _now,
    "PROCTIME": _now,
    "RAND": _rand,
    "REGEXP_EXTRACT": _regexp_extract,
    "REGEXP_REPLACE": _regexp_replace,
    "ROW": _row,
    "TIMESTAMPADD": _timestampadd,
    "TIMESTAMPDIFF": _timestampdiff,
    "TO_DATE": _to_date,
    "TO_TIMESTAMP": _to_timestamp,
    "TO_TIMESTAMP_LTZ": _to_timestamp_ltz,
    "TRUNCATE": _truncate,
    "UNIX_TIMESTAMP": _unix_timestamp,
    "UUID": lambda _: exp.cast(call("uuid"), "TEXT"),
}
