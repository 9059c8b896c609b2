"""Whether a request is signed as AWS asks (Signature Version 4), recomputed with botocore."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, NoReturn

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from beam_dynamodb.testing.attributes import Refused

__all__ = ["check_date", "check_signature"]

_TOLERANCE = timedelta(minutes=5)
_FORMAT = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/"
    r"([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?"
    r"Signature=([0-9a-f]{64})"
)


class _Signed(NamedTuple):
    access_key: str
    date: str
    region: str
    service: str
    signed: list[str]
    signature: str


def check_date(headers: Mapping[str, str], now: float, code: str) -> None:
    """Checks that a request was signed within five minutes of the server's clock.

    Args:
        headers: The request's headers, their names in lower case.
        now: The server's clock, in seconds since 1970.
        code: The error's code.

    Raises:
        Refused: The date is missing, malformed or too far off.
    """
    text = headers.get("x-amz-date", "")
    try:
        signed = datetime.strptime(text, _FORMAT).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise Refused(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            code="IncompleteSignatureException",
        ) from error
    clock = datetime.fromtimestamp(now, timezone.utc)
    if signed < clock - _TOLERANCE:
        limit, relation, sign = clock - _TOLERANCE, "Signature expired: {} is now earlier than", "-"
    elif signed > clock + _TOLERANCE:
        limit, relation, sign = (
            clock + _TOLERANCE, "Signature not yet current: {} is still later than", "+",
        )  # fmt: skip
    else:
        return
    raise Refused(
        f"{relation.format(text)} {limit.strftime(_FORMAT)} "
        f"({clock.strftime(_FORMAT)} {sign} 5 min.)",
        code=code,
    )


def check_signature(
    method: str, path: str, headers: Mapping[str, str], body: bytes, secrets: Mapping[str, str]
) -> None:
    """Checks that a request carries the signature of a known secret key over just this content.

    Args:
        method: `POST`.
        path: The path of the request.
        headers: Its headers, their names in lower case.
        body: Its body.
        secrets: The secret keys by their access key IDs.

    Raises:
        Refused: It is not signed, nobody knows the access key, or the signature is wrong.
    """
    signed = _authorization(headers)
    secret = secrets.get(signed.access_key)
    if secret is None:
        raise Refused(
            "The security token included in the request is invalid.",
            code="UnrecognizedClientException",
        )
    if signed.service != "dynamodb" or not {"host", "x-amz-date"} <= set(signed.signed):
        _refuse_signature("Credential should be scoped to correct service: 'dynamodb'.")
    expected = _signature(signed, secret, method, path, headers, body)
    if not hmac.compare_digest(expected, signed.signature):
        _refuse_signature(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method."
        )


def _authorization(headers: Mapping[str, str]) -> _Signed:
    text = headers.get("authorization")
    if text is None:
        raise Refused(
            "Request is missing Authentication Token", code="MissingAuthenticationTokenException"
        )
    match = _AUTHORIZATION.fullmatch(text)
    if match is None:
        raise Refused(
            "Authorization header is no AWS4-HMAC-SHA256 with Credential, SignedHeaders and "
            "Signature.",
            code="IncompleteSignatureException",
        )
    access_key, date, region, service, signed, signature = match.groups()
    return _Signed(access_key, date, region, service, signed.split(";"), signature)


def _signature(
    signed: _Signed,
    secret: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
) -> str:
    request = AWSRequest(
        method=method,
        url=f"http://{headers.get('host', '')}{path}",
        headers={name: headers.get(name, "") for name in signed.signed},
        data=body,
    )
    request.context["timestamp"] = headers.get("x-amz-date", "")
    auth = SigV4Auth(Credentials(signed.access_key, secret), signed.service, signed.region)
    auth_scope = auth.credential_scope(request)
    if auth_scope != f"{signed.date}/{signed.region}/{signed.service}/aws4_request":
        _refuse_signature("Date in Credential scope does not match YYYYMMDD from x-amz-date.")
    canonical = auth.canonical_request(request)
    return str(auth.signature(auth.string_to_sign(request, canonical), request))


def _refuse_signature(message: str) -> NoReturn:
    raise Refused(message, code="InvalidSignatureException")
