"""`python -m tests.faults.jobs`: pipelines in processes of their own, to be killed or measured."""

from __future__ import annotations

import argparse
import logging
import resource
import sys
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_dynamodb import WriteToDynamoDB
from tests.beam.helpers import REGION, TABLE


class Rows(beam.DoFn):
    """`{"id": …, "v": …}`: row number `v` of key `v` modulo the number of keys."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    def process(self, start: int) -> Iterator[dict[str, Any]]:
        options = self._options
        for number in range(start, min(start + 1000, options.rows)):
            row = {"id": number % options.keys, "v": number, "attempt": options.attempt}
            yield row | {"big": "x" * options.size}


def write(options: argparse.Namespace) -> None:
    """Runs the pipeline to its end."""
    begin = beam.Pipeline(runner=FnApiRunner())
    rows = (
        begin
        | beam.Create(list(range(0, options.rows, 1000)), reshuffle=False)
        | beam.ParDo(Rows(options))
    )
    _ = rows | WriteToDynamoDB(
        TABLE,
        aws_region=REGION,
        aws_endpoint=options.endpoint,
        partitioned_by=["id"] if options.keyed else [],
        sink_requests_max_inflight=options.in_flight,
        sink_requests_max_buffered=options.buffered,
        sink_http_client_read_timeout=60_000,
    )
    begin.run().wait_until_finish()


def main() -> None:
    """Writes, and prints by how many bytes the process grew meanwhile."""
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("endpoint")
    add("--rows", type=int, required=True)
    add("--keys", type=int, required=True)
    add("--attempt", type=int, default=1)
    add("--size", type=int, default=0)
    add("--in-flight", type=int, default=4)
    add("--buffered", type=int, default=100)
    add("--keyed", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write(options)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    print((after - before) * unit)


if __name__ == "__main__":
    main()
