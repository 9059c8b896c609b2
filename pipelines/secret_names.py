"""Which names are those of secrets, whoever's option and however it is spelled."""

from __future__ import annotations

import re

from beam_dynamodb import SinkOptions

__all__ = ["holds_secret"]


def holds_secret(name: str) -> bool:
    """Whether an option of this name, the sink's or Beam's for S3, holds a secret.

    The name may be spelled as a key, a keyword, a flag, or in camel case.
    """
    return _squeezed(name).endswith(_SECRETS)


def _squeezed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


_SECRETS = (
    *(_squeezed(each.key.rpartition(".")[2]) for each in SinkOptions.declared() if each.secret),
    "secretaccesskey",
    "sessiontoken",
)
