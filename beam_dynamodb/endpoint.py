"""Where DynamoDB is and how it is reached: its URL, TLS, proxies.

The rules are botocore's, which is asked once for each client.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import ssl
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import botocore.httpsession
import botocore.utils
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from beam_dynamodb.connection import Target
from beam_dynamodb.credentials import hushed
from beam_dynamodb.errors import OptionError

__all__ = ["Endpoint", "endpoint_of", "host_header", "target_of", "warn_of_plain_http"]

_logger = logging.getLogger(__name__)

_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")


class Endpoint(NamedTuple):
    """Where calls go, and how botocore would have signed them.

    Attributes:
        url: The URL.
        user_agent: The User-Agent header.
        region: The region that a signature names.
    """

    url: str
    user_agent: str
    region: str


def endpoint_of(client: Any, table: str) -> Endpoint:
    """The URL, user agent and signing region of a BatchWriteItem as botocore would send it.

    botocore prepares a call up to the moment of sending and is then handed an empty answer: so
    its endpoint rules (region, dual stack, FIPS, account-based endpoints) hold for our calls.
    """
    prepared: list[Any] = []

    def intercept(request: Any, **_: Any) -> AWSResponse:
        prepared.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders(), _Empty())

    event = "before-send.dynamodb.BatchWriteItem"
    client.meta.events.register(event, intercept)
    try:
        with hushed():
            client.batch_write_item(RequestItems={table: []} if table else {})
    finally:
        client.meta.events.unregister(event, intercept)
    [request] = prepared
    agent, authorization = (
        value.decode() if isinstance(value, bytes) else value
        for value in (request.headers["User-Agent"], request.headers.get("Authorization", ""))
    )
    scope = re.search(r"/\d{8}/([^/]+)/dynamodb/aws4_request", authorization)
    return Endpoint(request.url, agent, scope[1] if scope else client.meta.region_name)


class _Empty:
    def stream(self, **_: Any) -> Any:
        yield b"{}"


def host_header(url: str) -> str:
    """The Host header of a request to this URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"


def target_of(url: str, session: Any, *, trust_all: bool) -> Target:
    """Where connections to a URL lead, by this process's proxies and certificates.

    Args:
        url: The URL.
        session: The botocore session whose settings name a file of certificates.
        trust_all: Whether any certificate will do.

    Raises:
        OptionError: A proxy or a file of certificates cannot be used.
    """
    parts = urlsplit(url)
    tls = _tls_context(session, trust_all=trust_all) if parts.scheme == "https" else None
    proxy = botocore.utils.get_environ_proxies(url).get(parts.scheme)
    return Target(
        host=parts.hostname or "",
        port=parts.port or (443 if tls else 80),
        tls=tls,
        proxy=_proxy_url(proxy) if proxy else None,
    )


def _tls_context(session: Any, *, trust_all: bool) -> ssl.SSLContext:
    # Not ssl.create_default_context, which is stricter than botocore in newer Pythons.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trust_all:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    bundle = session.get_config_variable("ca_bundle")
    bundle = bundle or os.environ.get("REQUESTS_CA_BUNDLE")
    try:
        context.load_verify_locations(bundle or botocore.httpsession.get_cert_path(True))
    except OSError as cause:
        raise OptionError(
            f"The certificates of AWS_CA_BUNDLE ('{bundle}') cannot be read: {cause}"
        ) from cause
    return context


def _proxy_url(text: str) -> str:
    """A proxy's URL, which environments often give without its scheme."""
    url = text if "://" in text else f"http://{text.removeprefix('//')}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = url.partition("://")[2].rpartition("@")[2]
        raise OptionError(
            f"Only proxies with an http:// URL are supported, and the environment names another "
            f"one at {shown}. Set HTTPS_PROXY and HTTP_PROXY, or NO_PROXY for the endpoint's host."
        )
    return url


@functools.cache
def warn_of_plain_http(url: str) -> None:
    """Warns of rows that travel in the clear, once in a process for each endpoint."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname or ""):
        _logger.warning(
            "'aws.endpoint' is plain http: rows and signatures to %s are not encrypted.",
            parts.netloc,
        )
