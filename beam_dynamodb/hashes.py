"""The SHA-256 of the bodies of calls, which signatures need: of two at once where that is quicker.

Of a large row the hash costs more than all else. Each of its rounds waits for the one before, so
a processor that has instructions for it does two texts in little more time than one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

try:
    from beam_dynamodb import two_hashes
except ImportError:  # it was installed where there is no compiler
    two_hashes = None  # type: ignore[assignment]
try:
    from _hashlib import get_fips_mode
except ImportError:  # a Python without OpenSSL

    def get_fips_mode() -> int:
        """Nobody asks for a validated module."""
        return 0


__all__ = ["TOGETHER", "sha256_of"]

_Body = Sequence[bytes]
"""A body in parts."""


def _together() -> int:
    # In FIPS mode all hashing is left to OpenSSL, whose module is the validated one.
    is_left_to_openssl = two_hashes is None or bool(get_fips_mode())
    return 2 if not is_left_to_openssl and two_hashes.is_possible() else 1


TOGETHER = _together()
"""How many large bodies cost least together."""


def sha256_of(bodies: Sequence[_Body]) -> Iterable[str]:
    """The SHA-256 of each body, given in parts, in hexadecimal."""
    if len(bodies) == TOGETHER == 2:
        return two_hashes.sha256_of_two(*bodies)
    return map(_sha256, bodies)


def _sha256(body: _Body) -> str:
    hashed = hashlib.sha256()
    for part in body:
        hashed.update(part)
    return hashed.hexdigest()
