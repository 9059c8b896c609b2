"""Pub/Sub to DynamoDB: the streaming template against Google's in-memory Pub/Sub."""

from __future__ import annotations

import contextlib
import json
import random
import time
import uuid

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_dynamodb import DeadLetterError, Put, RowError
from beam_dynamodb.dead_letters import DeadLetter
from beam_dynamodb.testing import FakeDynamoDB, FakeServer, Faults
from beam_dynamodb.testing.faults import AccessDenied
from pipelines import replay
from pipelines.columns import Columns
from templates import files
from templates import pubsub as template
from templates.main import read_parameters
from templates.parameters import PUBSUB
from templates.pubsub import ToRows
from templates.rows import _ToMessage
from tests.servers import REGION

TIMEOUT_SECONDS = 90


class Topic:
    """A topic and a subscription to it."""

    def __init__(self) -> None:
        from google.cloud import pubsub

        name = uuid.uuid4().hex
        self._publisher, self._subscriber = pubsub.PublisherClient(), pubsub.SubscriberClient()
        self.path = f"projects/p-demo/topics/{name}"
        self.subscription = f"projects/p-demo/subscriptions/{name}"
        self._publisher.create_topic(name=self.path)
        self._subscriber.create_subscription(name=self.subscription, topic=self.path)

    def publish(self, *messages):
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            self._publisher.publish(self.path, data).result(TIMEOUT_SECONDS)

    def pulled(self, count):
        """So many messages, each read once."""
        found = []
        while len(found) < count:
            answer = self._subscriber.pull(
                subscription=self.subscription, max_messages=count, timeout=TIMEOUT_SECONDS
            )
            found += [each.message.data for each in answer.received_messages]
            ids = [each.ack_id for each in answer.received_messages]
            if ids:
                self._subscriber.acknowledge(subscription=self.subscription, ack_ids=ids)
        return found

    def close(self):
        self._publisher.stop()
        self._publisher.transport.close()
        self._subscriber.close()


@pytest.fixture
def topics(pubsub, monkeypatch):
    """Makes topics."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub)
    made = []

    def make():
        made.append(Topic())
        return made[-1]

    yield make
    for topic in made:
        topic.close()


@contextlib.contextmanager
def running(*flags):
    """Runs the template's pipeline until the block ends."""
    values, options = read_parameters(PUBSUB, ["--runner=BundleBasedDirectRunner", *flags])
    pipeline = beam.Pipeline(options=options)
    template.build(pipeline, values)
    result = pipeline.run()
    try:
        yield
    finally:
        result.cancel()


def eventually(check, wanted):
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (found := check()) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == wanted


def sink_flags(table):
    return [
        f"--table_name={table.name}", f"--aws_region={REGION}", f"--aws_endpoint={table.endpoint}",
        "--sink_flush_buffer_timeout=200", "--partitioned_by=id",
    ]  # fmt: skip


def test_puts_and_deletes_arrive_bad_messages_do_not_and_a_replay_mends_them(
    topics, moto_endpoint, create_table
):
    table = create_table(moto_endpoint)
    source, failed = topics(), topics()

    def items():
        return sorted((item["id"]["S"], item.get("v", {}).get("N")) for item in table.items())

    flags = [*sink_flags(table), f"--input_subscription={source.subscription}"]
    with running(*flags, "--delete_flag=gone", f"--dead_letters={failed.path}"):
        source.publish({"id": "a", "v": 1}, {"id": "b", "v": 2}, {"id": "c", "v": 1.50})
        eventually(items, [("a", "1"), ("b", "2"), ("c", "1.5")])
        source.publish({"id": "a", "v": 3}, {"id": "b", "gone": True}, b"{broken", {"v": 9})
        eventually(items, [("a", "3"), ("c", "1.5")])
        lines = [line.decode() for line in failed.pulled(2)]
    letters = {letter.code: letter for letter in map(DeadLetter.from_line, lines)}
    assert letters.keys() == {"InvalidMessage", "MissingKey"}
    assert letters["InvalidMessage"].element == "{broken"
    assert "{broken" not in letters["InvalidMessage"].message

    # Mended by hand, a dead letter is written by the replay; the other one comes back.
    mended = json.loads(letters["MissingKey"].to_line())
    mended["element"]["id"] = "d"
    again = topics()
    flags = [*sink_flags(table), f"--input_subscription={again.subscription}"]
    with running(*flags, "--format=dead-letters", f"--dead_letters={failed.path}"):
        again.publish(mended, letters["InvalidMessage"].to_line().encode())
        eventually(items, [("a", "3"), ("c", "1.5"), ("d", "9")])
        (line,) = failed.pulled(1)
    assert DeadLetter.from_line(line.decode()).element == "{broken"


def test_change_kinds_are_those_of_a_member_of_the_message(topics, moto_endpoint, create_table):
    table = create_table(moto_endpoint)
    source = topics()
    flags = [*sink_flags(table), f"--input_subscription={source.subscription}"]
    table.client.put_item(TableName=table.name, Item={"id": {"S": "old"}})
    with running(*flags, "--change_kind=op"):
        source.publish({"op": "+I", "id": "new"}, {"op": "-D", "id": "old"})
        eventually(table.items, [{"id": {"S": "new"}}])


# --- deletes, and their dead letters -------------------------------------------------------

FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@pytest.fixture
def write(monkeypatch, tmp_path):
    """Runs the template's pipeline on messages; returns the lines of its dead letters."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")

    def write(endpoint, *messages, **values):
        data = [each if isinstance(each, str) else json.dumps(each) for each in messages]
        source = beam.Create([each.encode() for each in data])
        monkeypatch.setattr(template, "_source", lambda _: source)
        letters = tmp_path / f"{uuid.uuid4().hex}.jsonl"
        values = {
            "table_name": "flights", "aws_region": REGION, "aws_endpoint": endpoint,
            "dead_letters": str(letters), **values,
        }  # fmt: skip
        with beam.Pipeline(runner=FN_API) as pipeline:
            template.build(pipeline, values)
        return letters.read_text().splitlines()

    return write


@pytest.fixture
def flights():
    """A table with one item."""
    database = FakeDynamoDB()
    database.create_table("flights", {"id": "S"})
    database.call("PutItem", {"TableName": "flights", "Item": {"id": {"S": "7"}}})
    return database


TEMPLATES = "pubsub", "files", "command"
"""Who replays: two templates, and the command line."""


def replays(write, endpoint, tmp_path, lines, name, **more):
    """Replays letters by one that can."""
    sink = {
        "table_name": "flights", "aws_region": REGION, "aws_endpoint": endpoint,
        "primary_key": "id", **more,
    }  # fmt: skip
    if name == "pubsub":
        assert write(endpoint, *lines, format="dead-letters", **sink) == []
        return
    path = tmp_path / "letters.jsonl"
    path.write_text("\n".join(lines))
    values = {**sink, "input": str(path)}
    if name == "command":
        assert replay.main([f"--{key}={value}" for key, value in values.items()]) == 0
        return
    values["format"] = "dead-letters"
    with beam.Pipeline(runner=FN_API) as pipeline:
        files.build(pipeline, values)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_delete_that_failed_is_a_delete_when_it_is_replayed(write, flights, tmp_path, name):
    denied = Faults.always(AccessDenied(), operations=("DescribeTable",))
    with FakeServer(flights, faults=denied) as server:
        (line,) = write(server.endpoint, {"id": "7", "v": 1, "gone": True}, delete_flag="gone")
        assert json.loads(line)["code"] == "MissingKey"
        replays(write, server.endpoint, tmp_path, [line], name)
    assert flights.items("flights") == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_replayed_delete_keeps_what_stands_beside_its_key(write, flights, tmp_path, name):
    letter = DeadLetter({"id": "7"}, "delete", "flights", beside={"at": 5}).to_line()
    ordered = {"partitioned_by": "id", "order_by": "at"}
    with FakeServer(flights) as server:
        replays(write, server.endpoint, tmp_path, [letter], name, **ordered)
    assert flights.items("flights") == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_replayed_letter_has_the_event_time_that_it_had(write, flights, tmp_path, name):
    # By the order of its lines the older one would be the later one.
    lines = [
        DeadLetter({"id": "8", "v": v}, "put", "flights", timestamp=v).to_line() for v in (2, 1)
    ]
    with FakeServer(flights) as server:
        replays(write, server.endpoint, tmp_path, lines, name, partitioned_by="id")
    (item,) = [each for each in flights.items("flights") if each["id"]["S"] == "8"]
    assert item["v"] == {"N": "2"}


def test_a_message_without_the_change_kind_is_a_put(write, flights):
    with FakeServer(flights) as server:
        assert write(server.endpoint, {"id": "8"}, {"id": "7", "op": "-D"}, change_kind="op") == []
    assert flights.items("flights") == [{"id": {"S": "8"}}]


def udf(tmp_path, *lines):
    path = tmp_path / "udf.py"
    path.write_text("\n    ".join(["def process(row):", *lines]))
    return str(path)


@pytest.mark.parametrize(
    ("mark", "settings"),
    [({"gone": True}, {"delete_flag": "gone"}), ({"op": "-D"}, {"change_kind": "op"})],
)
def test_deletes_pass_the_function_and_what_it_makes_of_a_put_is_one(
    write, flights, tmp_path, mark, settings
):
    made = udf(tmp_path, "return {'id': row['id'], 'full': row['first'] + '!'}")
    messages = {"id": "7", **mark}, {"id": "9", "first": "Ada"}
    with FakeServer(flights) as server:
        assert write(server.endpoint, *messages, **settings, python_udf=made) == []
    assert flights.items("flights") == [{"id": {"S": "9"}, "full": {"S": "Ada!"}}]


def test_a_function_may_say_the_change_kind_itself(write, flights, tmp_path):
    said = udf(tmp_path, "row['op'] = '-D' if row['old'] else '+I'", "return row")
    messages = {"id": "7", "old": True}, {"id": "9", "old": False}
    with FakeServer(flights) as server:
        assert write(server.endpoint, *messages, change_kind="op", python_udf=said) == []
    assert [item["id"]["S"] for item in flights.items("flights")] == ["9"]


@pytest.mark.parametrize("settings", [{}, {"delete_flag": "gone"}])
def test_a_row_on_which_the_function_fails_is_a_dead_letter_as_it_came(
    write, flights, tmp_path, settings
):
    fails = udf(tmp_path, "row['price'] *= 2", "row['tags'].append('x')", "return row['first']")
    message = {"id": "9", "price": 10, "tags": ["a"]}
    with FakeServer(flights) as server:
        (line,) = write(server.endpoint, message, python_udf=fails, **settings)
    letter = json.loads(line)
    assert letter["element"] == message
    assert letter["code"] == "KeyError"


# --- dead letters that are too large for a message -----------------------------------------


def message_of(letter):
    (message,) = _ToMessage().process(letter.to_line())
    assert len(message) < 10_000_000, "Beam raises, and Dataflow tries it for ever"
    return message


def test_a_letter_that_is_too_long_for_a_message_is_compressed_and_replayed():
    message = message_of(DeadLetter({"id": "8", "v": '"' * 6_000_000}, "put", "flights"))
    assert rows(message, replays=True)[0].row["v"] == '"' * 6_000_000
    (refused,) = rows(message[:-1], replays=True, handled=True)
    assert refused.value.code == "InvalidDeadLetter"


def test_a_letter_that_is_too_long_even_so_says_that_it_was_cut():
    content = random.Random(1).randbytes(12_000_000)
    letter = DeadLetter({"id": "8", "v": content}, "put", "flights", "{id: 8}", message="Why.")
    cut = DeadLetter.from_line(message_of(letter).decode())
    assert (cut.operation, cut.table, cut.key) == ("put", "flights", "{id: 8}")
    assert "Why." in cut.message
    assert "so cut" in cut.message
    with pytest.raises(DeadLetterError, match="put a value there"):
        cut.record()


# --- messages to rows ----------------------------------------------------------------------


def rows(message, **settings):
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return list(ToRows(**settings).process(data))


def test_numbers_keep_all_their_digits():
    (row,) = rows(b'{"id": 12345678901234567890123456789, "x": 0.10000000000000000000000000001}')
    assert str(row["id"]) == "12345678901234567890123456789"
    assert str(row["x"]) == "0.10000000000000000000000000001"


def test_columns_are_changed_as_in_files():
    columns = Columns.parse(types="tags:SS", rename="k:id", drop="noise")
    assert rows({"k": "a", "tags": ["x"], "noise": 1}, columns=columns) == [
        {"id": "a", "tags": {"x"}}
    ]


@pytest.mark.parametrize("flag", [True, "true", 1, "1"])
def test_a_message_whose_delete_flag_is_true_is_a_delete(flag):
    assert rows({"id": 1, "gone": flag}, delete_flag="gone") == [{"id": 1, "__change_kind": "-D"}]


@pytest.mark.parametrize("message", [{"gone": False}, {"gone": None}, {}, {"gone": "0"}])
def test_a_message_whose_delete_flag_is_not_true_is_a_put(message):
    assert rows({"id": 1, **message}, delete_flag="gone") == [Put({"id": 1})]


def test_the_delete_flag_goes_before_the_change_kind():
    settings = {"delete_flag": "gone", "change_kind": "op"}
    assert rows({"id": 1, "op": "+U", "gone": True}, **settings) == [{"id": 1, "op": "-D"}]
    assert rows({"id": 1, "op": "-U"}, **settings) == [{"id": 1, "op": "-U"}]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"{", "no JSON in UTF-8: .* at character 1"),
        (b"\xff\xfe", "no JSON in UTF-8: it is no text"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "no object of JSON"),
        (b'{"gone": "perhaps"}', "'gone' must be true or false"),
        (b'{"gone": [1]}', "'gone' must be true or false"),
    ],
)
def test_what_is_no_row_is_refused(message, words):
    with pytest.raises(RowError, match=words):
        rows(message, delete_flag="gone")
    (refused,) = rows(message, delete_flag="gone", handled=True)
    assert refused.tag == "refused"
    assert refused.value.code in ("InvalidMessage", "InvalidValue")


def test_a_value_that_does_not_fit_its_type_is_refused():
    with pytest.raises(RowError, match="column 'n'"):
        rows({"n": "many"}, columns=Columns.parse(types="n:N"))


def test_only_retriable_dead_letters_are_replayed_where_that_is_asked():
    line = DeadLetter({"id": "a"}, "put", "t", retriable=False).to_line().encode()
    assert rows(line, replays=True, only_retriable=True) == []
    assert len(rows(line, replays=True)) == 1
    with pytest.raises(DeadLetterError):
        rows({"id": "a"}, replays=True)


@pytest.mark.parametrize(
    "flags",
    [[], ["--input_topic=projects/p/topics/t", "--input_subscription=projects/p/subscriptions/s"]],
)
def test_one_source_is_asked_for(flags, capsys):
    argv = [*flags, "--table_name=flights", f"--aws_region={REGION}"]
    assert template.main(argv) == 1
    assert "'input_subscription' or 'input_topic', one of them" in capsys.readouterr().err


def test_dead_letters_do_not_go_where_messages_come_from(capsys):
    topics = [f"--{name}=projects/p/topics/t" for name in ("input_topic", "dead_letters")]
    assert template.main([*topics, "--table_name=flights", f"--aws_region={REGION}"]) == 1
    assert "'dead_letters' must be another topic" in capsys.readouterr().err


def test_the_job_is_a_streaming_one():
    _, options = read_parameters(PUBSUB, ["--table_name=flights", f"--aws_region={REGION}"])
    assert isinstance(options, PipelineOptions)
    assert options.get_all_options()["streaming"] is True
