"""`python -m beam_dynamodb.testing`: a fake DynamoDB as a process of its own, until it is ended."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import signal
import sys
import threading
from collections.abc import Sequence

from beam_dynamodb.testing import faults as faults_module
from beam_dynamodb.testing.faults import Fault, Faults
from beam_dynamodb.testing.rules import FakeDynamoDB, Refused
from beam_dynamodb.testing.server import FakeServer

__all__ = ["main", "parse_fault", "parse_table"]


def parse_fault(text: str) -> Fault:
    """Reads a fault: its name, then fields: `Reset,when=after`, `ServerError,written=true`.

    Raises:
        ValueError: There is no such fault, or it has no such field.
    """
    name, *fields = text.split(",")
    kind = getattr(faults_module, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Fault) and kind is not Fault):
        raise ValueError(f"there is no fault {name!r}")
    known = {field.name for field in dataclasses.fields(kind)}
    values = {}
    for given in fields:
        field, _, value = given.partition("=")
        if field not in known:
            raise ValueError(f"{name} has {', '.join(sorted(known)) or 'no fields'}, not {field!r}")
        values[field] = _value(value)
    return kind(**values)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def parse_table(text: str) -> tuple[str, dict[str, str]]:
    """Reads a table: its name, then its key: `user_behavior:user_id=N,item_id=S`.

    Raises:
        ValueError: The key is missing.
    """
    name, _, key = text.partition(":")
    parts = [part.partition("=") for part in key.split(",")]
    if not all(attribute and kind for attribute, _, kind in parts):
        raise ValueError(f"a table is NAME:ATTRIBUTE=TYPE[,ATTRIBUTE=TYPE], not {text!r}")
    return name, {attribute: kind for attribute, _, kind in parts}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m beam_dynamodb.testing",
        description="A fake DynamoDB on 127.0.0.1 that is as strict as the real one. Prints its "
        "endpoint, and serves until it is ended. GET /stats and /writes tell what it saw.",
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="the TCP port; 0, the default, takes a free one")
    add("--region", default="us-east-1", help="the region in the tables' ARNs")
    add("--account", default="000000000000", help="the account in them")
    add("--table", action="append", default=[], type=parse_table,
        metavar="NAME:KEY=TYPE[,KEY=TYPE]", help="a table to begin with")  # fmt: skip
    add("--fault", action="append", default=[], nargs=2, metavar=("FAULT", "PROBABILITY"),
        help="as in: --fault ServerError,written=true 0.01")  # fmt: skip
    add("--unprocessed", type=float, default=0.0, metavar="PROBABILITY",
        help="that a write comes back in UnprocessedItems")  # fmt: skip
    add("--by-arn", action="store_true", help="these come back under the table's ARN")
    add("--seed", type=int, default=0, help="decides all that happens by chance")
    add("--latency", type=float, default=0.0, metavar="SECONDS", help="each answer's delay")
    add("--no-log", action="store_true", help="do not remember the writes")
    add("--tls", nargs=2, metavar=("CERTFILE", "KEYFILE"), help="serve https")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until the process gets SIGINT or SIGTERM.

    Args:
        argv: The arguments; the process's own by default.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        chances = {parse_fault(text): float(chance) for text, chance in options.fault}
        faults = Faults.random(
            options.seed, chances, unprocessed=options.unprocessed, by_arn=options.by_arn
        )
        db = FakeDynamoDB(
            region=options.region, account=options.account, keep_log=not options.no_log
        )
        for name, key in options.table:
            db.create_table(name, key)
    except (Refused, TypeError, ValueError) as error:
        parser.error(str(error))
    _collect_rarely()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    tls = tuple(options.tls) if options.tls else None
    with FakeServer(
        db, faults=faults, latency=options.latency, port=options.port, tls=tls
    ) as server:
        sys.stdout.write(f"{server.endpoint}\n")
        sys.stdout.flush()
        ended.wait()


def _collect_rarely() -> None:
    """Requests are trees that die with their call: collecting them costs a third of the time."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


if __name__ == "__main__":
    main()
