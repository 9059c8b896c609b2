"""What comes out: `written` to wait on, `failed` as Beam's dead letters are, or a clear failure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from operator import itemgetter
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.transforms.error_handling import CollectingErrorHandler, ErrorHandler
from apache_beam.transforms.window import FixedWindows, IntervalWindow

from beam_dynamodb import Delete, FailedRecord, Put, RowError, WriteError, WriteToDynamoDB
from beam_dynamodb.columns import RowEncoder
from beam_dynamodb.dead_letters import DeadLetter, Unreadable
from beam_dynamodb.sink import ErrorHandling
from beam_dynamodb.testing import Faults, Rejected, Throttle
from beam_dynamodb.to_request import ToRequest
from beam_dynamodb.write_requests import Late, Requests, Told
from tests.beam.helpers import (
    LEGACY,
    REGION,
    TABLE,
    TWO_WORKERS,
    Collected,
    Rows,
    counters,
    given,
    input_of,
    pipeline,
    run_rows,
    serving,
    sink,
    stored,
)

BAD = float("nan")
ROWS: Rows = [({"id": 1, "v": 1}, 0.0), ({"id": 2, "v": BAD}, 1.0), ({"id": 3, "v": 3}, 2.0)]
KEYS: list[Any] = [(), ["id"]]


def poison(*numbers: int) -> Faults:
    return Faults().on_keys(lambda _table, key: int(key["id"]["N"]) in numbers, Rejected())


def test_there_are_no_dead_letters_unless_somebody_asks_for_them() -> None:
    with serving() as server:
        begin = pipeline()
        assert (input_of(begin, ROWS) | sink(server)).failed is None
        handled = input_of(begin, ROWS, label="Again") | "Second" >> sink(
            server
        ).with_error_handler(None)
        assert handled.failed is None


def test_a_later_step_can_wait_on_what_is_written() -> None:
    seen = Collected()
    rows = [({"id": number, "v": number}, 0.0) for number in range(50)]
    with serving() as server:
        begin = pipeline()
        result = input_of(begin, rows) | sink(server, partitioned_by=["id"])
        _ = (
            begin
            | beam.Create([server.endpoint])
            | beam.WaitOn(result.written)
            | beam.ParDo(_CountStored())
            | (seen | "Collect")
        )
        begin.run().wait_until_finish()
    assert seen.elements == [50]


class _CountStored(beam.DoFn):
    def process(self, endpoint: str) -> list[int]:
        from tests.conftest import client

        return [len(client(endpoint).scan(TableName=TABLE)["Items"])]


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_a_bad_row_fails_the_pipeline_naming_key_table_path_and_reason(partitioned_by: Any) -> None:
    with serving() as server, pytest.raises(Exception, match="NaN|finite|number") as raised:
        run_rows(server, ROWS, partitioned_by=partitioned_by)
    text = str(raised.value)
    assert "{id: 2}" in text
    assert TABLE in text
    assert "v: " in text


def test_a_refused_record_fails_the_pipeline_naming_key_code_and_attempts() -> None:
    with (
        serving(poison(3)) as server,
        pytest.raises(Exception, match="ValidationException") as raised,
    ):
        run_rows(server, [({"id": number, "v": 1}, 0.0) for number in range(5)])
    text = str(raised.value)
    assert "{id: 3}" in text
    assert TABLE in text
    assert "attempt" in text


def test_the_legacy_runner_shows_the_same_text() -> None:
    with serving() as server, pytest.raises(RowError, match=r"\{id: 2\}"):
        run_rows(server, ROWS, runner=LEGACY)


def test_the_message_of_an_error_is_without_the_step_that_beam_names() -> None:
    with serving() as server, pytest.raises(RowError) as raised:
        run_rows(server, ROWS, runner=LEGACY)
    text = str(raised.value)
    assert raised.value.message == text.partition(" [while running '")[0] != text


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_with_dead_letters_the_neighbours_of_a_bad_row_and_of_a_refused_one_are_written(
    partitioned_by: Any,
) -> None:
    rows = [*ROWS, *[({"id": number, "v": number}, 3.0) for number in range(10, 30)]]
    with serving(poison(20)) as server:
        run = run_rows(
            server,
            rows,
            partitioned_by=partitioned_by,
            handling=lambda write: write.with_exception_handling(),
        )
        assert set(stored(server)) == {1, 3, *range(10, 30)} - {20}
    by_key = {each.element["id"]: each for each in run.failed.elements}
    assert set(by_key) == {2, 20}
    row, write = by_key[2], by_key[20]
    assert (row.code, row.table, row.key, row.attempts) == ("InvalidValue", TABLE, "{id: 2}", 0)
    assert (write.code, write.table, write.key) == ("ValidationException", TABLE, "{id: 20}")
    assert write.attempts > 1
    assert not row.retriable
    assert not write.retriable
    assert run.counters["failed"] == 2


KINDS: list[dict[str, Any]] = [
    {"text": 'quoted "\u00e9" \\ \n', "zero": -0.0, "share": 1e-7, "least": -(2**63), "yes": True},
    {"nothing": None, "list": [1, [2.0, {"a": []}], "x"], "map": {"b": 1, "a": {"no": None}}},
    {"tuple": (1, ("x",)), "blob": b"\x00", "price": Decimal("1.50"), "set": {1, 2}, "most": 2**64},
    {"long": "words " * 1_000},
]
KINDS.append({name: each for row in KINDS for name, each in row.items()})
OF_A_KIND = 120
MIXED = 90
ALL_KINDS = [
    *({"id": n, **KINDS[n // OF_A_KIND]} for n in range(OF_A_KIND * len(KINDS))),
    *({"id": 1_000 + n, **KINDS[n % len(KINDS)]} for n in range(MIXED)),
]
REFUSED = {*(n * OF_A_KIND + 60 for n in range(len(KINDS))), 1_042, 1_043}


@pytest.mark.parametrize(
    ("flags", "ways"),
    [([], {(bytes, dict)}), (TWO_WORKERS, {(bytes, dict), (bytes, Told), (Late, dict)})],
    ids=["one worker", "two"],
)
@pytest.mark.parametrize("table", [TABLE, lambda _: TABLE], ids=["told", "asked for"])
def test_elements_come_out_as_they_went_in_whatever_way_they_travelled(
    flags: list[str], ways: set[Any], table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if RowEncoder is None:
        ways = ways - {(bytes, Told)}
    seen = set()
    send = ToRequest._send

    def watched(self: ToRequest, shard: int | None, requests: Requests) -> None:
        seen.update(zip(map(type, requests.bodies), map(type, requests.origins[0]), strict=True))
        send(self, shard, requests)

    monkeypatch.setattr(ToRequest, "_send", watched)
    with serving(poison(*REFUSED)) as server:
        run = run_rows(
            server,
            [(row, 0.0) for row in ALL_KINDS],
            flags=flags,
            table=table,
            partitioned_by=["id"],
            handling=lambda write: write.with_exception_handling(),
        )
    assert seen == ways
    failed = [each.element for each in run.failed.elements]
    assert {row["id"] for row in failed} == REFUSED
    came_out = {row["id"]: repr(list(row.items())) for row in [*run.written.elements, *failed]}
    assert came_out == {row["id"]: repr(list(row.items())) for row in ALL_KINDS}


def test_a_dead_letter_has_the_shape_of_beams_own_and_survives_a_shuffle() -> None:
    seen = Collected()
    with serving() as server:
        begin = pipeline()
        result = input_of(begin, ROWS) | sink(server).with_exception_handling()
        _ = result.failed | beam.Reshuffle() | (seen | "Collect")
        begin.run().wait_until_finish()
    [record] = seen.elements
    assert type(record) is FailedRecord
    assert record[0]["id"] == 2
    kind, text, lines = record[1]
    assert kind is RowError
    assert "RowError" in text
    assert any("RowError" in line for line in lines)


def test_an_error_handler_gets_the_dead_letters() -> None:
    seen = Collected()
    with serving() as server:
        begin = pipeline()
        with ErrorHandler(seen | "Handle") as handler:
            _ = input_of(begin, ROWS) | sink(server).with_error_handler(handler)
        begin.run().wait_until_finish()
        assert set(stored(server)) == {1, 3}
    assert [each.key for each in seen.elements] == ["{id: 2}"]


def test_an_error_handler_may_be_given_as_beam_does_with_a_threshold() -> None:
    with serving() as server:
        begin = pipeline()
        with CollectingErrorHandler() as handler:
            _ = input_of(begin, ROWS) | sink(server).with_error_handler(handler, threshold=0.3)
        _ = handler.output() | beam.combiners.Count.Globally()
        with pytest.raises(Exception, match="1 of 3 records failed"):
            begin.run().wait_until_finish()


@pytest.mark.parametrize(("threshold", "passes"), [(0.0, False), (0.33, False), (0.34, True)])
def test_the_pipeline_fails_when_a_larger_share_than_the_threshold_fails(
    threshold: float, passes: bool
) -> None:
    def handling(write: Any) -> Any:
        return write.with_exception_handling(threshold=threshold)

    with serving() as server:
        if passes:
            assert run_rows(server, ROWS, handling=handling).counters["failed"] == 1
        else:
            with pytest.raises(Exception, match="1 of 3 records failed"):
                run_rows(server, ROWS, handling=handling)


def test_the_threshold_is_judged_for_each_window_of_its_own_windowing() -> None:
    # Of all a third fails; of the second window, the half.
    def handling(write: Any) -> Any:
        return write.with_exception_handling(threshold=0.4, threshold_windowing=FixedWindows(1.5))

    with serving() as server, pytest.raises(Exception, match="1 of 2 records failed"):
        run_rows(server, ROWS, handling=handling)


def test_no_failure_at_all_passes_a_threshold_of_zero() -> None:
    with serving() as server:
        run = run_rows(
            server,
            ROWS[:1],
            handling=lambda write: write.with_exception_handling(threshold=0.0),
        )
    assert run.counters["written"] == 1


def test_only_failures_of_the_class_asked_for_become_dead_letters() -> None:
    def only(kind: type[Exception]) -> Any:
        return lambda write: write.with_exception_handling(exc_class=kind)

    with serving() as server:
        assert run_rows(server, ROWS, handling=only(RowError)).counters["failed"] == 1
        with pytest.raises(Exception, match=r"\{id: 2\}"):
            run_rows(server, ROWS, handling=only(WriteError))


def test_the_callback_sees_error_and_element_and_its_own_failure_harms_nobody() -> None:
    _seen.clear()
    with serving() as server:
        run = run_rows(
            server,
            ROWS,
            handling=lambda write: write.with_exception_handling(on_failure_callback=_remember),
        )
    assert run.counters["failed"] == 1
    assert _seen == [("RowError", 2)]


_seen: list[tuple[str, int]] = []


def _remember(error: Exception, element: Any) -> None:
    _seen.append((type(error).__name__, element["id"]))
    raise OSError("the callback's own trouble")


def test_what_was_throttled_to_the_end_is_a_dead_letter_that_may_be_tried_again() -> None:
    with serving(Faults.always(Throttle())) as server:
        run = run_rows(
            server,
            ROWS[:1],
            sink_retry_timeout=300,
            handling=lambda write: write.with_exception_handling(),
        )
    [record] = run.failed.elements
    assert record.retriable
    assert record.attempts > 1
    assert record.error[0] is WriteError


@dataclass
class Encoded:
    """A row for which there is a coder, but that can't be pickled where its number is 2."""

    id: int

    def __reduce__(self) -> Any:
        if self.id == 2:
            raise TypeError("not to be pickled")
        return Encoded, (self.id,)


class EncodedCoder(beam.coders.Coder):
    def encode(self, value: Encoded) -> bytes:
        return str(value.id).encode()

    def decode(self, encoded: bytes) -> Encoded:
        return Encoded(int(encoded))


class _Encode(beam.DoFn):
    def process(self, row: Any) -> list[Encoded]:
        return [Encoded(row["id"])]


def test_an_element_that_cannot_be_pickled_is_a_dead_letter_where_it_would_have_to_be() -> None:
    beam.coders.registry.register_coder(Encoded, EncodedCoder)
    rows = [({"id": number, "v": number}, 0.0) for number in range(5)]
    failed = Collected()
    with serving() as server:
        begin = pipeline()
        encoded = input_of(begin, rows) | beam.ParDo(_Encode()).with_output_types(Encoded)
        result = encoded | sink(server, partitioned_by=["id"]).with_exception_handling()
        _ = result.failed | (failed | "Collect")
        ran = begin.run()
        ran.wait_until_finish()
        assert set(stored(server, "id")) == {0, 1, 3, 4}
    assert (counters(ran)["written"], counters(ran)["failed"]) == (4, 1)
    [record] = failed.elements
    assert (record.code, record.key) == ("NotPicklable", "{id: 2}")
    assert record.element == {"id": 2}
    assert "this one, a Encoded, can't be pickled" in record.message


class _Spoil(beam.DoFn):
    """Puts something into a row, or into one of its own, that can't be pickled."""

    def process(self, row: dict[str, Any]) -> Any:
        if row["id"] == 1:
            return [{**row, "v": Opaque()}]
        if row["id"] == 2:
            deep: list[Any] = []
            for _ in range(900):
                deep = [deep]
            return [Put({**row, "v": deep})]
        return [row]


def test_without_keys_no_element_has_to_be_pickled() -> None:
    beam.coders.registry.register_coder(Encoded, EncodedCoder)
    rows = [({"id": 2, "v": number}, 0.0) for number in range(5)]
    with serving() as server:
        begin = pipeline()
        encoded = input_of(begin, rows) | beam.ParDo(_Encode()).with_output_types(Encoded)
        _ = encoded | sink(server)
        begin.run().wait_until_finish()
        assert set(stored(server, "id")) == {2}


class _Any:
    """Any element."""


class _AnyCoder(beam.coders.Coder):
    """Lets everything pass from a step to the next; nothing is to be shuffled."""

    def encode(self, value: Any) -> bytes:
        return b""


@pytest.mark.parametrize("partitioned_by", KEYS)
def test_a_bad_row_that_cannot_be_pickled_is_a_dead_letter(partitioned_by: Any) -> None:
    rows = [({"id": number, "v": number}, 0.0) for number in range(5)]
    beam.coders.registry.register_coder(_Any, _AnyCoder)
    failed = Collected()
    with serving() as server:
        begin = pipeline()
        spoilt = input_of(begin, rows) | beam.ParDo(_Spoil()).with_output_types(_Any)
        write = sink(server, partitioned_by=partitioned_by, primary_key=["id"])
        result = spoilt | write.with_exception_handling()
        _ = result.failed | (failed | "Collect")
        begin.run().wait_until_finish()
        assert set(stored(server)) == {0, 3, 4}
    opaque, deep = sorted(failed.elements, key=lambda each: each.key)
    assert opaque.element == {
        "id": 1,
        "v": Unreadable(f"{__name__}.Opaque", "its repr raised ValueError"),
    }
    assert (deep.element.row["id"], deep.code, deep.key) == (2, "InvalidValue", "{id: 2}")


class Unpicklable(IntervalWindow):
    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


def travelling(**options: Any) -> ToRequest:
    """The first step of a write whose packs go to another process."""
    write = WriteToDynamoDB(
        TABLE, aws_region=REGION, partitioned_by=["id"], primary_key=["id"], **options
    )
    step = ToRequest(write._settings, ErrorHandling(), 4, travel=True)
    step.setup()
    step.start_bundle()
    return step


class Opaque:
    """Can neither be pickled nor shown."""

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")

    def __repr__(self) -> str:
        raise ValueError("not to be shown")


def test_the_dead_letter_of_what_cannot_be_pickled_can_be_replayed_in_its_order() -> None:
    step = travelling(order_by="at")
    good = Delete({"id": 1}, {"at": 3})
    changes = [Delete({"id": 2}, {"at": 5, "why": Opaque()}), good]
    *letters, _sent = [each for row in changes for each in given(step, row)] + [
        *step.finish_bundle()
    ]
    [letter] = [each.value.value for each in letters]
    assert (letter.code, letter.key) == ("NotPicklable", "{id: 2}")
    opaque = Unreadable(f"{__name__}.Opaque", "its repr raised ValueError")
    assert letter.element == Delete({"id": 2}, {"at": 5, "why": opaque})
    record = DeadLetter.from_line(DeadLetter.of(letter).to_line()).record()
    assert record == Delete({"id": {"N": "2"}}, {"at": {"N": "5"}})


def test_a_change_that_had_become_a_request_is_told_by_that_alone_where_it_cannot_be_pickled() -> (
    None
):
    step = travelling(change_kind="op")
    row = {"op": "-D", "id": 2, "why": Opaque()}
    [letter] = [each.value.value for each in [*given(step, row), *step.finish_bundle()]]
    assert (letter.code, letter.change) == ("NotPicklable", None)
    assert DeadLetter.of(letter).record() == Delete({"id": {"N": "2"}})


def test_a_row_whose_window_cannot_be_pickled_is_a_dead_letter_with_the_row() -> None:
    step = travelling()
    rows: list[dict[str, Any]] = [{"id": n, "v": "x"} for n in range(20)]
    rows += [{"id": n, "v": date(2026, 1, 1)} for n in range(20, 30)]
    rows += [{"id": n, "v": "x" * 5_000} for n in range(30, 50)]
    window = Unpicklable(0, 1)
    outputs = [each for row in rows for each in given(step, row, window)]
    letters = [each.value.value for each in [*outputs, *step.finish_bundle()]]
    assert len(letters) == len(rows)
    assert {each.code for each in letters} == {"NotPicklable"}
    assert sorted((each.element for each in letters), key=itemgetter("id")) == rows
    assert {"the window of this one can't be pickled" in each.message for each in letters} == {True}
