"""Runs the Flex template `files` here, as a launch on Dataflow would: `make template-demo`.

Real flights go into a bucket of a local emulator of Cloud Storage; the pipeline reads them with
the parameters of a launch, checked against the template's metadata, and writes them to an embedded
DynamoDB.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence

import boto3
import google.auth
from google.auth.credentials import AnonymousCredentials

from pipelines.demo import KEY, REGION, TABLE, create_table, flights_file
from pipelines.local import DUMMY_CREDENTIALS, gcs_emulator, moto_server
from templates import files
from templates.launch.checks import check_parameters
from templates.launch.storage import write
from templates.parameters import FILES

__all__ = ["main"]

_BUCKET = "flights-bucket"
_NUMBERS = ("year", "month", "day", "dep_delay", "arr_delay", "air_time", "distance")
_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"

_UDF = '''"""Called with each row: a dict."""


def process(row):
    if row["dep_time"] is None:
        return None  # it never left
    row["late"] = (row["arr_delay"] or 0) > 15
    return row
'''


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo.

    Returns:
        0, or 1 when not as many flights are in the table as there should be.
    """
    parser = argparse.ArgumentParser(prog="python -m templates.demo", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000, help="How many flights.")
    rows = parser.parse_args(argv).rows
    # No real credentials are needed, so none shall be used.
    os.environ.update(DUMMY_CREDENTIALS)
    google.auth.default = lambda **_: (AnonymousCredentials(), "demo")  # type: ignore[assignment,no-untyped-call,unused-ignore]
    print("Starting an embedded DynamoDB and an emulator of Cloud Storage …", flush=True)
    with moto_server() as endpoint, gcs_emulator(_BUCKET) as storage:
        os.environ["STORAGE_EMULATOR_HOST"] = storage
        table = boto3.client("dynamodb", endpoint_url=endpoint, region_name=REGION)
        create_table(table)
        left = _upload(rows)
        parameters = _parameters(endpoint)
        check_parameters(FILES.metadata(), parameters)
        _show(parameters)
        code = files.main([
            *(f"--{name}={value}" for name, value in parameters.items()), f"--runner={_RUNNER}",
        ])  # fmt: skip
        held = table.describe_table(TableName=TABLE)["Table"]["ItemCount"]
    print(f"\n{rows:,} flights read, {left:,} of them left; the table holds {held:,} items.")
    return 0 if code == 0 and held == left else 1


def _upload(rows: int) -> int:
    """Puts flights and a function into the bucket; returns how many flights left."""
    with zipfile.ZipFile(flights_file()) as archive, archive.open(archive.namelist()[0]) as member:
        lines = io.TextIOWrapper(member, encoding="utf-8", newline="")
        head = [next(lines) for _ in range(rows + 1)]
    for number, part in enumerate((head[1 : rows // 2], head[rows // 2 :])):
        write(f"gs://{_BUCKET}/flights/{number}.csv", head[0] + "".join(part))
    write(f"gs://{_BUCKET}/udf.py", _UDF)
    return sum(row["dep_time"] != "NA" for row in csv.DictReader(head))


def _parameters(endpoint: str) -> Mapping[str, str]:
    return {
        "input": f"gs://{_BUCKET}/flights/*.csv",
        "types": ",".join(f"{name}:N" for name in _NUMBERS),
        "null": "NA",
        "derive": "flight_id={carrier}{flight}",
        "python_udf": f"gs://{_BUCKET}/udf.py",
        "partitioned_by": ",".join(KEY),
        "table_name": TABLE,
        "aws_region": REGION,
        "aws_endpoint": endpoint,
        "dead_letters": f"gs://{_BUCKET}/failed.jsonl",
    }


def _show(parameters: Mapping[str, str]) -> None:
    print("\nOn Dataflow, this would be the launch:\n")
    print("  python -m templates.launch launch gs://…/files.json --project=… --region=… \\")
    print(
        " \\\n".join(f"    -p {name}='{value}'" for name, value in parameters.items()), flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
