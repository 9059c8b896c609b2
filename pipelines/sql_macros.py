"""The DuckDB that evaluates queries, with those of Flink's functions that it lacks.

What SQL can't tell exactly is told in Python, of text to text. Knows nothing of Beam.
"""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

import duckdb

__all__ = ["connect"]

_MACROS = r"""
CREATE MACRO flink_split_index(s, d, i) AS string_split(s, d)[i + 1];
CREATE MACRO flink_to_base64(s) AS to_base64(encode(s));
CREATE MACRO flink_from_base64(s) AS decode(from_base64(s));
CREATE MACRO flink_locate(sub, s) AS instr(s, sub);
CREATE MACRO flink_unix_seconds(t) AS CAST(epoch_us(t) // 1000000 AS BIGINT);
CREATE MACRO flink_log(b, x) AS ln(x) / ln(b);
CREATE MACRO flink_hex(x) AS hex(x);
CREATE MACRO flink_rand_integer(n) AS CAST(floor(random() * n) AS INTEGER);
CREATE MACRO flink_precise(t, unit) AS
  t - to_microseconds(((epoch_us(t) % unit) + unit) % unit);
CREATE MACRO flink_fraction(f, n) AS
  CASE WHEN f = '' AND n = 0 THEN ''
  ELSE '.' || rpad(f, CAST(greatest(n, length(f)) AS INTEGER), '0') END;
CREATE MACRO flink_time_text(t, n) AS
  strftime(t, '%Y-%m-%d %H:%M:%S') || flink_fraction(rtrim(strftime(t, '%f'), '0'), n);
CREATE MACRO flink_integer(s) AS
  CASE WHEN regexp_full_match(s, '\s*[+-]?\d+(\.\d*)?\s*')
  THEN split_part(trim(s), '.', 1) WHEN s IS NOT NULL THEN '' END;
CREATE MACRO flink_number(s) AS
  CASE WHEN regexp_full_match(s, '\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*')
  THEN trim(s) WHEN s IS NOT NULL THEN '' END;
CREATE MACRO flink_moment(s) AS
  CASE WHEN regexp_full_match(s,
    '\s*\d{4}-\d{1,2}-\d{1,2}([ T]\d{1,2}:\d{1,2}:\d{1,2}(\.\d{0,9})?)?\s*')
  THEN trim(s) WHEN s IS NOT NULL THEN '' END;
CREATE MACRO flink_element(a, i) AS CASE WHEN i > 0 THEN a[i] END;
CREATE MACRO flink_left(s, n) AS left(s, CASE WHEN n < 0 THEN 0 ELSE n END);
CREATE MACRO flink_right(s, n) AS right(s, CASE WHEN n < 0 THEN 0 ELSE n END);
CREATE MACRO flink_substring(s, n) AS substring(s, CASE WHEN n = 0 THEN 1 ELSE n END);
CREATE MACRO flink_substring_of(s, n, l) AS
  CASE WHEN l < 0 THEN error('the length of SUBSTRING is negative')
  ELSE substring(s, CASE WHEN n = 0 THEN 1 ELSE n END, l) END;
CREATE MACRO flink_strptime(s, f, r) AS
  CASE WHEN regexp_full_match(s, r) THEN try_strptime(s, f) END;
CREATE MACRO flink_regexp_extract(s, p, g) AS
  CASE WHEN regexp_matches(s, p) THEN regexp_extract(s, p, g) END;
CREATE MACRO flink_json_value(j, p) AS CASE WHEN json_valid(j) THEN
  CASE WHEN json_type(j, p) NOT IN ('OBJECT', 'ARRAY') THEN json_extract_string(j, p) END END;
CREATE MACRO flink_json_query(j, p) AS CASE WHEN json_valid(j) THEN
  CASE WHEN json_type(j, p) IN ('OBJECT', 'ARRAY')
  THEN CAST(json_extract(j, p) AS VARCHAR) END END;
CREATE MACRO flink_json_exists(j, p) AS
  CASE WHEN json_valid(j) THEN json_exists(j, p) WHEN j IS NOT NULL THEN FALSE END;
"""

_WORD = re.compile("[A-Za-z0-9]+")
_PLAIN_FROM, _PLAIN_TO = Decimal("0.001"), Decimal(10_000_000)


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory, of one thread, that reaches nothing outside and knows the functions."""
    connection = duckdb.connect(
        config={"threads": 1, "preserve_insertion_order": True, "enable_external_access": False}
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(_MACROS)
    text, whole = "VARCHAR", "INTEGER"
    connection.create_function("flink_divide", _divide, [text, text, whole, whole], text)
    connection.create_function("flink_round", _round, [text, whole], text)
    connection.create_function("flink_truncate", _truncate, [text, whole], text)
    connection.create_function("flink_double_text", _double_text, [text], text)
    connection.create_function("flink_initcap", _initcap, [text], text)
    return connection


def _divide(dividend: str, divisor: str, precision: int, scale: int) -> str:
    """The quotient of two decimals, by Flink's rules: 38 digits, then those of its type."""
    by = Decimal(divisor)
    if not by:
        raise ZeroDivisionError("division by zero")
    exact = Context(prec=38, rounding=ROUND_HALF_UP).divide(Decimal(dividend), by)
    quotient = _rounded(exact, scale, ROUND_HALF_UP)
    if quotient.adjusted() >= precision - scale and quotient:
        raise OverflowError("a quotient has more digits than its type")
    return f"{quotient:f}"


def _round(number: str, digits: int) -> str:
    return _at(number, digits, ROUND_HALF_UP)


def _truncate(number: str, digits: int) -> str:
    return _at(number, digits, ROUND_DOWN)


def _at(number: str, digits: int, rounding: str) -> str:
    found = Decimal(number)
    # Digits beyond those that are there change nothing; of infinity none are there.
    if not found.is_finite() or digits >= -int(found.as_tuple().exponent):
        return number
    return f"{_rounded(found, digits, rounding):f}"


def _rounded(number: Decimal, digits: int, rounding: str) -> Decimal:
    context = Context(prec=800, rounding=rounding)
    return number.quantize(Decimal(1).scaleb(-digits), context=context)


def _double_text(number: str) -> str:
    """A double, as DuckDB prints it, in Java's form: 1.0E20."""
    found = Decimal(number)
    if not found.is_finite():
        return "NaN" if found.is_nan() else f"{'-' * found.is_signed()}Infinity"
    if not found or _PLAIN_FROM <= abs(found) < _PLAIN_TO:
        plain = f"{found.normalize():f}"
        return plain if "." in plain else f"{plain}.0"
    digits = "".join(map(str, found.normalize().as_tuple().digits))
    sign = "-" if found < 0 else ""
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{found.adjusted()}"


def _initcap(text: str) -> str:
    """Each run of letters and digits, ASCII's only, with its first letter in capitals."""
    return _WORD.sub(lambda word: word[0][0].upper() + word[0][1:].lower(), text)
