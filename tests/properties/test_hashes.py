"""Hashes of two bodies at once are those of `hashlib`, however the bodies are cut into parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb import hashes
from beam_dynamodb.hashes import TOGETHER, sha256_of

BLOCK = 64

parts = st.binary(max_size=3 * BLOCK) | st.sampled_from(
    [bytes(size) for size in (BLOCK - 9, BLOCK - 8, BLOCK - 1, BLOCK, BLOCK + 1, 40 * BLOCK + 7)]
)
bodies = st.lists(parts, max_size=6)


def hashlibs(body: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(body)).hexdigest()


@given(several=st.lists(bodies, max_size=3))
def test_hashes_are_those_of_hashlib(several: list[list[bytes]]) -> None:
    assert list(sha256_of(several)) == list(map(hashlibs, several))


@given(first=bodies, second=bodies)
def test_hashes_are_the_same_where_one_body_is_hashed_after_the_other(
    first: list[bytes], second: list[bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes, "TOGETHER", 1)
        assert list(sha256_of([first, second])) == [hashlibs(first), hashlibs(second)]


def test_bodies_as_large_as_calls_are_hashed_at_once_in_several_threads() -> None:
    calls = [[os.urandom(100_003) for _ in range(size)] for size in (25, 24, 7, 1)]
    pairs = [[first, second] for first in calls for second in calls]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pair: list(sha256_of(pair)), pairs))
    assert found == [list(map(hashlibs, pair)) for pair in pairs]


def test_what_is_no_bytes_is_refused() -> None:
    with pytest.raises(TypeError):
        list(sha256_of([[b"{}"], ["{}"]]))  # type: ignore[list-item]


@pytest.mark.skipif(TOGETHER == 1, reason="this processor, or its compiler, hashes one at a time")
def test_in_fips_mode_all_hashing_is_left_to_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hashes._together() == 2
    monkeypatch.setattr(hashes, "get_fips_mode", lambda: 1)
    assert hashes._together() == 1
