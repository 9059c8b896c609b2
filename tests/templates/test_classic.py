"""The classic template: staged by Dataflow's own runner, and run from what was staged."""

from __future__ import annotations

import json
import tarfile

import pytest

from beam_dynamodb.testing import FakeDynamoDB, FakeServer
from templates.classic.main import main
from templates.launch import main as launcher
from templates.parameters import CLASSIC, CLASSIC_STAGED
from tests.integration.aws_standins import MARK
from tests.servers import REGION
from tests.templates.launched import run_template

FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
CSV = "id,n,name\n1,10,one\n2,2.5,two\n1,11,uno\n"


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The folder of a template that was staged without any server."""
    folder = tmp_path_factory.mktemp("staged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_GCE_CHECK", "true")
        # What a careless user has about; none of it may get into a file.
        patch.setenv("AWS_SECRET_ACCESS_KEY", f"{MARK}-environment")
        code = launcher([
            "stage", "classic", "--project=p-demo", "--region=us-central1",
            f"--staging_location={folder}", f"--temp_location={folder}",
            f"--to={folder}/template.json", "--partitioned_by=id", "--in_order=true",
            "--", "--no_auth", "--dataflow_endpoint=http://localhost:9",
        ])  # fmt: skip
    assert code == 0
    return folder


@pytest.fixture
def launch(staged, moto_endpoint, create_table):
    """Runs the template against a table of its own; returns the table."""
    table = create_table(moto_endpoint)

    def run(**parameters):
        parameters = {
            "table_name": table.name, "aws_region": REGION, "aws_endpoint": table.endpoint,
            **parameters,
        }  # fmt: skip
        template, graph = (staged / name for name in ("template.json", "pipeline.pb"))
        result = run_template(template.read_bytes(), graph.read_bytes(), parameters)
        result.wait_until_finish()
        return table

    return run


def test_the_parameters_of_a_launch_are_those_of_the_metadata(staged):
    options = json.loads((staged / "template.json").read_text())["environment"][
        "sdkPipelineOptions"
    ]["options"]
    metadata = json.loads((staged / "template.json_metadata").read_text())
    names = [each["name"] for each in metadata["parameters"]]
    assert names == [each.name for each in CLASSIC.parameters]
    assert set(names) <= options.keys()
    assert all(options[name] is None for name in names), "nothing is fixed but what was asked for"
    assert not {each.name for each in CLASSIC_STAGED} & options.keys()


def test_no_secret_is_in_any_staged_file(staged):
    files = [each for each in staged.iterdir() if each.is_file()]
    assert {"template.json", "pipeline.pb", "workflow.tar.gz"} <= {each.name for each in files}
    for file in files:
        contents = file.read_bytes()
        assert MARK.encode() not in contents, file
        assert b'secretkey":' not in contents
    options = json.loads((staged / "template.json").read_text())
    assert not [name for name in _keys(options) if name.endswith(("accesskeyid", "secretkey"))]


def _keys(value):
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)


def test_the_workers_get_all_that_the_pipeline_imports(staged):
    with tarfile.open(staged / "workflow.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"beam_dynamodb/writer.py", "pipelines/sources.py", "templates/rows.py"} <= names
    assert not [name for name in names if name.startswith("tests")]


def test_rows_arrive_and_the_later_of_one_key_wins(launch, gcs):
    path = gcs.put("in/a.csv", CSV)
    table = launch(input=path, types="n:N", sink_batch_max_size="5")
    assert sorted(table.items(), key=lambda item: item["id"]["S"]) == [
        {"id": {"S": "1"}, "n": {"N": "11"}, "name": {"S": "uno"}},
        {"id": {"S": "2"}, "n": {"N": "2.5"}, "name": {"S": "two"}},
    ]


def test_another_launch_of_the_same_template_has_other_settings(launch, gcs):
    gcs.put("in/a.jsonl.gz", _gzipped('{"key": "a", "x": null}\n'))
    gcs.put("in/b.jsonl.gz", _gzipped('{"key": "b", "x": 1}\n'))
    table = launch(input=gcs.path("in/*"), format="json", rename="key:id", sink_ignore_nulls="true")
    assert sorted(table.items(), key=str) == [
        {"id": {"S": "a"}}, {"id": {"S": "b"}, "x": {"N": "1"}},
    ]  # fmt: skip


def test_an_empty_parameter_is_none(launch, gcs):
    table = launch(input=gcs.put("a.csv", CSV), format="", dead_letters="", python_udf="")
    assert len(table.items()) == 2


def test_bad_rows_go_to_the_dead_letters_and_their_neighbours_are_written(launch, gcs):
    path = gcs.put("in/a.csv", "id,n\ngood,1\nbad,many\n,2\nlast,3\n")
    table = launch(input=path, types="n:N", dead_letters=gcs.path("failed/x.jsonl"))
    assert {item["id"]["S"] for item in table.items()} == {"good", "last"}
    (contents,) = gcs.objects("failed/").values()
    letters = [json.loads(line) for line in contents.splitlines()]
    assert sorted(each["code"] for each in letters) == ["InvalidKey", "InvalidRow"]
    assert all("a.csv, line" in each["message"] for each in letters)


def test_a_bad_row_without_dead_letters_fails_the_job_and_says_why(launch, gcs):
    path = gcs.put("in/a.csv", "id,n\nbad,many\n")
    with pytest.raises(Exception, match=r"(?s)column 'n'.*set dead_letters"):
        launch(input=path, types="n:N")


def test_a_python_function_changes_rows_leaves_some_out_and_makes_more(launch, gcs):
    source = """
import math
def change(row):
    if row["id"] == "2":
        return None
    row["n"] = math.floor(float(row["n"]))
    return [row, {"id": row["id"] + "-copy", "n": 0}]
"""
    table = launch(
        input=gcs.put("a.csv", "id,n\n1,1.9\n2,2\n"),
        python_udf=gcs.put("udf.py", source),
        python_udf_function="change",
    )
    assert sorted(table.items(), key=str) == [
        {"id": {"S": "1"}, "n": {"N": "1"}}, {"id": {"S": "1-copy"}, "n": {"N": "0"}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"input": "gs://bucket/nothing*"}, "No file matches gs://bucket/nothing"),
        ({"sink_batch_max_size": "26"}, "sink_batch_max_size"),
        ({"aws_region": ""}, "aws_region"),
        ({"format": "xml"}, "'format' must be"),
    ],
)
def test_a_wrong_value_is_told_by_the_worker(launch, gcs, parameters, words):
    with pytest.raises(Exception, match=words):
        launch(**{"input": gcs.put("a.csv", CSV), **parameters})


def test_a_parameter_given_when_the_template_is_staged_is_fixed(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    flags = [
        "--runner=DataflowRunner", "--project=p-demo", "--region=us-central1", "--no_auth",
        "--dataflow_endpoint=http://localhost:9", f"--staging_location={tmp_path}",
        f"--temp_location={tmp_path}", f"--template_location={tmp_path}/t", "--job_name=j",
        f"--aws_region={REGION}", "--format=csv",
    ]  # fmt: skip
    assert main(flags) == 0
    options = json.loads((tmp_path / "t").read_text())["environment"]["sdkPipelineOptions"]
    assert options["options"]["aws_region"] == REGION
    assert options["options"]["table_name"] is None


def test_a_misspelt_setting_stages_nothing(tmp_path, capsys):
    assert main([f"--template_location={tmp_path}/t", "--partitioned_byy=id"]) == 1
    assert "Did you mean '--partitioned_by'?" in capsys.readouterr().err


def test_a_replay_is_refused(tmp_path, capsys):
    assert main([f"--template_location={tmp_path}/t", "--format=dead-letters"]) == 1
    assert "'format' must be one of auto, csv" in capsys.readouterr().err


def test_a_place_of_dead_letters_that_is_fixed_keeps_those_of_each_job(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 5}\n')
    database = FakeDynamoDB()
    database.create_table("flights", {"id": "S"})
    with FakeServer(database) as server:
        for _ in range(2):
            assert main([
                f"--runner={FN_API}", f"--input={path}", "--table_name=flights",
                f"--aws_region={REGION}", f"--aws_endpoint={server.endpoint}",
                f"--dead_letters={tmp_path}/failed.jsonl",
            ]) == 0  # fmt: skip
    assert len(list(tmp_path.glob("failed-*.jsonl"))) == 2


def test_an_empty_place_of_dead_letters_is_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 5}\n')
    database = FakeDynamoDB()
    database.create_table("flights", {"id": "S"})
    with FakeServer(database) as server, pytest.raises(Exception, match="has type S"):
        main([
            f"--runner={FN_API}", f"--input={path}", "--table_name=flights",
            f"--aws_region={REGION}", f"--aws_endpoint={server.endpoint}", "--dead_letters=",
        ])  # fmt: skip


@pytest.mark.parametrize("name", ["basic_secretkey", "role_provider_basic_secretkey"])
def test_a_secret_is_refused_and_nothing_is_staged(tmp_path, capsys, name):
    assert main([f"--template_location={tmp_path}/t", f"--aws_credentials_{name}={MARK}"]) == 1
    err = capsys.readouterr().err
    assert f"'aws_credentials_{name}' is no parameter" in err
    assert MARK not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["awsCredentialsBasicSecretkey", "s3_secret_access_key"])
def test_a_secret_of_another_spelling_is_refused_too(tmp_path, capsys, caplog, flag):
    assert main([f"--template_location={tmp_path}/t", f"--{flag}={MARK}"]) == 1
    err = capsys.readouterr().err
    assert f"'{flag}' holds a secret" in err
    assert MARK not in err + caplog.text


def _gzipped(text):
    import gzip

    return gzip.compress(text.encode())
