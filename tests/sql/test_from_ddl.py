"""`WriteToDynamoDB.from_ddl` in a pipeline: rows by declared types, bad ones as dead letters."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any, ClassVar, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_dynamodb import Delete, FailedRecord, Put, RowError, WriteError, WriteToDynamoDB
from beam_dynamodb.dead_letters import DeadLetter
from beam_dynamodb.testing import FakeDynamoDB, FakeServer

DDL = """CREATE TABLE prices (
  id BIGINT, price DECIMAL(10, 2), at TIMESTAMP(3), tags ARRAY<STRING>,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'dynamodb', 'table-name' = 'prices', 'aws.region' = 'us-east-2')"""


@pytest.fixture
def server():
    db = FakeDynamoDB()
    db.create_table("prices", {"id": "N"})
    with FakeServer(db) as found:
        yield found


def sink(server, ddl=DDL, **settings):
    return WriteToDynamoDB.from_ddl(ddl, options={"aws.endpoint": server.endpoint}, **settings)


def write(elements, transform):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create(elements, reshuffle=False) | transform


def test_rows_puts_and_deletes_become_what_the_columns_declare(server):
    write(
        [
            {"id": "1", "price": 1.5, "at": "2024-01-02 03:04:05", "tags": ("a",)},
            beam.Row(id=2, price=2),
            Put({"id": 3}),
        ],
        sink(server),
    )
    write([Delete({"id": "2"})], sink(server))
    items = {item["id"]["N"]: item for item in server.db.items("prices")}
    assert items["1"] == {
        "id": {"N": "1"},
        "price": {"N": "1.5"},
        "at": {"S": "2024-01-02T03:04:05"},
        "tags": {"L": [{"S": "a"}]},
    }
    assert items["3"]["price"] == {"NULL": True}
    assert sorted(items) == ["1", "3"]


def test_the_primary_key_deduplicates_and_deletes(server):
    changes = [
        {"op": "+I", "id": 1, "price": 1},
        {"op": "+U", "id": 1, "price": 2},
        {"op": "+I", "id": 2},
        {"op": "-D", "id": 2},
    ]
    write(changes, sink(server, change_kind="op"))
    assert [item["price"] for item in server.db.items("prices")] == [{"N": "2"}]
    assert len(server.db.writes) == 2, "of each key only the latest is sent"


@pytest.mark.parametrize("null", ["", " NOT NULL"])
def test_a_put_needs_no_column_of_a_change_kind_as_when_a_refused_change_is_replayed(server, null):
    ddl = DDL.replace("(\n", f"(\n  op STRING{null},", 1).replace(
        "'connector'", "'change-kind' = 'op', 'connector'"
    )
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        changes = [{"op": "+U", "id": 1, "price": "x"}, {"op": "-D", "id": 2, "price": "x"}]
        result = pipeline | beam.Create(changes) | sink(server, ddl).with_exception_handling()
        _ = result.failed | beam.Map(_mended) | "Again" >> sink(server, ddl)
    (item,) = server.db.items("prices")
    assert item.keys() == {"id", "price", "at", "tags"}


def _mended(failed: FailedRecord) -> Any:
    change = DeadLetter.from_line(DeadLetter.of(failed).to_line()).record()
    (change.key if isinstance(change, Delete) else change.row)["price"] = 1
    return change


def test_an_update_before_that_does_not_fit_is_left_out_as_any_other(server):
    ddl = DDL.replace("price DECIMAL(10, 2)", "price DECIMAL(10, 2) NOT NULL")
    changes = [{"op": "-U", "id": 1}, {"op": "+U", "id": 1, "price": 2}]
    write(changes, sink(server, ddl, change_kind="op"))
    assert [item["price"] for item in server.db.items("prices")] == [{"N": "2"}]


def test_bad_rows_are_dead_letters_and_their_neighbours_are_written(server):
    rows = [{"id": 1}, {"id": None}, {"id": 2, "price": "x"}, {"id": 3, "colour": "red"}, {"id": 4}]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        result = pipeline | beam.Create(rows) | sink(server).with_exception_handling()
        failed = result.failed | beam.Map(
            lambda each: (each.element, each.code, each.key, each.message)
        )
        null = "id: the column is NOT NULL, however, a null value is being written into it"
        no_number = "price: DECIMAL(10, 2) is declared, but the text is no number"
        columns = "['id', 'price', 'at', 'tags']"
        no_column = f"colour: no column of this name is declared; the columns are {columns}"
        refused = [
            ({"id": None}, "{id: null}", null),
            ({"id": 2, "price": "x"}, "{id: 2}", no_number),
            ({"id": 3, "colour": "red"}, "{id: 3}", no_column),
        ]
        told = "The record {} can't be written to table 'prices': {}"
        assert_that(
            failed,
            equal_to(
                [
                    (row, "InvalidValue", key, told.format(key, reason))
                    for row, key, reason in refused
                ]
            ),
        )
    counters = pipeline.result.metrics().query(
        beam.metrics.MetricsFilter().with_namespace("beam_dynamodb")
    )["counters"]
    counts = Counter()
    for each in counters:
        counts[each.key.metric.name] += each.result
    assert (counts["received"], counts["written"], counts["failed"]) == (5, 2, 3)
    assert sorted(item["id"]["N"] for item in server.db.items("prices")) == ["1", "4"]


class Key(NamedTuple):
    id: Any


@dataclasses.dataclass
class DataKey:
    id: Any


def test_the_key_of_a_delete_is_any_kind_of_row(server):
    write([{"id": number} for number in range(5)], sink(server))
    keys = [{"id": "0"}, Key("1"), DataKey("2"), beam.Row(id="3")]
    write(map(Delete, keys), sink(server))
    assert [item["id"]["N"] for item in server.db.items("prices")] == ["4"]


@pytest.mark.parametrize(
    ("key", "known", "words"),
    [
        (None, None, "a dict, beam.Row, NamedTuple or dataclass"),
        (7, None, "a dict, beam.Row, NamedTuple or dataclass"),
        (Key("x"), "{id: x}", "id: BIGINT NOT NULL is declared, but the text is no integer"),
        ({"id": 1, "colour": "red"}, "{id: 1}", "colour: no column .* 'price', 'at', 'tags'"),
    ],
)
def test_a_delete_that_is_none_is_a_dead_letter_and_its_neighbours_are_written(
    server, key, known, words
):
    callback = Callback()
    handling = {"on_failure_callback": callback, "exc_class": RowError}
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        elements = pipeline | beam.Create([{"id": 3}, Delete(key), {"id": 4}], reshuffle=False)
        result = elements | sink(server).with_exception_handling(**handling)
        failed = result.failed | beam.Map(lambda each: (each.element, each.key, each.table))
        assert_that(failed, equal_to([(Delete(key), known, "prices")]))
    assert sorted(item["id"]["N"] for item in server.db.items("prices")) == ["3", "4"]
    [(error, element)] = Callback.calls
    assert element == Delete(key)
    assert re.search(f"^The record {re.escape(known or '(of unknown key)')} .*{words}", str(error))


class Callback:
    """Fails, as callbacks may; a class, since what travels in a pipeline is a copy."""

    calls: ClassVar[list[Any]] = []

    def __init__(self):
        self.calls.clear()

    def __call__(self, error, element):
        self.calls.append((error, element))
        raise ArithmeticError


def test_a_failing_callback_is_nobodys_failure(server):
    rows = [{"id": "x"}, {"id": 1}]
    write(rows, sink(server).with_exception_handling(on_failure_callback=Callback()))
    assert len(Callback.calls) == 1
    assert [item["id"]["N"] for item in server.db.items("prices")] == ["1"]


def test_without_dead_letters_a_bad_row_fails_the_pipeline(server):
    with pytest.raises(RowError, match=r"table 'prices': price: DECIMAL\(10, 2\) is declared"):
        write([{"id": 1, "price": "x"}], sink(server))


@pytest.mark.parametrize(("threshold", "passes"), [(0.6, True), (0.4, False)])
def test_the_threshold_is_a_share_of_all_rows_those_of_wrong_types_too(server, threshold, passes):
    rows = [{"id": number, "price": "x" if number % 2 else 1} for number in range(10)]
    transform = sink(server).with_exception_handling(threshold=threshold)
    if passes:
        write(rows, transform)
    else:
        with pytest.raises(WriteError, match="5 of 10 records failed"):
            write(rows, transform)


@pytest.mark.parametrize("kind", ["TIMESTAMP(9)", "TIMESTAMP_LTZ(9)"])
@pytest.mark.parametrize("step", [1, -1])
def test_times_are_ordered_by_their_moments_however_fine_they_are(server, kind, step):
    end = "Z" if kind == "TIMESTAMP_LTZ(9)" else ""
    ddl = DDL.replace("TIMESTAMP(3)", kind).replace("WITH (", "WITH ('order-by' = 'at', ")
    times = ["01.5", "02.123456788", "02.123456789", "02.1"][::step]
    rows = [{"id": 1, "at": f"2024-01-02T03:04:{each}{end}"} for each in times]
    write(rows, sink(server, ddl))
    [item] = server.db.items("prices")
    assert item["at"] == {"S": f"2024-01-02T03:04:02.123456789{end}"}
