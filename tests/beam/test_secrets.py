"""No secret of AWS leaves a worker, whatever fails: not in logs, errors, dead letters, metrics."""

from __future__ import annotations

import base64
import bz2
import logging
import traceback
from collections.abc import Iterator

import boto3
import pytest
from apache_beam.internal import pickler
from apache_beam.transforms.display import DisplayData
from apache_beam.transforms.error_handling import ErrorHandler

from beam_dynamodb import OptionError, WriteToDynamoDB
from beam_dynamodb.replay import WriteDeadLetters
from beam_dynamodb.testing import (
    AccessDenied,
    ClockSkew,
    Expired,
    Faults,
    InvalidCredentials,
    Rejected,
    Reset,
    ServerError,
    TableGone,
    Throttle,
    WrongCrc32,
)
from beam_dynamodb.to_request import ToRequest
from beam_dynamodb.write_steps import WriteBundle
from pipelines import replay
from tests.beam.helpers import FN_API, REGION, TABLE, input_of, pipeline, serving, sink

SECRET = "s3cr3tKEYofTHEworker0123456789abcdefghij"
TOKEN = "t0k3nOFtheSESSIONofTHEworker"
HIDDEN = (SECRET, TOKEN)

_CANONICAL = (
    "The request signature we calculated does not match the signature you provided.\n\n"
    "The Canonical String for this request should have been\n"
    f"'POST\n/\n\nhost:127.0.0.1\nx-amz-security-token:{TOKEN}\n'"
)

FAULTS = [
    Rejected("InvalidSignatureException", message=_CANONICAL),
    Rejected("ValidationException"),
    Expired(),
    InvalidCredentials(),
    AccessDenied(),
    TableGone(),
    ClockSkew(3_600),
    Throttle(),
    ServerError(503, html=True),
    Reset("within"),
    WrongCrc32(),
]


class _Kept(logging.Handler):
    """All that is logged, as a formatter writes it, tracebacks included."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {self.format(record)} {record.args!r}")

    def __str__(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def logged() -> Iterator[_Kept]:
    """What any logger of this process says, all of them at DEBUG."""
    kept = _Kept()
    names = [name for name in logging.root.manager.loggerDict if name.startswith("boto")]
    loggers = [logging.getLogger(name) for name in (None, *names, "botocore", "beam_dynamodb")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.DEBUG)
    logging.root.addHandler(kept)
    yield kept
    logging.root.removeHandler(kept)
    for each, level in zip(loggers, before, strict=True):
        each.setLevel(level)


@pytest.fixture(autouse=True)
def temporary_credentials(monkeypatch):
    """What the workers of these tests have: temporary credentials in their environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


BASIC = {
    "aws_credentials_provider": "BASIC",
    "aws_credentials_basic_accesskeyid": "AKIAEXAMPLE",
    "aws_credentials_basic_secretkey": SECRET,
}


def run(server, path, **options):
    """Writes rows, good ones and bad ones; gives the text of all that others may see of it."""
    seen = []
    begin = pipeline(FN_API)
    rows = [({"id": 1, "v": 1}, 1), ({"id": 2, "v": float("nan")}, 2), ({"v": 3}, 3)]
    options = {"sink_retry_timeout": 200, **options}
    with ErrorHandler(WriteDeadLetters(str(path))) as handler:
        write = sink(server, **options).with_error_handler(handler)
        _ = input_of(begin, rows) | write
    seen += [str(begin.options.get_all_options()), repr(write), str(begin.to_runner_api())]
    seen += [repr(each.value) for each in DisplayData.create_from(write).items]
    try:
        result = begin.run()
        result.wait_until_finish()
        seen.append(str(result.metrics().query()))
    except Exception as error:
        seen.append("".join(traceback.format_exception(error)))
        while error is not None:
            seen += [repr(error), repr(error.args), str(getattr(error, "response", ""))]
            error = error.__cause__ or error.__context__
    seen += [each.read_text() for each in path.parent.glob("*.jsonl")]
    return "\n".join(seen)


def shows(text: str) -> list[str]:
    """Which secrets a text holds."""
    return [secret for secret in HIDDEN if secret in text]


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        *(("BatchWriteItem", each) for each in FAULTS),
        *(("DescribeTable", each) for each in FAULTS[:5]),
    ],
    ids=lambda each: getattr(each, "code", str(each)),
)
def test_no_secret_is_shown_whatever_fails(tmp_path, logged, operation, fault):
    faults = Faults.script([fault] * 3, operations=[operation])
    with serving(faults) as server:
        text = run(server, tmp_path / "failed.jsonl")
    assert faults.counts[type(fault).__name__] > 0
    assert shows(text) == []
    assert shows(str(logged)) == []


def test_basics_keys_are_not_shown_when_they_are_refused(tmp_path, logged):
    with serving(Faults.always(FAULTS[0])) as server:
        text = run(server, tmp_path / "failed.jsonl", **BASIC)
    assert "InvalidSignatureException" in text
    assert shows(text) == []
    assert shows(str(logged)) == []


def test_the_loggers_of_the_test_above_hear_what_a_plain_client_says(logged):
    with serving() as server:
        # A session of its own: the default one keeps the credentials of an earlier test.
        session = boto3.session.Session(region_name=REGION)
        client = session.client("dynamodb", endpoint_url=server.endpoint)
        client.describe_table(TableName=TABLE)
        client.close()
    assert TOKEN in str(logged)


def test_no_secret_of_a_worker_is_pickled_and_basics_keys_travel_inside_the_steps(tmp_path):
    def pickled(write: WriteToDynamoDB) -> bytes:
        steps = [
            ToRequest(write._settings, None, 1, travel=False),
            WriteBundle(write._settings, None),
        ]
        data = [bz2.decompress(base64.b64decode(pickler.dumps(each))) for each in steps]
        assert all(REGION.encode() in each for each in data)
        return b"".join(data)

    with serving() as server:
        for options in ({}, BASIC):
            run(server, tmp_path / "failed.jsonl", **options)
        assert SECRET.encode() not in pickled(sink(server))
        assert TOKEN.encode() not in pickled(sink(server, **BASIC))
        assert SECRET.encode() in pickled(sink(server, **BASIC))


def test_secrets_are_no_flags_and_so_no_pipeline_options(tmp_path, capsys):
    flag = f"--aws_credentials_basic_secretkey={SECRET}"
    assert replay.main([f"--input={tmp_path}/x", f"--aws_region={REGION}", flag]) == 1
    shown = capsys.readouterr()
    assert shows(shown.out + shown.err) == []
    assert "cannot be a flag" in shown.err


def test_a_wrong_option_beside_the_secret_does_not_show_it():
    with pytest.raises(OptionError) as caught:
        WriteToDynamoDB(TABLE, aws_region=REGION, **{**BASIC, "sink_batch_max_size": 26})
    assert shows("".join(traceback.format_exception(caught.value))) == []
