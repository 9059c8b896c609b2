"""What all tests share: real servers, tables on them, and an environment without AWS settings."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import boto3
import hypothesis
import pytest

from pipelines import flink_local
from pipelines.local import DUMMY_CREDENTIALS
from tests import servers

T = TypeVar("T")

hypothesis.settings.register_profile("fast", max_examples=50, deadline=None)
hypothesis.settings.register_profile(
    "ci", max_examples=200, deadline=None, derandomize=True, print_blob=True
)
_NO_SKIP = os.environ.get("BEAM_DYNAMODB_NO_SKIP") == "1"
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if _NO_SKIP else "fast"))


# --- nothing may be skipped where CI runs --------------------------------------------------


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if _NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is not allowed here: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


# --- no setting of this machine reaches a test ---------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hides the machine's AWS settings; what a test sets with monkeypatch comes on top."""
    empty = tmp_path_factory.mktemp("aws") / "empty"
    empty.touch()
    hidden = [name for name in os.environ if name.startswith("AWS_")]
    with pytest.MonkeyPatch.context() as patch:
        for name in [*hidden, "JAVA_TOOL_OPTIONS", "BOTO_CONFIG"]:
            patch.delenv(name, raising=False)
        for name, value in {
            **DUMMY_CREDENTIALS,
            "AWS_CONFIG_FILE": str(empty),
            "AWS_SHARED_CREDENTIALS_FILE": str(empty),
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }.items():
            patch.setenv(name, value)
        yield


# --- real servers --------------------------------------------------------------------------


_SERVERS = {
    "moto_endpoint": "moto",
    "dynamodb_local": "dynamodb_local",
    "prism": "prism",
    "pubsub": "pubsub",
    "flink": "flink",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with the servers it uses, so that `-m 'not prism'` leaves them out.

    Those of jobs on Flink and Prism come last. A job that was cancelled leaves workers behind,
    which go on in this process for a while and draw random numbers; Hypothesis forbids that.
    """
    for item in items:
        for fixture in _SERVERS.keys() & getattr(item, "fixturenames", ()):
            item.add_marker(_SERVERS[fixture])
    items.sort(key=lambda item: item.path.parent.name == "flink")


def _or_skip(start: Callable[[], T]) -> T:
    try:
        return start()
    except servers.NotAvailableError as missing:
        pytest.skip(str(missing))


@contextlib.contextmanager
def _server(server: AbstractContextManager[T]) -> Iterator[T]:
    with contextlib.ExitStack() as stack:
        yield _or_skip(lambda: stack.enter_context(server))


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The URL of a moto server: DynamoDB, STS and others."""
    with _server(servers.moto_server()) as url:
        yield url


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """The URL of AWS's DynamoDB Local; skips where Java or Maven is missing."""
    with _server(servers.dynamodb_local()) as url:
        yield url


@pytest.fixture(scope="session")
def prism() -> str:
    """The path of the Prism runner's program; skips where Go is missing."""
    path: Path = _or_skip(servers.prism_binary)
    return str(path)


@pytest.fixture(scope="session")
def pubsub() -> Iterator[str]:
    """Host and port of an in-memory Pub/Sub; skips where Go is missing."""
    with _server(servers.pubsub()) as address:
        yield address


@pytest.fixture(scope="session")
def flink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flink_local.Cluster]:
    """A Flink cluster of separate JVMs with four slots; skips where Java or Maven is missing."""
    folder = tmp_path_factory.mktemp("flink")
    with _server(flink_local.cluster(task_managers=4, slots=1, folder=folder)) as cluster:
        yield cluster


# --- tables --------------------------------------------------------------------------------


class TestTable:
    """A table of its own for one test.

    Attributes:
        name: Its unique name.
        endpoint: The URL of the server that has it.
        region: Its region.
        client: A boto3 client of that server.
    """

    __test__ = False

    def __init__(self, name: str, endpoint: str, region: str) -> None:
        self.name = name
        self.endpoint = endpoint
        self.region = region
        self.client: Any = client(endpoint, region)

    def items(self) -> list[dict[str, Any]]:
        """All items in wire form, such as `{"id": {"S": "a"}}`, in no order."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.name, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]


def client(endpoint: str, region: str = servers.REGION, service: str = "dynamodb") -> Any:
    """A boto3 client of a local server."""
    return boto3.client(  # type: ignore[call-overload]
        service, endpoint_url=endpoint, region_name=region
    )


@pytest.fixture
def create_table() -> Iterator[Callable[..., TestTable]]:
    """Makes tables: `create_table(endpoint, key=(("id", "S"), ("at", "N")))`.

    The table is gone after the test.
    """
    made: list[TestTable] = []

    def create(
        endpoint: str,
        key: Sequence[tuple[str, str]] = (("id", "S"),),
        *,
        name: str | None = None,
        region: str = servers.REGION,
    ) -> TestTable:
        table = TestTable(name or f"test-{uuid.uuid4().hex}", endpoint, region)
        table.client.create_table(
            TableName=table.name,
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in key],
            KeySchema=[
                {"AttributeName": n, "KeyType": kind}
                for (n, _), kind in zip(key, ("HASH", "RANGE"), strict=False)
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        made.append(table)
        return table

    yield create
    for table in made:
        with contextlib.suppress(table.client.exceptions.ResourceNotFoundException):
            table.client.delete_table(TableName=table.name)
        table.client.close()
