"""The rows that are written: `user_id` is their number, so that no two have the same key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

__all__ = ["CHUNK", "KEY", "SHAPES", "TABLE", "chunks", "rows"]

TABLE = "user_behavior"
KEY = "user_id"
CHUNK = 10_000
"""How many rows a source makes at a time."""

_BEHAVIORS = ("pv", "buy", "cart", "fav")
_TEXT = "The quick brown fox jumps over the lazy dog. " * 2_300


def _behavior(number: int) -> dict[str, Any]:
    """The table of the connector's documentation."""
    return {
        "user_id": number,
        "item_id": number * 7919 % 5_000_011,
        "category_id": number % 9_973,
        "behavior": _BEHAVIORS[number & 3],
    }


def _text(size: int) -> Callable[[int], dict[str, Any]]:
    """The same with a text that makes it about `size` bytes."""

    def row(number: int) -> dict[str, Any]:
        start = number % 45
        return {**_behavior(number), "review": _TEXT[start : start + size - 60]}

    return row


def _wide(number: int) -> dict[str, Any]:
    """50 attributes: numbers, texts, booleans, nulls."""
    row: dict[str, Any] = {"user_id": number}
    for at in range(1, 50):
        kind = at % 4
        value = (number + at, f"value {number + at}", at % 8 < 4, None if at % 8 < 4 else at)[kind]
        row[f"attribute_{at:02}"] = value
    return row


def _nested(number: int) -> dict[str, Any]:
    """An order with its lines: maps in lists in maps, decimals, a set."""
    return {
        "user_id": number,
        "order": {
            "number": f"A-{number}",
            "ship_to": {"name": "A. Person", "street": "1 Main Street", "city": "Springfield"},
            "lines": [
                {"sku": f"sku-{number + at}", "quantity": at + 1, "price": Decimal("19.99")}
                for at in range(5)
            ],
        },
        "tags": {"new", "gift", "express"},
    }


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "user_behavior": _behavior,
    "1 KB": _text(1_000),
    "10 KB": _text(10_000),
    "100 KB": _text(100_000),
    "50 attributes": _wide,
    "nested": _nested,
}


def chunks(count: int) -> list[tuple[int, int]]:
    """The first number, and that after the last, of each chunk of that many rows."""
    return [(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def rows(shape: str, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """The rows with these numbers."""
    return map(SHAPES[shape], range(start, stop))
