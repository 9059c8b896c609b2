"""The servers that the other tests stand on do run, and the fixtures keep their word."""

from __future__ import annotations

import os
import subprocess


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
