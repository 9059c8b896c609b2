"""The servers that the other tests stand on do run, and the fixtures keep their word."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipelines import flink_local
from pipelines.local import guarded


def test_moto_takes_and_returns_an_item(moto_endpoint, create_table):
    table = create_table(moto_endpoint)
    table.client.put_item(TableName=table.name, Item={"id": {"S": "a"}})
    assert table.items() == [{"id": {"S": "a"}}]


def test_dynamodb_local_takes_and_returns_an_item(dynamodb_local, create_table):
    table = create_table(dynamodb_local, key=[("id", "S"), ("at", "N")])
    table.client.put_item(TableName=table.name, Item={"id": {"S": "a"}, "at": {"N": "1.0"}})
    assert table.items() == [{"id": {"S": "a"}, "at": {"N": "1"}}]


def test_prism_is_built(prism):
    done = subprocess.run([prism, "--help"], capture_output=True, text=True, check=False)
    assert "job_port" in done.stdout + done.stderr


def test_only_dummy_credentials_are_in_the_environment():
    assert os.environ["AWS_ACCESS_KEY_ID"] == "testing"
    assert "AWS_PROFILE" not in os.environ
    assert "AWS_SESSION_TOKEN" not in os.environ


def test_a_server_that_ends_ends_its_guard(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with (tmp_path / "log").open("wb") as log, guarded(command, log) as guard:
        assert guard.wait(timeout=60) == 3


def test_a_part_of_flink_that_ends_at_once_is_not_waited_for(tmp_path):
    looks = iter(range(300))

    def answers():
        assert next(looks, None) is not None, "it goes on waiting"
        return False

    path = tmp_path / "job-server.log"
    command = [sys.executable, "-c", "print('no memory'); raise SystemExit(1)"]
    with path.open("wb") as log, guarded(command, log) as guard:
        started = flink_local.Program(guard, path)
        with pytest.raises(RuntimeError, match=r"job-server did not start.*\n.*no memory"):
            flink_local._await(answers, started)
        started.kill()
