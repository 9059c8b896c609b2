"""The version of the package, as its distribution has it."""

from __future__ import annotations

from importlib import metadata

__all__ = ["__version__"]

try:
    __version__ = metadata.version("beam-dynamodb")
except metadata.PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"
