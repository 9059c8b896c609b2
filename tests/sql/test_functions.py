"""Expressions of SQL jobs mean what they mean in Flink; each function that is documented works."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
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


def planned(query: str, sink: str):
    table = f"CREATE TABLE k ({sink}) WITH ('connector' = 'print');\n"
    script = parse_script(f"{SOURCE}{table}INSERT INTO k\n{query};")
    return plan(script, script.inserts[0])


def evaluated(query: str, sink: str, rows=(ROW,)):
    engine = Engine(planned(query, sink))
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
    ("tags[1]", "STRING", "a"),
    ("m['k']", "INT", 1),
    ("m", "MAP<STRING, INT>", {"k": 1}),
    ("ARRAY[1, 2]", "ARRAY<INT>", [1, 2]),
    ("MAP['a', 1]", "MAP<STRING, INT>", {"a": 1}),
    ("ROW(1, 'a')", "ROW<x INT, y STRING>", (1, "a")),
    ("CARDINALITY(tags)", "INT", 2),
]


@pytest.mark.parametrize(("expression", "kind", "expected"), VALUES)
def test_expressions_mean_what_they_mean_in_flink(expression, kind, expected):
    assert evaluated(f"SELECT {expression} FROM src", f"r {kind}") == [{"r": expected}]


def test_every_function_of_the_documentation_is_tried():
    page = (Path(__file__).parent.parent.parent / "docs" / "sql.md").read_text(encoding="utf-8")
    text = page.partition("Functions beside the operators:")[2].partition("Joins, aggregates")[0]
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
    ("SELECT name FROM src JOIN k ON TRUE", 27, "more than one table.*Beam SQL"),
    ("SELECT COUNT(*) FROM src", 8, "An aggregate function is not supported"),
    ("SELECT name FROM src GROUP BY name", 31, "GROUP BY is not supported"),
    ("SELECT DISTINCT name FROM src", None, "DISTINCT is not supported"),
    ("SELECT name FROM src ORDER BY name", 31, "ORDER BY is not supported"),
    ("SELECT name FROM src LIMIT 1", None, "LIMIT is not supported"),
    ("SELECT name FROM src UNION ALL SELECT name FROM src", None, "more than one table"),
    ("SELECT ROW_NUMBER() OVER (ORDER BY id) FROM src", None, "OVER is not supported"),
    ("SELECT name FROM src WHERE id IN (SELECT 1)", None, "inside an expression"),
    ("SELECT nme FROM src", 8, "Column 'nme' not found in any table; did you mean 'name'"),
    ("SELECT FOO(name) FROM src", 8, "No match found for function signature FOO"),
    ("SELECT id FROM src", 1, "Incompatible types for sink column 'r' at position 0"),
    ("SELECT name, id FROM src", 1, "Different number of columns"),
    ("SELECT name FROM nope", 18, "Object 'nope' not found"),
    ("SELECT name FROM src WHERE (", None, "An expression is missing"),
    ("SELECT name, FROM src", 14, 'Encountered "FROM"'),
    ("SELECT DATE_FORMAT(at, s) FROM src", None, "must be a constant"),
    ("SELECT DATE_FORMAT(at, 'QQ') FROM src", None, "'Q' in the pattern"),
    ("SELECT * FROM read_csv('/etc/passwd')", None, "not|No"),
]


@pytest.mark.parametrize(("query", "column", "message"), REFUSED)
def test_what_a_query_cannot_say_is_refused_with_its_place(query, column, message):
    with pytest.raises(SqlError, match=f"(?s){message}") as refused:
        planned(query, "r STRING")
    assert refused.value.line in (3, 4), "of the INSERT, or of the query"
    if column is not None:
        assert refused.value.column == column
