"""The only door to DynamoDB: finds the endpoint, describes tables, sends batches.

botocore does everything that is not hot (credentials, endpoint rules, DescribeTable); a batch
goes out through `wire`. No botocore type leaves this module: failures are `ServiceError`s.
"""

from __future__ import annotations

import email.utils
import logging
import re
import ssl
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import botocore.exceptions
import botocore.httpsession
import botocore.session
import botocore.utils
import orjson
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from beam_dynamodb import credentials
from beam_dynamodb.errors import CredentialsError, OptionError, ServiceError
from beam_dynamodb.options import SinkOptions
from beam_dynamodb.requests import matching
from beam_dynamodb.signing import Identity, Signer
from beam_dynamodb.table import TableKey
from beam_dynamodb.wire import Reply, Target, Wire

__all__ = ["Answer", "Channel", "DynamoDB", "DynamoDBChannel"]

_logger = logging.getLogger(__name__)

_OPERATION = "DynamoDB_20120810.BatchWriteItem"
_EXPIRED = frozenset(["ExpiredTokenException", "ExpiredToken"])
_SKEWED = frozenset(["RequestTimeTooSkewed", "RequestExpired", "InvalidSignatureException"])
_LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1")
_SKEW_TOLERANCE = timedelta(minutes=4)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one batch.

    Attributes:
        tag: What `send` was given with the batch.
        unprocessed: The positions in the batch that DynamoDB did not write.
        error: Why the whole call failed, or None.
        consumed: Capacity units, where they were asked for.
        seconds: How long the call took.
    """

    tag: object
    unprocessed: tuple[int, ...] = ()
    error: ServiceError | None = None
    consumed: float = 0.0
    seconds: float = 0.0


class Channel(Protocol):
    """Sends batches, many at a time; the writer's view of DynamoDB."""

    @property
    def has_room(self) -> bool:
        """Whether one more batch may be sent now."""

    def send(self, table: str, bodies: Sequence[bytes], tag: object) -> None:
        """Sends a batch; its answer comes from `poll`. Never waits and never raises."""

    def poll(self, timeout: float) -> list[Answer]:
        """The answers that are there; waits up to `timeout` seconds for the first one."""

    def close(self) -> None:
        """Ends all connections; batches on their way get no answer."""


class DynamoDB:
    """One DynamoDB endpoint with one set of credentials, shared by all writers of a process."""

    def __init__(
        self, options: SinkOptions, *, user_agent: str, count_capacity: bool = False
    ) -> None:
        """Resolves credentials and the endpoint.

        Args:
            options: The sink's options.
            user_agent: What the sink calls itself, added to botocore's user agent.
            count_capacity: Whether answers shall tell the consumed capacity.

        Raises:
            CredentialsError: There are no credentials on this worker.
        """
        self._options = options
        self._count_capacity = count_capacity
        self._lock = threading.Lock()
        self._keys: dict[str, TableKey | None] = {}
        self._skew = timedelta(0)
        self._refreshes = 0
        self._session = botocore.session.Session()
        self._verify = False if options.aws_trust_all_certificates else None
        self._credentials = credentials.resolve(
            options.credentials, region=options.aws_region, verify=self._verify
        )
        self._session.register_component("credential_provider", _Resolved(self._credentials))
        self._client = self._session.create_client(
            "dynamodb",
            region_name=options.aws_region,
            endpoint_url=options.aws_endpoint,
            verify=self._verify,
            config=Config(
                user_agent_extra=user_agent,
                retries={"mode": "standard", "total_max_attempts": 5},
                parameter_validation=False,
            ),
        )
        self._url, self._user_agent = _prepared(self._client)
        _warn_of_plain_http(self._url)

    def table_key(self, table: str) -> TableKey | None:
        """The table's primary key as DescribeTable tells it; asked once per table and process.

        Returns:
            The key, or None where the credentials do not allow dynamodb:DescribeTable.

        Raises:
            ServiceError: There is no such table, or DynamoDB could not be asked.
        """
        with self._lock:
            if table not in self._keys:
                self._keys[table] = self._describe(table)
            return self._keys[table]

    def channel(self) -> DynamoDBChannel:
        """A new channel, for one thread."""
        return DynamoDBChannel(self, self._target(), self._options)

    def now(self) -> datetime:
        """The time as the server has it."""
        return datetime.now(timezone.utc) + self._skew

    def signer(self, identity: Identity) -> Signer:
        """A signer of BatchWriteItem requests to this endpoint."""
        parts = urlsplit(self._url)
        path = parts.path or "/"
        return Signer(
            host=_host_header(self._url),
            path=path,
            request_target=self._url if self._target().proxy and parts.scheme == "http" else path,
            region=self._client.meta.region_name,
            target=_OPERATION,
            identity=identity,
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
        )

    def identity(self) -> Identity:
        """The credentials of this moment, refreshed if they are about to expire.

        Raises:
            CredentialsError: They expired, and new ones could not be had.
        """
        frozen = self._credentials.get_frozen_credentials()
        return Identity(frozen.access_key, frozen.secret_key, frozen.token)

    def envelope(self, table: str) -> tuple[bytes, bytes]:
        """What stands before and behind the requests in a call's body."""
        name = orjson.dumps(table)
        capacity = b'],"ReturnConsumedCapacity":"TOTAL"}' if self._count_capacity else b"]}"
        return b'{"RequestItems":{%b:[' % name, capacity.replace(b"]", b"]}", 1)

    def heal(self, error: ServiceError, date: str | None, used: Identity) -> ServiceError:
        """Mends what can be mended after a failed call: expired credentials, a wrong clock.

        Returns:
            An error that may be retried if something was mended, else the error given.
        """
        if error.code in _EXPIRED and self._refresh(used):
            return ServiceError(error.message, code="CredentialsRefreshed", status=error.status)
        if error.code in _SKEWED and self._correct_clock(date):
            return ServiceError(error.message, code="ClockSkewCorrected", status=error.status)
        return error

    def explain(self, code: str, message: str, table: str, **facts: Any) -> ServiceError:
        """An error of DynamoDB in words that say what to do."""
        where = f"table '{table}' at {urlsplit(self._url).netloc} ({self._options.aws_region})"
        advice = _ADVICE.get(code, "")
        return ServiceError(
            f"{code} for {where}: {_without_contents(code, message)}{' ' if advice else ''}{advice}",
            code=code,
            **facts,
        )

    def _refresh(self, used: Identity) -> bool:
        with self._lock:
            if self.identity() != used:  # another thread was quicker
                return True
            return credentials.refresh(self._credentials) and self.identity() != used

    def _correct_clock(self, date: str | None) -> bool:
        try:
            server = email.utils.parsedate_to_datetime(date or "")
        except ValueError:
            return False
        if abs(server - self.now()) < _SKEW_TOLERANCE:
            return False
        self._skew = server - datetime.now(timezone.utc)
        _logger.warning("The clock differs from DynamoDB's by %s; allowing for that.", self._skew)
        return True

    def _describe(self, table: str) -> TableKey | None:
        try:
            description = self._client.describe_table(TableName=table)["Table"]
        except botocore.exceptions.ClientError as cause:
            error = self._explain_client_error(cause, table)
            if error.code in ("AccessDeniedException", "AccessDenied"):
                _logger.info("dynamodb:DescribeTable is not allowed; going on without the key.")
                return None
            raise error from cause
        except botocore.exceptions.BotoCoreError as cause:
            raise self.explain("ConnectionError", str(cause), table) from cause
        return _key_of(description)

    def _explain_client_error(
        self, cause: botocore.exceptions.ClientError, table: str
    ) -> ServiceError:
        response = cause.response
        return self.explain(
            response["Error"].get("Code", "Unknown"),
            response["Error"].get("Message", ""),
            table,
            status=response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
        )

    def _target(self) -> Target:
        parts = urlsplit(self._url)
        tls = self._tls_context() if parts.scheme == "https" else None
        proxy = botocore.utils.get_environ_proxies(self._url).get(parts.scheme)
        if proxy is not None and urlsplit(proxy).scheme not in ("", "http"):
            raise OptionError(f"Only http:// proxies are supported; the environment names {proxy}.")
        if proxy is not None and "://" not in proxy:
            proxy = f"http://{proxy}"
        port = parts.port or (443 if tls else 80)
        return Target(parts.hostname or "", port, tls, proxy)

    def _tls_context(self) -> ssl.SSLContext:
        if self._options.aws_trust_all_certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        bundle = self._session.get_config_variable("ca_bundle")
        path = bundle or botocore.httpsession.get_cert_path(True)
        return ssl.create_default_context(cafile=path)


class DynamoDBChannel:
    """The channel of one thread: signs batches, sends them, reads the answers."""

    def __init__(self, service: DynamoDB, target: Target, options: SinkOptions) -> None:
        """Opens no connection yet."""
        self._service = service
        self._wire = Wire(
            target,
            max_connections=options.sink_http_client_max_concurrency,
            read_timeout=options.sink_http_client_read_timeout / 1000,
        )
        self._envelopes: dict[str, tuple[bytes, bytes]] = {}
        self._signer: Signer | None = None
        self._unsent: list[Answer] = []

    @property
    def has_room(self) -> bool:
        """Whether one more batch may be sent now."""
        return self._wire.has_room

    def send(self, table: str, bodies: Sequence[bytes], tag: object) -> None:
        """Signs and sends a batch."""
        before, after = self._envelopes.get(table) or self._new_envelope(table)
        body = b"%b%b%b" % (before, b",".join(bodies), after)
        try:
            signer = self._current_signer()
        except (CredentialsError, botocore.exceptions.BotoCoreError) as cause:
            error = self._service.explain("ExpiredTokenException", str(cause), table)
            error.__cause__ = cause
            self._unsent.append(Answer(tag, error=error))
            return
        head = signer.head(body, self._service.now())
        self._wire.send(head, body, _Sent(tag, table, bodies, signer.identity))

    def poll(self, timeout: float) -> list[Answer]:
        """The answers that are there; waits up to `timeout` seconds for the first one."""
        unsent, self._unsent = self._unsent, []
        replies = self._wire.poll(0.0 if unsent else timeout)
        return unsent + [self._answer(reply) for reply in replies]

    def close(self) -> None:
        """Ends all connections; batches on their way get no answer."""
        self._wire.close()

    def _current_signer(self) -> Signer:
        identity = self._service.identity()
        if self._signer is None or self._signer.identity != identity:
            self._signer = self._service.signer(identity)
        return self._signer

    def _new_envelope(self, table: str) -> tuple[bytes, bytes]:
        self._envelopes[table] = self._service.envelope(table)
        return self._envelopes[table]

    def _answer(self, reply: Reply) -> Answer:
        sent = reply.tag
        assert isinstance(sent, _Sent)  # noqa: S101 - send() is the only one to tag
        error = _fault(reply, partial(self._service.explain, table=sent.table))
        if error is not None:
            error = self._service.heal(error, reply.headers.get("date"), sent.identity)
            return Answer(sent.tag, error=error, seconds=reply.seconds)
        content = orjson.loads(reply.body)
        returned = [
            each for items in (content.get("UnprocessedItems") or {}).values() for each in items
        ]
        consumed = sum(each["CapacityUnits"] for each in content.get("ConsumedCapacity") or ())
        unprocessed = matching(sent.bodies, returned) if returned else ()
        return Answer(sent.tag, unprocessed, None, consumed, reply.seconds)


@dataclass(frozen=True, slots=True)
class _Sent:
    tag: object
    table: str
    bodies: Sequence[bytes]
    identity: Identity


@dataclass(frozen=True, slots=True)
class _Resolved:
    """Gives a botocore session the credentials that are there already."""

    credentials: Any

    def load_credentials(self) -> Any:
        return self.credentials


def _fault(reply: Reply, explain: Callable[..., ServiceError]) -> ServiceError | None:
    """The error that a reply tells of; None for an answer that can be taken as it is."""
    if reply.error is not None:
        error = explain(reply.error.code, str(reply.error))
        error.__cause__ = reply.error
        return error
    checksum = reply.headers.get("x-amz-crc32")
    if checksum is not None and checksum != str(zlib.crc32(reply.body)):
        return explain("Crc32Mismatch", "the answer was damaged on its way", status=reply.status)
    try:
        content = orjson.loads(reply.body) if reply.status != 200 or not reply.body else None
    except orjson.JSONDecodeError:
        content = {}
    if reply.status == 200 and reply.body.startswith(b"{"):
        return None
    if reply.status == 200:
        return explain("BadResponse", "the answer is not a JSON object", status=200)
    return _explained(reply, content if isinstance(content, dict) else {}, explain)


def _explained(
    reply: Reply, content: dict[str, Any], explain: Callable[..., ServiceError]
) -> ServiceError:
    code = str(content.get("__type") or reply.headers.get("x-amzn-errortype") or "")
    code = code.rpartition("#")[2].partition(":")[0] or f"HTTP {reply.status}"
    reasons = content.get("ThrottlingReasons") or content.get("throttlingReasons") or ()
    hint = reply.headers.get("x-amz-retry-after", "")
    return explain(
        code,
        str(content.get("message") or content.get("Message") or "no message"),
        status=reply.status,
        retry_after=int(hint) / 1000 if hint.isdigit() else None,
        reasons=tuple((each.get("reason", ""), each.get("resource", "")) for each in reasons),
        request_id=reply.headers.get("x-amzn-requestid"),
    )


def _prepared(client: Any) -> tuple[str, str]:
    """The URL and user agent of a BatchWriteItem as botocore would send it.

    botocore prepares a call up to the moment of sending and is then handed an empty answer: so
    its endpoint rules (region, dual stack, FIPS, account-based endpoints) hold for our calls.
    """
    prepared: list[tuple[str, str]] = []

    def intercept(request: Any, **_: Any) -> AWSResponse:
        agent = request.headers["User-Agent"]
        prepared.append((request.url, agent.decode() if isinstance(agent, bytes) else agent))
        return AWSResponse(request.url, 200, {}, _Empty())

    event = "before-send.dynamodb.BatchWriteItem"
    client.meta.events.register(event, intercept)
    try:
        client.batch_write_item(RequestItems={})
    finally:
        client.meta.events.unregister(event, intercept)
    return prepared[0]


class _Empty:
    def stream(self, **_: Any) -> Any:
        yield b"{}"


def _key_of(description: dict[str, Any]) -> TableKey:
    types = {
        each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]
    }
    schema = sorted(description["KeySchema"], key=lambda each: each["KeyType"] != "HASH")
    names = tuple(each["AttributeName"] for each in schema)
    return TableKey(names, tuple(types[name] for name in names))


def _host_header(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"


def _warn_of_plain_http(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname or ""):
        _logger.warning(
            "'aws.endpoint' is plain http: rows and signatures to %s are not encrypted.",
            parts.netloc,
        )


_ADVICE = {
    "ResourceNotFoundException": (
        "Create the table, or check 'table-name', 'aws.region' and 'aws.endpoint'."
    ),
    "AccessDeniedException": (
        "Allow dynamodb:BatchWriteItem on the table to the identity that "
        "'aws.credentials.provider' gives."
    ),
    "UnrecognizedClientException": (
        "AWS does not know the access key: check 'aws.credentials.provider' and its options."
    ),
    "InvalidSignatureException": (
        "The secret key does not fit the access key: check 'aws.credentials.provider' and its options."
    ),
    "ExpiredTokenException": (
        "The credentials expired and no newer ones could be had: check 'aws.credentials.provider'."
    ),
}


def _without_contents(code: str, message: str) -> str:
    """AWS's message without what must not be shown.

    A refused signature comes with the signed headers, the session token among them; a refused
    item may come with the members of a set.
    """
    if code in _SKEWED:
        message = message.partition("\n")[0]
    return re.sub(r"\[[^\]]*\]", "[…]", message)
