"""Real servers for the tests: how each is fetched, built and started.

What is fetched or built stays in `.cache` of the checkout. Only loopback addresses are used.
"""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.fetched import ENVIRON, NotAvailableError, copy_jars
from pipelines.fetched import cached as _cached
from pipelines.fetched import program as _program
from pipelines.fetched import run as _run
from pipelines.local import free_port, moto_server, serving

__all__ = [
    "REGION",
    "NotAvailableError",
    "buildah",
    "dynamodb_local",
    "moto_server",
    "prism_binary",
    "pubsub",
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


@contextlib.contextmanager
def pubsub() -> Iterator[str]:
    """Runs Google's own in-memory Pub/Sub; yields host and port, for `PUBSUB_EMULATOR_HOST`.

    Raises:
        NotAvailableError: Go is missing.
    """
    program = _cached("pubsub-2.8.1", _build_pubsub) / "pubsub"  # the version in pubsub/go.mod
    port = free_port()
    with serving([str(program), str(port)], port, http=False):
        yield f"127.0.0.1:{port}"


def buildah(storage: Path) -> Callable[..., str]:
    """A function that runs buildah and returns what it prints: `run("bud", "-t", "x", folder)`.

    Containers see this machine's programs and this Python's packages, read-only, so that images
    from scratch need no others.

    Args:
        storage: Where the images are kept.

    Raises:
        NotAvailableError: It is missing, or may not start containers here.
    """
    program = _program("buildah", "Building an image")
    if os.geteuid() != 0:
        raise NotAvailableError("Building an image needs the user root")
    seen = {"/usr": "/usr", "/usr/bin": "/bin", "/usr/lib": "/lib", "/lib64": "/lib64"}
    seen |= {path: path for path in (sys.base_prefix, sysconfig.get_path("purelib"))}
    volumes = [f"--volume={path}:{place}:ro" for path, place in seen.items()]
    common = [program, f"--root={storage}/root", f"--runroot={storage}/run", "--storage-driver=vfs"]
    more = {
        "bud": ["--isolation=chroot", "--pull-never", "--layers=false", *volumes],
        "run": ["--isolation=chroot", *volumes],
    }

    def run(command: str, *arguments: str) -> str:
        return _run(*common, command, *more.get(command, ()), *arguments)

    try:
        run("run", run("from", "scratch").strip(), "--", "/bin/true")  # as .ci/run tries too
    except RuntimeError as cause:
        raise NotAvailableError(f"Containers can't be started here: {cause}") from cause
    return run


def _fetch_dynamodb_local(into: Path) -> None:
    copy_jars(_TESTS / "dynamodb-local.pom.xml", "DynamoDB Local", into / "lib")


def _build_prism(into: Path) -> None:
    package = f"github.com/apache/beam/sdks/v2/go/cmd/prism@{_PRISM}"
    _run(_program("go", "Prism"), "install", package, GOBIN=str(into))


def _build_pubsub(into: Path) -> None:
    go = _program("go", "Pub/Sub")
    # Where the checkout is another user's, git tells nobody its version.
    build = [go, "build", "-C", str(_TESTS / "pubsub"), "-buildvcs=false"]
    _run(*build, "-o", str(into / "pubsub"), ".")
