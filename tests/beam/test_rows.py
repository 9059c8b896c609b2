"""What an element is: a put, a delete, a change of some kind; for which table, under which key."""

from __future__ import annotations

import logging
from enum import Enum
from operator import itemgetter
from typing import Any

import apache_beam as beam
import pytest

from beam_dynamodb import Delete, Put, WriteToDynamoDB
from beam_dynamodb.testing import AccessDenied, Faults
from beam_dynamodb.to_request import ToRequest
from tests.beam.helpers import (
    REGION,
    TABLE,
    TWO_WORKERS,
    Rows,
    ends,
    given,
    input_of,
    pipeline,
    run_rows,
    serving,
    sink,
    stateful_payloads,
    stored,
)

LETTERS: Any = {"handling": lambda write: write.with_exception_handling()}
KEYS: list[Any] = [(), ["id"]]


def at_once(*rows: Any) -> Rows:
    return [(row, 0.0) for row in rows]


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_puts_deletes_and_rows_may_be_mixed(partitioned_by: Any) -> None:
    rows = at_once(
        {"id": 1, "v": 1},
        Put({"id": 2, "v": 2}),
        beam.Row(id=3, v=3),
        Delete({"id": 1}),
        Delete({"id": 9}),
    )
    with serving() as server:
        run = run_rows(server, rows, partitioned_by=partitioned_by)
        assert stored(server) == {2: "2", 3: "3"}
    assert ends(run.counters) == 5


CHANGES = [("+I", 1), ("-U", 1), ("+U", 2), ("-D", 2), ("+U", 3)]
WORDS = {"+I": "INSERT", "-U": "UPDATE_BEFORE", "+U": "UPDATE_AFTER", "-D": "DELETE"}


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("by_callable", [False, True], ids=["field", "callable"])
def test_a_changelog_ends_as_its_last_change(
    by_callable: bool, long: bool, partitioned_by: Any
) -> None:
    rows = at_once(
        *({"id": 1, "v": v, "op": WORDS[op] if long else op} for op, v in CHANGES),
        {"id": 2, "v": 1, "op": "+I"},
        {"id": 2, "v": 1, "op": "-D"},
    )
    with serving() as server:
        run = run_rows(
            server,
            rows,
            change_kind=_operation if by_callable else "op",
            partitioned_by=partitioned_by,
        )
        [item] = server.db.items(TABLE)
    assert item["v"] == {"N": "3"}
    assert ("op" in item) is by_callable
    assert run.counters["ignored"] == 1
    assert ends(run.counters) == len(rows)


def _operation(row: Any) -> str:
    return str(row["op"])


def test_an_unknown_change_kind_and_a_callable_that_raises_are_dead_letters() -> None:
    rows = at_once({"id": 1, "v": 1, "op": "?"}, {"id": 2, "v": 2}, {"id": 3, "v": 3, "op": "+I"})
    with serving() as server:
        run = run_rows(server, rows, change_kind=_operation, **LETTERS)
        assert set(stored(server)) == {3}
    assert [each.code for each in run.failed.elements] == ["InvalidChangeKind"] * 2
    assert [each.key for each in run.failed.elements] == ["{id: 1}", "{id: 2}"]


@pytest.mark.parametrize(
    ("order_by", "latest"), [(None, "a"), ("rank", "b")], ids=["timestamp", "column"]
)
def test_the_latest_of_a_key_is_by_timestamp_or_by_the_column_named(
    order_by: str | None, latest: str
) -> None:
    rows = [
        ({"id": 1, "v": "a", "rank": 1}, 9.0),
        ({"id": 1, "v": "b", "rank": 3}, 5.0),
        ({"id": 1, "v": "c", "rank": 2}, 7.0),
    ]
    with serving() as server:
        run = run_rows(server, rows, partitioned_by=["id"], order_by=order_by)
        assert stored(server) == {1: latest}
        assert server.db.accepted == 1
    assert run.counters["superseded"] == 2


# --- which table ---------------------------------------------------------------------------


def _table_of(row: Any) -> str:
    return str(row["to"])


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_a_callable_sends_rows_to_several_tables(partitioned_by: Any) -> None:
    rows = at_once(*({"id": n % 5, "v": n, "to": f"table-{n % 3}"} for n in range(30)))
    tables = ["table-0", "table-1", "table-2"]
    with serving(tables=tables) as server:
        run_rows(server, rows, table=_table_of, partitioned_by=partitioned_by)
        found = {table: stored(server, table=table) for table in tables}
    expected: dict[str, dict[int, str]] = {table: {} for table in tables}
    for row, _ in rows:
        expected[row["to"]][row["id"]] = str(row["v"])
    assert found == expected


class Word(str, Enum):
    """A table's name that is told as `Word.TABLE`, and travels as `events`."""

    TABLE = TABLE


def test_a_table_is_one_whether_an_enum_or_its_text_names_it() -> None:
    identities = []
    for table in (Word.TABLE, TABLE):
        write = WriteToDynamoDB(
            itemgetter("to"), aws_region=REGION, partitioned_by=["id"], primary_key=["id"]
        )
        step = ToRequest(write._settings, None, 1, travel=True)
        step.setup()
        step.start_bundle()
        assert list(given(step, {"id": 1, "to": table})) == []
        [sent] = step.finish_bundle()
        identities += sent.value[1].requests.identities
    assert identities[0] == identities[1]


def test_a_row_whose_table_is_no_name_is_a_dead_letter_that_says_so() -> None:
    rows = at_once({"id": 1, "v": 1, "to": None}, {"id": 2, "v": 2, "to": TABLE})
    with serving(tables=[TABLE, "None"]) as server:
        run = run_rows(server, rows, table=lambda row: row["to"], **LETTERS)
        assert set(stored(server)) == {2}
        assert server.db.items("None") == []
    [letter] = run.failed.elements
    assert letter.code == "InvalidTable"
    assert "NoneType" in letter.message


def test_a_key_that_is_null_is_told_as_null() -> None:
    rows = at_once({"id": None, "v": 1}, {"id": 2, "v": 2})
    with serving() as server:
        run = run_rows(server, rows, **LETTERS)
        assert set(stored(server)) == {2}
    [letter] = run.failed.elements
    assert letter.key == "{id: null}"


def test_a_row_whose_table_cannot_be_told_is_a_dead_letter() -> None:
    rows = at_once(
        {"id": 1, "v": 1}, {"id": 2, "v": 2, "to": "no/table"}, {"id": 3, "v": 3, "to": TABLE}
    )
    with serving() as server:
        run = run_rows(server, rows, table=_table_of, **LETTERS)
        assert set(stored(server)) == {3}
    assert [each.code for each in run.failed.elements] == ["InvalidTable"] * 2


# --- which key -----------------------------------------------------------------------------


def duplicates() -> Rows:
    return at_once(*({"id": n % 4, "v": n} for n in range(40)))


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_with_primary_key_given_the_table_is_never_described(partitioned_by: Any) -> None:
    with serving() as server:
        run_rows(server, duplicates(), primary_key=["id"], partitioned_by=partitioned_by)
        assert "DescribeTable" not in server.stats().calls
        assert stored(server) == {0: "36", 1: "37", 2: "38", 3: "39"}


def test_without_it_the_table_is_described_once() -> None:
    with serving() as server:
        run_rows(server, duplicates())
        assert server.stats().calls["DescribeTable"] == 1
        assert stored(server) == {0: "36", 1: "37", 2: "38", 3: "39"}


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_without_the_permission_to_describe_it_the_rows_are_written_all_the_same(
    partitioned_by: Any,
) -> None:
    faults = Faults.always(AccessDenied(), operations=["DescribeTable"])
    with serving(faults) as server:
        run = run_rows(server, duplicates(), partitioned_by=partitioned_by)
        # Without any key nobody can tell which writes are of one item, so which comes last.
        assert set(stored(server)) == {0, 1, 2, 3}
        if partitioned_by:
            assert stored(server) == {0: "36", 1: "37", 2: "38", 3: "39"}
    assert ends(run.counters) == 40


def test_a_partition_within_the_key_warns_once_and_names_the_tables_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = at_once(*({"id": 1, "at": n, "v": n} for n in range(10)))
    with serving(key={"id": "N", "at": "N"}) as server:
        with caplog.at_level(logging.WARNING, logger="beam_dynamodb"):
            run_rows(server, rows, partitioned_by=["id"])
        assert server.db.accepted == 1  # as the seed has it: the user's own statement of identity
    [warning] = [each for each in caplog.records if "partitioned_by" in each.getMessage()]
    assert "id, at" in warning.getMessage()


def test_a_partition_beside_the_key_warns_that_items_are_part_of_several_records(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving() as server, caplog.at_level(logging.WARNING, logger="beam_dynamodb"):
        run_rows(server, at_once({"id": 1, "v": 1}), partitioned_by=["v"])
    [warning] = [each for each in caplog.records if "partitioned_by" in each.getMessage()]
    assert "part of several records" in warning.getMessage()


@pytest.mark.parametrize("flags", [[], TWO_WORKERS], ids=["one worker", "two workers"])
def test_an_item_keeps_its_latest_value_where_the_partition_is_wider_than_the_key(
    flags: list[str],
) -> None:
    rows = at_once(*({"id": n % 3, "kind": "ab"[n % 2], "v": n} for n in range(60)))
    with serving() as server:
        run = run_rows(server, rows, flags=flags, partitioned_by=["id", "kind"])
        assert stored(server) == {0: "57", 1: "58", 2: "59"}
    assert ends(run.counters) == 60


def test_without_partitioned_by_there_is_no_shuffle() -> None:
    with serving() as server:
        plain, keyed = pipeline(), pipeline()
        _ = input_of(plain, duplicates()) | sink(server)
        _ = input_of(keyed, duplicates()) | sink(server, partitioned_by=["id"])
    urns = {each.spec.urn for each in plain.to_runner_api().components.transforms.values()}
    assert "beam:transform:group_by_key:v1" not in urns
    assert not stateful_payloads(plain)
    assert len(stateful_payloads(keyed)) == 1
