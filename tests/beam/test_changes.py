"""The job that follows files of changes: which it follows, and lines that are none."""

from __future__ import annotations

import pytest

from pipelines import replay, stream
from pipelines.changes import FollowChanges
from tests.beam.helpers import REGION, TABLE, serving

RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@pytest.mark.parametrize(
    "time",
    ["1e999", "1e15", "-1e15", "NaN", '"soon"', "null", pytest.param("[" * 10**5, id="deep")],
)
def test_a_line_whose_time_beam_does_not_have_is_told_by_its_place(
    tmp_path, capsys, monkeypatch, time
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    path = tmp_path / "changes.jsonl"
    path.write_text(f'{{"kind":"+I","at":{time},"id":"secret"}}\nnull\n', encoding="utf-8")
    argv = [f"--changes={path}", "--table_name=people", "--aws_region=us-east-2",
            "--aws_endpoint=http://127.0.0.1:9", "--partitioned_by=id", "--primary_key=id", RUNNER,
    ]  # fmt: skip
    assert stream.main(argv) == 1
    error = capsys.readouterr().err
    assert f"{path} has at byte 0 no JSON object with a time in seconds in its field 'at'" in error
    assert "secret" not in error.partition("The job failed.")[2]


def test_a_file_that_two_patterns_match_is_followed_once(tmp_path, monkeypatch, capsys):
    path = tmp_path / "changes.jsonl"
    path.write_text('{"kind":"+U","at":1,"id":1}\nnull\n', encoding="utf-8")
    followed = []

    class Noting(FollowChanges):
        def __init__(self, paths, **settings):
            followed.extend(paths)
            super().__init__(paths, **settings)

    monkeypatch.setattr(stream, "FollowChanges", Noting)
    with serving() as server:
        argv = [f"--changes={path},{tmp_path}/*.jsonl", f"--table_name={TABLE}",
                f"--aws_region={REGION}", f"--aws_endpoint={server.endpoint}", "--primary_key=id",
                RUNNER]  # fmt: skip
        assert stream.main(argv) == 0, capsys.readouterr().err
        assert len(server.db.items(TABLE)) == 1
    assert followed == [str(path)]


def test_rows_that_cannot_be_written_go_to_files_that_a_replay_takes(tmp_path, capsys):
    path, letters = tmp_path / "changes.jsonl", tmp_path / "failed.jsonl"
    changes = [
        '{"kind":"+I","at":1,"id":1}',
        '{"kind":"+I","at":2,"id":2,"tags":{"a":[[[]]]},"%s":1}' % ("x" * 70_000),
        '{"kind":"-D","at":3,"nr":1}',
        "null",
    ]
    path.write_text("\n".join(changes) + "\n", encoding="utf-8")
    with serving() as server:
        sink = [f"--table_name={TABLE}", f"--aws_region={REGION}", "--primary_key=id",
                f"--aws_endpoint={server.endpoint}"]  # fmt: skip
        argv = [f"--changes={path}", f"--dead_letters={letters}", RUNNER, *sink]
        assert stream.main(argv) == 0, capsys.readouterr().err
        assert [item["id"] for item in server.db.items(TABLE)] == [{"N": "1"}]
        files = list(tmp_path.glob("failed-*.jsonl"))
        lines = "".join(each.read_text(encoding="utf-8") for each in files)
        for each in files:
            each.unlink()
        assert lines.count("\n") == 2
        (tmp_path / "mended.jsonl").write_text(lines.replace("nr", "id").replace("x" * 70_000, "x"))
        assert replay.main([f"--input={tmp_path}/mended.jsonl", *sink]) == 0
        assert [item["id"] for item in server.db.items(TABLE)] == [{"N": "2"}]
