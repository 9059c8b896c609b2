"""Small text files at a path of this machine or of Google Cloud Storage.

`STORAGE_EMULATOR_HOST` is honoured, as by all of Google's clients.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.auth.exceptions import GoogleAuthError

from templates.launch.errors import LaunchError

__all__ = ["is_gcs", "read", "read_if_there", "write"]

_SCHEME = "gs://"
_TIMEOUT_SECONDS = 60.0


def is_gcs(path: str) -> bool:
    """Whether the path is one of Google Cloud Storage."""
    return path.startswith(_SCHEME)


def read(path: str) -> str:
    """The text of a file.

    Raises:
        LaunchError: It is not there, or may not be read.
    """
    text = read_if_there(path)
    if text is None:
        raise LaunchError(f"There is no file {path}.")
    return text


def read_if_there(path: str) -> str | None:
    """The text of a file, or None where there is none.

    Raises:
        LaunchError: It may not be read.
    """
    try:
        if is_gcs(path):
            text: str = _blob(path).download_as_text(timeout=_TIMEOUT_SECONDS)
            return text
        return Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, NotFound):
        return None
    except (OSError, UnicodeDecodeError, GoogleAPICallError, GoogleAuthError) as cause:
        raise LaunchError(f"{path} cannot be read: {cause}") from cause


def write(path: str, text: str) -> None:
    """Makes or replaces a file.

    Raises:
        LaunchError: It cannot be written.
    """
    try:
        if is_gcs(path):
            _blob(path).upload_from_string(
                text, content_type="application/json", timeout=_TIMEOUT_SECONDS
            )
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
    except (OSError, GoogleAPICallError, GoogleAuthError) as cause:
        raise LaunchError(f"{path} cannot be written: {cause}") from cause


def _blob(path: str) -> Any:
    from google.cloud import storage  # type: ignore[attr-defined,unused-ignore]

    bucket, _, name = path.removeprefix(_SCHEME).partition("/")
    if not (bucket and name):
        raise LaunchError(f"{path} must name a bucket and an object, as in gs://bucket/object.")
    return storage.Client().bucket(bucket).blob(name)
