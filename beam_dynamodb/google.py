"""What Google Cloud gives a worker: identity tokens of its service account, and kept secrets.

Needs the extra `gcp`. Google's libraries are imported when they are first used, so that whoever
runs elsewhere needs none of them. Nothing here is cached or logged.
"""

from __future__ import annotations

from typing import Any

__all__ = ["identity_token", "secret"]

_EXTRA = "Google's libraries are not installed: pip install 'beam-dynamodb[gcp]'"
_TIMEOUT_SECONDS = 30.0


def identity_token(audience: str) -> str:
    """A new OpenID Connect token that says which service account this machine runs as.

    It comes from the metadata server of the machine, or from the service account's key file that
    `GOOGLE_APPLICATION_CREDENTIALS` names. It is valid for an hour.

    Args:
        audience: Whom the token is meant for; AWS compares it with the role's trust policy.

    Raises:
        LookupError: Google's libraries are missing.
        google.auth.exceptions.GoogleAuthError: There is no service account to be had.
    """
    try:
        from google.auth.transport.requests import Request
        from google.oauth2 import id_token
    except ImportError as cause:
        raise LookupError(_EXTRA) from cause
    token: str = id_token.fetch_id_token(Request(), audience)  # type: ignore[no-untyped-call,unused-ignore]
    return token


def secret(version: str) -> str:
    """What Secret Manager keeps under a name.

    Args:
        version: For example `projects/my-project/secrets/my-secret/versions/latest`.

    Returns:
        The secret as text, without white space around it.

    Raises:
        LookupError: Google's libraries are missing, or the secret is empty or no text.
        google.api_core.exceptions.GoogleAPICallError: It does not exist, or may not be read.
    """
    answer = _secret_manager().access_secret_version(name=version, timeout=_TIMEOUT_SECONDS)
    try:
        text: str = answer.payload.data.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise LookupError(f"the secret {version} is empty or no text in UTF-8")
    return text


def _secret_manager() -> Any:
    try:
        from google.cloud.secretmanager import SecretManagerServiceClient
    except ImportError as cause:
        raise LookupError(_EXTRA) from cause
    return SecretManagerServiceClient()
