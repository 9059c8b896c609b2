"""Files to DynamoDB: the Flex template's pipeline, with the parameters that a launch passes."""

from __future__ import annotations

import gzip
import io
import json
from decimal import Decimal

import fastavro
import pyarrow as pa
import pyarrow.parquet
import pytest

from templates import files
from templates.launch.checks import check_parameters
from templates.parameters import FILES
from tests.servers import REGION

FN_API = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
ROWS = [{"id": "1", "n": 10}, {"id": "2", "n": 20}]


@pytest.fixture
def run(moto_endpoint, create_table):
    """Runs the pipeline with parameters that a launch would accept; returns the table."""
    table = create_table(moto_endpoint)

    def run(**parameters):
        parameters = {
            "table_name": table.name, "aws_region": REGION, "aws_endpoint": table.endpoint,
            **parameters,
        }  # fmt: skip
        check_parameters(FILES.metadata(), parameters)
        flags = [f"--{name}={value}" for name, value in parameters.items()]
        run.code = files.main([*flags, FN_API])
        return table

    run.table = table
    return run


def csv():
    return b"id,n\n1,10\n2,20\n"


def json_lines():
    return "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()


def avro():
    schema = {
        "type": "record", "name": "row",
        "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "long"}],
    }  # fmt: skip
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, ROWS)
    return buffer.getvalue()


def parquet():
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "contents", "more"),
    [
        ("a.csv", csv, {"types": "n:N"}),
        ("a.jsonl", json_lines, {}),
        ("a.avro", avro, {}),
        ("a.parquet", parquet, {}),
        ("data", json_lines, {"format": "json"}),
        ("a.csv.gz", lambda: gzip.compress(csv()), {"types": "n:N", "partitioned_by": "id"}),
    ],
)
def test_files_of_all_formats_arrive(run, gcs, name, contents, more):
    table = run(input=gcs.put(name, contents()), **more)
    assert sorted(table.items(), key=str) == [
        {"id": {"S": "1"}, "n": {"N": "10"}}, {"id": {"S": "2"}, "n": {"N": "20"}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("null", "typed", "plain"),
    [({}, {"NULL": True}, {"NULL": True}), ({"null": "NA"}, {"N": "1"}, {"S": ""})],
)
def test_an_empty_cell_is_null_as_in_a_load_where_no_other_text_is(run, gcs, null, typed, plain):
    cell = "1" if null else ""
    contents = f"id,n,s\na,{cell},\n".encode()
    table = run(input=gcs.put("a.csv", contents), types="n:N", **null)
    assert table.items() == [{"id": {"S": "a"}, "n": typed, "s": plain}]


def test_dead_letters_go_to_a_file_and_a_replay_writes_them_once_mended(run, gcs):
    bad = b"id,n\nok,1\n,2\n"
    run(input=gcs.put("a.csv", bad), types="n:N", dead_letters=gcs.path("failed.jsonl"))
    assert run.code == 0
    letter = json.loads(gcs.objects()["failed.jsonl"])
    assert letter["code"] == "InvalidKey"
    assert "a.csv, line 3" in letter["message"]
    letter["element"]["id"] = "mended"
    path = gcs.put("failed.jsonl", json.dumps(letter))
    again = gcs.path("again.jsonl")
    table = run(input=path, format="dead-letters", dead_letters=again)
    assert {item["id"]["S"] for item in table.items()} == {"ok", "mended"}


def test_dead_letters_go_to_a_topic(run, gcs, pubsub, monkeypatch):
    from tests.templates.test_pubsub import Topic

    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub)
    topic = Topic()
    try:
        run(input=gcs.put("a.csv", b"id,n\nok,1\n,2\n"), dead_letters=topic.path)
        (line,) = topic.pulled(1)
    finally:
        topic.close()
    assert json.loads(line)["code"] == "InvalidKey"
    assert [item["id"]["S"] for item in run.table.items()] == ["ok"]


def test_a_replay_does_not_call_the_function_again(run, gcs):
    letter = {"element": {"id": {"S": "a"}}, "operation": "put"}
    udf = gcs.put("udf.py", "def process(row):\n    raise ValueError('called')\n")
    table = run(
        input=gcs.put("failed.jsonl", json.dumps(letter)), format="dead-letters", python_udf=udf
    )
    assert table.items() == [{"id": {"S": "a"}}]


@pytest.mark.parametrize("kind", ["dead-letters", "json"])
def test_dead_letters_never_take_the_place_of_what_a_file_holds(run, gcs, capsys, kind):
    path = gcs.put("failed.jsonl", "{}")
    run(input=gcs.path("fail*.jsonl"), format=kind, dead_letters=path)
    assert run.code == 1
    assert "dead_letters' must be a new file" in capsys.readouterr().err
    assert gcs.objects()["failed.jsonl"] == b"{}"


def test_a_row_on_which_the_function_fails_is_a_dead_letter(run, gcs):
    udf = "def process(row):\n    return {'id': row['id'], 'half': int(row['n']) / 2}\n"
    table = run(
        input=gcs.put("a.csv", b"id,n\na,3\nb,many\n"),
        python_udf=gcs.put("udf.py", udf),
        dead_letters=gcs.path("failed.jsonl"),
    )
    assert table.items() == [{"id": {"S": "a"}, "half": {"N": "1.5"}}]
    letter = json.loads(gcs.objects()["failed.jsonl"])
    assert letter["code"] == "ValueError"
    assert letter["element"] == {"id": "b", "n": "many"}
    assert "a.csv, line 3" in letter["message"]


@pytest.mark.parametrize(
    ("source", "words"),
    [("def process(row:\n", "can't be run"), ("x = 1\n", "has no function process")],
)
def test_a_function_that_cannot_be_had_fails_the_job(run, gcs, source, words):
    with pytest.raises(Exception, match=words):
        run(input=gcs.put("a.csv", csv()), python_udf=gcs.put("udf.py", source))


def test_deletes_of_an_export_pass_the_function(run, gcs):
    changes = [
        {"Metadata": {"WriteTimestampMicros": {"N": "1"}}, "Keys": {"id": {"S": "x"}}},
        {
            "Metadata": {"WriteTimestampMicros": {"N": "1"}},
            "Keys": {"id": {"S": "y"}},
            "NewImage": {"id": {"S": "y"}},
        },
    ]
    run.table.client.put_item(TableName=run.table.name, Item={"id": {"S": "x"}})
    table = run(
        input=gcs.put("a.json", "".join(f"{json.dumps(each)}\n" for each in changes)),
        format="dynamodb-json",
        python_udf=gcs.put("udf.py", "def process(row):\n    return row\n"),
    )
    assert table.items() == [{"id": {"S": "y"}}]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sink_batch_max_size=26"], "sink_batch_max_size"),
        (["--sink_batch_maxsize=5"], "sink_batch_max_size"),
        (["--partitioned_byy=id"], "Did you mean '--partitioned_by'"),
        (["--aws_credentials_basic_secretkey=hush"], "holds a secret"),
        (["--awsCredentialsBasicSecretkey=hush"], "holds a secret"),
        (["--aws.credentials.basic.secretkey", "hush"], "holds a secret"),
        (["--s3_secret_access_key=hush"], "holds a secret"),
        (["--types=id"], "'types' must have the form"),
        (["--primary_key=a,b,c"], "at most two"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(flags, words, capsys, caplog):
    argv = ["--input=gs://b/x", "--table_name=flights", f"--aws_region={REGION}", *flags]
    assert files.main(argv) == 1
    err = capsys.readouterr().err
    assert words in err
    assert "hush" not in err + caplog.text


def test_rows_keep_the_digits_of_their_numbers(run, gcs):
    table = run(input=gcs.put("a.jsonl", '{"id": "a", "n": 1.00000000000000000000001}\n'))
    assert Decimal(table.items()[0]["n"]["N"]) == Decimal("1.00000000000000000000001")
