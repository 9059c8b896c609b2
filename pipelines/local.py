"""Servers that stand in for AWS on this machine, each in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO

__all__ = ["DUMMY_CREDENTIALS", "free_port", "gcs_emulator", "moto_server", "serving"]

DUMMY_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
"""Environment variables that satisfy a server which checks no signature."""

_HOST = "127.0.0.1"

# Waits for the end of its own input, which comes when the process that started it ends, however
# it ends; then it stops the server. So no server outlives a killed demo or test run.
_GUARD = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
try:
    sys.stdin.read()
finally:
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
"""


# moto's server, but one request at a time: its tables forget an item now and then when two threads
# write to a new partition key at once. Python runs one thread at a time, so it gets no slower.
_MOTO = """
import sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
moto = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()
def application(environ, start_response):
    with turn:
        return moto(environ, start_response)
run_simple(sys.argv[1], int(sys.argv[2]), application, threaded=True)
"""


def free_port() -> int:
    """A TCP port of the loopback interface on which nothing listens at the moment."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    port: int,
    *,
    environ: Mapping[str, str] | None = None,
    timeout_seconds: float = 60,
    http: bool = True,
) -> Iterator[str]:
    """Runs a server until the block ends.

    Args:
        command: Program and arguments; it must listen on `port` of the loopback interface.
        port: Where it will listen.
        environ: Its environment, or None for this process's own.
        timeout_seconds: How long it may take to answer its first request.
        http: Whether it speaks HTTP/1; of another it is enough that it accepts connections.

    Yields:
        Its URL, once it answers.

    Raises:
        RuntimeError: It ended, or did not answer in time; the message holds its last words.
    """
    with tempfile.TemporaryFile() as output:
        guard = subprocess.Popen(
            [sys.executable, "-c", _GUARD, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
        )
        try:
            answers = _answers if http else _accepts
            _await_answer(partial(answers, port), guard, output, time.monotonic() + timeout_seconds)
            yield f"http://{_HOST}:{port}"
        finally:
            guard.communicate()


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """Runs moto, which speaks DynamoDB's, STS's and other protocols; yields its URL.

    It serves requests one by one, so that it keeps every write.
    """
    port = free_port()
    command = [sys.executable, "-c", _MOTO, _HOST, str(port)]
    with serving(command, port, environ={**os.environ, **DUMMY_CREDENTIALS}) as url:
        yield url


@contextlib.contextmanager
def gcs_emulator(bucket: str) -> Iterator[str]:
    """Runs an emulator of Google Cloud Storage with one bucket; yields its URL.

    The URL is for `STORAGE_EMULATOR_HOST`, which Google's clients and Beam's `gs://` honour.
    """
    port = free_port()
    command = [
        sys.executable, "-m", "gcp_storage_emulator", "start", f"--host={_HOST}",
        f"--port={port}", "--in-memory", f"--default-bucket={bucket}", "--quiet",
    ]  # fmt: skip
    with serving(command, port) as url:
        yield url


def _await_answer(
    answers: Callable[[], bool],
    guard: subprocess.Popen[bytes],
    output: IO[bytes],
    deadline: float,
) -> None:
    while not answers():
        if guard.poll() is not None or time.monotonic() > deadline:
            output.seek(0)
            words = output.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"the server {guard.args!r} did not start:\n{words}")
        time.sleep(0.05)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), timeout=5).close()
    except OSError:
        return False
    return True


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()
