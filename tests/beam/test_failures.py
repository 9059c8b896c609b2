"""When a bundle or the whole pipeline fails: at once where it must, and nothing flies on."""

from __future__ import annotations

import time
from typing import Any

import apache_beam as beam
import pytest

from beam_dynamodb.errors import ServiceError
from beam_dynamodb.testing import (
    AccessDenied,
    Faults,
    InvalidCredentials,
    Rejected,
    ServerError,
    Slow,
    TableGone,
    Throttle,
    Unprocessed,
)
from beam_dynamodb.to_request import ToRequest
from beam_dynamodb.write_requests import Requests
from beam_dynamodb.write_steps import WriteBundle
from tests.beam.helpers import (
    LEGACY,
    TABLE,
    Rows,
    given,
    input_of,
    pipeline,
    replay,
    run_rows,
    serving,
    sink,
    stored,
)

ROWS: Rows = [({"id": number % 50, "v": number}, 0.0) for number in range(500)]
KEYS: list[Any] = [(), ["id"]]


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (AccessDenied(), "AccessDenied"),
        (InvalidCredentials(), "UnrecognizedClient"),
        (TableGone(), "ResourceNotFound"),
    ],
)
@pytest.mark.parametrize("letters", [False, True], ids=["plain", "dead letters"])
def test_what_no_row_is_to_blame_for_fails_the_pipeline_at_once(
    fault: Any, word: str, letters: bool
) -> None:
    begun = time.monotonic()
    with serving(Faults.always(fault)) as server:
        with pytest.raises(Exception, match=word) as raised:
            run_rows(
                server,
                ROWS,
                primary_key=["id"],
                handling=lambda write: write.with_exception_handling() if letters else write,
            )
        assert server.db.accepted == 0
    assert "events" in str(raised.value)
    assert time.monotonic() - begun < 20


def test_a_missing_table_is_named() -> None:
    with (
        serving(tables=["others"]) as server,
        pytest.raises(Exception, match="ResourceNotFound") as raised,
    ):
        run_rows(server, ROWS, handling=lambda write: write.with_exception_handling())
    assert "table 'events'" in str(raised.value)


@pytest.mark.parametrize("fault", [Throttle(), ServerError(), Unprocessed((0,))], ids=repr)
def test_with_fail_on_error_the_first_failure_fails_the_job(fault: Any) -> None:
    with serving(Faults.script([fault])) as server:
        with pytest.raises(Exception, match="could not be written"):
            run_rows(server, ROWS[:10], primary_key=["id"], sink_fail_on_error=True)
        assert server.stats().calls["BatchWriteItem"] == 1


def test_with_fail_on_error_the_message_does_not_blame_the_first_record_alone() -> None:
    with (
        serving(Faults.always(Rejected())) as server,
        pytest.raises(Exception, match="the first of 10 records that failed together"),
    ):
        run_rows(server, ROWS[:10], primary_key=["id"], sink_fail_on_error=True)


def test_without_it_the_same_failures_pass() -> None:
    with serving(Faults.script([Throttle(), ServerError(), Unprocessed((0,))])) as server:
        run_rows(server, ROWS[:10], primary_key=["id"])
        assert len(stored(server)) == 10


@pytest.mark.parametrize("partitioned_by", KEYS, ids=["no keys", "keys"])
def test_a_bundle_that_fails_downstream_leaves_nothing_on_its_way(partitioned_by: Any) -> None:
    with serving(Faults.always(Slow(0.3))) as server:
        begin = pipeline()
        result = input_of(begin, ROWS) | sink(
            server, partitioned_by=partitioned_by, sink_batch_max_size=5
        )
        _ = result.written | "Downstream" >> beam.ParDo(_Raise())
        with pytest.raises(Exception, match="downstream"):
            begin.run().wait_until_finish()
        assert server.stats().in_flight == 0
        accepted = server.db.accepted
        time.sleep(0.5)
        assert server.db.accepted == accepted


class _Raise(beam.DoFn):
    def process(self, _: Any) -> None:
        raise ArithmeticError("downstream")


def test_a_bundle_that_fails_upstream_leaves_nothing_on_its_way() -> None:
    rows = [*ROWS, ({"id": 1, "v": float("nan")}, 0.0)]
    with serving(Faults.always(Slow(0.3))) as server:
        with pytest.raises(Exception, match=r"\{id: 1\}"):
            run_rows(server, rows, sink_batch_max_size=5)
        assert server.stats().in_flight == 0


def test_a_table_that_was_made_again_with_another_key_is_asked_for_it_anew() -> None:
    with serving() as server:
        settings = sink(server)._settings
        to_request = ToRequest(settings, None, 1, travel=False)
        write = WriteBundle(settings, None)
        for step in (to_request, write):
            step.setup()

        def bundle() -> None:  # as a worker runs both steps, and runs them again
            for step in (to_request, write):
                step.start_bundle()
            packs = [pack for row, _ in ROWS for pack in given(to_request, row)]
            for pack in [*packs, *to_request.finish_bundle()]:
                list(write.process(pack.value))
            list(write.finish_bundle())

        bundle()
        assert len(server.db.items(TABLE)) == 50
        server.db.call("DeleteTable", {"TableName": TABLE})
        with pytest.raises(ServiceError, match="ResourceNotFound"):
            bundle()
        server.db.create_table(TABLE, {"id": "N", "v": "N"})
        bundle()  # by the old key, of the rows of one id all but the latest would give way
        assert len(server.db.items(TABLE)) == len(ROWS)
        write.teardown()


def test_a_bundle_that_the_runner_tries_again_ends_as_the_replay() -> None:
    faults = Faults.script([None, ServerError(), None, ServerError()])
    with serving(faults) as server:
        run_rows(
            server,
            ROWS,
            runner=LEGACY,
            primary_key=["id"],
            partitioned_by=["id"],
            sink_fail_on_error=True,
        )
        assert stored(server) == replay(ROWS)
        assert server.stats().calls["BatchWriteItem"] > 3


class Interrupted(BaseException):
    """Neither an Exception nor asked for."""


class _Interrupting(WriteBundle):
    """Is interrupted where the writer works."""

    def _report(self, tally: Any) -> None:
        raise Interrupted


def test_an_interruption_leaves_nothing_on_its_way_either() -> None:
    with serving(Faults.always(Slow(0.3))) as server:
        write = sink(server, primary_key=["id"], sink_batch_max_size=5)
        settings = write._settings
        sink_of_process = settings.sink()
        factory = sink_of_process.factory("events")
        requests = [factory.request(row, 0, (row, 0, ())) for row, _ in ROWS[:20]]
        step = _Interrupting(settings, None)
        step.setup()
        step.start_bundle()
        with pytest.raises(Interrupted):
            step._write(Requests.of(requests))
        assert server.stats().in_flight == 0
        for gate in (sink_of_process._limits.in_flight, sink_of_process._limits.buffered):
            assert gate.free == gate.places


def test_a_bundle_abandoned_without_a_word_is_drained_by_the_next() -> None:
    with serving(Faults.script([Slow(0.3)])) as server:
        write = sink(server, primary_key=["id"], sink_batch_max_size=5)
        factory = write._settings.sink().factory("events")

        def requests(version: int) -> Requests:
            rows = [{"id": key, "v": version} for key in range(5)]
            return Requests.of(factory.request(row, 0, (row, 0, ())) for row in rows)

        step = WriteBundle(write._settings, None)
        step.setup()
        step.start_bundle()
        step._write(requests(1))
        step.start_bundle()
        step._write(requests(2))
        step.finish_bundle()
        step.teardown()
        assert set(stored(server).values()) == {"2"}
