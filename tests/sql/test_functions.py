"""Expressions of SQL jobs mean what they mean in Flink; each function that is documented works."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from beam_dynamodb import SqlError
from pipelines.sql_query import Engine, NotEvaluated, plan
from pipelines.sql_script import parse_script

ROW = {
    "id": -7, "name": "Ann Lee", "price": 1.75, "ok": True,
    "at": datetime(2020, 1, 2, 3, 4, 5, 678000), "tags": ["a", "b"], "m": {"k": 1},
    "d": Decimal("2.50"), "s": "x,y", "none": None,
}  # fmt: skip
SOURCE = (
    "CREATE TABLE src (id BIGINT, name STRING, price DOUBLE, ok BOOLEAN, at TIMESTAMP(3), "
    "tags ARRAY<STRING>, m MAP<STRING, INT>, d DECIMAL(10, 2), s STRING, none STRING) "
    "WITH ('connector' = 'filesystem');\n"
)


def planned(query: str, sink: str, source: str = SOURCE):
    table = f"CREATE TABLE k ({sink}) WITH ('connector' = 'print');\n"
    script = parse_script(f"{source}{table}INSERT INTO k\n{query};")
    return plan(script, script.inserts[0])


def evaluated(query: str, sink: str, rows=(ROW,), source: str = SOURCE):
    engine = Engine(planned(query, sink, source))
    try:
        return list(engine.rows(list(rows)))
    finally:
        engine.close()


VALUES = [
    # numbers
    ("id / 2", "BIGINT", -3),
    ("id % 2", "BIGINT", -1),
    ("MOD(id, 2)", "BIGINT", -1),
    ("id + 1.5", "DECIMAL(10, 1)", Decimal("-5.5")),
    ("d * 2", "DECIMAL(10, 2)", Decimal("5.00")),
    ("price / 2", "DOUBLE", 0.875),
    ("ABS(id)", "BIGINT", 7),
    ("CEIL(price)", "DOUBLE", 2.0),
    ("FLOOR(price)", "DOUBLE", 1.0),
    ("ROUND(price, 1)", "DOUBLE", 1.8),
    ("TRUNCATE(price, 1)", "DOUBLE", 1.7),
    ("POWER(2, 3)", "DOUBLE", 8.0),
    ("SQRT(4)", "DOUBLE", 2.0),
    ("EXP(0)", "DOUBLE", 1.0),
    ("LN(1)", "DOUBLE", 0.0),
    ("LOG(2, 8)", "DOUBLE", 3.0),
    ("LOG10(100)", "DOUBLE", 2.0),
    ("SIGN(id)", "BIGINT", -1),
    ("RAND() < 1", "BOOLEAN", True),
    ("GREATEST(1, 2)", "INT", 2),
    ("LEAST(1, 2)", "INT", 1),
    # casts
    ("CAST(price AS INT)", "INT", 1),
    ("CAST(d AS BIGINT)", "BIGINT", 2),
    ("CAST(ok AS STRING)", "STRING", "TRUE"),
    ("CAST(id AS STRING)", "STRING", "-7"),
    ("CAST('12' AS INT)", "INT", 12),
    ("CAST(at AS DATE)", "DATE", date(2020, 1, 2)),
    ("CAST('2020-01-02' AS DATE)", "DATE", date(2020, 1, 2)),
    ("TRY_CAST(name AS INT)", "INT", None),
    # text
    ("UPPER(name)", "STRING", "ANN LEE"),
    ("LOWER(name)", "STRING", "ann lee"),
    ("INITCAP('hello world')", "STRING", "Hello World"),
    ("TRIM(BOTH 'A' FROM name)", "STRING", "nn Lee"),
    ("LTRIM('  x')", "STRING", "x"),
    ("RTRIM('x  ')", "STRING", "x"),
    ("LPAD(s, 5, '-')", "STRING", "--x,y"),
    ("RPAD(s, 5, '-')", "STRING", "x,y--"),
    ("SUBSTRING(name FROM 1 FOR 3)", "STRING", "Ann"),
    ("LEFT(name, 2)", "STRING", "An"),
    ("RIGHT(name, 2)", "STRING", "ee"),
    ("REPLACE(s, ',', ';')", "STRING", "x;y"),
    ("REVERSE(s)", "STRING", "y,x"),
    ("REPEAT('ab', 2)", "STRING", "abab"),
    ("POSITION('L' IN name)", "INT", 5),
    ("LOCATE('L', name)", "INT", 5),
    ("CHAR_LENGTH(name)", "INT", 7),
    ("CONCAT(name, '-', s)", "STRING", "Ann Lee-x,y"),
    ("CONCAT(name, none)", "STRING", None),
    ("CONCAT_WS('-', 'a', 'b')", "STRING", "a-b"),
    ("name || '!'", "STRING", "Ann Lee!"),
    ("SPLIT_INDEX(s, ',', 1)", "STRING", "y"),
    ("OVERLAY(name PLACING 'x' FROM 1 FOR 2)", "STRING", "xn Lee"),
    ("REGEXP_REPLACE(name, '[A-Z]', 'x')", "STRING", "xnn xee"),
    (r"REGEXP_EXTRACT(name, '(\w+) (\w+)', 2)", "STRING", "Lee"),
    ("TO_BASE64(s)", "STRING", "eCx5"),
    ("FROM_BASE64('eCx5')", "STRING", "x,y"),
    ("MD5('a')", "STRING", "0cc175b9c0f1b6a831c399e269772661"),
    ("SHA1('a')", "STRING", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
    ("CHAR_LENGTH(SHA256('a'))", "INT", 64),
    ("CHAR_LENGTH(UUID())", "INT", 36),
    ("name LIKE 'A%'", "BOOLEAN", True),
    # conditions
    ("CASE WHEN id < 0 THEN 'neg' ELSE 'pos' END", "STRING", "neg"),
    ("IF(ok, 'y', 'n')", "STRING", "y"),
    ("COALESCE(none, name)", "STRING", "Ann Lee"),
    ("IFNULL(none, name)", "STRING", "Ann Lee"),
    ("NULLIF(name, 'Ann Lee')", "STRING", None),
    ("id BETWEEN -8 AND 0 AND id IN (-7, 1) AND none IS NULL AND ok IS TRUE", "BOOLEAN", True),
    # times
    ("TO_DATE('2020-01-02')", "DATE", date(2020, 1, 2)),
    ("TO_TIMESTAMP('2020-01-01 00:00:01')", "TIMESTAMP(3)", datetime(2020, 1, 1, 0, 0, 1)),
    ("TO_TIMESTAMP('01.02.2020', 'dd.MM.yyyy')", "TIMESTAMP(3)", datetime(2020, 2, 1)),
    ("TO_TIMESTAMP('no time')", "TIMESTAMP(3)", None),
    (
        "TO_TIMESTAMP_LTZ(1500, 3)",
        "TIMESTAMP_LTZ(3)",
        datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=timezone.utc),
    ),
    ("DATE_FORMAT(at, 'yyyy-MM-dd''T''HH:mm:ss.SSS')", "STRING", "2020-01-02T03:04:05.678"),
    ("FROM_UNIXTIME(86400)", "STRING", "1970-01-02 00:00:00"),
    ("UNIX_TIMESTAMP('1970-01-02 00:00:00')", "BIGINT", 86400),
    ("TIMESTAMPADD(HOUR, 2, at)", "TIMESTAMP(3)", datetime(2020, 1, 2, 5, 4, 5, 678000)),
    ("at + INTERVAL '1' DAY", "TIMESTAMP(3)", datetime(2020, 1, 3, 3, 4, 5, 678000)),
    ("TIMESTAMPDIFF(DAY, TIMESTAMP '2020-01-01 04:00:00', at)", "INT", 0),
    ("EXTRACT(YEAR FROM at)", "BIGINT", 2020),
    ("CURRENT_DATE > DATE '2020-01-01'", "BOOLEAN", True),
    ("CURRENT_TIMESTAMP > TO_TIMESTAMP_LTZ(0, 3)", "BOOLEAN", True),
    ("LOCALTIMESTAMP > at", "BOOLEAN", True),
    # JSON, arrays, maps, rows
    ("JSON_VALUE('{\"a\":\"b\"}', '$.a')", "STRING", "b"),
    ("JSON_QUERY('{\"a\":[1]}', '$.a')", "STRING", "[1]"),
    ("JSON_EXISTS('{\"a\":null}', '$.a')", "BOOLEAN", True),
    ("tags[1]", "STRING", "a"),
    ("m['k']", "INT", 1),
    ("m", "MAP<STRING, INT>", {"k": 1}),
    ("ARRAY[1, 2]", "ARRAY<INT>", [1, 2]),
    ("MAP['a', 1]", "MAP<STRING, INT>", {"a": 1}),
    ("ROW(1, 'a')", "ROW<x INT, y STRING>", (1, "a")),
    ("CARDINALITY(tags)", "INT", 2),
]


EXACT = [
    # integers stay integers wherever they come from
    ("n / 2", "(SELECT id AS n FROM src) AS z", "BIGINT", -3),
    ("MOD(v.a / 2, 2)", "(VALUES (7)) AS v(a)", "BIGINT", 1),
    ("big / 10 / 10", "src", "BIGINT", 12345678901234567),
    ("nums[1] / 2", "src", "BIGINT", 3),
    ("m['k'] / 2", "src", "BIGINT", 0),
    ("r.f / 2", "src", "BIGINT", 4),
    ("CEIL(id) / 2", "src", "BIGINT", -3),
    ("IFNULL(id, 1) / 2", "src", "BIGINT", -3),
    ("CARDINALITY(tags) / 4", "src", "BIGINT", 0),
    ("LOCATE('L', name) / 2", "src", "BIGINT", 2),
    ("UNIX_TIMESTAMP('1970-01-01 00:01:59') / 60", "src", "BIGINT", 1),
    ("TIMESTAMPDIFF(DAY, at, at + INTERVAL '3' DAY) / 2", "src", "BIGINT", 1),
    ("CAST(t AS STRING)", "(SELECT ok AS t FROM src) AS z", "STRING", "TRUE"),
    ("CAST(t AS INT)", "(SELECT d + 5 AS t FROM src) AS z", "INT", 7),
    # decimals by Flink's types
    ("d / 3", "src", "DECIMAL(38, 13)", Decimal("0.8333333333333")),
    ("CAST('90071992547409.93' AS DECIMAL(16, 2)) / 1", "src", "DECIMAL(38, 13)",
     Decimal("90071992547409.9300000000000")),
    ("CAST('12345678901234567890.123456789012345678' AS DECIMAL(38, 18)) / 2", "src",
     "DECIMAL(38, 18)", Decimal("6172839450617283945.061728394506172839")),
    ("CEIL(9007199254740993)", "src", "BIGINT", 9007199254740993),
    ("TRUNCATE(4.35, 2)", "src", "DECIMAL(3, 2)", Decimal("4.35")),
    ("TRUNCATE(CAST(4.35 AS DOUBLE), 2)", "src", "DOUBLE", 4.35),
    ("TRUNCATE(123456789012345678, 0)", "src", "BIGINT", 123456789012345678),
    ("TRUNCATE(-42.9)", "src", "DECIMAL(2, 0)", Decimal(-42)),
    ("TRUNCATE(id, -1)", "src", "BIGINT", 0),
    ("ROUND(CAST(1.005 AS DOUBLE), 2)", "src", "DOUBLE", 1.01),
    ("CAST(CAST(1.005 AS DOUBLE) AS DECIMAL(5, 2))", "src", "DECIMAL(5, 2)", Decimal("1.01")),
    # casts
    ("CAST(' 5.7 ' AS INT)", "src", "INT", 5),
    ("TRY_CAST('1e3' AS INT)", "src", "INT", None),
    ("TRY_CAST('1_000' AS INT)", "src", "INT", None),
    ("TRY_CAST('1_000' AS DOUBLE)", "src", "DOUBLE", None),
    ("CAST('1234.56' AS DECIMAL)", "src", "DECIMAL(10, 0)", Decimal(1235)),
    ("CAST(CAST(at AS TIMESTAMP(0)) AS STRING)", "src", "STRING", "2020-01-02 03:04:05"),
    ("CAST(at AS STRING)", "src", "STRING", "2020-01-02 03:04:05.670"),
    ("CAST(tz AS STRING)", "src", "STRING", "2020-01-02 03:04:05.000"),
    ("CAST(TO_TIMESTAMP('2020-01-02 03:04:05') AS STRING)", "src", "STRING",
     "2020-01-02 03:04:05.000"),
    ("CAST(price * 1e20 AS STRING)", "src", "STRING", "1.75E20"),
    ("CAST(price AS STRING)", "src", "STRING", "1.75"),
    ("CAST(price / 1e9 AS STRING)", "src", "STRING", "1.75E-9"),
    ("CAST(price * 4 AS STRING)", "src", "STRING", "7.0"),
    ("CAST('abc' AS VARCHAR(2))", "src", "STRING", "ab"),
    ("CAST(CAST('é' AS BYTES) AS STRING)", "src", "STRING", "é"),
    # texts
    ("CONCAT_WS('~', 'a', none, name)", "src", "STRING", "a~Ann Lee"),
    ("CONCAT('v', TRUE)", "src", "STRING", "vTRUE"),
    ("'v' || ok", "src", "STRING", "vTRUE"),
    ("LEFT(name, -1) || RIGHT(name, -1)", "src", "STRING", ""),
    ("SUBSTRING(name, 0, 2)", "src", "STRING", "An"),
    ("INITCAP('x-foo BAR1a')", "src", "STRING", "X-Foo Bar1a"),
    ("REGEXP_EXTRACT(name, '(z)', 1)", "src", "STRING", None),
    (r"REGEXP_REPLACE('ab', '(a)(b)', '$2$1\$')", "src", "STRING", "ba$"),
    ("GREATEST(1, CAST(NULL AS INT))", "src", "INT", None),
    ("LEAST(id, CAST(NULL AS INT))", "src", "INT", None),
    # JSON
    ("JSON_VALUE('{\"a\":\"b\"}', 'lax $.a')", "src", "STRING", "b"),
    ("JSON_VALUE('{\"a b\":[1,true]}', '$[''a b''][1]')", "src", "STRING", "true"),
    ("JSON_VALUE('{\"a\":{}}', '$.a')", "src", "STRING", None),
    ("JSON_VALUE('bad', '$.a')", "src", "STRING", None),
    ("JSON_QUERY('{\"a\":1}', '$.a')", "src", "STRING", None),
    ("JSON_QUERY('bad', '$.a')", "src", "STRING", None),
    ("JSON_EXISTS('bad', '$.a')", "src", "BOOLEAN", False),
    # times
    ("DATE_FORMAT(at, 'd MMMM, EEEE ''o''''clock'' H.SSSSSSSSS')", "src", "STRING",
     "2 January, Thursday o'clock 3.670000000"),
    ("EXTRACT(DOW FROM DATE '2020-01-05')", "src", "BIGINT", 1),
    ("DAYOFWEEK(DATE '2020-01-04')", "src", "BIGINT", 7),
    ("EXTRACT(EPOCH FROM at)", "src", "BIGINT", 1577934245),
    ("TO_TIMESTAMP('2020-01-02T03:04:05+02:00')", "src", "TIMESTAMP(3)", None),
    ("TRY_CAST('2020-01-02 03:04:05 Asia/Tokyo' AS TIMESTAMP)", "src", "TIMESTAMP(3)", None),
    ("TO_TIMESTAMP('1.2.2020', 'dd.MM.yyyy')", "src", "TIMESTAMP(3)", None),
    ("TO_TIMESTAMP('1.2.2020 o''clock', 'd.M.yyyy ''o''''clock''')", "src", "TIMESTAMP(3)",
     datetime(2020, 2, 1)),
    ("TO_DATE('2 March 2020', 'd MMMM yyyy')", "src", "DATE", date(2020, 3, 2)),
    ("TO_TIMESTAMP('2020-01-02 03:04:05.120 PM', 'yyyy-MM-dd hh:mm:ss.SSS a')", "src",
     "TIMESTAMP(3)", datetime(2020, 1, 2, 15, 4, 5, 120000)),
    ("CHAR_LENGTH(CAST(CURRENT_TIMESTAMP AS STRING))", "src", "INT", 23),
    ("CHAR_LENGTH(CAST(LOCALTIMESTAMP AS STRING))", "src", "INT", 23),
    ("nums[id]", "src", "INT", None),
    ("nums[-1]", "src", "INT", None),
    ("nums[id + 8]", "src", "INT", 7),
    ("nums[CHAR_LENGTH('a')]", "src", "INT", 7),
    ("nums[CAST('1' AS INT)]", "src", "INT", 7),
    ("MAP[1, 'a', 2, 'b'][2]", "src", "STRING", "b"),
    ("MAP[1, 'a', 2, 'b'][id + 8]", "src", "STRING", "a"),
    ("LPAD(name, -1, '-')", "src", "STRING", None),
    ("RPAD(name, 9, '')", "src", "STRING", None),
    ("DATE '2020-01-31' + INTERVAL '1' DAY", "src", "DATE", date(2020, 2, 1)),
    ("CAST(CAST(at AS DATE) - INTERVAL '1' YEAR AS STRING)", "src", "STRING", "2019-01-02"),
    ("TIMESTAMPADD(MONTH, 1, DATE '2020-01-31')", "src", "DATE", date(2020, 2, 29)),
    ("at - INTERVAL '1' HOUR", "src", "TIMESTAMP(3)", datetime(2020, 1, 2, 2, 4, 5, 670000)),
    ("LOCALTIME IS NOT NULL", "src", "BOOLEAN", True),
    ("CARDINALITY(m)", "src", "INT", 1),
]  # fmt: skip

EXACT_SOURCE = SOURCE.replace(
    "none STRING)", "none STRING, big BIGINT, nums ARRAY<INT>, r ROW<f INT>, tz TIMESTAMP_LTZ(3))"
)
EXACT_ROW = {
    **ROW, "at": datetime(2020, 1, 2, 3, 4, 5, 670000), "big": 1234567890123456789, "nums": [7],
    "r": {"f": 9}, "tz": datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
}  # fmt: skip


@pytest.mark.parametrize(("expression", "source", "kind", "expected"), EXACT)
def test_values_are_exactly_those_of_flink(expression, source, kind, expected):
    query = f"SELECT {expression} FROM {source}"
    found = evaluated(query, f"r {kind}", [EXACT_ROW], EXACT_SOURCE)
    assert found == [{"r": expected}]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("x / 2", 3), ("CAST(d AS INT)", 7), ("CAST(ok AS STRING)", "TRUE")],
)
def test_computed_columns_know_the_types_of_theirs(expression, expected):
    source = (
        f"CREATE TABLE src (x INT, d DECIMAL(5, 2), ok BOOLEAN, z AS {expression}) "
        "WITH ('connector' = 'filesystem');\n"
    )
    sink = f"r {'STRING' if expected == 'TRUE' else 'INT'}"
    rows = [{"x": 7, "d": Decimal("7.50"), "ok": True}]
    assert evaluated("SELECT z FROM src", sink, rows, source) == [{"r": expected}]


@pytest.mark.parametrize(
    ("expression", "message", "column"),
    [
        ("FOO(x)", "Computed column 'z': .*signature FOO", 31),
        ("x +", "SQL parse failed", 33),
        ("`a b` / 2", "Computed column 'z': ", 14),
    ],
)
def test_a_computed_column_that_cannot_be_had_is_refused_in_its_place(expression, message, column):
    source = f"CREATE TABLE src (x INT, z AS {expression}) WITH ('connector' = 'filesystem');\n"
    with pytest.raises(SqlError, match=message) as refused:
        planned("SELECT z FROM src", "r INT", source)
    assert (refused.value.line, refused.value.column) == (1, column)


def test_columns_that_duckdb_would_take_for_each_other_are_refused():
    for columns in ("id INT, ID INT", "id INT, r ARRAY<ROW<id INT, ID INT>>"):
        source = f"CREATE TABLE src ({columns}) WITH ('connector' = 'filesystem');\n"
        with pytest.raises(SqlError, match="differ only in case.*id, ID") as refused:
            planned("SELECT id FROM src", "r INT", source)
        assert (refused.value.line, refused.value.column) == (1, 14)


def test_star_of_a_table_with_computed_columns_has_them_where_they_are_declared():
    source = "CREATE TABLE src (x INT, z AS x + 100, y INT) WITH ('connector' = 'filesystem');\n"
    for query in ("SELECT * FROM src", "SELECT s.* FROM src AS s"):
        found = evaluated(query, "x INT, z INT, y INT", [{"x": 1, "y": 2}], source)
        assert found == [{"x": 1, "z": 101, "y": 2}]


def test_computed_columns_keep_their_quotes():
    source = (
        "CREATE TABLE src (`a b` INT, z AS CONCAT('it''s ', CAST(`a b` AS STRING))) "
        "WITH ('connector' = 'filesystem');\n"
    )
    assert evaluated("SELECT z FROM src", "r STRING", [{"a b": 1}], source) == [{"r": "it's 1"}]


def test_times_finer_than_microseconds_are_refused():
    for kind in ("TIMESTAMP(9)", "ARRAY<TIMESTAMP_LTZ(7)>"):
        source = f"CREATE TABLE src (at {kind}) WITH ('connector' = 'filesystem');\n"
        with pytest.raises(SqlError, match="Column 'at' of 'src'.*microseconds") as refused:
            planned("SELECT at FROM src", "r TIMESTAMP(9)", source)
        assert refused.value.line == 1
    with pytest.raises(SqlError, match="finer than 6 digits"):
        planned("SELECT CAST(at AS TIMESTAMP(9)) FROM src", "r TIMESTAMP(9)")


def test_a_value_beyond_what_a_batch_holds_is_a_bad_row_alone():
    rows = [{**ROW, "name": "a"}, {**ROW, "name": "\ud800"}, {**ROW, "id": 99_999}]
    query = "SELECT name, TIMESTAMPADD(YEAR, id, at) FROM src"
    found = evaluated(query, "r STRING, t TIMESTAMP(3)", rows)
    assert found[0]["r"] == "a"
    assert [each.row for each in found[1:]] == rows[1:]
    assert "is no Unicode text" in found[1].reason


def test_a_bad_row_s_reason_quotes_none_of_its_numbers():
    (found,) = evaluated("SELECT CAST(id AS TINYINT) FROM src", "r INT", [{**ROW, "id": 4711}])
    assert "4711" not in found.reason
    assert "INT64" in found.reason


def test_intervals_are_those_of_seconds():
    source = (
        "CREATE TABLE src (id INT, i INTERVAL DAY TO SECOND) WITH ('connector' = 'filesystem');\n"
    )
    row = {"id": 1, "i": timedelta(seconds=90)}
    sink = "r INTERVAL DAY TO SECOND"
    for expression, days in (("INTERVAL '3' DAY", 3), ("i", 0)):
        found = evaluated(f"SELECT {expression} FROM src", sink, [row], source)
        assert found == [{"r": timedelta(days=days, seconds=0 if days else 90)}]


def test_source_may_have_arrays_maps_and_rows_alone():
    source = "CREATE TABLE src (tags ARRAY<STRING>) WITH ('connector' = 'filesystem');\n"
    assert evaluated("SELECT tags[1] FROM src", "r STRING", [ROW], source) == [{"r": "a"}]


@pytest.mark.parametrize(("expression", "kind", "expected"), VALUES)
def test_expressions_mean_what_they_mean_in_flink(expression, kind, expected):
    assert evaluated(f"SELECT {expression} FROM src", f"r {kind}") == [{"r": expected}]


def test_every_function_of_the_documentation_is_tried():
    page = (Path(__file__).parent.parent.parent / "docs" / "sql.md").read_text(encoding="utf-8")
    text = page.partition("Functions beside the operators:")[2].partition("Some are had in part")[0]
    tried = " ".join(expression for expression, _, _ in VALUES)
    names = re.findall(r"`([A-Z][A-Z0-9_]+)", text)
    assert len(names) > 50
    assert [name for name in names if not re.search(rf"\b{name}\b", tried)] == []


def test_queries_of_queries_and_of_nothing():
    ann = [{"r": "Ann Lee"}]
    assert evaluated("SELECT n FROM (SELECT name AS n FROM src) AS z", "r STRING") == ann
    assert evaluated("WITH v AS (SELECT name AS n FROM src) SELECT n FROM v", "r STRING") == ann
    assert evaluated("SELECT s.name FROM src AS s WHERE s.id < 0", "r STRING") == ann
    assert evaluated("VALUES ('a'), ('b')", "r STRING") == [{"r": "a"}, {"r": "b"}]
    assert evaluated("SELECT 'a'", "r STRING") == [{"r": "a"}]


def test_order_is_kept_and_a_row_that_fails_stands_alone():
    rows = [{**ROW, "name": str(n) if n % 100 else "secret"} for n in range(250)]
    found = evaluated("SELECT CAST(name AS INT) FROM src", "r INT", rows)
    failed = [each for each in found if isinstance(each, NotEvaluated)]
    assert [each.row["name"] for each in failed] == ["secret"] * 3
    assert "secret" not in failed[0].reason, "a row's contents stay in the row"
    assert [each["r"] for each in found if each not in failed] == [n for n in range(250) if n % 100]


REFUSED = [
    ("SELECT name FROM src JOIN k ON TRUE", 27, "JOIN is not supported.*Beam SQL"),
    ("SELECT name FROM src, k", None, "JOIN is not supported"),
    ("SELECT COUNT(*) FROM src", 8, "An aggregate function is not supported"),
    ("SELECT name FROM src GROUP BY name", 31, "GROUP BY is not supported"),
    ("SELECT DISTINCT name FROM src", None, "DISTINCT is not supported"),
    ("SELECT name FROM src ORDER BY name", 31, "ORDER BY is not supported"),
    ("SELECT name FROM src LIMIT 1", None, "LIMIT is not supported"),
    ("SELECT name FROM src UNION ALL SELECT name FROM src", None, "UNION is not .* INSERT"),
    ("SELECT ROW_NUMBER() OVER (ORDER BY id) FROM src", None, "OVER is not supported"),
    ("SELECT name FROM src WHERE id IN (SELECT 1)", None, "inside an expression"),
    ("SELECT nme FROM src", 8, "Column 'nme' not found in any table; did you mean 'name'"),
    ("SELECT FOO(name) FROM src", 8, "No match found for function signature FOO"),
    ("SELECT PRODUCT(name) FROM src", 8, "No match found for function signature PRODUCT"),
    ("SELECT STRING_SPLIT(name, ',')[1] FROM src", None, "No match found for function signature"),
    ("SELECT name FROM src TABLESAMPLE BERNOULLI (50)", None, "TABLESAMPLE is not supported"),
    ("SELECT id FROM src", 1, "Incompatible types for sink column 'r' at position 0"),
    ("SELECT name, id FROM src", 1, "Different number of columns"),
    ("SELECT name FROM nope", 18, "Object 'nope' not found"),
    ("SELECT name FROM src WHERE (", None, "An expression is missing"),
    ("SELECT name, FROM src", 14, 'Encountered "FROM"'),
    ("SELECT DATE_FORMAT(at, s) FROM src", None, "must be a constant"),
    ("SELECT DATE_FORMAT(at, 'QQ') FROM src", None, "'QQ' in the pattern"),
    ("SELECT DATE_FORMAT(at, 'yyyyy') FROM src", None, "'yyyyy' in the pattern"),
    ("SELECT CAST(at + INTERVAL '1' DAY AS STRING) FROM src", None, "precision is plain"),
    ("SELECT CAST(CAST(at AS BIGINT) AS STRING) FROM src", None, "cannot convert a timestamp"),
    ("SELECT CAST(tags AS STRING) FROM src", None, "to STRING is not supported"),
    ("SELECT JSON_VALUE(s, '$.*') FROM src", None, "with a path other than a constant"),
    ("SELECT JSON_VALUE(s, '$.a' RETURNING INT) FROM src", None, "SQL parse failed"),
    ("SELECT REGEXP_REPLACE(s, 'a', name) FROM src", None, "by what is no constant"),
    ("SELECT REGEXP_REPLACE(s, 'a', '${n}') FROM src", None, "alone in the replacement"),
    ("SELECT CAST(EXTRACT(MILLISECOND FROM at) AS STRING) FROM src", None, "EXTRACT.MILLISECOND"),
    ("SELECT CAST(RAND(1) AS STRING) FROM src", None, "RAND with 1 argument"),
    (f"SELECT id{' / 1' * 999} FROM src", 1, "nested too deeply"),
    ("SELECT CONCAT() FROM src", None, "CONCAT with 0 arguments"),
    ("SELECT LOCATE('a', name, 2) || s FROM src", None, "LOCATE with 3 arguments"),
    ("SELECT CAST(FLOOR(at TO DAY) AS STRING) FROM src", None, "FLOOR … TO is not supported"),
    ("SELECT a FROM (SELECT name AS a, s AS A FROM src)", None, "share a name: a, A"),
    ("SELECT * FROM read_csv('/etc/passwd')", None, "not|No"),
]


@pytest.mark.parametrize(("query", "column", "message"), REFUSED)
def test_what_a_query_cannot_say_is_refused_with_its_place(query, column, message):
    with pytest.raises(SqlError, match=f"(?s){message}") as refused:
        planned(query, "r STRING")
    assert refused.value.line in (3, 4), "of the INSERT, or of the query"
    if column is not None:
        assert refused.value.column == column
