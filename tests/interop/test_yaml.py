"""Beam YAML: a real pipeline file, run as its users run it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import beam_dynamodb
from beam_dynamodb import OptionError, SinkOptions
from beam_dynamodb.testing import FakeDynamoDB, FakeServer
from beam_dynamodb.yaml_transform import YamlWriteToDynamoDB, write_to_dynamodb
from tests import processes

LISTING = Path(beam_dynamodb.__file__).with_name("providers.yaml")
RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
PIPELINE = """
pipeline:
  type: composite
  transforms:
    - type: Create
      config:
        elements:
          - {{user_id: 1, name: view, tags: [a, b], place: {{city: Oslo}}}}
          - {{user_id: 2, name: buy, tags: [], place: {{city: Rome}}}}
          - {{user_id: 3, name: "", tags: [], place: {{city: ""}}}}
    - type: WriteToDynamoDB
      input: Create
      config:
        table_name: events
        aws_region: us-east-2
        aws_endpoint: {endpoint}
        sink_batch_max_size: 10
        partitioned_by: [user_id]
        primary_key: [name]
        error_handling: {{output: failed}}
    - type: MapToFields
      input: WriteToDynamoDB.failed
      config: {{language: python, fields: {{what: msg}}}}
    - type: WriteToJson
      input: MapToFields
      config: {{path: {path}, num_shards: 1}}
providers:
  - include: {listing}
"""


def run(text, folder):
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    main = ["-m", "apache_beam.yaml.main", f"--yaml_pipeline_file={path}", RUNNER]
    return processes.run(*main, folder=folder)


def test_a_yaml_pipeline_writes_rows_and_hands_on_what_fails(tmp_path):
    db = FakeDynamoDB()
    db.create_table("events", {"name": "S"})
    with FakeServer(db) as server:
        text = PIPELINE.format(
            endpoint=server.endpoint, path=tmp_path / "failed.json", listing=LISTING
        )
        done = run(text, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    items = {item["user_id"]["N"]: item for item in db.items("events")}
    assert sorted(items) == ["1", "2"]
    assert items["1"]["tags"] == {"L": [{"S": "a"}, {"S": "b"}]}
    assert items["1"]["place"] == {"M": {"city": {"S": "Oslo"}}}
    failed = "".join(each.read_text() for each in tmp_path.glob("failed.json*"))
    assert failed.count("\n") == 1
    assert "InvalidKey" in failed or "must not be empty" in failed


def test_the_config_has_all_options_with_their_types_and_texts():
    parameters = inspect.signature(write_to_dynamodb).parameters
    for option in SinkOptions.declared():
        if option.key != "connector":
            assert option.keyword in parameters
            assert f"{option.keyword}: {option.description}" in write_to_dynamodb.__doc__
            assert (
                parameters[option.keyword].default is inspect.Parameter.empty
            ) == option.required


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sink_batch_maxsize": 1}, "Did you mean 'sink_batch_max_size'"),
        ({"sink_batch_max_size": 26}, "must be between 1 and 25"),
        ({"error_handling": {"out": "x"}}, "'error_handling' takes 'output'"),
        ({"error_handling": {}}, "it has no output"),
        ({"error_handling": {"output": ""}}, "it has no output"),
        ({"error_handling": {"output": "post_write"}}, "'post_write' is where the written rows"),
        ({"error_handling": "failed"}, "it is no mapping: str"),
        ({"error_handling": ["a"]}, "it is no mapping: list"),
        ({"error_handling": 5}, "it is no mapping: int"),
    ],
)
def test_a_wrong_config_is_refused_by_name(config, message):
    with pytest.raises(OptionError, match=message):
        YamlWriteToDynamoDB(table_name="abc", aws_region="us-east-2", **config)
