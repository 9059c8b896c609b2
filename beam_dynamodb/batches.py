"""Many requests to few calls: the latest of each record, cut by count and by wire bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from beam_dynamodb.requests import Request
from beam_dynamodb.table import BATCH_MAX_REQUESTS, BATCH_MAX_WIRE_BYTES

__all__ = ["cut_size", "keep_latest"]

# What stands around the requests of a call: {"RequestItems":{"<table>":[…]}} and its options.
_ENVELOPE_BYTES = 1024


def keep_latest(held: dict[str, Request], newcomers: Iterable[Request]) -> int:
    """Merges newcomers, in the order of their arrival, into the latest record of each identity.

    The greater order (event time, or `order_by`) is the later one; of equals the later arrival.

    Args:
        held: The latest record by identity so far; changed in place.
        newcomers: Requests that have an identity.

    Returns:
        How many records were superseded, of the held ones and of the newcomers together.
    """
    superseded = 0
    for newcomer in newcomers:
        identity = newcomer.identity
        present = held.get(identity)  # type: ignore[arg-type]
        if present is None:
            held[identity] = newcomer  # type: ignore[index]
        else:
            superseded += 1
            if newcomer.order >= present.order:
                held[identity] = newcomer  # type: ignore[index]
    return superseded


def cut_size(
    bodies: Iterable[bytes],
    max_count: int = BATCH_MAX_REQUESTS,
    max_bytes: int = BATCH_MAX_WIRE_BYTES,
) -> int:
    """How many of the first bodies fit into one call; at least one where there is one."""
    count, total = 0, _ENVELOPE_BYTES
    for body in bodies:
        total += len(body) + 1
        if count == max_count or (count and total > max_bytes):
            return count
        count += 1
    return count
