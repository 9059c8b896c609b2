"""BigQuery to DynamoDB: Beam's own reader against a local BigQuery, and how it is asked."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import apache_beam as beam
import google.auth
import pytest
from apache_beam.io.gcp import bigquery as reader
from apache_beam.io.gcp.internal.clients.bigquery import BigqueryV2
from google.auth.credentials import AnonymousCredentials

from templates import bigquery
from tests.servers import REGION
from tests.templates.bigquery_service import FakeBigQuery, serve_bigquery

FN_API = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def nullable(of):
    return ["null", of]


def decimal(precision, scale):
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


# What BigQuery's documentation says of its types in Avro.
TYPES = {
    "id": "string",
    "int64": nullable("long"),
    "float64": nullable("double"),
    "numeric": nullable(decimal(38, 9)),
    "bignumeric": nullable(decimal(77, 38)),
    "bool": nullable("boolean"),
    "bytes": nullable("bytes"),
    "date": nullable({"type": "int", "logicalType": "date"}),
    "time": nullable({"type": "long", "logicalType": "time-micros"}),
    "timestamp": nullable({"type": "long", "logicalType": "timestamp-micros"}),
    "datetime": nullable({"type": "string", "sqlType": "DATETIME"}),
    "record": nullable(
        {"type": "record", "name": "inner", "fields": [{"name": "x", "type": nullable("long")}]}
    ),
    "repeated": {"type": "array", "items": "string"},
}
SCHEMA = {
    "type": "record",
    "name": "__root__",
    "fields": [{"name": name, "type": kind} for name, kind in TYPES.items()],
}
ROWS = [
    {
        "id": "a", "int64": 7, "float64": 0.1, "numeric": Decimal("1.000000001"), "bool": True,
        "bytes": b"\x00\xff", "date": datetime.date(2026, 1, 2), "time": datetime.time(3, 4, 5),
        "timestamp": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "datetime": "2026-01-02T03:04:05", "record": {"x": 1}, "repeated": ["p", "q"],
    },
    {"id": "b", "bignumeric": Decimal("1." + "1" * 38), "repeated": []},
]  # fmt: skip


@pytest.fixture
def service(monkeypatch):
    """A local BigQuery, which Beam's reader takes for Google's."""
    fake = FakeBigQuery(SCHEMA, ROWS)
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "p-demo"))
    with serve_bigquery(fake) as (url, client):
        monkeypatch.setattr(BigqueryV2, "BASE_URL", url)
        monkeypatch.setattr(reader.bq_storage, "BigQueryReadClient", client)
        yield fake


def test_rows_keep_their_types_and_what_dynamodb_cannot_hold_is_a_dead_letter(
    service, moto_endpoint, create_table, tmp_path
):
    table = create_table(moto_endpoint)
    flags = [
        "--input_table=p-demo:d.t", "--row_restriction=int64 > 1", "--selected_fields=id,int64",
        f"--table_name={table.name}", f"--aws_region={REGION}", f"--aws_endpoint={table.endpoint}",
        "--partitioned_by=id", "--sink_ignore_nulls=true", f"--dead_letters={tmp_path}/bad.jsonl",
        "--project=p-demo",
    ]  # fmt: skip
    assert bigquery.main([*flags, FN_API]) == 0
    (session,) = service.sessions
    assert session.table == "projects/p-demo/datasets/d/tables/t"
    assert session.read_options.row_restriction == "int64 > 1"
    assert session.read_options.selected_fields == ["id", "int64"]
    assert table.items() == [
        {
            "id": {"S": "a"}, "int64": {"N": "7"}, "float64": {"N": "0.1"},
            "numeric": {"N": "1.000000001"}, "bool": {"BOOL": True}, "bytes": {"B": b"\x00\xff"},
            "date": {"S": "2026-01-02"}, "time": {"S": "03:04:05"},
            "timestamp": {"S": "2026-01-02T03:04:05Z"}, "datetime": {"S": "2026-01-02T03:04:05"},
            "record": {"M": {"x": {"N": "1"}}}, "repeated": {"L": [{"S": "p"}, {"S": "q"}]},
        }
    ]  # fmt: skip
    letter = json.loads((tmp_path / "bad.jsonl").read_text())
    assert "bignumeric" in letter["message"]


def test_a_query_is_in_standard_sql(monkeypatch, moto_endpoint, create_table):
    asked = {}

    class Reader(beam.PTransform):
        Method = reader.ReadFromBigQuery.Method

        def __init__(self, **settings):
            super().__init__()
            asked.update(settings)

        def expand(self, begin):
            return begin | beam.Create([{"id": "a"}])

    monkeypatch.setattr(bigquery, "ReadFromBigQuery", Reader)
    table = create_table(moto_endpoint)
    flags = [
        "--query=SELECT 1", f"--table_name={table.name}", f"--aws_region={REGION}",
        f"--aws_endpoint={table.endpoint}",
    ]  # fmt: skip
    assert bigquery.main([*flags, FN_API]) == 0
    assert asked == {"method": "DIRECT_READ", "query": "SELECT 1", "use_standard_sql": True}
    assert len(table.items()) == 1
