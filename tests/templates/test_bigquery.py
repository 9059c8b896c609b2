"""BigQuery to DynamoDB: what becomes of rows as Beam's reader gives them.

The reader itself is Beam's, and needs BigQuery.
"""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import apache_beam as beam
import pytest

from templates import bigquery
from tests.servers import REGION

FN_API = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
ROWS = [
    {
        "id": "a", "int64": 7, "float64": 0.1, "numeric": Decimal("1.000000001"), "bool": True,
        "bytes": b"\x00\xff", "date": datetime.date(2026, 1, 2), "time": datetime.time(3, 4, 5),
        "timestamp": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "record": {"x": 1}, "repeated": ["p", "q"], "missing": None,
    },
    {"id": "b", "bignumeric": Decimal("1." + "1" * 60)},
]  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """Gives `ROWS` instead of reading; holds what the reader was asked for."""
    asked = {}

    class Reader(beam.PTransform):
        Method = bigquery.ReadFromBigQuery.Method

        def __init__(self, **settings):
            super().__init__()
            asked.update(settings)

        def expand(self, begin):
            return begin | beam.Create(ROWS)

    monkeypatch.setattr(bigquery, "ReadFromBigQuery", Reader)
    return asked


def test_rows_keep_their_types_and_what_dynamodb_cannot_hold_is_a_dead_letter(
    asked, moto_endpoint, create_table, tmp_path
):
    table = create_table(moto_endpoint)
    flags = [
        "--input_table=p-demo:d.t", "--row_restriction=int64 > 1", "--selected_fields=id,int64",
        f"--table_name={table.name}", f"--aws_region={REGION}", f"--aws_endpoint={table.endpoint}",
        "--partitioned_by=id", f"--dead_letters={tmp_path}/failed.jsonl",
    ]  # fmt: skip
    assert bigquery.main([*flags, FN_API]) == 0
    assert asked == {
        "method": "DIRECT_READ", "table": "p-demo:d.t", "row_restriction": "int64 > 1",
        "selected_fields": ["id", "int64"],
    }  # fmt: skip
    assert table.items() == [
        {
            "id": {"S": "a"}, "int64": {"N": "7"}, "float64": {"N": "0.1"},
            "numeric": {"N": "1.000000001"}, "bool": {"BOOL": True}, "bytes": {"B": b"\x00\xff"},
            "date": {"S": "2026-01-02"}, "time": {"S": "03:04:05"},
            "timestamp": {"S": "2026-01-02T03:04:05Z"}, "record": {"M": {"x": {"N": "1"}}},
            "repeated": {"L": [{"S": "p"}, {"S": "q"}]}, "missing": {"NULL": True},
        }
    ]  # fmt: skip
    letter = json.loads((tmp_path / "failed.jsonl").read_text())
    assert "bignumeric" in letter["message"]


def test_a_query_is_in_standard_sql(asked, moto_endpoint, create_table, monkeypatch):
    table = create_table(moto_endpoint)
    flags = [
        "--query=SELECT 1", f"--table_name={table.name}", f"--aws_region={REGION}",
        f"--aws_endpoint={table.endpoint}", "--sink_ignore_nulls=true",
    ]  # fmt: skip
    monkeypatch.setitem(ROWS[1], "bignumeric", 1)
    assert bigquery.main([*flags, FN_API]) == 0
    assert asked["use_standard_sql"] is True
    assert len(table.items()) == 2
