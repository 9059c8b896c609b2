"""Real servers for the tests: how each is fetched, built and started.

What is fetched or built stays in `.cache` of the checkout. Only loopback addresses are used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipelines.fetched import ENVIRON, NotAvailableError, copy_jars
from pipelines.fetched import cached as _cached
from pipelines.fetched import program as _program
from pipelines.fetched import run as _run
from pipelines.local import free_port, moto_server, serving

__all__ = [
    "REGION",
    "NotAvailableError",
    "dynamodb_local",
    "moto_server",
    "prism_binary",
]

REGION = "us-east-2"
"""The region that the tests speak of."""

_TESTS = Path(__file__).parent
_DYNAMODB_LOCAL = "2.6.1"  # as in dynamodb-local.pom.xml
_PRISM = "v2.77.0"  # the Go module's version that goes with the Python package of that number


@contextlib.contextmanager
def dynamodb_local() -> Iterator[str]:
    """Runs AWS's DynamoDB Local in memory; yields its URL.

    One database serves all regions and access keys.

    Raises:
        NotAvailableError: Java or Maven is missing.
    """
    java = _program("java", "DynamoDB Local")
    jars = _cached(f"dynamodb-local-{_DYNAMODB_LOCAL}", _fetch_dynamodb_local) / "lib"
    port = free_port()
    command = [
        java, "-Xmx512m", f"-Djava.library.path={jars}", "-cp", f"{jars}/*",
        "com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
        "-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port),
    ]  # fmt: skip
    with serving(command, port, environ={**ENVIRON, "DDB_LOCAL_TELEMETRY": "0"}) as url:
        yield url


def prism_binary() -> Path:
    """The program of Beam's Prism runner, for `--prism_location`.

    Raises:
        NotAvailableError: Go is missing.
    """
    return _cached(f"prism-{_PRISM}", _build_prism) / "prism"


def _fetch_dynamodb_local(into: Path) -> None:
    copy_jars(_TESTS / "dynamodb-local.pom.xml", "DynamoDB Local", into / "lib")


def _build_prism(into: Path) -> None:
    package = f"github.com/apache/beam/sdks/v2/go/cmd/prism@{_PRISM}"
    _run(_program("go", "Prism"), "install", package, GOBIN=str(into))
