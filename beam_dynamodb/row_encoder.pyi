from collections.abc import Callable, Sequence
from typing import Any, Protocol

class _KeyReader(Protocol):
    @property
    def parts(self) -> Sequence[tuple[str, str | None, int | None]]: ...
    def part(self, value: object, name: str, kind: str | None, limit: int | None) -> str: ...

def places_by_shard(identities: list[str], shards: int) -> dict[int, list[int]]: ...

class RowEncoder:
    def __init__(
        self,
        before: str,
        after: str,
        readers: tuple[_KeyReader, ...],
        *,
        label_of: Callable[[str], str],
        piece_of: Callable[[Any], tuple[bytes, bool]],
        flat: frozenset[type],
        floats: tuple[float, float],
        deepest: int,
        longest_name: int,
    ) -> None: ...
    def encode(
        self, rows: list[Any], most: int = 0
    ) -> tuple[list[bytes], list[list[str]], bool, bool, tuple[str, ...] | None] | None: ...
    def row_reader(self, names: tuple[str, ...]) -> Callable[[bytes], dict[str, Any]]: ...
