"""Many requests to few calls: the latest of each record, cut by count and by wire bytes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from beam_dynamodb.table import BATCH_MAX_REQUESTS, BATCH_MAX_WIRE_BYTES
from beam_dynamodb.write_requests import Requests

__all__ = ["ENVELOPE_BYTES", "cut_size", "keep_latest"]

ENVELOPE_BYTES = 1024
"""What stands around the requests of a call: {"RequestItems":{"<table>":[…]}} and its options."""


def keep_latest(requests: Requests) -> Requests:
    """The latest request of each identity, in the order in which the identities came first.

    So what keeps coming again goes with the first batch. Where identities that stay are of one
    item, all are in the order of their own arrival, so that the item's latest is the last.

    The greater order (event time, or `order_by`) is the later one; of equals the later arrival.

    Args:
        requests: Requests that have an identity, in the order of their arrival.
    """
    identities = requests.identities
    if len(set(identities)) == len(identities):  # as mostly
        return requests
    orders = requests.orders
    latest: dict[str, int] = {}
    for place, identity in enumerate(identities):
        present = latest.setdefault(identity, place)
        if orders[place] >= orders[present]:
            latest[identity] = place
    kept = requests.select(list(latest.values()))
    items = set(zip(kept.tables, kept.fences, strict=True))
    return kept if len(items) == len(kept) else requests.select(sorted(latest.values()))


def cut_size(
    bodies: Sequence[bytes],
    max_count: int = BATCH_MAX_REQUESTS,
    max_bytes: int = BATCH_MAX_WIRE_BYTES,
) -> int:
    """How many of the first bodies fit into one call; at least one where there is one."""
    bodies = bodies[:max_count]
    total = ENVELOPE_BYTES + sum(map(len, bodies)) + len(bodies)
    count = len(bodies)
    while count > 1 and total > max_bytes:
        count -= 1
        total -= len(bodies[count]) + 1
    return count
