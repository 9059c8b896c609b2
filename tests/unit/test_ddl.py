"""CREATE TABLE as Flink has it: what it declares, and where it is wrong."""

from __future__ import annotations

import pytest

from beam_dynamodb import OptionError, SourceNotSupportedError, SqlError, WriteToDynamoDB
from beam_dynamodb.ddl import parse_table
from beam_dynamodb.errors import NOT_A_SOURCE
from beam_dynamodb.sql_text import Flink, parsed

OPTIONS = "'connector' = 'dynamodb', 'table-name' = 'user_behavior', 'aws.region' = 'us-east-2'"

# The two statements of the documented page, as they are written there.
MINIMUM = """CREATE TABLE DynamoDbTable (
  `user_id` BIGINT,
  `item_id` BIGINT,
  `category_id` BIGINT,
  `behavior` STRING
)
WITH (
  'connector' = 'dynamodb',
  'table-name' = 'user_behavior',
  'aws.region' = 'us-east-2'
);"""

PARTITIONED = """CREATE TABLE DynamoDbTable (
  `user_id` BIGINT,
  `item_id` BIGINT,
  `category_id` BIGINT,
  `behavior` STRING
) PARTITIONED BY ( user_id )
WITH (
  'connector' = 'dynamodb',
  'table-name' = 'user_behavior',
  'aws.region' = 'us-east-2'
);
"""


@pytest.mark.parametrize(("ddl", "keys"), [(MINIMUM, ()), (PARTITIONED, ("user_id",))])
def test_both_statements_of_the_page_declare_what_they_say(ddl, keys):
    table = parse_table(ddl)
    assert [f"{each.name} {each.type}" for each in table.columns] == [
        "user_id BIGINT",
        "item_id BIGINT",
        "category_id BIGINT",
        "behavior STRING",
    ]
    assert table.key_names == keys
    assert table.check_sink().table_name == "user_behavior"
    assert isinstance(WriteToDynamoDB.from_ddl(ddl), WriteToDynamoDB)


def test_everything_that_a_create_table_may_say():
    table = parse_table(
        """-- a comment
        // that's one, too
        /* as in Flink this /* ends here: */
        create temporary table if not exists `my-catalog`.db.`a table` (
          id BIGINT NOT NULL COMMENT 'it''s the key',
          `select` VARCHAR(3), /* another */
          total AS id * CAST('2' AS INT),
          at TIMESTAMP(3),
          WATERMARK FOR at AS at - INTERVAL '5' SECOND,
          CONSTRAINT pk PRIMARY KEY (id) NOT ENFORCED
        ) COMMENT 'all of it' WITH ('k' = 'it''s')"""
    )
    assert table.name.text == "a table"
    assert [each.name for each in table.columns] == ["id", "select", "at"]
    assert list(table.computed) == ["total"]
    assert (table.primary_key, table.key_names) == (("id",), ("id",))
    assert (table.comment, table.options) == ("all of it", {"k": "it's"})
    assert table.if_not_exists


def test_all_columns_are_known_in_the_order_in_which_they_are_declared():
    assert parse_table("CREATE TABLE t (a INT, b AS a + 1, c INT)").order == ("a", "b", "c")


@pytest.mark.parametrize(
    "columns",
    [
        "a INT CONSTRAINT pk PRIMARY KEY NOT ENFORCED COMMENT 'c', b INT",
        "a INT PRIMARY KEY NOT ENFORCED, b INT",
        "PRIMARY KEY (a) NOT ENFORCED, WATERMARK FOR b AS b, a INT, b AS a + 1",
        "a INT, WATERMARK FOR r.x AS r.x - 1, CONSTRAINT pk PRIMARY KEY (a) NOT ENFORCED, r INT",
    ],
)
def test_a_primary_key_may_stand_wherever_flink_lets_it(columns):
    table = parse_table(f"CREATE TABLE t ({columns})")
    assert table.primary_key == ("a",)
    assert not table.columns[0].type.nullable


TYPES = {
    "CHAR": "CHAR(1)",
    "CHARACTER(3)": "CHAR(3)",
    "CHAR VARYING(3)": "VARCHAR(3)",
    "VARCHAR(2147483647)": "VARCHAR(2147483647)",
    "STRING": "STRING",
    "BOOLEAN": "BOOLEAN",
    "BINARY(2)": "BINARY(2)",
    "BINARY VARYING(2)": "VARBINARY(2)",
    "BYTES": "BYTES",
    "DECIMAL": "DECIMAL(10, 0)",
    "DEC(5)": "DECIMAL(5, 0)",
    "NUMERIC(38, 18)": "DECIMAL(38, 18)",
    "TINYINT": "TINYINT",
    "SMALLINT": "SMALLINT",
    "INTEGER": "INT",
    "BIGINT": "BIGINT",
    "FLOAT": "FLOAT",
    "DOUBLE PRECISION": "DOUBLE",
    "DATE": "DATE",
    "TIME(3) WITHOUT TIME ZONE": "TIME(3)",
    "TIMESTAMP": "TIMESTAMP(6)",
    "TIMESTAMP(9) WITHOUT TIME ZONE": "TIMESTAMP(9)",
    "TIMESTAMP(3) WITH LOCAL TIME ZONE": "TIMESTAMP_LTZ(3)",
    "TIMESTAMP_LTZ(3)": "TIMESTAMP_LTZ(3)",
    "INTERVAL YEAR(4) TO MONTH": "INTERVAL YEAR TO MONTH",
    "INTERVAL MONTH": "INTERVAL YEAR TO MONTH",
    "INTERVAL DAY(3) TO SECOND(6)": "INTERVAL DAY TO SECOND",
    "ARRAY<INT NOT NULL>": "ARRAY<INT NOT NULL>",
    "INT ARRAY": "ARRAY<INT>",
    "MAP<STRING, ARRAY<DOUBLE>>": "MAP<STRING NOT NULL, ARRAY<DOUBLE>>",
    "ROW<a INT, `b c` ROW<d DATE>>": "ROW<`a` INT, `b c` ROW<`d` DATE>>",
    "ROW(a INT 'a comment')": "ROW<`a` INT>",
}


@pytest.mark.parametrize("declared", TYPES)
def test_types_are_those_of_flink(declared):
    (column,) = parse_table(f"CREATE TABLE t (c {declared}) WITH ('a' = 'b')").columns
    assert str(column.type) == TYPES[declared]


@pytest.mark.parametrize(
    "expression",
    [
        "TO_TIMESTAMP(x, 'yyyy-MM-dd''T''HH:mm:ss')",
        "'it''s'",
        "`x y` + 1",
        "MAP['a', 1]",
        "x -- a comment\n + 1",
        "comment",
    ],
)
@pytest.mark.parametrize("comment", ["", " COMMENT 'it''s, (c)'"])
def test_computed_columns_are_kept_as_they_are_written_and_where(expression, comment):
    ddl = f"CREATE TABLE t (\n  x INT, c AS {expression}{comment},\n  d INT)"
    table = parse_table(ddl)
    text = table.computed["c"]
    assert text.lstrip() == expression
    assert ddl.startswith(expression, len(text) - len(expression))
    assert [each.name for each in table.columns] == ["x", "d"]
    parsed(text, Flink)


@pytest.mark.parametrize(
    ("expression", "line", "column", "message"),
    [
        ("x + ", 2, 17, r'Encountered "\+".*An expression is missing'),
        ("x yy zzz", 2, 20, 'Encountered "zzz"'),
        ("CAST(x\n AS\n   345)", 4, 4, 'Encountered "345".*Expected TYPE'),
    ],
)
def test_an_expression_that_is_none_is_said_with_its_place(expression, line, column, message):
    table = parse_table(f"CREATE TABLE t (\n  x INT, c AS {expression})")
    with pytest.raises(SqlError, match=message) as refused:
        parsed(table.computed["c"], Flink)
    assert (refused.value.line, refused.value.column) == (line, column)
    assert "\x1b" not in str(refused.value)


def of(columns: str, rest: str = f" WITH ({OPTIONS})") -> str:
    return f"CREATE TABLE t (\n  {columns}\n){rest}"


WRONG = [
    ("", 1, 1, "holds no statement"),
    ("DROP TABLE t", 1, 1, 'Encountered "DROP"'),
    ("CREATE TABLE t (a INT", 1, 22, 'Encountered "<EOF>".*Was expecting "," or "\\)"'),
    ("CREATE TABLE t (a INT) WITH ('a' 'b')", 1, 34, 'Was expecting "="'),
    ("CREATE TABLE t (a INT) WITH ('a' = b)", 1, 36, "option's value in single quotes"),
    ("CREATE TABLE t (a INT)\n WITH ('a' = 'b", 2, 14, "has no end"),
    ("CREATE TABLE t (a INT) /* b", 1, 24, "has no end"),
    (of("a INT") + ";\n x", 4, 2, "a second statement"),
    (of("a INTT"), 2, 5, "Unknown type 'INTT'. Did you mean INT?"),
    (of("a TEXT"), 2, 5, "Unknown type 'TEXT'. Did you mean STRING?"),
    (of("a MULTISET<INT>"), 2, 5, "Converter not found for MULTISET"),
    (of("a TIMESTAMP(3) WITH TIME ZONE"), 2, 18, "TIMESTAMP WITH TIME ZONE"),
    (of("a DECIMAL(39, 2)"), 2, 13, "between 1 and 38"),
    (of("a MAP<ARRAY<INT>, INT>"), 2, 9, "must be scalars"),
    (of("a INT, a STRING"), 2, 10, "Duplicate column 'a'"),
    (of("a INT, b AS"), 3, 1, "Was expecting an expression"),
    (of("a AS 1"), 3, 3, "a column that can be written"),
    (of("a INT METADATA FROM 'x'"), 2, 9, "SupportsWritingMetadata"),
    (of("a INT, PRIMARY KEY (a)"), 2, 18, "NOT ENFORCED"),
    (of("a INT, PRIMARY KEY (b) NOT ENFORCED"), 2, 23, "'b' is not defined"),
    (of("a INT, PRIMARY KEY (a, a) NOT ENFORCED"), 2, 26, "must not contain duplicate columns"),
    (of("a INT PRIMARY KEY NOT ENFORCED, PRIMARY KEY (a) NOT ENFORCED"), 2, 43, "Duplicate"),
    (of("a INT UNIQUE"), 2, 9, "UNIQUE constraint is not supported"),
    (of("a INT, `` INT"), 2, 10, "Was expecting a column's name"),
    (of("a INT, WATERMARK FOR b AS b"), 2, 24, "field 'b' is not defined in the table schema"),
    (of("a INT, WATERMARK FOR a AS a, WATERMARK FOR a AS a"), 2, 42, "Multiple WATERMARK"),
    (
        of("a INT, b INT, c INT, PRIMARY KEY (a, b, c) NOT ENFORCED"),
        2, 32, "at most two columns",
    ),
    (of("a INT", " PARTITIONED BY (b)"), 3, 19, "Available columns: ['a']"),
    (of("user_id INT", " PARTITIONED BY (USER_ID)"), 3, 19, "Did you mean 'user_id'?"),
    (
        of("a INT, b INT, PRIMARY KEY (a) NOT ENFORCED", " PARTITIONED BY (b)"),
        1, 14, "must name the columns of PRIMARY KEY",
    ),
    (of("a INT", " WITH ('x' = '1', 'x' = '2')"), 3, 20, "'x' is given twice"),
    (of("a INT", " LIKE u"), 3, 3, 'Was expecting "WITH"'),
]  # fmt: skip


@pytest.mark.parametrize(("ddl", "line", "column", "message"), WRONG)
def test_what_is_wrong_is_said_with_its_place(ddl, line, column, message):
    with pytest.raises(SqlError) as refused:
        WriteToDynamoDB.from_ddl(ddl)
    assert refused.match(message.replace("[", r"\[").replace("]", r"\]"))
    assert (refused.value.line, refused.value.column) == (line, column)


@pytest.mark.parametrize(
    "options",
    [
        "('aws.credentials.basic.secretkey' = SECRET)",
        "('aws.credentials.basic.secretkey' = `SECRET`)",
        "('aws.credentials.basic.secretkey' = 5ECRET)",
        "('aws.credentials.basic.secretkey' = /SECRET)",
        "('aws.credentials.basic.secretkey' SECRET)",
        "('aws.credentials.basic.secretkey' 'SECRET')",
        "('aws.credentials.basic.secretkey' = 'a'SECRET')",
        "('aws.credentials.basic.secretkey' = 'a')SECRET",
        "(secretkey = 'SECRET')",
        "'secretkey' = SECRET",
    ],
)
def test_no_error_shows_what_may_be_a_value_of_an_option(options):
    with pytest.raises(SqlError) as refused:
        parse_table(f"CREATE TABLE t (a INT) WITH {options}")
    assert "ECRET" not in str(refused.value)
    assert refused.value.line == 1


@pytest.mark.parametrize(
    ("options", "line", "message"),
    [
        ("'connector' = 'dynamodb'", 1, "required options are missing.*aws.region\ntable-name"),
        (f"{OPTIONS},\n'sink.batch.max-sise' = '1'", 4, "Did you mean 'sink.batch.max-size'"),
        (f"{OPTIONS},\n'sink.batch.max-size' = 'x'", 4, "must be an integer, not 'x'"),
        (f"{OPTIONS},\n\n'sink.batch.max-size' = '26'", 5, "must be between 1 and 25"),
        (f"{OPTIONS},\n'change-knid' = 'a'", 4, "Did you mean 'change-kind'"),
        (f"{OPTIONS},\n'order-by' = 'a'", 4, "needs PARTITIONED BY or PRIMARY KEY"),
        ("\n'connector' = 'kinesis'", 4, "must be 'dynamodb'"),
    ],
)
def test_a_wrong_option_is_said_with_its_place(options, line, message):
    with pytest.raises(OptionError, match=f"(?s)Unable to create a sink.*{message}") as refused:
        WriteToDynamoDB.from_ddl(of("a INT", f" WITH ({options})"))
    assert isinstance(refused.value, SqlError)
    assert refused.value.line == line


def test_a_query_hears_that_the_connector_only_writes():
    with pytest.raises(SourceNotSupportedError) as refused:
        WriteToDynamoDB.from_ddl("SELECT * FROM DynamoDbTable;")
    assert str(refused.value) == NOT_A_SOURCE


def test_options_may_stand_in_for_those_of_the_statement():
    with pytest.raises(OptionError, match=r"aws\.endpoint"):
        WriteToDynamoDB.from_ddl(MINIMUM, options={"aws.endpoint": "nowhere"})
    secret = {"aws.credentials.basic.accesskeyid": "a", "aws.credentials.basic.secretkey": "b"}
    assert WriteToDynamoDB.from_ddl(MINIMUM, options=secret)


def test_columns_may_be_named_in_place_of_those_of_the_statement():
    ddl = f"CREATE TABLE t (a INT, b INT, PRIMARY KEY (a) NOT ENFORCED) WITH ({OPTIONS})"
    table = parse_table(ddl).with_options({"order-by": "b", "change-kind": "a"})
    assert (table.order_by, table.change_kind) == ("b", "a")
    assert WriteToDynamoDB.from_ddl(ddl, options={"order-by": "b"}).display_data()["order_by"]
    with pytest.raises(SqlError, match=r"'order-by': it must be one of the columns \['a', 'b'\]"):
        WriteToDynamoDB.from_ddl(ddl, options={"order-by": "c"})
