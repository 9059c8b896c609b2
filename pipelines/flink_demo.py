"""Runs two pipelines on Flink against an embedded DynamoDB, and shows what they wrote.

The first loads real flights, a batch. The second follows a file of changes that grows meanwhile: a
departure board, on which each flight is announced, delayed, and taken off when it has left. Flink,
and Beam's job server for it, come from Maven the first time.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import grpc

from pipelines import load, stream
from pipelines.demo import REGION, create_table, flags, show_items
from pipelines.fetched import NotAvailableError
from pipelines.flink_local import job_server
from pipelines.local import DUMMY_CREDENTIALS, moto_server

__all__ = ["main"]

_BOARD = "board"
_FLIGHTS = 40
_TIMEOUT_MS = 1000
_PATIENCE_SECONDS = 180.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo.

    Returns:
        0, or 1 when a table is not as it must be, or when Java or Maven is missing.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.flink_demo", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000, help="How many flights to load.")
    rows = parser.parse_args(argv).rows
    os.environ.update(DUMMY_CREDENTIALS)  # no real ones are needed, so none shall be used
    _calm()
    print("Starting Beam's job server for Flink (fetched by Maven the first time) …", flush=True)
    try:
        with job_server() as runner, moto_server() as endpoint:
            runner = [*runner, "--environment_type=LOOPBACK", "--parallelism=1"]
            client = boto3.client("dynamodb", endpoint_url=endpoint, region_name=REGION)
            right = _batch(client, endpoint, runner, rows) and _streaming(client, endpoint, runner)
    except NotAvailableError as missing:
        print(f"{missing}. The demo on Flink needs Java 17 and Maven.", file=sys.stderr)
        return 1
    return 0 if right else 1


def _calm() -> None:
    """Keeps off the terminal what Beam says of things that are as they should be."""
    # It warns of Flink's flags before it has asked the job server, which knows them.
    logging.getLogger("apache_beam.options.pipeline_options").setLevel(logging.ERROR)
    # Flink hangs up on the workers, threads of this process here, when a job is over.
    logging.getLogger("apache_beam.runners.worker").setLevel(logging.CRITICAL)
    others = threading.excepthook

    def hook(ended: threading.ExceptHookArgs) -> None:
        if not isinstance(ended.exc_value, grpc.RpcError):
            others(ended)

    threading.excepthook = hook


def _batch(client: Any, endpoint: str, runner: Sequence[str], rows: int) -> bool:
    create_table(client)
    print(f"\nBatch: {rows:,} flights, on Flink …", flush=True)
    counts = load.run([*flags(endpoint, rows), *runner])
    print(counts)
    held = show_items(client)
    return counts.read == counts.settled == rows and counts.written == held


def _streaming(client: Any, endpoint: str, runner: Sequence[str]) -> bool:
    client.create_table(
        TableName=_BOARD,
        AttributeDefinitions=[{"AttributeName": "flight", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "flight", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "board.jsonl"
        log.touch()
        print("\nStreaming: a departure board that changes, on Flink …", flush=True)
        job = stream.start(_flags(log, endpoint, runner))
        board: dict[str, str] = {}
        for said, changes in _day():
            _append(log, changes)
            board |= {row["flight"]: row["status"] for row in changes}
            board = {flight: status for flight, status in board.items() if status != "left"}
            took = _seconds_until(lambda: _read(client) == board)  # noqa: B023
            print(f"  {said}: {len(changes)} changes, on the table after {took:.1f} s", flush=True)
        _append(log, [None])
        over = _seconds_until(lambda: job.state == "DONE")
        print(f"  the file ends: so does the job, after {over:.1f} s")
    print(f"\nThe table '{_BOARD}' holds {len(board)} items. Three of them:")
    for flight, status in sorted(_read(client).items())[:3]:
        print(f"  flight={flight}, status={status}")
    return _read(client) == board


def _flags(log: Path, endpoint: str, runner: Sequence[str]) -> list[str]:
    return [
        f"--changes={log}", f"--table_name={_BOARD}", f"--aws_region={REGION}",
        f"--aws_endpoint={endpoint}", "--partitioned_by=flight", "--primary_key=flight",
        f"--sink_flush_buffer_timeout={_TIMEOUT_MS}", *runner,
        "--streaming", "--checkpointing_interval=1000", "--max_bundle_time_mills=100",
        "--finish_bundle_before_checkpointing",  # else it may never begin: docs/flink.md
        "--shutdown_sources_after_idle_ms=1",  # so that the job is over when its file is
    ]  # fmt: skip


def _day() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What happens, in steps of several changes."""
    numbers = range(_FLIGHTS)
    yield "flights are announced", [_change("+I", each, "on time") for each in numbers]
    yield (
        "every fourth is delayed",
        [
            change
            for each in numbers[::4]
            for change in (_change("-U", each, "on time"), _change("+U", each, "delayed"))
        ],
    )
    yield "every other one leaves", [_change("-D", each, "left") for each in numbers[1::2]]


def _change(kind: str, number: int, status: str) -> dict[str, Any]:
    return {"kind": kind, "at": time.time(), "flight": f"UA{100 + number}", "status": status}


def _append(log: Path, changes: Sequence[dict[str, Any] | None]) -> None:
    with log.open("a") as file:
        file.writelines(json.dumps(each) + "\n" for each in changes)


def _read(client: Any) -> dict[str, str]:
    items = client.scan(TableName=_BOARD, ConsistentRead=True)["Items"]
    return {item["flight"]["S"]: item["status"]["S"] for item in items}


def _seconds_until(condition: Any) -> float:
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > _PATIENCE_SECONDS:
            raise RuntimeError(f"nothing came of it within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
