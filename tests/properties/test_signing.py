"""Our signer and botocore's agree on every request."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb.signing import Identity, Signer

_PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
_ALNUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

access_keys = st.text(_ALNUM, min_size=1, max_size=30)
secrets = st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable())
tokens = st.none() | st.text(_PRINTABLE, min_size=1, max_size=300)
regions = st.sampled_from(["us-east-1", "eu-west-3", "cn-north-1", "us-gov-west-1", "local"])
hosts = st.one_of(
    st.sampled_from(["dynamodb.us-east-2.amazonaws.com", "localhost", "127.0.0.1", "[::1]"]),
    st.from_regex(r"[a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,3}", fullmatch=True),
)
ports = st.none() | st.integers(1, 65_535)
segments = st.sampled_from(["", ".", "..", "%41", "~a", "a b", "é", "x:y", "*"]) | st.text(
    _ALNUM + "-._~!$&'()*+,;=@%", max_size=8
)
paths = st.just("/") | st.lists(segments, max_size=6).map(lambda parts: "/" + "/".join(parts))
operations = st.sampled_from(["BatchWriteItem", "DescribeTable"]).map(
    lambda name: f"DynamoDB_20120810.{name}"
)
moments = st.datetimes(
    datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(timezone.utc)
)


def botocore_signed(
    url: str, region: str, identity: Identity, target: str, body: bytes, now: datetime
) -> AWSRequest:
    request = AWSRequest(
        method="POST",
        url=url,
        data=body,
        headers={
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": target,
            "User-Agent": "a client",
        },
    )
    request.context["timestamp"] = now.strftime("%Y%m%dT%H%M%SZ")
    credentials = Credentials(identity.access_key, identity.secret_key, identity.token)
    auth: Any = SigV4Auth(credentials, "dynamodb", region)
    # As SigV4Auth.add_auth, which would read the clock instead.
    auth._modify_request_before_signing(request)
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    auth._inject_signature_to_request(request, signature)
    return request


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


@given(
    access_key=access_keys, secret=secrets, token=tokens, region=regions, host=hosts, port=ports,
    path=paths, target=operations, body=st.binary(max_size=200),
    days=st.lists(st.integers(0, 400), min_size=1, max_size=3), start=moments,
)  # fmt: skip
def test_our_signature_and_signed_headers_are_those_of_botocore(
    access_key: str, secret: str, token: str | None, region: str, host: str, port: int | None,
    path: str, target: str, body: bytes, days: list[int], start: datetime,
) -> None:  # fmt: skip
    identity = Identity(access_key, secret, token)
    place = host if port is None else f"{host}:{port}"
    signer = Signer(
        host=place if port != 443 else host,
        path=path,
        request_target="/",
        region=region,
        target=target,
        identity=identity,
        headers={"User-Agent": "another client", "Accept-Encoding": "identity"},
    )
    for day in days:  # one signer over several days, in any order
        now = start + timedelta(days=day)
        theirs = botocore_signed(f"https://{place}{path}", region, identity, target, body, now)
        ours, *others = map(headers_of, signer.heads([[body], [body[:5], body[5:]]], now))
        assert others == [ours]
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Target", "Content-Type"):
            assert ours[name] == theirs.headers[name], name
        assert ours.get("X-Amz-Security-Token") == theirs.headers.get("X-Amz-Security-Token")
        assert ours["Host"] == signer_host(theirs)
        assert ours["Content-Length"] == str(len(body))


def signer_host(request: AWSRequest) -> str:
    auth: Any = SigV4Auth(Credentials("a", "b"), "dynamodb", "x")
    return str(auth.headers_to_sign(request)["host"])


@given(body=st.binary(max_size=50), other=st.binary(max_size=50), moment=moments)
def test_another_body_or_moment_has_another_signature(
    body: bytes, other: bytes, moment: datetime
) -> None:
    signer = Signer(
        host="h", path="/", request_target="/", region="us-east-2", target="t",
        identity=Identity("AK", "secret"), headers={},
    )  # fmt: skip
    [(_, one), (_, two)] = signer.sign([[body], [other]], moment)
    assert (one == two) == (body == other)
    assert signer.sign([[body]], moment + timedelta(seconds=1))[0][1] != one
