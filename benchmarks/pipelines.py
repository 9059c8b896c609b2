"""Beam pipelines in Python: this package's sink, and boto3's `batch_writer` in a DoFn.

Both on the in-memory runner, with the same source and without what a user would not need.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import boto3
from apache_beam.metrics.metric import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.transforms.environments import ExternalEnvironment

from beam_dynamodb import WriteToDynamoDB
from benchmarks.contender import Job, Run
from benchmarks.rows import KEY, chunks, rows

__all__ = ["boto3_in_dofn", "ours"]

_Write = Callable[[PCollection[Any]], Any]


def ours(job: Job) -> Run:
    """`WriteToDynamoDB` as its users write it."""

    def write(read: PCollection[Any]) -> None:
        result = read | WriteToDynamoDB(
            job.table,
            aws_region=job.region,
            aws_endpoint=job.endpoint,
            partitioned_by=[KEY] if job.keys else [],
            primary_key=[KEY],
            sink_requests_max_inflight=job.in_flight,
        )
        if job.consumed:
            _ = result.written | "Consume" >> beam.ParDo(_Consume())

    return _pipeline(job, write)


def boto3_in_dofn(job: Job) -> Run:
    """What most Python pipelines do today."""
    return _pipeline(job, lambda read: read | "Write" >> beam.ParDo(_BatchWriter(job)))


def _pipeline(job: Job, write: _Write) -> Run:
    flags = [f"--direct_num_workers={job.workers}"] if job.workers else []
    environment = _pool() if job.pool else None
    if job.workers and environment is None:
        flags.append("--direct_running_mode=multi_processing")

    def run(count: int) -> None:
        runner, options = FnApiRunner(environment), PipelineOptions(flags)
        with beam.Pipeline(runner=runner, options=options) as begin:
            starts = begin | "Chunks" >> beam.Create(chunks(count), reshuffle=job.workers > 1)
            write(starts | "Rows" >> beam.ParDo(_Rows(job.shape)))

    return run


def _pool() -> ExternalEnvironment:
    """A pool in this process; it starts a worker process when a pipeline asks for one."""
    here = Path(sys.executable).parent  # the pool looks for `python` on the PATH
    os.environ["PATH"] = f"{here}{os.pathsep}{os.environ['PATH']}"
    address, server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    atexit.register(server.stop, 0)
    return ExternalEnvironment(address)


class _Rows(beam.DoFn):
    """The source: a chunk's rows, made while they are written."""

    def __init__(self, shape: str) -> None:
        self._shape = shape

    def process(self, chunk: tuple[int, int]) -> Iterable[dict[str, Any]]:
        return rows(self._shape, *chunk)


class _Consume(beam.DoFn):
    """Counts, as the least that a step behind the sink can do."""

    def __init__(self) -> None:
        self._rows = Metrics.counter("benchmarks", "consumed")
        self._here = 0

    def process(self, row: dict[str, Any]) -> None:
        self._here += 1

    def finish_bundle(self) -> None:
        self._rows.inc(self._here)
        self._here = 0


class _BatchWriter(beam.DoFn):
    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        self._table = boto3.resource(
            "dynamodb", region_name=self._job.region, endpoint_url=self._job.endpoint
        ).Table(self._job.table)

    def start_bundle(self) -> None:
        keys = [KEY] if self._job.keys else []
        self._batch = self._table.batch_writer(overwrite_by_pkeys=keys).__enter__()

    def process(self, row: dict[str, Any]) -> None:
        self._batch.put_item(Item=row)

    def finish_bundle(self) -> Iterator[None]:
        self._batch.__exit__(None, None, None)
        return iter(())
