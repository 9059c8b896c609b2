"""`ReadRows` in pipelines: settings told late, bad rows, order."""

from __future__ import annotations

import json
import zipfile

import apache_beam as beam
import pytest
from apache_beam.options.value_provider import RuntimeValueProvider, StaticValueProvider
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.error_handling import ErrorHandler

from beam_dynamodb import OptionError, WriteDeadLetters, WriteToDynamoDB
from beam_dynamodb.testing import FakeDynamoDB, FakeServer
from pipelines.sources import ReadRows, SourceError, ToDeadLetter, matched


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.csv").write_text("id,n\n3,x\n4,40\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text("id,n\n1,10\n2,20\n", encoding="utf-8")
    return tmp_path


def test_rows_of_all_files_that_match_come_typed(folder):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | ReadRows(f"{folder}/*.csv", columns={"types": "id:N"})
        assert_that(
            rows,
            equal_to(
                [
                    {"id": 1, "n": "10"},
                    {"id": 2, "n": "20"},
                    {"id": 3, "n": "x"},
                    {"id": 4, "n": "40"},
                ]
            ),
        )


def test_settings_may_be_told_when_the_pipeline_runs(folder, monkeypatch):
    monkeypatch.setattr(RuntimeValueProvider, "runtime_options", None)

    def late(name, value):
        return RuntimeValueProvider(name, str, value)

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        read = ReadRows(
            late("input", f"{folder}/a.csv, {folder}/b.csv"),
            format=late("format", ""),
            columns={
                "types": late("types", "id:N"),
                "rename": late("rename", "id:key"),
                "null": late("null", "10"),
            },
            encoding=late("encoding", ""),
            delimiter=late("delimiter", ""),
            rows=late("rows", "1"),
        )
        assert_that(pipeline | read, equal_to([{"key": 1, "n": None}, {"key": 3, "n": "x"}]))


def test_static_value_providers_are_checked_at_once():
    with pytest.raises(OptionError, match="'format' must be auto or one of csv"):
        ReadRows("x", format=StaticValueProvider(str, "xml"))
    with pytest.raises(OptionError, match="'encoding' is 'utf-9'"):
        ReadRows("x", encoding="utf-9")
    with pytest.raises(OptionError, match="'delimiter' must be one character"):
        ReadRows("x", delimiter="||")


def test_files_are_read_in_the_order_of_their_names_if_wanted(folder):
    for number in range(9):
        (folder / f"{number}.csv").write_text(f"id\n{number}\n", encoding="utf-8")
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | ReadRows(f"{folder}/[0-9].csv", in_order=True)
        together = rows | beam.combiners.ToList()
        assert_that(together, equal_to([[{"id": str(number)} for number in range(9)]]))


@pytest.mark.parametrize("pattern", ["a*.csv", "[a].csv"])
def test_patterns_may_be_relative(folder, monkeypatch, pattern):
    monkeypatch.chdir(folder)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        assert_that(pipeline | ReadRows(pattern, rows=1), equal_to([{"id": "1", "n": "10"}]))


@pytest.mark.parametrize(
    "pattern", ["*.csv", "[a]*.csv", "{}/*.csv", "../old [1]/a?1*", "../old [1]/a[1].csv"]
)
def test_folders_and_files_may_be_named_like_patterns(tmp_path, monkeypatch, pattern):
    here, other = tmp_path / "old [1]", tmp_path / "old a1]"
    for folder in (here, other):
        folder.mkdir()
        (folder / "a[1].csv").write_text("id\n1\n", encoding="utf-8")
    monkeypatch.chdir(here)
    assert [each.path for each in matched(pattern.format(here))] == [f"{here}/a[1].csv"]


def test_bad_rows_become_dead_letters_that_say_where_they_stood(folder):
    db = FakeDynamoDB()
    db.create_table("users", {"id": "S"})
    (folder / "c.csv").write_text("id,n\n,50\n", encoding="utf-8")
    (folder / "d.parquet").write_bytes(b"PAR1 half")
    read = ReadRows(f"{folder}/*", columns={"types": "n:N"})
    with (
        FakeServer(db) as server,
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
        ErrorHandler(Letters(str(folder / "dead.jsonl"))) as handler,
    ):
        write = WriteToDynamoDB("users", aws_region="us-east-2", aws_endpoint=server.endpoint)
        rows = pipeline | read.with_error_handler(handler)
        _ = rows | write.with_error_handler(handler)
    assert {item["id"]["S"] for item in db.items("users")} == {"1", "2", "4"}
    letters = [json.loads(line) for line in (folder / "dead.jsonl").read_text().splitlines()]
    by_file = {each["message"].partition(",")[0].partition(" ")[0]: each for each in letters}
    assert f"{folder}/b.csv, line 2, column 'n' holds something else than a number." in str(
        by_file[f"{folder}/b.csv"]
    )
    assert by_file[f"{folder}/b.csv"]["element"] == {"id": "3", "n": "x"}
    of_the_sink = by_file[f"{folder}/c.csv"]
    assert of_the_sink["message"].startswith(f"{folder}/c.csv, line 2: The record")
    assert of_the_sink["code"] == "InvalidKey"
    assert by_file[f"{folder}/d.parquet"]["code"] == "UnreadableFile"
    assert len(letters) == 3


class Letters(beam.PTransform):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def expand(self, failed):
        return failed | beam.ParDo(ToDeadLetter()) | WriteDeadLetters(self.path)


def run(*patterns, **settings):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | ReadRows(list(patterns), **settings)


def test_without_a_handler_the_first_bad_row_fails_the_pipeline(folder):
    with pytest.raises(SourceError, match=r"b\.csv, line 2, column 'n'"):
        run(f"{folder}/*.csv", columns={"types": "n:N"})


def test_a_missing_column_is_named_with_the_nearest(folder):
    with pytest.raises(SourceError, match=r"a\.csv has no column ide \(it has id\)"):
        run(f"{folder}/a.csv", columns={"types": "ide:N"})


def test_a_pattern_that_matches_nothing_is_named(folder):
    with pytest.raises(SourceError, match=r"No file matches .*/nothing\*"):
        run(f"{folder}/a.csv", f"{folder}/nothing*")


@pytest.mark.parametrize("name", ["*", "a.csv"])
def test_local_files_may_be_named_by_a_url(folder, name):
    assert f"{folder}/a.csv" in [each.path for each in matched(f"file://{folder}/{name}")]


@pytest.mark.parametrize("patterns", ["", " , ", [], [""]])
def test_no_pattern_is_none_of_the_folder_one_is_in(patterns):
    with pytest.raises(OptionError, match="No input files are named"):
        matched(patterns)


def test_a_folder_is_no_file_but_may_be_named_with_a_slash_at_its_end(folder):
    with pytest.raises(SourceError, match=r"No file matches .*It is a folder.*/\*\."):
        matched(str(folder))
    assert [each.path for each in matched(f"{folder}/")] == [f"{folder}/a.csv", f"{folder}/b.csv"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("encoding", "base64"), ("encoding", "utf-9"), ("delimiter", '"'), ("delimiter", "\n")],
)
def test_what_no_file_can_be_written_with_is_refused(setting, value):
    with pytest.raises(OptionError, match=f"'{setting}'"):
        ReadRows("x", **{setting: value})


def test_all_files_of_a_zip_are_read_and_messages_name_them(folder):
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for name in ("README", "a.csv", "b.csv"):
            archive.writestr(name, "n\n1\n" if name == "a.csv" else "n\nx\n")
    dead = folder / "dead.jsonl"
    with (
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
        ErrorHandler(Letters(str(dead))) as handler,
    ):
        read = ReadRows(f"{folder}/all.zip", columns={"types": "n:N"})
        assert_that(pipeline | read.with_error_handler(handler), equal_to([{"n": 1}]))
    no_format, bad_row = sorted(
        json.loads(line)["message"] for line in dead.read_text().splitlines()
    )
    assert no_format.startswith(f"{folder}/all.zip/README has a name that tells no format")
    assert bad_row.startswith(f"{folder}/all.zip/b.csv, line 2, column 'n' holds")


def test_as_many_rows_are_read_of_a_zip_as_of_any_file(folder):
    with zipfile.ZipFile(folder / "a.csv.zip", "w") as archive:
        for name in ("1", "2"):
            archive.writestr(name, f"n\n{name}\n{name}\n")
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | ReadRows(f"{folder}/a.csv.zip", rows=3)
        assert_that(rows, equal_to([{"n": "1"}, {"n": "1"}, {"n": "2"}]))
