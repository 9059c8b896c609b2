"""Strategies for what users write: names, numbers, keys, values, rows; and what cannot be stored.

All of them draw what DynamoDB takes, unless their names say otherwise.
"""

from __future__ import annotations

import json
import re
from datetime import time, timezone
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from beam_dynamodb.table import NUMBER_MAX_DIGITS, NUMBER_MAX_EXPONENT, NUMBER_MIN_EXPONENT

__all__ = [
    "attribute_names",
    "decimals",
    "floats",
    "integers",
    "key_values",
    "numbers",
    "planted",
    "respelled",
    "rows",
    "scalars",
    "sets",
    "texts",
    "unstorable",
    "values",
    "walk",
]


def texts(*, min_size: int = 0, max_size: int = 8) -> st.SearchStrategy[str]:
    """Any text that UTF-8 can express."""
    characters = st.characters(exclude_categories=["Cs"])
    return st.text(characters, min_size=min_size, max_size=max_size)


def attribute_names() -> st.SearchStrategy[str]:
    """Mostly plain names, sometimes ones with dots, brackets, quotes or spaces."""
    plain = st.text("abcXYZ_0", min_size=1, max_size=4)
    return st.one_of(plain, plain, st.text('a.[]"\\ 0é', min_size=1, max_size=4))


# --- numbers -------------------------------------------------------------------------------


@st.composite
def decimals(draw: st.DrawFn) -> Decimal:
    """Every number that DynamoDB takes: 38 digits, 1E-130 to 9.9…E+125, and zero."""
    digits = draw(st.integers(0, 10 ** draw(st.integers(1, NUMBER_MAX_DIGITS)) - 1))
    length = len(str(digits))
    lowest, highest = NUMBER_MIN_EXPONENT - length + 1, NUMBER_MAX_EXPONENT - length + 1
    near = st.integers(max(lowest, -6), min(highest, 6))
    exponent = draw(st.one_of(near, st.integers(lowest, highest)))
    return Decimal((draw(st.integers(0, 1)), tuple(map(int, str(digits))), exponent))


def integers() -> st.SearchStrategy[int]:
    """Integers of at most 38 digits, and longer ones that end in zeros."""
    most = 10**NUMBER_MAX_DIGITS - 1
    long = st.builds(lambda n, zeros: n * 10**zeros, st.integers(-999, 999), st.integers(0, 120))
    return st.one_of(st.integers(-1000, 1000), st.integers(-most, most), long)


def floats() -> st.SearchStrategy[float]:
    """Floats within DynamoDB's range."""
    usual = st.floats(allow_nan=False, allow_infinity=False)
    return usual.filter(lambda x: x == 0 or 1e-130 <= abs(x) < 1e126)


def numbers() -> st.SearchStrategy[int | float | Decimal]:
    """Numbers of the three types that Python has for them."""
    return st.one_of(integers(), floats(), decimals())


@st.composite
def respelled(draw: st.DrawFn, number: Decimal) -> str:
    """Some spelling of the number: more zeros on either side, an exponent, a plus."""
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    zeros = draw(st.integers(0, 5))
    text = "0" * draw(st.integers(0, 3)) + "".join(map(str, digits)) + "0" * zeros
    exponent -= zeros
    point = draw(st.integers(0, len(text)))
    exponent += len(text) - point
    dotted = point < len(text) or draw(st.booleans())
    mantissa = f"{text[:point]}.{text[point:]}" if dotted else text
    suffix = f"{draw(st.sampled_from('eE'))}{exponent:+d}" if exponent else ""
    return ("-" if sign else draw(st.sampled_from(["", "+"]))) + mantissa + suffix


# --- values and rows -----------------------------------------------------------------------


def key_values() -> st.SearchStrategy[str | int | float | Decimal | bytes]:
    """What a key attribute can hold: never empty. Small, so that keys meet again."""
    small = st.one_of(st.integers(-3, 3), st.sampled_from([1.0, 0.5, Decimal("1.50"), Decimal(2)]))
    text = st.one_of(st.sampled_from(["a", "b", "a$", "$b", "1", " "]), texts(min_size=1))
    return st.one_of(small, text, st.binary(min_size=1, max_size=3), numbers())


def scalars() -> st.SearchStrategy[Any]:
    """Values of the types that DynamoDB has itself."""
    return st.one_of(
        texts(),
        numbers(),
        st.booleans(),
        st.none(),
        st.binary(max_size=8),
        st.integers().map(lambda n: n % 10**6),
    )


def sets() -> st.SearchStrategy[set[Any]]:
    """Sets of one type each, never empty, without numbers that are equal in DynamoDB."""
    small = st.integers(-(10**6), 10**6)
    return st.one_of(
        st.sets(texts(), min_size=1, max_size=4),
        st.sets(small, min_size=1, max_size=4),
        st.sets(decimals(), min_size=1, max_size=4),
        st.sets(st.binary(max_size=4), min_size=1, max_size=4),
    )


def values(*, max_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Values of any shape, nested as deep as hypothesis likes, far from the 32 levels."""
    return st.recursive(
        st.one_of(scalars(), sets()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(attribute_names(), inner, max_size=3),
        ),
        max_leaves=max_leaves,
    )


def rows(
    key: dict[str, st.SearchStrategy[Any]] | None = None, *, max_size: int = 5
) -> st.SearchStrategy[dict[str, Any]]:
    """Rows with a key, by default one attribute `id`, and any further attributes.

    Args:
        key: A strategy for each key attribute, by name.
        max_size: The most attributes beside the key.
    """
    keys = st.fixed_dictionaries(key or {"id": key_values()})
    rest = st.dictionaries(attribute_names(), values(), max_size=max_size)
    return st.builds(lambda known, others: {**others, **known}, keys, rest)


# --- what cannot be stored -----------------------------------------------------------------


def unstorable() -> st.SearchStrategy[Any]:
    """Values that DynamoDB cannot hold, each a new object so that it can be told by identity."""
    return st.one_of(
        st.builds(object),
        st.sampled_from(["nan", "inf", "-inf", "1e126", "1e300", "-1e-131"]).map(float),
        st.sampled_from(["NaN", "sNaN", "-Infinity", "1E126", "9E-131", "1" * 39]).map(Decimal),
        st.integers(10**NUMBER_MAX_DIGITS, 10**50).filter(
            lambda n: len(str(n).rstrip("0")) > NUMBER_MAX_DIGITS
        ),
        st.builds(set),
        st.builds(lambda: {1, "a"}),
        st.builds(lambda: {1.1, Decimal("1.1")}),
        st.builds(lambda: {None: 1}),
        st.builds(lambda: {"": 1}),
        st.builds(lambda: {1: 1, "1": 2}),
        st.builds(lambda: time(1, 2, tzinfo=timezone.utc)),
        st.builds(complex, st.just(1)),
    )


@st.composite
def planted(draw: st.DrawFn) -> tuple[dict[str, Any], Any]:
    """A row that is good but for one value somewhere in it, and that value."""
    culprit = value = draw(unstorable())
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            before = draw(st.lists(scalars(), max_size=2))
            value = [*before, value, *draw(st.lists(st.none(), max_size=2))]
        else:
            value = _among(draw, value)
    row: dict[str, Any] = {"id": 1} | _among(draw, value)
    return row, culprit


def _among(draw: st.DrawFn, value: Any) -> dict[str, Any]:
    neighbours = draw(st.dictionaries(attribute_names(), scalars(), max_size=2))
    return neighbours | {draw(attribute_names()): value}


_STEP = re.compile(r'\.?([\w-]+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]')


def walk(row: Any, path: str) -> Any:
    """What stands at an error's path."""
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        assert step, f"{path!r} is no path at {position}"
        name, index, quoted = step.groups()
        row = row[int(index)] if index else row[name or json.loads(quoted)]
        position = step.end()
    return row
