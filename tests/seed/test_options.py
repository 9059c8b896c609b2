"""Every option of the documented page that is not about credentials does what its row says."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream
from apache_beam.transforms.periodicsequence import PeriodicImpulse

from beam_dynamodb import OptionError, SinkOptions, WriteToDynamoDB
from beam_dynamodb.testing import (
    FakeServer,
    Hang,
    ServerError,
    Slow,
    Throttle,
    Unprocessed,
)
from tests.integration.aws_standins import serve
from tests.seed.document import ROWS
from tests.seed.services import (
    CountingDynamoDB,
    SigningDynamoDB,
    SilentDynamoDB,
    TimedFaults,
    tls_server,
    tunnel,
)
from tests.seed.sinks import (
    TABLE,
    behavior,
    behaviors,
    options,
    pulled,
    user_behavior,
    write,
    write_counted,
    write_stream,
)

Start = Callable[..., Any]

# --- the table as a whole ------------------------------------------------------------------


def test_all_rows_of_the_options_table_are_declared_in_its_order() -> None:
    declared = [each.key for each in SinkOptions.declared() if not each.added]
    assert declared == [row.key for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_row_of_the_options_table_has_the_documented_columns(row: Any) -> None:
    declared = next(each for each in SinkOptions.declared() if each.key == row.key)
    assert (declared.group, declared.required) == (row.group, row.required)
    if not row.required:
        default = None if declared.default is None else str(declared.default)
        assert default == (row.default and row.default.replace("false", "False"))
    if row.key == "sink.requests.max-buffered":
        # A number under the type of a text, so both must do.
        assert (row.type_name, declared.type_name) == ("String", "Integer")
        assert declared.parse(row.default) == declared.parse(int(row.default)) == declared.default
    else:
        assert declared.type_name == row.type_name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_row_of_the_options_table_has_a_test_of_its_effect(row: Any) -> None:
    keyword = next(each.keyword for each in SinkOptions.declared() if each.key == row.key)
    files = Path(__file__).parent.glob("test_*.py")
    assert any(f"\ndef test_{keyword}__" in file.read_text(encoding="utf-8") for file in files)


# --- common options ------------------------------------------------------------------------


def test_connector__dynamodb_gives_a_sink_that_writes_and_anything_else_none(
    moto_endpoint: str, create_table: Callable[..., Any]
) -> None:
    table = create_table(moto_endpoint, (("user_id", "N"),))
    given = options(moto_endpoint, {"table-name": table.name})
    write([behavior(1)], given)
    assert [item["user_id"] for item in table.items()] == [{"N": "1"}]
    with pytest.raises(OptionError, match="'connector': it must be 'dynamodb', not 'kinesis'"):
        WriteToDynamoDB.from_options({**given, "connector": "kinesis"})


def test_table_name__the_rows_go_to_the_table_of_that_name_and_to_no_other(start: Start) -> None:
    db = user_behavior()
    db.create_table("user_behavior_2", {"user_id": "N"})
    server = start(FakeServer(db))
    write(behaviors(3), options(server.endpoint, {"table-name": "user_behavior_2"}))
    assert (len(db.items("user_behavior_2")), db.items("user_behavior")) == (3, [])


@pytest.mark.parametrize("region", ["us-east-2", "eu-central-1"])
def test_aws_region__is_the_region_of_the_signature(start: Start, region: str) -> None:
    service = SigningDynamoDB(user_behavior())
    write([behavior(1)], options(start(serve(service)), {"aws.region": region}))
    assert {(call.operation, call.region) for call in service.calls} == {
        ("DescribeTable", region), ("BatchWriteItem", region),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-2", "dynamodb.us-east-2.amazonaws.com"),
        ("cn-north-1", "dynamodb.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_aws_region__leads_to_the_regions_own_host_where_no_endpoint_is_set(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, region: str, host: str
) -> None:
    db = user_behavior()
    server, authority = tls_server(db, host, tmp_path)
    proxy, asked = start(tunnel(start(server).port))
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("AWS_CA_BUNDLE", authority)
    write([behavior(1)], {"connector": "dynamodb", "table-name": TABLE, "aws.region": region})
    assert len(db.items(TABLE)) == 1
    assert set(asked) == {f"{host}:443"}


def test_aws_region__is_where_the_table_must_be(
    moto_endpoint: str, create_table: Callable[..., Any]
) -> None:
    table = create_table(moto_endpoint, (("user_id", "N"),), region="eu-west-1")
    given = options(moto_endpoint, {"table-name": table.name, "aws.region": "eu-west-1"})
    write([behavior(1)], given)
    assert len(table.items()) == 1
    with pytest.raises(Exception, match=rf"ResourceNotFound.*{table.name}.*us-east-2"):
        write([behavior(2)], {**given, "aws.region": "us-east-2"})


def test_aws_endpoint__is_the_only_server_that_is_spoken_to(start: Start) -> None:
    chosen, other = start(FakeServer(user_behavior())), start(FakeServer(user_behavior()))
    write([behavior(1)], options(chosen.endpoint))
    assert len(chosen.db.items(TABLE)) == 1
    assert other.stats().connections == 0


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("primary_key", [(), ("user_id",)], ids=["described", "told"])
def test_aws_trust_all_certificates__refused_by_default_accepted_when_true(
    start: Start, tmp_path: Path, primary_key: tuple[str, ...]
) -> None:
    unentered, _ = tls_server(user_behavior(), "another.example", tmp_path)
    server = start(unentered)
    given = options(server.endpoint)
    with pytest.raises(Exception, match="certificate.* is not trusted|certificate verify failed"):
        write([behavior(1)], given, primary_key=primary_key)
    assert server.stats().calls.total() == 0
    write([behavior(1)], {**given, "aws.trust.all.certificates": "true"}, primary_key=primary_key)
    assert len(server.db.items(TABLE)) == 1


# --- sink options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sizes"),
    [({}, [10, 25, 25]), ({"sink.batch.max-size": "7"}, [4, *[7] * 8])],
    ids=["default 25", "7"],
)
def test_sink_batch_max_size__is_the_size_of_the_largest_call(
    start: Start, given: Mapping[str, str], sizes: list[int]
) -> None:
    db = user_behavior(CountingDynamoDB)
    write(behaviors(60), options(start(FakeServer(db)).endpoint, given))
    assert sorted(db.sizes) == sizes


def test_sink_batch_max_size__holds_for_deduplicated_rows_too(start: Start) -> None:
    db = user_behavior(CountingDynamoDB)
    given = options(start(FakeServer(db)).endpoint, {"sink.batch.max-size": "2"})
    write(behaviors(60), given, partitioned_by=["user_id"])
    assert (max(db.sizes), sum(db.sizes)) == (2, 60)


@pytest.mark.parametrize(
    ("given", "most"),
    [({}, 50), ({"sink.requests.max-inflight": "7"}, 7), ({"sink.requests.max-inflight": 1}, 1)],
    ids=["default 50", "7", "1"],
)
def test_sink_requests_max_inflight__is_the_number_of_parallel_calls(
    start: Start, given: Mapping[str, Any], most: int
) -> None:
    server = start(FakeServer(user_behavior(), latency=0.7 if most > 1 else 0.02))
    write(behaviors(most + 10), options(server.endpoint, {"sink.batch.max-size": 1, **given}))
    assert server.stats().max_in_flight == most
    assert len(server.db.items(TABLE)) == most + 10


@pytest.mark.parametrize(
    ("given", "limit"),
    [({}, 10_000), ({"sink.requests.max-buffered": "300"}, 300)],
    ids=["default 10000", "300"],
)
def test_sink_requests_max_buffered__stops_the_source_while_dynamodb_is_silent(
    start: Start, given: Mapping[str, str], limit: int
) -> None:
    server = start(FakeServer(user_behavior(SilentDynamoDB)))
    source = uuid.uuid4().hex
    rows = limit + 1_000
    writing = threading.Thread(
        target=write_counted, args=(source, rows, options(server.endpoint, given))
    )
    writing.start()
    try:
        taken = when_it_stands(source, at_least=limit - 100)
    finally:
        server.db.speak.set()
        writing.join()
    assert limit - 100 <= taken <= limit + 100  # since rows are taken by the hundred
    assert len(server.db.items(TABLE)) == rows


def when_it_stands(source: str, *, at_least: int) -> int:
    """How many rows a source had given when it stood still for half a second."""
    deadline = time.monotonic() + 20
    seen, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        taken, now = pulled[source], time.monotonic()
        if taken != seen:
            seen, since = taken, now
        elif seen >= at_least and now - since > 0.5:
            break
        time.sleep(0.02)
    return seen


HUNDRED_SECONDS = {"sink.flush-buffer.timeout": "100000"}


@pytest.mark.parametrize(
    ("given", "events", "written"),
    [
        (HUNDRED_SECONDS, ["a", 110, "b"], "ab"),
        (HUNDRED_SECONDS, ["a", 90, "b"], "b"),
        (HUNDRED_SECONDS, ["a", 60, "b", 60, "c"], "bc"),
        ({}, ["a", 4.9, "b", 60, "c"], "bc"),
        ({}, ["a", 60, "b"], "ab"),
    ],
    ids=["over", "not over", "counts from the oldest", "default not over", "default over"],
)
def test_sink_flush_buffer_timeout__is_how_long_an_element_waits_in_unbounded_input(
    start: Start, given: Mapping[str, str], events: list[str | float], written: str
) -> None:
    db = user_behavior()
    stream = test_stream.TestStream().advance_processing_time(int(time.time()))
    for event in events:
        if isinstance(event, str):
            stream = stream.add_elements([behavior(1, event)])
        else:
            stream = stream.advance_processing_time(event)
    given = options(start(FakeServer(db)).endpoint, given)
    write_stream(stream.advance_watermark_to_infinity(), given, partitioned_by=["user_id"])
    assert behaviors_written(db) == list(written)


def behaviors_written(db: Any) -> list[str]:
    return [write.item["behavior"]["S"] for write in db.writes]


def test_sink_flush_buffer_timeout__is_not_waited_for_when_the_batch_is_full(start: Start) -> None:
    db = user_behavior()
    stream = test_stream.TestStream().advance_processing_time(int(time.time()))
    for what in "abc":
        stream = stream.add_elements([behavior(1, what)])
    given = {"sink.flush-buffer.timeout": "3600000", "sink.batch.max-size": "1"}
    write_stream(
        stream.advance_watermark_to_infinity(),
        options(start(FakeServer(db)).endpoint, given),
        partitioned_by=["user_id"],
    )
    assert behaviors_written(db) == ["a", "b", "c"]


def test_sink_flush_buffer_timeout__is_not_waited_for_at_the_end_of_bounded_input(
    start: Start,
) -> None:
    server = start(FakeServer(user_behavior()))
    given = options(server.endpoint, {"sink.flush-buffer.timeout": "3600000"})
    write(behaviors(3), given, partitioned_by=["user_id"])
    assert len(server.db.items(TABLE)) == 3


def test_sink_flush_buffer_timeout__passes_in_real_time_on_a_streaming_runner(
    start: Start, prism: str
) -> None:
    db = user_behavior()
    given = options(start(FakeServer(db)).endpoint, {"sink.flush-buffer.timeout": "1000"})
    flags = ["--runner=PrismRunner", f"--prism_location={prism}", "--environment_type=LOOPBACK"]
    now = time.time()
    with beam.Pipeline(options=PipelineOptions([*flags, "--streaming"])) as pipeline:
        impulses = pipeline | PeriodicImpulse(now, now + 5, 0.1)
        rows = impulses | beam.Map(sent_now)
        _ = rows | WriteToDynamoDB.from_options(given, partitioned_by=["user_id"])
    *flushed, _last = db.writes  # the last one is due to the end of the input
    times = [write.time for write in flushed]
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert 2 <= len(flushed) <= 5
    assert 0.9 < min(gaps)


def sent_now(_: Any) -> dict[str, Any]:
    return behavior(1, str(time.time()))


@pytest.mark.parametrize(
    "fault", [ServerError(), Unprocessed(positions=(1,)), Throttle()], ids=lambda each: repr(each)
)
def test_sink_fail_on_error__when_true_the_first_failure_fails_the_job_and_is_not_repeated(
    start: Start, fault: Any
) -> None:
    faults = TimedFaults(fault)
    server = start(FakeServer(user_behavior(), faults=faults))
    with pytest.raises(Exception, match=r"could not be written to table 'user_behavior' in 1 att"):
        write(behaviors(3), options(server.endpoint, {"sink.fail-on-error": "true"}))
    assert len(faults.times) == 1


@pytest.mark.parametrize("given", [{}, {"sink.fail-on-error": "false"}], ids=["default", "false"])
def test_sink_fail_on_error__when_false_failures_are_repeated_until_all_is_written(
    start: Start, given: Mapping[str, str]
) -> None:
    faults = TimedFaults(ServerError(), Unprocessed(positions=(0, 2)), Throttle())
    server = start(FakeServer(user_behavior(), faults=faults))
    write(behaviors(5), options(server.endpoint, given))
    assert len(faults.times) == 4
    assert len(server.db.items(TABLE)) == 5


# --- HTTP client options -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "connections"),
    [
        ({"sink.http-client.max-concurrency": "3"}, 3),
        ({"sink.requests.max-inflight": 120}, 120),
    ],
    ids=["3", "default above 120"],
)
def test_sink_http_client_max_concurrency__is_the_number_of_connections(
    start: Start, given: Mapping[str, Any], connections: int
) -> None:
    server = start(FakeServer(user_behavior(), latency=0.02 if connections == 3 else 1.0))
    given = options(server.endpoint, {"sink.batch.max-size": 1, **given})
    write(behaviors(connections + 20), given, primary_key=["user_id"])
    stats = server.stats()
    assert (stats.connections, stats.max_in_flight) == (connections, connections)


def test_sink_http_client_read_timeout__a_silent_answer_is_given_up_and_the_call_repeated(
    start: Start,
) -> None:
    faults = TimedFaults(Hang())
    server = start(FakeServer(user_behavior(), faults=faults))
    write([behavior(1)], options(server.endpoint, {"sink.http-client.read-timeout": "400"}))
    first, second = faults.times
    assert 0.4 <= second - first < 3
    assert len(server.db.items(TABLE)) == 1


def test_sink_http_client_read_timeout__the_default_waits_for_a_slow_answer(start: Start) -> None:
    faults = TimedFaults(Slow(1.5))
    server = start(FakeServer(user_behavior(), faults=faults))
    write([behavior(1)], options(server.endpoint))
    assert len(faults.times) == 1


# --- bad values ----------------------------------------------------------------------------

BAD_VALUES = [
    ("connector", "kinesis", "must be 'dynamodb'"),
    ("connector", None, "required options are missing"),
    ("table-name", "no", "3 to 255 letters"),
    ("table-name", "", "must not be empty"),
    ("table-name", None, "required options are missing"),
    ("aws.region", "US East", "must be the name of an AWS region"),
    ("aws.region", None, "required options are missing"),
    ("aws.endpoint", "localhost:8000", "with its scheme"),
    ("aws.endpoint", "ftp://localhost", "with its scheme"),
    ("aws.endpoint", "http://localhost ", "with its scheme, not 'http://localhost '"),
    ("aws.trust.all.certificates", "yes", "must be true or false, not 'yes'"),
    ("aws.credentials.provider", "auto", "must be one of AUTO, BASIC, ENV_VAR, SYS_PROP, PROFILE"),
    ("aws.credentials.basic.secretkey", 7, "must be a non-empty string"),
    ("aws.credentials.profile.name", "", "must not be empty"),
    ("aws.credentials.role.provider", "NONE", "must be one of AUTO"),
    ("sink.batch.max-size", 0, "must be a positive integer, not 0"),
    ("sink.batch.max-size", 26, "between 1 and 25, not 26"),
    ("sink.batch.max-size", "abc", "must be an integer, not 'abc'"),
    ("sink.batch.max-size", True, "must be an integer"),
    ("sink.requests.max-inflight", "0", "must be a positive integer, not 0"),
    ("sink.requests.max-inflight", "-3", "must be a positive integer, not -3"),
    ("sink.requests.max-buffered", 25, r"must exceed 'sink.batch.max-size' \(25\), not be 25"),
    ("sink.requests.max-buffered", "many", "must be an integer, not 'many'"),
    ("sink.flush-buffer.timeout", "5s", "must be an integer, not '5s'; it counts milliseconds"),
    ("sink.flush-buffer.timeout", 0, "must be a positive integer"),
    ("sink.fail-on-error", "1", "must be true or false, not '1'"),
    ("sink.http-client.max-concurrency", 0.5, "must be an integer, not '0.5'"),
    ("sink.http-client.read-timeout", "-1", "must be a positive integer, not -1"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), BAD_VALUES)
def test_a_bad_value_is_refused_at_construction_with_its_key_and_what_is_allowed(
    key: str, value: Any, allowed: str
) -> None:
    with pytest.raises(OptionError, match=allowed) as refused:
        WriteToDynamoDB.from_options(options("http://127.0.0.1:1", {key: value}))
    assert key in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "missing"),
    [
        ("aws.credentials.provider", "BASIC", "aws.credentials.basic.accesskeyid"),
        ("aws.credentials.provider", "ASSUME_ROLE", "aws.credentials.role.arn"),
        ("aws.credentials.basic.accesskeyid", "AKIA", "aws.credentials.basic.secretkey"),
        ("aws.credentials.basic.secretkey", "secret", "aws.credentials.basic.accesskeyid"),
    ],
)
def test_a_provider_without_what_it_needs_is_refused_with_the_missing_key(
    key: str, value: str, missing: str
) -> None:
    with pytest.raises(OptionError, match=f"Please set '{missing}'") as refused:
        WriteToDynamoDB.from_options(options("http://127.0.0.1:1", {key: value}))
    assert refused.value.option == missing


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("conector", "connector"),
        ("table", "table-name"),
        ("aws.regoin", "aws.region"),
        ("aws.credentials.basic.accessKeyId", "aws.credentials.basic.accesskeyid"),
        ("aws.credentials.role.session-name", "aws.credentials.role.sessionName"),
        ("sink.batch.maxsize", "sink.batch.max-size"),
        ("sink.request.max-inflight", "sink.requests.max-inflight"),
        ("sink.flush-buffer.timeout-ms", "sink.flush-buffer.timeout"),
        ("sink_http_client_timeout", "sink_http_client_read_timeout"),
    ],
)
def test_an_unknown_key_is_refused_as_it_was_written_with_the_nearest_known_one(
    written: str, nearest: str
) -> None:
    with pytest.raises(OptionError) as refused:
        WriteToDynamoDB.from_options(options("http://127.0.0.1:1", {written: "x"}))
    assert str(refused.value) == f"Unknown option '{written}'. Did you mean '{nearest}'?"
    assert refused.value.option == written


def test_a_key_that_resembles_none_is_refused_without_a_guess() -> None:
    with pytest.raises(OptionError) as refused:
        WriteToDynamoDB.from_options(options("http://127.0.0.1:1", {"zzz": "x"}))
    assert str(refused.value) == "Unknown option 'zzz'."
