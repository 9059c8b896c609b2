"""The pipelines as Dataflow's runner builds them: nothing is sent anywhere."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2 as proto

from templates import bigquery, files, pubsub
from templates.main import read_parameters
from templates.parameters import TEMPLATES
from tests.servers import REGION

BUILDS = {"files": files.build, "pubsub": pubsub.build, "bigquery": bigquery.build}
TOPIC, LETTERS = "projects/p-demo/topics/changes", "projects/p-demo/topics/failed"
SOURCES = {
    "files": "--input=gs://b/*.csv",
    "pubsub": f"--input_topic={TOPIC}",
    "bigquery": "--input_table=p-demo:d.t",
}


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def graph(name, *flags):
    """The pipeline of a dry run, as a proto."""
    argv = [
        "--runner=DataflowRunner", "--dry_run=True", "--no_auth", "--project=p-demo",
        "--region=us-central1", "--dataflow_endpoint=http://localhost:9", "--job_name=job",
        "--temp_location=gs://b/t", "--staging_location=gs://b/s", "--table_name=flights",
        f"--aws_region={REGION}", *flags,
    ]  # fmt: skip
    values, options = read_parameters(TEMPLATES[name], argv)
    pipeline = beam.Pipeline(options=options)
    BUILDS[name](pipeline, values)
    result = pipeline.run()
    assert result.state == "DONE"
    return result.job.proto_pipeline


def pardos(pipeline):
    """The payloads of all ParDos, by their names."""
    return {
        each.unique_name: proto.ParDoPayload.FromString(each.spec.payload)
        for each in pipeline.components.transforms.values()
        if each.spec.urn == "beam:transform:pardo:v1"
    }


def stateful(pipeline):
    return {name: each for name, each in pardos(pipeline).items() if each.state_specs}


@pytest.mark.parametrize(
    ("name", "letters"),
    [*((name, LETTERS) for name in SOURCES), ("pubsub", "gs://b/failed.jsonl"), ("files", None)],
)
def test_every_pipeline_can_be_built_for_dataflow(name, letters):
    flags = [SOURCES[name], *([f"--dead_letters={letters}"] if letters else [])]
    names = " ".join(
        each.unique_name for each in graph(name, *flags).components.transforms.values()
    )
    assert "Write/WriteBundle" in names
    assert ("ToTopic" in names) == (letters == LETTERS)


def test_the_streaming_pipeline_has_state_and_both_kinds_of_timers():
    pipeline = graph("pubsub", SOURCES["pubsub"], "--partitioned_by=id")
    ((name, payload),) = stateful(pipeline).items()
    assert name == "Write/WriteLatest/ParDo(WriteLatestUntilTimeout)"
    domains = {each.time_domain for each in payload.timer_family_specs.values()}
    assert domains == {proto.TimeDomain.EVENT_TIME, proto.TimeDomain.PROCESSING_TIME}
    assert "beam:requirement:pardo:stateful:v1" in pipeline.requirements
    assert not any(each.requests_finalization for each in pardos(pipeline).values())
    assert not any(each.requires_time_sorted_input for each in pardos(pipeline).values())


@pytest.mark.parametrize("name", ["files", "bigquery"])
def test_a_batch_pipeline_has_no_timer_of_processing_time(name):
    pipeline = graph(name, SOURCES[name], "--partitioned_by=id")
    ((_, payload),) = stateful(pipeline).items()
    domains = {each.time_domain for each in payload.timer_family_specs.values()}
    assert proto.TimeDomain.PROCESSING_TIME not in domains


def test_a_function_has_a_step_of_its_own():
    pipeline = graph("bigquery", SOURCES["bigquery"], "--python_udf=gs://b/udf.py")
    assert any(name.startswith("ApplyFunction") for name in pardos(pipeline))


@pytest.mark.parametrize("flag", ["--query=SELECT 1", "--input_table=p-demo:d.t"])
def test_bigquery_is_read_by_a_query_or_a_table(flag):
    assert graph("bigquery", flag).components.transforms


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "'query' or 'input_table', one of them"),
        (["--query=q", "--input_table=p:d.t"], "one of them"),
        (["--query=q", "--row_restriction=a>1"], "'row_restriction' goes with 'input_table'"),
        (["--query=q", "--selected_fields=a"], "'selected_fields' goes with 'input_table'"),
        (["--input_table=no table"], "table"),
    ],
)
def test_a_wrong_source_is_refused(flags, words, capsys):
    argv = ["--table_name=flights", f"--aws_region={REGION}", *flags]
    assert bigquery.main(argv) == 1
    assert words in capsys.readouterr().err


def test_steps_keep_their_names_so_that_a_job_can_be_updated():
    pipeline = graph(
        "pubsub", SOURCES["pubsub"], "--partitioned_by=id", f"--dead_letters={LETTERS}",
        "--python_udf=gs://b/udf.py",
    )  # fmt: skip
    steps = {name.split("/")[0] for name in pardos(pipeline)}
    assert steps == {"Read", "ToRows", "ApplyFunction", "Write", "DeadLettersTo"}
    assert not [name for name in pardos(pipeline) if "lambda" in name], "it holds a line number"
