"""Runs the cases, each in a process of its own, one after the other, round by round."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.cases import Case
from benchmarks.contender import Job
from benchmarks.environments import ROOT, java_command, python_of
from benchmarks.results import COLD, Measurement
from benchmarks.rows import TABLE
from benchmarks.stub import Counts, stub

__all__ = ["Failed", "Target", "measure", "profiled"]

_TIMEOUT_SECONDS = 1_800
_COLD_RUNS = 2
"""After which a JVM has compiled what is worth it."""
_HIDDEN = ("AWS_", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
"""What the contenders do not get. An installed package has bytecode, so the checkout may too."""
_DUMMIES = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "localhost",
    "no_proxy": "localhost",
}


class Failed(Exception):
    """A contender ended with an error; the text holds its last words."""


@dataclass(frozen=True, slots=True)
class Target:
    """A real table to write to, instead of stubs.

    Attributes:
        endpoint: The URL of DynamoDB, or None for the region's own.
        region: The AWS region.
        table: The name of a table whose key is the number `user_id`.
    """

    endpoint: str | None
    region: str = "us-east-2"
    table: str = TABLE


def measure(case: Case, rows: int, target: Target | None, number: int = 1) -> list[Measurement]:
    """Runs a case in a process of its own; a JVM gives two measurements, cold and warm.

    Args:
        case: What to run.
        rows: How many rows a case with a share of one writes.
        target: The table to write to, or None for a stub.
        number: The number of the round.

    Raises:
        Failed: It ended with an error.
        Missing: It cannot be had on this machine.
    """
    began = time.monotonic()
    with _writing_to(case, target) as (there, environ, counted):
        job = _job(case, rows, there)
        used = [json.loads(line) for line in _run(_command(case, job), environ).splitlines()]
        seen = counted()
    facts = _facts(job, case, used, seen)
    if case.is_java:
        named = {case.name + COLD: used[0], case.name: _mean(used[_COLD_RUNS:])}
    else:
        named = {case.name: _mean(used)}
    return [
        Measurement(name, number, job.rows, began, **run, **facts) for name, run in named.items()
    ]


def _mean(used: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of all runs' times; memory as after the first, since no run gives it back."""
    times = {name: fmean(each[name] for each in used) for name in ("seconds", "cpu_seconds")}
    return {**used[0], **times, "runs": len(used)}


def profiled(case: Case, rows: int, into: Path) -> None:
    """Runs a case under cProfile and leaves its statistics in a file."""
    with _writing_to(case, None) as (there, environ, _):
        job = _job(case, rows, there, profile=str(into))
        _run(_command(case, job), environ)


@contextlib.contextmanager
def _writing_to(
    case: Case, target: Target | None
) -> Iterator[tuple[Target, Mapping[str, str], Callable[[], Counts | None]]]:
    """Where to write, with which environment variables, and what will tell what came there."""
    if target is not None:
        yield target, os.environ, lambda: None
        return
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
    with contextlib.ExitStack() as stack:
        certificate = None
        if case.tls:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            certificate = _certify(folder)
            kept["AWS_CA_BUNDLE"] = str(folder / "ca.pem")
        there = stack.enter_context(stub(late_ms=case.late_ms, certificate=certificate))
        yield Target(there.url), {**kept, **_DUMMIES}, there.counts


def _certify(folder: Path) -> Path:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = folder / "stub.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    return certificate


def _job(case: Case, rows: int, there: Target, **more: Any) -> Job:
    return Job(
        case.contender,
        case.rows_of(rows),
        there.endpoint,
        there.region,
        there.table,
        **{**case.settings, **more},
    )


def _command(case: Case, job: Job) -> list[str]:
    if not case.is_java:
        python = str(python_of(case.environment))
        return [python, "-m", "benchmarks.contender", json.dumps(asdict(job))]
    _, _, program = case.contender.partition(".")
    keys = str(job.keys).lower()
    given = [job.rows, case.runs, job.endpoint or "", job.region, job.table, keys, job.slots]
    return [*java_command(program), *map(str, given)]


def _run(command: list[str], environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command,
            env=environ,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"it had not ended after {_TIMEOUT_SECONDS:,} s") from late
    if done.returncode != 0:
        raise Failed(done.stderr[-3000:])
    return done.stdout


def _facts(job: Job, case: Case, used: list[dict[str, Any]], seen: Counts | None) -> dict[str, Any]:
    if seen is None:
        return {}
    warm_up = 0 if case.is_java else job.warm_up_rows
    seconds = sum(each["seconds"] for each in used)
    return {
        "requests": seen.requests,
        "items": seen.items,
        "expected_items": job.rows * len(used) + warm_up,
        "keys": seen.keys,
        "stub_busy": seen.cpu_seconds / seconds,
    }
