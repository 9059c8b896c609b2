"""Dead letters of real pipelines: which there are, their files, and what a replay makes of them."""

from __future__ import annotations

import bz2
import dataclasses
import datetime
import gzip
import json
import re
import time
from decimal import Decimal

import orjson
import pytest
from apache_beam.options.value_provider import StaticValueProvider, ValueProvider
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.transforms.window import FixedWindows

from beam_dynamodb import Delete, Put
from beam_dynamodb.dead_letters import DeadLetter, TableRow
from beam_dynamodb.errors import DeadLetterError
from beam_dynamodb.replay import ReadDeadLetters, WriteDeadLetters, table_of
from beam_dynamodb.testing import (
    AccessDenied,
    Expired,
    FakeServer,
    Faults,
    InvalidCredentials,
    Rejected,
    ServerError,
    TableGone,
    Throttle,
)
from pipelines import load, replay
from tests.beam.helpers import (
    FN_API,
    REGION,
    TABLE,
    Collected,
    counters,
    ends,
    input_of,
    pipeline,
    serving,
    sink,
)
from tests.processes import press_ctrl_c, running

OTHER = "others"
UTC = datetime.timezone.utc
RETRY_TIMEOUT = 400  # ms


def write(server, rows, path, *, table=TABLE, windowing=None, unbounded=False, shards=1, **options):
    """Writes rows; what fails goes to files at the path. Returns the pipeline's counters."""
    begin = pipeline(FN_API)
    path = path if isinstance(path, ValueProvider) else str(path)
    with ErrorHandler(WriteDeadLetters(path, shards=shards)) as handler:
        elements = input_of(begin, rows, windowing)
        elements.is_bounded = not unbounded
        options = {"sink_retry_timeout": RETRY_TIMEOUT, **options}
        _ = elements | sink(server, table, **options).with_error_handler(handler)
    result = begin.run()
    result.wait_until_finish()
    return counters(result)


def read(*patterns, **how):
    """What a replay would write: (element, seconds)."""
    found = Collected()
    begin = pipeline(FN_API)
    _ = begin | ReadDeadLetters([str(each) for each in patterns], **how) | (found | "Collect")
    begin.run().wait_until_finish()
    return [(element, seconds) for element, seconds, _ in found.all]


def letters(*paths):
    return [DeadLetter.from_line(line) for path in paths for line in path.read_text().splitlines()]


def flags(server, path, *more):
    return [f"--input={path}", f"--aws_region={REGION}", f"--aws_endpoint={server.endpoint}", *more]


def id_of(item):
    return int(item["id"]["N"])


def tables(server):
    return {name: sorted(map(orjson.dumps, server.db.items(name))) for name in (TABLE, OTHER)}


def lines_to(path, *all_letters):
    lines = [each if isinstance(each, str) else each.to_line() for each in all_letters]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


# --- round trip ----------------------------------------------------------------------------


def history():
    """Puts and deletes of every type of value, several a key, into two tables."""
    rows = []
    for number in range(120):
        key = number % 40
        row = {
            "id": key,
            "to": OTHER if key % 2 else TABLE,
            "n": Decimal(f"{number}.50"),
            "raw": bytes([number]),
            "tags": {"a", str(number)},
            "numbers": {1, number + 2},
            "at": datetime.datetime(2022, 11, 10, 1, 2, number % 60, tzinfo=UTC),
            "deep": {"list": [1, None, {"x": b"y"}], "yes": True},
        }
        is_delete = number // 40 == 2 and key % 5 == 0
        rows.append((Delete({"id": key}) if is_delete else Put(row) if key % 3 else row, number))
    return rows


def table_to_write(element):
    row = element.row if isinstance(element, Put) else element
    row = row.key if isinstance(row, Delete) else row
    return OTHER if row["id"] % 2 else TABLE


@pytest.mark.parametrize("partitioned_by", [(), ("id",)])
@pytest.mark.parametrize("windowing", [None, FixedWindows(30)])
def test_a_replay_makes_the_table_what_it_is_without_faults(tmp_path, partitioned_by, windowing):
    rows = history()
    options = {"table": table_to_write, "partitioned_by": partitioned_by, "windowing": windowing}
    with serving(tables=(TABLE, OTHER)) as server:
        write(server, rows, tmp_path / "none.jsonl", **options)
        expected = tables(server)
    assert (tmp_path / "none.jsonl").read_text() == ""

    faults = Faults()
    faults.on_keys(lambda _, key: id_of(key) % 4 == 0, Throttle())
    faults.on_keys(lambda _, key: id_of(key) % 4 == 1, Rejected())
    with serving(faults, tables=(TABLE, OTHER)) as server:
        totals = write(server, rows, tmp_path / "failed.jsonl", shards=3, **options)
        assert ends(totals) == len(rows)
        failed = letters(*tmp_path.glob("failed-*-of-00003.jsonl"))
        assert len(failed) == totals["failed"] >= 20
        assert {each.retriable for each in failed} == {True, False}
        assert tables(server) != expected
        with FakeServer(server.db) as mended:
            pattern = tmp_path / "failed-*.jsonl"
            summary = replay.run(flags(mended, pattern, "--partitioned_by=id"))
        assert summary.read == len(failed) == summary.written + summary.superseded
        assert tables(server) == expected


def test_records_come_back_with_type_table_event_time_and_in_the_order_of_their_key(tmp_path):
    path = lines_to(
        tmp_path / "a.jsonl",
        DeadLetter({"id": 1, "v": "late"}, "put", "t", "{id: 1}", timestamp=2_500_000),
        DeadLetter({"id": {"B": "AQ=="}}, "delete", "t", "{id: AQ==}", timestamp=1),
        DeadLetter({"id": 1, "v": b"early"}, "put", "t", "{id: 1}", timestamp=1_000_000),
    )
    more = lines_to(tmp_path / "b.jsonl", DeadLetter({"id": 1}, "row", None, "{id: 1}"))
    found = read(tmp_path / "*.jsonl")
    assert path.exists()
    assert more.exists()
    assert [each for each in found if isinstance(each[0], Put)] == [
        (Put(TableRow({"id": 1, "v": b"early"}, "t")), 1.0),
        (Put(TableRow({"id": 1, "v": "late"}, "t")), 2.5),
    ]
    [(delete, _)] = [each for each in found if isinstance(each[0], Delete)]
    assert delete == Delete({"id": {"B": "AQ=="}})
    assert table_of(delete) == "t"
    assert [type(element) for element, _ in found].count(TableRow) == 1


def test_letters_without_a_time_come_in_the_order_of_the_files_and_each_file_is_read_once(tmp_path):
    for number in range(20):
        letter = DeadLetter({"id": 1, "v": number}, "put", "t", "{id: 1}")
        lines_to(tmp_path / f"failed-{number:02}.jsonl", letter)
    found = read(tmp_path / "failed-1*.jsonl", tmp_path / "failed-*.jsonl")
    assert [element.row["v"] for element, _ in found] == list(range(20))


def test_a_change_that_had_become_a_delete_stays_one_without_change_kind(tmp_path):
    rows = [({"op": "+I", "id": 1, "v": 1}, 1), ({"op": "-D", "id": 2, "v": 1}, 2)]
    faults = Faults().on_keys(lambda *_: True, Throttle())
    with serving(faults) as server:
        write(server, rows, tmp_path / "failed.jsonl", change_kind="op")
    found = {type(element): element for element, _ in read(tmp_path / "failed.jsonl")}
    assert found == {
        Put: Put({"id": {"N": "1"}, "v": {"N": "1"}}),
        Delete: Delete({"id": {"N": "2"}}),
    }


def kind_by_name(row):
    return {"new": "+U", "gone": "-D"}[row["op"]]


@pytest.mark.parametrize(
    ("change_kind", "put", "delete", "written"),
    [
        ("op", "+U", "-D", {"id", "v"}),
        (kind_by_name, "new", "gone", {"id", "v", "op"}),
    ],
    ids=["field", "callable"],
)
def test_a_change_that_was_refused_stays_what_it_was_without_change_kind(
    tmp_path, capsys, change_kind, put, delete, written
):
    path = tmp_path / "failed.jsonl"
    rows = [({"op": put, "id": 1, "v": "x"}, 1), ({"op": delete, "id": 2, "v": 1}, 2)]
    denied = Faults.always(AccessDenied(), operations=["DescribeTable"])
    with serving(denied) as server:
        server.db.call("PutItem", {"TableName": TABLE, "Item": {"id": {"N": "2"}}})
        # Nobody tells the key, and without it no row is deleted; the put lacks the sort key.
        write(server, rows[1:], path, change_kind=change_kind)
        assert replay.main(flags(server, path, "--primary_key=id")) == 0
        assert not server.db.items(TABLE)
        write(server, rows[:1], path, change_kind=change_kind, primary_key=["id", "at"])
        assert replay.main(flags(server, path, "--primary_key=id")) == 0
        (item,) = server.db.items(TABLE)
    assert item.keys() == written


def test_a_change_of_no_kind_stays_a_row_to_be_mended(tmp_path):
    with serving() as server:
        write(server, [({"op": "?", "id": 1}, 1)], tmp_path / "failed.jsonl", change_kind="op")
    (letter,) = letters(tmp_path / "failed.jsonl")
    assert (letter.operation, letter.element) == ("row", {"op": "?", "id": 1})


# --- which failures become dead letters, and when ------------------------------------------


@pytest.mark.parametrize("fault", [Throttle(), ServerError(), ServerError(503)])
def test_a_retriable_failure_is_a_dead_letter_only_after_the_budget(tmp_path, fault):
    faults = Faults.always(fault)
    with serving(faults) as server:
        started = time.monotonic()
        write(server, [({"id": 1, "v": 1}, 0)], tmp_path / "f.jsonl", sink_retry_timeout=1_000)
        took = time.monotonic() - started
    [letter] = letters(tmp_path / "f.jsonl")
    assert took >= 1.0
    assert letter.retriable
    assert letter.attempts == faults.counts["calls"] > 1


def test_a_failure_that_passes_within_the_budget_is_no_dead_letter(tmp_path):
    faults = Faults.script([Throttle(), ServerError(), Throttle(), ServerError(503)])
    with serving(faults) as server:
        rows = [({"id": 1, "v": 1}, 0)]
        totals = write(server, rows, tmp_path / "f.jsonl", sink_retry_timeout=60_000)
        assert totals["written"] == 1
    assert (tmp_path / "f.jsonl").read_text() == ""


@pytest.mark.parametrize("keys", [(), ("id",)])
@pytest.mark.parametrize(
    "fault", [AccessDenied(), InvalidCredentials(), Expired(), TableGone()], ids=lambda f: f.code
)
def test_what_no_row_is_to_blame_for_fails_the_pipeline_and_is_never_a_dead_letter(
    tmp_path, fault, keys
):
    faults = Faults.script([None], then=fault)
    rows = [({"id": number, "v": 1}, number) for number in range(60)]
    with serving(faults) as server, pytest.raises(Exception, match=fault.code):
        write(server, rows, tmp_path / "failed.jsonl", partitioned_by=keys)
    assert list(tmp_path.glob("failed*.jsonl")) == []


def test_a_table_that_never_was_fails_the_pipeline_and_is_never_a_dead_letter(tmp_path):
    with serving() as server, pytest.raises(Exception, match="ResourceNotFoundException"):
        write(server, [({"id": 1}, 0)], tmp_path / "failed.jsonl", table="nowhere")
    assert list(tmp_path.glob("failed*.jsonl")) == []


# --- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("windowing", [None, FixedWindows(1)])
def test_unbounded_input_makes_a_whole_file_of_each_bundle(tmp_path, windowing):
    rows = [({"id": 1, "v": float("nan")}, 5), ({"id": 2, "v": 1}, 6), ({"v": 2}, 70)]
    with serving() as server:
        write(server, rows, tmp_path / "failed.jsonl", windowing=windowing, unbounded=True)
    assert {path.suffix for path in tmp_path.iterdir()} == {".jsonl"}
    found = letters(*tmp_path.glob("failed-*.jsonl"))
    assert sorted((each.code, each.timestamp) for each in found) == [
        ("InvalidValue", 5_000_000),
        ("MissingKey", 70_000_000),
    ]


@pytest.mark.parametrize("of_runtime", [False, True])
def test_letters_are_written_to_a_url_of_a_local_file(tmp_path, of_runtime):
    url = f"file://{tmp_path}/failed.jsonl"
    path = StaticValueProvider(str, url) if of_runtime else url
    with serving() as server:
        write(server, [({"no": "key"}, 1)], path)
    (written,) = tmp_path.iterdir()
    assert [each.code for each in letters(written)] == ["MissingKey"]


@pytest.mark.parametrize("unbounded", [False, True])
def test_files_are_compressed_as_their_name_says(tmp_path, unbounded):
    with serving() as server:
        write(server, [({"no": "key"}, 1)], tmp_path / "failed.jsonl.gz", unbounded=unbounded)
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".gz"
    assert len(read(path)) == 1


@pytest.mark.parametrize(("suffix", "packed"), [("gz", gzip.compress), ("bz2", bz2.compress)])
@pytest.mark.parametrize("left", [0.02, 0.5])
def test_a_compressed_file_that_was_cut_off_is_told(tmp_path, capsys, suffix, packed, left):
    path = lines_to(tmp_path / f"failed.jsonl.{suffix}", *[DeadLetter({"id": 1}, "put")] * 9_999)
    whole = packed(path.read_bytes())
    path.write_bytes(whole[: int(left * len(whole))])
    assert replay.main([f"--input={path}", f"--table_name={TABLE}", f"--aws_region={REGION}"]) == 1
    assert "or cut off" in capsys.readouterr().err


def test_the_file_of_a_bundle_that_never_ended_is_left_out(tmp_path):
    lines_to(tmp_path / "failed-1.jsonl", DeadLetter({"id": 1}, "put"))
    (tmp_path / "failed-2.unfinished").write_text('{"ele')
    assert len(read(tmp_path / "failed*")) == 1
    with pytest.raises(DeadLetterError, match="No file"):
        read(tmp_path / "failed-2*")


def test_the_file_of_a_bundle_that_never_ended_is_read_where_it_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "old [1]"
    folder.mkdir()
    lines_to(folder / "failed-2.unfinished", DeadLetter({"id": 1}, "put"))
    monkeypatch.chdir(tmp_path)
    assert len(read("old [1]/failed-2.unfinished")) == 1


def test_compressed_files_and_several_patterns_are_read(tmp_path):
    import gzip

    letter = DeadLetter({"id": 1}, "put", "t")
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write(letter.to_line() + "\n")
    lines_to(tmp_path / "b.jsonl", "", letter, "")
    assert len(read(tmp_path / "a.*", tmp_path / "b.*")) == 2


@pytest.mark.parametrize("pattern", ["letters*", "letters?.jsonl", "[l]etters1*", "letters1.jsonl"])
def test_patterns_need_no_folder(tmp_path, monkeypatch, pattern):
    lines_to(tmp_path / "letters1.jsonl", DeadLetter({"id": 1}, "put", "t"))
    monkeypatch.chdir(tmp_path)
    assert len(read(pattern)) == 1


@pytest.mark.parametrize("pattern", ["nothing*.jsonl", "nothing.jsonl"])
def test_a_pattern_that_matches_nothing_is_told(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    told = rf"No file of dead letters matches '{re.escape(pattern)}'\."
    with pytest.raises(DeadLetterError, match=told):
        read(pattern)


# --- lines that must be mended -------------------------------------------------------------

NOT_JSON = "not json"
OBJECT = DeadLetter({"id": 2, "v": [object()]}, "put", TABLE, "{id: 2}", retriable=True)
FOREIGN = DeadLetter({"id": "x"}, None, message="ValueError('x')", retriable=True)
GOOD = DeadLetter({"id": 3, "v": 3}, "put", TABLE, "{id: 3}", retriable=True)


@pytest.mark.parametrize(
    ("letter", "told"),
    [
        (NOT_JSON, "no dead letter"),
        (OBJECT, r"'v\[0\]' was a builtins.object"),
        (FOREIGN, "not a record of the sink"),
        (DeadLetter("text", "put"), "no row but a str"),
    ],
)
def test_a_line_that_cannot_be_written_fails_with_its_file_and_number(tmp_path, letter, told):
    path = lines_to(tmp_path / "failed.jsonl", GOOD, "", letter)
    with pytest.raises(Exception, match=rf"failed\.jsonl, line 3: .*{told}"):
        read(path)


def test_mend_makes_lines_writable_or_leaves_them_out(tmp_path):
    def mend(letter):
        if letter.operation is None:
            return None
        return dataclasses.replace(letter, element={**letter.element, "v": 7})

    path = lines_to(tmp_path / "failed.jsonl", OBJECT, FOREIGN, GOOD)
    found = sorted((element.row["id"], element.row["v"]) for element, _ in read(path, mend=mend))
    assert found == [(2, 7), (3, 7)]


@pytest.mark.parametrize("mend", [lambda letter: letter.element, lambda letter: 1 / 0])
def test_a_wrong_mend_is_told_with_the_line(tmp_path, mend):
    path = lines_to(tmp_path / "failed.jsonl", GOOD)
    with pytest.raises(Exception, match=r"failed\.jsonl, line 1: mend= "):
        read(path, mend=mend)


# --- the pipeline --------------------------------------------------------------------------


def test_main_writes_what_it_can_and_keeps_the_rest_for_an_editor(tmp_path, capsys):
    path = lines_to(tmp_path / "failed.jsonl", NOT_JSON, OBJECT, FOREIGN, GOOD)
    again = tmp_path / "again.jsonl"
    with serving() as server:
        assert replay.main(flags(server, path, f"--dead_letters={again}")) == 3
        assert [id_of(item) for item in server.db.items(TABLE)] == [3]
        assert "4 read = 1 written" in capsys.readouterr().out
        left = {each.operation and each.key: each for each in letters(again) if each.message}
        assert left["{id: 2}"].element == DeadLetter.from_line(OBJECT.to_line()).element
        assert "failed.jsonl, line 2" in left["{id: 2}"].message

        mended = again.read_text().splitlines()
        [line] = [each for each in mended if "{id: 2}" in each]
        fields = json.loads(line)
        fields["element"]["v"] = {"$decimal": "1.5"}
        lines_to(again, json.dumps(fields))
        assert replay.main(flags(server, again)) == 0
        items = {id_of(item): item["v"] for item in server.db.items(TABLE)}
        assert items == {2: {"N": "1.5"}, 3: {"N": "3"}}


def test_only_retriable_leaves_the_others_out_and_the_summary_adds_up(tmp_path):
    poison = DeadLetter({"id": 9}, "put", TABLE, "{id: 9}")
    older = DeadLetter({"id": 3, "v": 0}, "put", TABLE, "{id: 3}", retriable=True, timestamp=-1)
    change = DeadLetter({"id": 4, "op": "-U"}, "row", TABLE, retriable=True)
    path = lines_to(tmp_path / "failed.jsonl", GOOD, poison, OBJECT, older, change)
    more = ["--only_retriable", f"--dead_letters={tmp_path / 'again.jsonl'}"]
    with serving() as server:
        summary = replay.run(flags(server, path, *more, "--partitioned_by=id", "--change_kind=op"))
        assert [id_of(item) for item in server.db.items(TABLE)] == [3]
    assert summary == replay.Summary(
        read=5, written=1, superseded=1, ignored=1, skipped=1, failed=1
    )
    assert "unaccounted" not in str(summary)


def test_what_fails_again_is_a_dead_letter_again(tmp_path):
    path = lines_to(tmp_path / "failed.jsonl", GOOD)
    again = tmp_path / "again.jsonl"
    more = [f"--dead_letters={again}", f"--sink_retry_timeout={RETRY_TIMEOUT}"]
    with serving(Faults.always(Throttle())) as server:
        assert replay.main(flags(server, path, *more)) == 3
    [letter] = letters(again)
    assert (letter.operation, letter.element) == ("put", {"id": {"N": "3"}, "v": {"N": "3"}})
    assert letter.code == "ProvisionedThroughputExceededException"


def test_table_name_sends_all_letters_to_one_table(tmp_path):
    path = lines_to(tmp_path / "failed.jsonl", GOOD, DeadLetter({"id": 5}, "put"))
    with serving(tables=(TABLE, OTHER)) as server:
        assert replay.main(flags(server, path, f"--table_name={OTHER}")) == 0
        assert sorted(map(id_of, server.db.items(OTHER))) == [3, 5]
        assert server.db.items(TABLE) == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--dead_letters={path}"], "must be a new file"),
        (["--sink_batch_max_size=26"], "sink_batch_max_size"),
        ([], "AccessDenied"),
    ],
)
def test_a_failed_replay_says_why_and_leaves_its_input(tmp_path, capsys, more, told):
    path = lines_to(tmp_path / "failed.jsonl", GOOD)
    with serving(Faults.always(AccessDenied())) as server:
        more = [each.format(path=path) for each in more]
        assert replay.main(flags(server, path, *more)) == 1
    assert told in capsys.readouterr().err
    assert letters(path) == [GOOD]


@pytest.mark.parametrize(
    ("line", "more", "told"),
    [
        (GOOD, ["--input={path}.nosuch"], "No file of dead letters matches '{path}.nosuch'."),
        (FOREIGN, [], "{path}, line 1: It is not a record of the sink"),
        (GOOD, ["--table_name=nope"], "ResourceNotFoundException for table 'nope'"),
        (
            DeadLetter({"id": 5}, "put"),
            [],
            "The record (of unknown key) can't be written: The dead letter tells no table: name",
        ),
    ],
)
def test_a_fault_is_told_in_one_line(tmp_path, capsys, caplog, line, more, told):
    path = lines_to(tmp_path / "failed.jsonl", line)
    with serving() as server:
        assert replay.main(flags(server, path, *[each.format(path=path) for each in more])) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"The replay failed. {told.format(path=path)}")
    assert error.count("\n") == 1
    assert "while running" not in error
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []


def test_ctrl_c_ends_a_replay_in_one_line(tmp_path):
    path = lines_to(tmp_path / "failed.jsonl", GOOD)
    faults = Faults.always(Throttle())
    with (
        serving(faults) as server,
        running("-m", "pipelines.replay", *flags(server, path)) as job,
    ):
        while not faults.counts["calls"] and job.poll() is None:
            time.sleep(0.05)
        errors = press_ctrl_c(job)
    assert job.returncode == 130, errors
    assert "Stopped. What was written stays written." in errors
    assert "Traceback" not in errors


def test_the_dead_letters_of_a_load_are_of_the_same_form(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("id,n\n1,10\n2,many\n,3\n", encoding="utf-8")
    path = tmp_path / "failed.jsonl"
    with serving() as server:
        argv = flags(server, tmp_path / "a.csv", f"--table_name={TABLE}", "--numbers=id,n")
        assert load.main([*argv, f"--dead_letters={path}"]) == 3
        foreign, refused = sorted(letters(path), key=lambda each: each.operation or "")
        assert foreign.element == {"id": "2", "n": "many"}
        assert foreign.operation is None
        assert (refused.operation, refused.table) == ("row", TABLE)
        assert refused.element == {"id": None, "n": 3}
        lines_to(path, dataclasses.replace(foreign, element={"id": 2, "n": 0}, operation="put"))
        capsys.readouterr()
        assert replay.main(flags(server, path, f"--table_name={TABLE}")) == 0
        assert sorted(map(id_of, server.db.items(TABLE))) == [1, 2]


# --- deletes that are ordered ---------------------------------------------------------------


@pytest.mark.parametrize("more", [["--order_by=v", "--partitioned_by=id"], []], ids=["order", "-"])
@pytest.mark.parametrize(
    "element", [{"id": 1, "v": 5, "op": "-D"}, Delete({"id": 1, "v": 5})], ids=["row", "Delete"]
)
def test_a_delete_that_was_ordered_is_deleted_again(tmp_path, element, more):
    path = tmp_path / "failed.jsonl"
    refused = Faults.script([Rejected()], operations=["BatchWriteItem"])
    with serving(refused) as server:
        server.db.call("PutItem", {"TableName": TABLE, "Item": {"id": {"N": "1"}}})
        options = {"partitioned_by": ["id"], "order_by": "v", "change_kind": "op"}
        write(server, [(element, 1.0)], path, **options)
        assert [each.operation for each in letters(path)] == ["delete"]
        assert server.db.items(TABLE)
        assert replay.main(flags(server, path, *more)) == 0
        assert not server.db.items(TABLE)


@pytest.mark.parametrize("kind", [dict, Delete], ids=["puts", "deletes"])
def test_a_time_still_decides_when_it_is_written_again(tmp_path, kind):
    path = tmp_path / "failed.jsonl"
    whole = datetime.datetime(2026, 1, 1, tzinfo=UTC)
    newer = {"id": 1, "v": whole.replace(microsecond=500_000)}  # its text is the lesser one
    refused = Faults.script([Rejected()] * 2, operations=["BatchWriteItem"])
    with serving(refused) as server:
        for row in (kind(newer), {"id": 1, "v": whole}):
            write(server, [(row, 1.0)], path, partitioned_by=["id"], order_by="v")
            path.rename(f"{path}.{len(list(tmp_path.iterdir()))}")
        again = flags(server, f"{path}.*", "--order_by=v", "--partitioned_by=id")
        assert replay.main(again) == 0
        left = [item["v"]["S"] for item in server.db.items(TABLE)]
        assert left == ([] if kind is Delete else ["2026-01-01T00:00:00.500Z"])
