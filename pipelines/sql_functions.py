"""Flink's expressions in DuckDB's words, wherever the two differ. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from sqlglot import exp, parser
from sqlglot.optimizer.annotate_types import annotate_types

from beam_dynamodb.sql_text import Flink

__all__ = ["MACROS", "FlinkQuery", "in_duckdb"]

_AS_THEY_ARE = (
    "TIMESTAMPDIFF", "TIMESTAMPADD", "DATE_FORMAT", "TO_TIMESTAMP", "TO_TIMESTAMP_LTZ", "TO_DATE",
    "FROM_UNIXTIME", "UNIX_TIMESTAMP", "CONCAT", "REGEXP_REPLACE", "REGEXP", "SPLIT_INDEX",
    "JSON_VALUE", "JSON_QUERY", "JSON_EXISTS", "TO_BASE64", "FROM_BASE64", "INITCAP", "SHA1",
    "REGEXP_EXTRACT",
    "SHA224", "SHA256", "SHA384", "SHA512", "MD5", "LOCATE", "INSTR", "ROW", "LOG", "LOG10", "UUID",
    "CONVERT_TZ", "TRUNCATE", "HEX", "CARDINALITY", "ELEMENT", "CHR", "RAND", "RAND_INTEGER",
    "IFNULL",
)  # fmt: skip


class FlinkQuery(Flink):
    """Flink's queries: functions that sqlglot would take for another database's stay as named."""

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
            **parser.Parser.NO_PAREN_FUNCTIONS,
        }


MACROS = """
CREATE MACRO flink_split_index(s, d, i) AS string_split(s, d)[i + 1];
CREATE MACRO flink_initcap(s) AS array_to_string(
  list_transform(string_split(lower(s), ' '), lambda x: upper(x[1]) || x[2:]), ' ');
CREATE MACRO flink_to_base64(s) AS to_base64(encode(s));
CREATE MACRO flink_from_base64(s) AS decode(from_base64(s));
CREATE MACRO flink_locate(sub, s) AS instr(s, sub);
CREATE MACRO flink_unix_seconds(t) AS CAST(epoch(t) AS BIGINT);
CREATE MACRO flink_log(b, x) AS ln(x) / ln(b);
CREATE MACRO flink_truncate(x, n) AS trunc(x * pow(10, n)) / pow(10, n);
CREATE MACRO flink_cardinality(x) AS len(x);
CREATE MACRO flink_hex(x) AS hex(x);
CREATE MACRO flink_rand_integer(n) AS CAST(floor(random() * n) AS INTEGER);
"""

_SIMPLE = {
    "SPLIT_INDEX": "flink_split_index",
    "INITCAP": "flink_initcap",
    "TO_BASE64": "flink_to_base64",
    "FROM_BASE64": "flink_from_base64",
    "LOCATE": "flink_locate",
    "INSTR": "instr",
    "JSON_VALUE": "json_extract_string",
    "JSON_QUERY": "json_extract",
    "JSON_EXISTS": "json_exists",
    "REGEXP": "regexp_matches",
    "LOG10": "log10",
    "TRUNCATE": "flink_truncate",
    "CARDINALITY": "flink_cardinality",
    "HEX": "flink_hex",
    "CHR": "chr",
    "MD5": "md5",
    "SHA1": "sha1",
    "SHA256": "sha256",
    "RAND": "random",
    "RAND_INTEGER": "flink_rand_integer",
    "IFNULL": "coalesce",
}

_JAVA_TIME = (
    ("yyyy", "%Y"), ("yy", "%y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("hh", "%I"),
    ("mm", "%M"), ("ss", "%S"), ("SSSSSS", "%f"), ("SSS", "%g"), ("a", "%p"), ("EEE", "%a"),
    ("DDD", "%j"),
)  # fmt: skip


class Untranslatable(ValueError):
    """A function, or a way to use one, that is not supported; `node` tells where it stands."""

    def __init__(self, reason: str, node: exp.Expr) -> None:
        super().__init__(reason)
        self.node = node


def in_duckdb(query: exp.Expr, schema: Mapping[str, Mapping[str, str]]) -> str:
    """A query of Flink's in DuckDB's words.

    Args:
        query: As `FlinkQuery` parses it.
        schema: DuckDB's type of each column by table.

    Raises:
        Untranslatable: It uses what can't be said in DuckDB.
    """
    query = query.transform(_constructors)
    _qualify(query, schema)
    query = annotate_types(query, schema=dict(schema), dialect=FlinkQuery)
    query = query.transform(_typed)
    return query.transform(_functions).sql("duckdb")


def _qualify(query: exp.Expr, schema: Mapping[str, Mapping[str, str]]) -> None:
    """Says of columns which table they are of, so that their types are known."""
    for column in query.find_all(exp.Column):
        select = column.parent_select
        source = select.find(exp.From) if select else None
        table = source.this if source else None
        if not isinstance(table, exp.Table) or column.table:
            continue
        if column.name in schema.get(table.name, {}):
            column.set("table", exp.to_identifier(table.alias_or_name, quoted=True))


def _constructors(node: exp.Expr) -> exp.Expr:
    """`MAP[k, v]`, which parses as a column in brackets."""
    if isinstance(node, exp.Column) and node.name.upper() in _LOCAL:
        return exp.cast(exp.CurrentTimestamp(), _LOCAL[node.name.upper()])
    if not (isinstance(node, exp.Bracket) and _is_map_word(node.this)):
        return node
    items = node.expressions
    if len(items) % 2:
        raise Untranslatable("MAP[…] needs keys and values in turn", node)
    keys, values = exp.Array(expressions=items[::2]), exp.Array(expressions=items[1::2])
    return exp.Map(keys=keys, values=values)


_LOCAL = {"LOCALTIME": "TIME", "LOCALTIMESTAMP": "TIMESTAMP"}


def _is_map_word(node: exp.Expr) -> bool:
    return (
        isinstance(node, exp.Column)
        and node.name.upper() == "MAP"
        and not node.this.args.get("quoted")
    )


def _typed(node: exp.Expr) -> exp.Expr:
    """What depends on the operands' types: division, and casts, which round in DuckDB."""
    if isinstance(node, exp.Div):
        whole = all(each.type and each.type.this in _INTEGERS for each in (node.left, node.right))
        if whole:
            return exp.IntDiv(this=node.left, expression=node.right)
        node.set("typed", None)
    if type(node) in (exp.Cast, exp.TryCast):
        return _cast(node)
    return node


_INTEGERS = exp.DataType.INTEGER_TYPES
_FRACTIONS = exp.DataType.REAL_TYPES


def _cast(node: exp.Expr) -> exp.Expr:
    target, source = node.args["to"], node.this.type
    if target.this in _INTEGERS and source is not None and source.this in _FRACTIONS:
        node.set("this", exp.Anonymous(this="trunc", expressions=[node.this]))
    if target.this in exp.DataType.TEXT_TYPES:
        target = exp.DataType.build("TEXT")
        node.set("to", target)
        if source is not None and source.this == exp.DataType.Type.BOOLEAN:
            return exp.Upper(this=node)
    return node


def _functions(node: exp.Expr) -> exp.Expr:
    if not isinstance(node, exp.Anonymous):
        return node
    name = str(node.this).upper()
    if name in _SIMPLE:
        return exp.Anonymous(this=_SIMPLE[name], expressions=node.expressions)
    build = _BUILDERS.get(name)
    return build(node, node.expressions) if build else node


def _call(name: str, *arguments: Any) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _concat(_: exp.Expr, texts: list[Any]) -> exp.Expr:
    """CONCAT, which gives NULL where any text is NULL."""
    whole: exp.Expr = exp.cast(texts[0], "TEXT")
    for each in texts[1:]:
        whole = exp.DPipe(this=whole, expression=exp.cast(each, "TEXT"), safe=True)
    return exp.Paren(this=whole)


def _regexp_replace(_: exp.Expr, arguments: list[Any]) -> exp.Expr:
    return _call("regexp_replace", *arguments, exp.Literal.string("g"))


def _log(_: exp.Expr, arguments: list[Any]) -> exp.Expr:
    return _call("ln", *arguments) if len(arguments) == 1 else _call("flink_log", *arguments)


def _unit(node: exp.Expr) -> exp.Expr:
    return exp.Literal.string(node.name.lower())


def _timestampdiff(_: exp.Expr, arguments: list[Any]) -> exp.Expr:
    """Whole units between two times, rounded towards zero."""
    unit, first, last = arguments
    return _call("datesub", _unit(unit), first, last)


def _timestampadd(_: exp.Expr, arguments: list[Any]) -> exp.Expr:
    unit, count, moment = arguments
    one = exp.Interval(this=exp.Literal.string("1"), unit=exp.var(unit.name.upper()))
    return exp.Paren(
        this=exp.Add(this=moment, expression=exp.Mul(this=exp.Paren(this=count), expression=one))
    )


def _format(node: Any) -> exp.Expr:
    """A pattern of Java's as one of strftime's."""
    if not isinstance(node, exp.Literal):
        raise Untranslatable("the pattern of a time must be a constant", node)
    rest, made = node.name, ""
    while rest:
        java, c = next((pair for pair in _JAVA_TIME if rest.startswith(pair[0])), ("", ""))
        if java:
            made, rest = made + c, rest[len(java) :]
        elif rest[0] == "'":
            text, _, rest = rest[1:].partition("'")
            made += text.replace("%", "%%")
        elif rest[0].isalpha():
            raise Untranslatable(f"'{rest[0]}' in the pattern of a time is not supported", node)
        else:
            made, rest = made + rest[0].replace("%", "%%"), rest[1:]
    return exp.Literal.string(made)


def _default_format() -> exp.Expr:
    return exp.Literal.string("yyyy-MM-dd HH:mm:ss")


def _date_format(_: exp.Expr, arguments: list[Any]) -> exp.Expr:
    moment, pattern = arguments
    return _call("strftime", exp.cast(moment, "TIMESTAMP"), _format(pattern))


def _to_timestamp(_: exp.Expr, arguments: list[Any]) -> exp.Expr:
    """NULL where the text is no time, as in Flink."""
    if len(arguments) == 1:
        return exp.TryCast(this=arguments[0], to=exp.DataType.build("TIMESTAMP"))
    return _call("try_strptime", arguments[0], _format(arguments[1]))


def _to_date(node: exp.Expr, arguments: list[Any]) -> exp.Expr:
    return exp.TryCast(this=_to_timestamp(node, arguments), to=exp.DataType.build("DATE"))


def _to_timestamp_ltz(node: exp.Expr, arguments: list[Any]) -> exp.Expr:
    number = arguments[0]
    precision = arguments[1].name if len(arguments) > 1 else "3"
    if precision not in ("0", "3"):
        raise Untranslatable("the precision of TO_TIMESTAMP_LTZ must be 0 or 3", node)
    scale = exp.Literal.number("1000.0" if precision == "3" else "1.0")
    return _call("to_timestamp", exp.Div(this=exp.Paren(this=number), expression=scale))


def _from_unixtime(_: exp.Expr, arguments: list[Any]) -> exp.Expr:
    pattern = arguments[1] if len(arguments) > 1 else _default_format()
    moment = _call("make_timestamp", exp.Mul(this=exp.cast(arguments[0], "BIGINT"),
                                             expression=exp.Literal.number(1_000_000)))  # fmt: skip
    return _call("strftime", moment, _format(pattern))


def _unix_timestamp(_: exp.Expr, arguments: list[Any]) -> exp.Expr:
    if not arguments:
        return _call("flink_unix_seconds", _call("now"))
    pattern = arguments[1] if len(arguments) > 1 else _default_format()
    return _call("flink_unix_seconds", _call("strptime", arguments[0], _format(pattern)))


def _row(_: exp.Expr, values: list[Any]) -> exp.Expr:
    pairs = (
        exp.PropertyEQ(this=exp.to_identifier(f"f{index}"), expression=each)
        for index, each in enumerate(values)
    )
    return exp.Struct(expressions=list(pairs))


_BUILDERS: dict[str, Callable[[exp.Expr, list[Any]], exp.Expr]] = {
    "CONCAT": _concat,
    "UUID": lambda _, __: exp.cast(_call("uuid"), "TEXT"),
    "REGEXP_REPLACE": _regexp_replace,
    "LOG": _log,
    "TIMESTAMPDIFF": _timestampdiff,
    "TIMESTAMPADD": _timestampadd,
    "DATE_FORMAT": _date_format,
    "TO_TIMESTAMP": _to_timestamp,
    "TO_TIMESTAMP_LTZ": _to_timestamp_ltz,
    "TO_DATE": _to_date,
    "FROM_UNIXTIME": _from_unixtime,
    "UNIX_TIMESTAMP": _unix_timestamp,
    "ROW": _row,
}
