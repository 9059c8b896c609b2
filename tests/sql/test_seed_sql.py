"""The SQL of the documented page runs as it is written there, and says what the page says."""

from __future__ import annotations

import pytest

from beam_dynamodb.errors import NOT_A_SOURCE
from tests.unit.test_ddl import MINIMUM, PARTITIONED

KEY = (("user_id", "N"),)
PAGE = f"""Amazon DynamoDB SQL Connector

How to create a DynamoDB table
The minimum that a table needs; CREATE it first.

{MINIMUM}

Option Required Default Type
Sink Partitioning: of the records of one key only the latest is written. For example:

{PARTITIONED}
Notice
Queries similar to:

SELECT * FROM DynamoDbTable;

should result in an error similar to
"""


@pytest.fixture
def table(moto_endpoint, create_table, monkeypatch):
    # As boto3 has it: the SQL stays as it is.
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", moto_endpoint)
    return create_table(moto_endpoint, KEY, name="user_behavior")


@pytest.mark.parametrize("ddl", [MINIMUM, PARTITIONED], ids=["minimum", "partitioned"])
def test_both_statements_of_the_page_make_tables_that_take_rows(ddl, table, job, capsys):
    rows = (
        "INSERT INTO DynamoDbTable VALUES (1, 10, 7, 'view'), (2, 11, 7, 'buy'), (1, 12, 7, 'buy');"
    )
    assert job(f"{ddl}\n{rows}") == 0, capsys.readouterr().err
    items = {item["user_id"]["N"]: item for item in table.items()}
    assert items["1"] == {
        "user_id": {"N": "1"},
        "item_id": {"N": "12"},
        "category_id": {"N": "7"},
        "behavior": {"S": "buy"},
    }
    assert len(items) == 2


@pytest.mark.parametrize("name", ["page.txt", "page.md"])
def test_the_page_pasted_into_a_file_ends_as_the_page_says(name, table, job, capsys):
    assert job(PAGE, name=name) == 1
    assert capsys.readouterr().err == f"The SQL job failed. {NOT_A_SOURCE}\n"


def test_the_page_with_an_insert_added_writes_by_its_last_example(table, job, capsys):
    page = PAGE.replace(
        "SELECT * FROM DynamoDbTable;", "INSERT INTO DynamoDbTable\nVALUES (1,2,3,'x');"
    )
    assert job(page, name="page.txt") == 0, capsys.readouterr().err
    assert [item["behavior"]["S"] for item in table.items()] == ["x"]


def test_a_query_says_what_the_page_says_and_nothing_is_run(table, job, capsys):
    script = f"{MINIMUM} INSERT INTO DynamoDbTable VALUES (1,2,3,'x'); SELECT * FROM DynamoDbTable;"
    assert job(script) == 1
    assert capsys.readouterr().err == f"The SQL job failed. {NOT_A_SOURCE}\n"
    assert table.items() == []


def test_a_static_partition_gives_all_rows_its_value(table, job, capsys):
    script = f"{PARTITIONED} INSERT INTO DynamoDbTable PARTITION (user_id='123') SELECT 1, 2, 'x';"
    assert job(script) == 0, capsys.readouterr().err
    assert [item["user_id"] for item in table.items()] == [{"N": "123"}]
