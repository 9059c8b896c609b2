"""The file that `--dead_letters` of each main names: a new one, so that nothing in it is lost."""

from __future__ import annotations

import gzip

import pytest

from beam_dynamodb.dead_letters import DeadLetter
from pipelines import load, replay, sql
from tests.beam.helpers import REGION, TABLE, serving

INPUT = DeadLetter({"id": 1}, "put", TABLE, "{id: 1}").to_line() + "\n"
JOB = """
CREATE TABLE src (id BIGINT) WITH ('connector' = 'filesystem', 'path' = '{path}',
  'format' = 'json');
CREATE TABLE events (id BIGINT) WITH ('connector' = 'dynamodb', 'table-name' = 'events',
  'aws.region' = 'us-east-2');
INSERT INTO events SELECT id FROM src;
"""


def flags(server):
    return [f"--table_name={TABLE}", f"--aws_region={REGION}", f"--aws_endpoint={server.endpoint}"]


def run_load(server, path, letters, *more):
    return load.main([f"--input={path}", f"--dead_letters={letters}", *flags(server), *more])


def run_dry(server, path, letters):
    return run_load(server, path, letters, "--dry_run")


def run_replay(server, path, letters):
    return replay.main([f"--input={path}", f"--dead_letters={letters}", *flags(server)])


def run_sql(server, path, letters):
    script = path.with_name("job.sql")
    script.write_text(JOB.format(path=path), encoding="utf-8")
    endpoint = f"--set=aws.endpoint={server.endpoint}"
    return sql.main([str(script), endpoint, f"--dead_letters={letters}"])


MAINS = pytest.mark.parametrize("run", [run_load, run_dry, run_sql, run_replay])


def contents(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@pytest.fixture
def path(tmp_path, run):
    found = tmp_path / "input.jsonl"
    found.write_text(INPUT if run is run_replay else '{"id":1}\n', encoding="utf-8")
    return found


@MAINS
@pytest.mark.parametrize("named", ["input.jsonl", "letters.jsonl", "packed.gz", "unpacked.gz"])
def test_dead_letters_never_take_the_place_of_what_a_file_holds(run, named, path, capsys):
    letters = path.with_name(named)
    if letters != path:
        packs = gzip.compress if named == "packed.gz" else bytes
        letters.write_bytes(packs(INPUT.encode()))
    before = letters.read_bytes()
    with serving() as server:
        assert run(server, path, letters) == 1
        assert not server.db.writes
    told = capsys.readouterr().err
    assert f"'--dead_letters' must be a new file: {letters} holds something" in told
    assert letters.read_bytes() == before


@MAINS
@pytest.mark.parametrize("name", ["letters.jsonl", "letters.jsonl.gz"])
def test_an_empty_file_of_a_run_without_failures_is_written_again(run, name, path, capsys):
    letters = path.with_name(name)
    with serving() as server:
        for _ in range(2):
            assert run(server, path, letters) == 0, capsys.readouterr().err
            assert contents(letters) == b""
