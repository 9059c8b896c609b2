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

__all__ = [
    "DUMMY_CREDENTIALS",
    "HOST",
    "free_port",
    "gcs_emulator",
    "guarded",
    "moto_server",
    "serving",
]

DUMMY_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
"""Environment variables that satisfy a server which checks no signature."""

HOST = "127.0.0.1"
"""The loopback interface."""

# Waits for the end of its own input, which comes when the process that started it ends, however
# it ends; then it stops the server. So no server outlives a killed demo or test run. A line of
# input kills the server at once. It ends when the server does.
_GUARD = """
import os, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: os._exit(server.wait() % 256), daemon=True).start()
try:
    for line in sys.stdin:
        server.kill()
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
        probe.bind((HOST, 0))
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
    with tempfile.TemporaryFile() as output, guarded(command, output, environ=environ) as guard:
        answers = partial(_answers if http else _accepts, port)
        _await_answer(answers, guard, output, time.monotonic() + timeout_seconds)
        yield f"http://{HOST}:{port}"


@contextlib.contextmanager
def guarded(
    command: Sequence[str], output: IO[bytes], *, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program until the block ends, or this process does, however it ends.

    Args:
        command: Program and arguments.
        output: Where all that it prints goes.
        environ: Its environment, or None for this process's own.

    Yields:
        The process that guards it: a line written to its input kills the program at once, and it
        ends when the program does.
    """
    guard = subprocess.Popen(
        [sys.executable, "-c", _GUARD, *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environ,
    )
    try:
        yield guard
    finally:
        guard.communicate()


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """Runs moto, which speaks DynamoDB's, STS's and other protocols; yields its URL.

    It serves requests one by one, so that it keeps every write.
    """
    port = free_port()
    command = [sys.executable, "-c", _MOTO, HOST, str(port)]
    with serving(command, port, environ={**os.environ, **DUMMY_CREDENTIALS}) as url:
        yield url


@contextlib.contextmanager
def gcs_emulator(bucket: str) -> Iterator[str]:
    """Runs an emulator of Google Cloud Storage with one bucket; yields its URL.

    The URL is for `STORAGE_EMULATOR_HOST`, which Google's clients and Beam's `gs://` honour.
    """
    port = free_port()
    command = [
        sys.executable, "-m", "gcp_storage_emulator", "start", f"--host={HOST}",
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
        socket.create_connection((HOST, port), timeout=5).close()
    except OSError:
        return False
    return True


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()
