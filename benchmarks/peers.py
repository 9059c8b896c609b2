"""Other ways to write from Python, without Beam. Each makes its client before it is measured.

Each imports its own library when it is asked for, because each may live in its own environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from benchmarks.contender import Job, Run
from benchmarks.rows import KEY, rows

__all__ = ["aiobotocore", "awswrangler", "boto3_batch_writer", "boto3_threads"]

_BATCH = 25
_THREADS = 16


def boto3_batch_writer(job: Job) -> Run:
    """The resource's `batch_writer`, one thread."""
    import boto3

    resource = boto3.resource("dynamodb", region_name=job.region, endpoint_url=job.endpoint)
    table = resource.Table(job.table)

    def run(count: int) -> None:
        with table.batch_writer(overwrite_by_pkeys=[KEY] if job.keys else []) as batch:
            for row in rows(job.shape, 0, count):
                batch.put_item(Item=row)

    return run


def boto3_threads(job: Job) -> Run:
    """A client shared by 16 threads; the user types the attributes, which is the quickest way."""
    from concurrent.futures import ThreadPoolExecutor

    import boto3
    from botocore.config import Config

    client = boto3.client(
        "dynamodb",
        region_name=job.region,
        endpoint_url=job.endpoint,
        config=Config(max_pool_connections=_THREADS),
    )

    def send(requests: list[dict[str, Any]]) -> None:
        left: Any = {job.table: requests}
        while left:
            left = client.batch_write_item(RequestItems=left)["UnprocessedItems"]

    def run(count: int) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(send, _batches(job.shape, count)):
                pass

    return run


def awswrangler(job: Job) -> Run:
    """`put_items`, which takes all rows at once and has a thread per core."""
    import awswrangler
    import boto3

    awswrangler.config.dynamodb_endpoint_url = job.endpoint
    session = boto3.Session(region_name=job.region)

    def run(count: int) -> None:
        items = list(rows(job.shape, 0, count))
        awswrangler.dynamodb.put_items(items, table_name=job.table, boto3_session=session)

    return run


def aiobotocore(job: Job) -> Run:
    """As many tasks as requests may be in flight, on one event loop."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    async def write(client: Any, batches: Iterator[list[dict[str, Any]]]) -> None:
        for requests in batches:
            left = {job.table: requests}
            while left:
                left = (await client.batch_write_item(RequestItems=left))["UnprocessedItems"]

    async def all_rows(count: int) -> None:
        config = AioConfig(max_pool_connections=job.in_flight)
        async with get_session().create_client(
            "dynamodb", region_name=job.region, endpoint_url=job.endpoint, config=config
        ) as client:
            batches = _batches(job.shape, count)
            await asyncio.gather(*(write(client, batches) for _ in range(job.in_flight)))

    return lambda count: asyncio.run(all_rows(count))


def _batches(shape: str, count: int) -> Iterator[list[dict[str, Any]]]:
    """The rows as requests of 25 in wire form. Only for rows of numbers and texts."""
    for start in range(0, count, _BATCH):
        yield [
            {"PutRequest": {"Item": {name: _typed(value) for name, value in row.items()}}}
            for row in rows(shape, start, min(start + _BATCH, count))
        ]


def _typed(value: int | str) -> dict[str, str]:
    return {"S": value} if isinstance(value, str) else {"N": str(value)}
