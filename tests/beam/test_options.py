"""The transform's arguments: the options as declared, checked when it is made, known on workers."""

from __future__ import annotations

import enum
import inspect
from typing import Any, ClassVar

import pytest
from apache_beam.options.value_provider import StaticValueProvider, ValueProvider

from beam_dynamodb import OptionError, ReadFromDynamoDB, SinkOptions, WriteToDynamoDB
from beam_dynamodb.errors import SourceNotSupportedError
from beam_dynamodb.options import keyword_of
from beam_dynamodb.sink import BESIDE
from beam_dynamodb.yaml_transform import YamlWriteToDynamoDB
from tests.beam.helpers import (
    REGION,
    TABLE,
    Rows,
    input_of,
    pipeline,
    run_rows,
    serving,
    stored,
)

ROWS: Rows = [({"id": number % 3, "v": number}, 0.0) for number in range(9)]
NAMES = {"table-name": "user_behavior", "aws.region": REGION, "connector": "dynamodb"}


def test_the_keywords_are_the_declared_options() -> None:
    keywords = set(inspect.signature(WriteToDynamoDB).parameters)
    own = {"table", *BESIDE, "nested"}
    assert keywords - own == {each.keyword for each in SinkOptions.declared()}


def test_from_options_takes_the_documented_keys_verbatim() -> None:
    with serving() as server:
        begin = pipeline()
        write = WriteToDynamoDB.from_options(
            {
                "connector": "dynamodb",
                "table-name": TABLE,
                "aws.region": REGION,
                "aws.endpoint": server.endpoint,
                "aws.credentials.provider": "BASIC",
                "aws.credentials.basic.accesskeyid": "a",
                "aws.credentials.basic.secretkey": "b",
                "sink.batch.max-size": "2",
                "sink.requests.max-buffered": "10",
                "sink.fail-on-error": "true",
            },
            partitioned_by=["id"],
        )
        _ = input_of(begin, ROWS) | write
        begin.run().wait_until_finish()
        assert stored(server) == {0: "6", 1: "7", 2: "8"}
        assert server.stats().calls["BatchWriteItem"] == 2  # of 2 and of 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sink.batch.max-size": 0}, ["sink.batch.max-size"]),
        ({"sink.batch.max-size": 26}, ["sink.batch.max-size", "25"]),
        ({"sink.batch.max-size": "abc"}, ["sink.batch.max-size"]),
        ({"sink.requests.max-buffered": 25}, ["sink.requests.max-buffered"]),
        ({"aws.credentials.provider": "BASIC"}, ["aws.credentials.basic.secretkey", "BASIC"]),
        ({"aws.endpoint": "localhost:8000"}, ["aws.endpoint"]),
        (
            {"sink_batch_max_size": 20, "sink_requests_max_buffered": 20},
            ["'sink_requests_max_buffered'", "'sink_batch_max_size'"],
        ),
        (
            {"aws_credentials_provider": "BASIC", "aws_credentials_basic_accesskeyid": "a"},
            ["'aws_credentials_basic_secretkey'"],
        ),
        ({7: "a number"}, ["key", "int"]),
        ({"sink.batch.maxsize": 5}, ["sink.batch.maxsize", "sink.batch.max-size"]),
        ({"sink_batch_maxsize": 5}, ["sink_batch_maxsize", "sink_batch_max_size"]),
        ({"connector": "kinesis"}, ["connector"]),
    ],
)
def test_a_bad_option_is_refused_at_once_and_by_the_name_it_was_given(
    options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(OptionError) as raised:
        WriteToDynamoDB.from_options({**NAMES, **options})
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"partitioned_by": ["id", "id"]}, "partitioned_by"),
        ({"partitioned_by": [7]}, "partitioned_by"),
        ({"partitioned_by": 7}, "partitioned_by"),
        ({"partitioned_by": "id", "order_by": 7}, "order_by"),
        ({"change_kind": 7}, "change_kind"),
        ({"primary_key": ["a", "b", "c"]}, "primary_key"),
        ({"order_by": "at"}, "order_by"),
        ({"partitioned_by": "id", "order_by": "op", "change_kind": "op"}, "'change_kind' is 'op'"),
        ({"primary_key": ["op"], "change_kind": "op"}, "neither part of a key nor 'order_by'"),
        ({"sink_batch_max_sise": 3}, "sink_batch_max_size"),
        ({"aws_region": None}, "aws_region"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        WriteToDynamoDB(TABLE, **{"aws_region": REGION, **arguments})


@pytest.mark.parametrize("exc_class", ["ValueError", None, (ValueError, "x"), ValueError("x")])
def test_exceptions_are_told_by_their_classes(exc_class: Any) -> None:
    write = WriteToDynamoDB(TABLE, aws_region=REGION)
    with pytest.raises(OptionError, match="must be a class of exceptions") as raised:
        write.with_exception_handling(exc_class=exc_class)
    assert raised.value.option == "exc_class"
    for classes in (ValueError, (ValueError, KeyError)):
        assert write.with_exception_handling(exc_class=classes) is write


class Name(str, enum.Enum):
    TABLE = TABLE
    KIND = "kind"
    REGION = REGION


def test_texts_may_be_enums() -> None:
    with serving() as server:
        begin = pipeline()
        _ = input_of(begin, [({"id": 1, "v": 2, "kind": "INSERT"}, 0.0)]) | WriteToDynamoDB(
            Name.TABLE,
            aws_region=Name.REGION,
            aws_endpoint=server.endpoint,
            change_kind=Name.KIND,
        )
        begin.run().wait_until_finish()
    assert server.db.items(TABLE) == [{"id": {"N": "1"}, "v": {"N": "2"}}]


def test_what_orders_a_declared_table_is_one_of_its_columns() -> None:
    ddl = f"""CREATE TABLE t (id BIGINT, at BIGINT) PARTITIONED BY (id) WITH (
        'connector' = 'dynamodb', 'table-name' = '{TABLE}', 'aws.region' = '{REGION}')"""
    assert WriteToDynamoDB.from_ddl(ddl, order_by="at")
    with pytest.raises(OptionError, match=r"one of the columns \['id', 'at'\], not 'zz'"):
        WriteToDynamoDB.from_ddl(ddl, order_by="zz")


@pytest.mark.parametrize("threshold", [5, -0.1, float("nan"), "0.1", True, None])
def test_a_threshold_is_a_share(threshold: Any) -> None:
    write = WriteToDynamoDB(TABLE, aws_region=REGION)
    with pytest.raises(OptionError, match="a number from 0 to 1") as raised:
        write.with_exception_handling(threshold=threshold)
    assert raised.value.option == "threshold"
    handling = {"output": "failed", "threshold": threshold}
    with pytest.raises(OptionError, match="a number from 0 to 1"):
        YamlWriteToDynamoDB(table_name=TABLE, aws_region=REGION, error_handling=handling)
    for share in (0, 0.5, 1):
        assert write.with_exception_handling(threshold=share) is write


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("partition_by", "partitioned_by"),
        ("primary_keys", "primary_key"),
        ("orderby", "order_by"),
        ("changekind", "change_kind"),
        ("region", "aws_region"),
        ("endpoint", "aws_endpoint"),
    ],
)
def test_a_misspelt_argument_is_refused_with_the_keyword_that_may_be_meant(
    written: str, meant: str
) -> None:
    told = f"Unknown option '{written}'. Did you mean '{meant}'?"
    names = {keyword_of(key): value for key, value in NAMES.items()}
    for make in (WriteToDynamoDB, YamlWriteToDynamoDB, _from_options):
        with pytest.raises(OptionError) as raised:
            make(**{**names, written: "us-east-2"})
        assert str(raised.value) == told


def _from_options(**options: Any) -> WriteToDynamoDB:
    return WriteToDynamoDB.from_options(options)


def test_what_is_no_option_is_refused_among_the_options() -> None:
    with pytest.raises(OptionError, match="'partitioned_by'. It is an argument of its own, beside"):
        WriteToDynamoDB.from_options({**NAMES, "partitioned_by": ["id"]})
    with pytest.raises(OptionError, match="'partition_by'. Did you mean 'partitioned_by'"):
        WriteToDynamoDB.from_options({**NAMES, "partition_by": ["id"]})
    with pytest.raises(OptionError, match=r"'region'. Did you mean 'aws.region'"):
        WriteToDynamoDB.from_options({**NAMES, "region": REGION})


def test_a_table_must_be_named() -> None:
    with pytest.raises(OptionError, match="options are missing(?s:.*)\n\ntable_name") as raised:
        WriteToDynamoDB(aws_region=REGION)
    assert raised.value.option == "table_name"


@pytest.mark.parametrize("name", ["table", "table_name"])
@pytest.mark.parametrize("value", [TABLE, StaticValueProvider(str, TABLE), lambda _: TABLE])
def test_the_table_stands_first_or_under_the_name_of_its_option(name: str, value: Any) -> None:
    with serving() as server:
        begin = pipeline()
        write = WriteToDynamoDB(
            **{name: value}, aws_region=REGION, aws_endpoint=server.endpoint, partitioned_by="id"
        )
        _ = input_of(begin, ROWS) | write
        begin.run().wait_until_finish()
        assert stored(server) == {0: "6", 1: "7", 2: "8"}


@pytest.mark.parametrize("table", [5, "tt"])
def test_a_table_that_is_none_is_refused_by_the_name_of_its_option(table: Any) -> None:
    with pytest.raises(OptionError, match="option 'table_name': it must be a") as raised:
        WriteToDynamoDB(table, aws_region=REGION)
    assert raised.value.option == "table_name"


def test_a_table_is_given_once() -> None:
    with pytest.raises(OptionError, match="The table is given twice") as raised:
        WriteToDynamoDB(TABLE, table_name=TABLE, aws_region=REGION)
    assert raised.value.option == "table_name"


def test_a_single_attribute_may_stand_alone() -> None:
    with serving() as server:
        run_rows(server, ROWS, partitioned_by="id")
        assert stored(server) == {0: "6", 1: "7", 2: "8"}


class Late(ValueProvider):
    """A value that is told after the pipeline was built, as a template's are."""

    told: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        self._name = name

    def is_accessible(self) -> bool:
        return bool(self.told)

    def get(self) -> Any:
        if not self.told:
            raise RuntimeError("asked while the pipeline is built")
        return self.told[self._name]


def test_values_that_are_known_at_run_time_only_are_read_on_the_worker() -> None:
    Late.told.clear()
    with serving() as server:
        begin = pipeline()
        _ = input_of(begin, ROWS) | WriteToDynamoDB(
            Late("table"),
            aws_region=Late("region"),
            aws_endpoint=Late("endpoint"),
            sink_batch_max_size=Late("size"),
            sink_retry_timeout=Late("not given"),
            partitioned_by=["id"],
        )
        Late.told.update(
            {"table": TABLE, "region": REGION, "endpoint": server.endpoint, "size": "1"}
        )
        Late.told["not given"] = None
        begin.run().wait_until_finish()
        assert stored(server) == {0: "6", 1: "7", 2: "8"}
        assert server.stats().calls["BatchWriteItem"] == 3


BASIC = {
    "aws_credentials_basic_accesskeyid": "AKIDEXAMPLE",
    "aws_credentials_basic_secretkey": "s3cr3t-key",
}


def test_credentials_without_effect_are_warned_of_once_where_the_sink_is_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = {"aws_credentials_provider": "ENV_VAR", **BASIC}
    write = WriteToDynamoDB(TABLE, aws_region=REGION, **given)
    names = ["aws.credentials.basic.accesskeyid", "aws.credentials.basic.secretkey"]
    assert [each.levelname for each in caplog.records] == ["WARNING", "WARNING"]
    for name, record in zip(names, caplog.records, strict=True):
        assert f"'{name}' has no effect: it is for BASIC" in record.getMessage()
    assert "s3cr3t" not in caplog.text
    assert "AKIDEXAMPLE" not in caplog.text
    caplog.clear()
    write._settings.sink()
    assert caplog.records == []
    YamlWriteToDynamoDB(table_name=TABLE, aws_region=REGION, **given)
    assert len(caplog.records) == 2


def test_credentials_that_are_known_at_run_time_only_may_all_have_an_effect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Late.told.clear()
    provider = Late("provider")
    WriteToDynamoDB(TABLE, aws_region=REGION, aws_credentials_provider=provider, **BASIC)
    assert caplog.records == []


def test_a_bad_value_at_run_time_is_refused_as_it_is_at_construction() -> None:
    write = WriteToDynamoDB(
        StaticValueProvider(str, TABLE), aws_region=REGION, sink_batch_max_size=Late("size")
    )
    Late.told["size"] = "77"
    with pytest.raises(OptionError, match="sink_batch_max_size"):
        _ = write._settings.options()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"table": StaticValueProvider(str, "no/table")}, "table_name"),
        ({"sink_batch_max_size": StaticValueProvider(str, "77")}, "sink_batch_max_size"),
    ],
)
def test_a_provider_whose_value_is_known_is_checked_at_construction(
    arguments: dict[str, Any], word: str
) -> None:
    with pytest.raises(OptionError, match=word):
        WriteToDynamoDB(**{"table": TABLE, "aws_region": REGION, **arguments})


def test_a_table_that_stays_unknown_is_an_error_and_no_table_called_none() -> None:
    Late.told["nothing"] = None
    write = WriteToDynamoDB(Late("nothing"), aws_region=REGION)
    with pytest.raises(OptionError, match="table_name"):
        _ = write._settings.options()


def test_it_only_writes() -> None:
    sentence = "Connector dynamodb can only be used as a sink. It cannot be used as a source."
    with pytest.raises(SourceNotSupportedError) as raised:
        ReadFromDynamoDB("events", aws_region=REGION)
    assert str(raised.value) == sentence
