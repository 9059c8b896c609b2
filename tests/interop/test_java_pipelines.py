"""What `PythonExternalTransform` of a Java pipeline asks of Beam's expansion service, asked here.

PythonExternalTransform.from("beam_dynamodb.WriteToDynamoDB").withKwarg("table", "events")…
"""

from __future__ import annotations

import subprocess
import sys
import time

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.transforms.external import ExternalTransform, ImplicitSchemaPayloadBuilder
from apache_beam.transforms.fully_qualified_named_transform import (
    PYTHON_FULLY_QUALIFIED_NAMED_TRANSFORM_URN,
)

from pipelines.local import free_port

_PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def expansion_service(tmp_path_factory):
    """The address of Beam's expansion service for Python, as its users start it."""
    port = free_port()
    log = tmp_path_factory.mktemp("expansion") / "log"
    with log.open("wb") as output:
        service = subprocess.Popen(
            [
                sys.executable, "-m", "apache_beam.runners.portability.expansion_service_main",
                f"--port={port}", "--fully_qualified_name_glob=beam_dynamodb.*",
            ],
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while "Listening" not in log.read_text():
            assert service.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"localhost:{port}"
    finally:
        service.kill()
        service.wait()


def external(address, constructor, **kwargs):
    payload = ImplicitSchemaPayloadBuilder(
        {"constructor": constructor, "kwargs": beam.Row(**kwargs)}
    )
    return ExternalTransform(PYTHON_FULLY_QUALIFIED_NAMED_TRANSFORM_URN, payload, address)


def expanded(transform):
    """The names of a pipeline's transforms once an external one is expanded."""
    pipeline = beam.Pipeline()
    rows = pipeline | beam.Create([beam.Row(user_id=1, name="a")])
    _ = rows | transform
    proto: beam_runner_api_pb2.Pipeline = pipeline.to_runner_api()
    return " ".join(each.unique_name for each in proto.components.transforms.values())


@pytest.mark.parametrize(
    "constructor",
    ["beam_dynamodb.WriteToDynamoDB", "beam_dynamodb.yaml_transform.YamlWriteToDynamoDB"],
)
def test_a_java_pipeline_gets_the_sink_expanded(constructor, expansion_service):
    name = "table" if constructor.endswith(".WriteToDynamoDB") else "table_name"
    kwargs = {
        name: "events",
        "aws_region": "us-east-2",
        "partitioned_by": ["user_id"],
        "primary_key": ["user_id"],
        "sink_batch_max_size": 10,
        "sink_fail_on_error": True,
    }
    steps = expanded(external(expansion_service, constructor, **kwargs))
    assert "ToRequest" in steps
    assert "WriteLatest" in steps


def test_a_wrong_option_is_told_to_the_java_pipeline(expansion_service):
    with pytest.raises(RuntimeError, match="Did you mean 'sink_batch_max_size'"):
        expanded(
            external(
                expansion_service,
                "beam_dynamodb.WriteToDynamoDB",
                table="events",
                aws_region="us-east-2",
                sink_batch_maxsize=1,
            )
        )
