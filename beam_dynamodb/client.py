"""The only door to DynamoDB: describes tables, signs and sends batches, mends what went wrong.

botocore does everything that is not hot (credentials, endpoint rules, DescribeTable); a batch
goes out through `wire`, and `answers` reads what comes back. No botocore type leaves this module:
failures are `ServiceError`s.
"""

from __future__ import annotations

import email.utils
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import chain, repeat
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import botocore.exceptions
import orjson
from botocore.config import Config
from botocore.parsers import ResponseParserError

from beam_dynamodb import credentials
from beam_dynamodb.answers import NO_MESSAGE, content_of, fault_of, in_words, matching
from beam_dynamodb.connection import UNTRUSTED_ADVICE, Reply, Target
from beam_dynamodb.credentials import FrozenCredentials
from beam_dynamodb.endpoint import endpoint_of, host_header, target_of, warn_of_plain_http
from beam_dynamodb.errors import CredentialsError, OptionError, ServiceError
from beam_dynamodb.options import SinkOptions
from beam_dynamodb.signing import Identity, Signer
from beam_dynamodb.table import TableKey
from beam_dynamodb.wire import CONNECT_TIMEOUT, Wire

__all__ = ["Answer", "Call", "Channel", "DynamoDB", "DynamoDBChannel"]

_logger = logging.getLogger(__name__)

_BATCH_WRITE = "DynamoDB_20120810.BatchWriteItem"
_OLD_KEYS = frozenset(
    [
        "ExpiredTokenException",
        "ExpiredToken",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
    ]
)
"""What DynamoDB says of keys that have expired, or that others have replaced: a worker may hold the
old ones for days."""
_SKEWED = frozenset(["RequestTimeTooSkewed", "RequestExpired"])
_SKEWED_WORDS = ("Signature expired", "Signature not yet current")
_SKEW_TOLERANCE = timedelta(minutes=4)
_DESCRIBE_ATTEMPTS = 5
_ASKED_AGAIN = frozenset(["CredentialsRefreshed", "ClockSkewCorrected", "BadResponse"])
"""What DescribeTable is asked again after; botocore itself does it after most other faults."""
_WORTH_PARTS = 128 * 1024
_CREDENTIALS_HOLD = timedelta(seconds=1)
"""How long one look for renewed credentials is good for, unless a call fails."""
_LOOKS_SHARE = 9
"""A look is good for at least so many times as long as it took: a source that is away, and keeps
every look waiting, must not take all of the time."""
_FAULTS = {
    CredentialsError: "ExpiredTokenException",
    ResponseParserError: "BadResponse",
    botocore.exceptions.SSLError: "TlsError",
    botocore.exceptions.ProxyConnectionError: "ProxyError",
    botocore.exceptions.ConnectTimeoutError: "ConnectTimeout",
    botocore.exceptions.ReadTimeoutError: "ReadTimeout",
}
"""What the faults of botocore that come without an answer are called on our own wire."""
_NO_DESCRIPTION = (AttributeError, KeyError, TypeError, ValueError)
"""What comes of JSON that no DynamoDB sends, and of what was cut short: to botocore it is empty."""
_NO_ANSWER = (CredentialsError, ResponseParserError, botocore.exceptions.BotoCoreError)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Call(NamedTuple):
    """A batch to send.

    Attributes:
        table: The table of all its requests.
        bodies: The requests' bodies.
        tag: Comes back with the answer.
    """

    table: str
    bodies: Sequence[bytes]
    tag: object


class Answer(NamedTuple):
    """What became of one batch.

    Attributes:
        tag: The call's tag.
        unprocessed: The positions in the batch that DynamoDB did not write.
        error: Why the whole call failed, or None.
        consumed: The write capacity units that the call consumed.
        seconds: How long the call took.
        sending: How much of that went by until all of it was on its way; 0 if it never was.
    """

    tag: object
    unprocessed: tuple[int, ...] = ()
    error: ServiceError | None = None
    consumed: float = 0.0
    seconds: float = 0.0
    sending: float = 0.0


class Channel(Protocol):
    """Sends batches, many at a time; the writer's view of DynamoDB."""

    @property
    def room(self) -> int:
        """How many more batches may be sent now."""

    def send(self, calls: Sequence[Call]) -> None:
        """Sends batches, of which there is room for as many; their answers come from `poll`.

        Never waits and never raises. Large ones cost less where `hashes.TOGETHER` go together.
        """

    def poll(self, timeout: float) -> list[Answer]:
        """The answers that are there; waits up to `timeout` seconds for the first one."""

    def close(self) -> None:
        """Ends all connections; batches on their way get no answer."""


class DynamoDB:
    """One DynamoDB endpoint with one set of credentials, shared by all writers of a process.

    Thread-safe.
    """

    def __init__(
        self, options: SinkOptions, *, user_agent: str, now: Callable[[], datetime] = _utc_now
    ) -> None:
        """Resolves credentials and the endpoint.

        Args:
            options: The sink's options.
            user_agent: What the sink calls itself, added to botocore's user agent.
            now: The clock, with a time zone.

        Raises:
            CredentialsError: There are no credentials on this worker.
            OptionError: There is no such endpoint, or the environment of the worker names a
                proxy or a file of certificates that cannot be used.
        """
        self._options = options
        self._clock = now
        self._describing = threading.Lock()
        self._mending = threading.Lock()
        self._keys: dict[str, TableKey | None] = {}
        self._skew = timedelta(0)
        self._unproven: FrozenCredentials | None = None
        self._vain: FrozenCredentials | None = None
        self._vain_until = datetime.max.replace(tzinfo=timezone.utc)
        verify = False if options.aws_trust_all_certificates else None
        self._credentials = credentials.resolve(
            options.credentials, region=options.aws_region, verify=verify
        )
        self._session = credentials.session_with(self._credentials)
        try:
            self._session.register_component("data_loader", _loader_of(self._session))
            self._client = self._new_client(user_agent, verify)
            self._endpoint = endpoint_of(self._client, options.table_name)
        except (botocore.exceptions.BotoCoreError, ValueError) as cause:
            endpoint = (
                f", 'aws.endpoint' = '{options.aws_endpoint}'" if options.aws_endpoint else ""
            )
            raise OptionError(
                f"No DynamoDB client can be made from 'aws.region' = '{options.aws_region}'"
                f"{endpoint} and this worker's AWS settings: {cause}"
            ) from cause
        self._target = target_of(
            self._endpoint.url, self._session, trust_all=options.aws_trust_all_certificates
        )
        warn_of_plain_http(self._endpoint.url)

    def table_key(self, table: str) -> TableKey | None:
        """The table's primary key as DescribeTable tells it; asked once per table and process.

        Returns:
            The key, or None where the credentials do not allow dynamodb:DescribeTable.

        Raises:
            ServiceError: There is no such table, or DynamoDB could not be asked.
        """
        with self._describing:
            if table not in self._keys:
                self._keys[table] = self._describe(table)
            return self._keys[table]

    def forget_keys(self) -> None:
        """Lets each table's key be asked for again."""
        with self._describing:
            self._keys.clear()

    def channel(self) -> DynamoDBChannel:
        """A new channel, for one thread."""
        return DynamoDBChannel(self, self._target, self._options)

    @property
    def skew(self) -> timedelta:
        """How far the server's clock is ahead of this machine's, as far as it matters."""
        return self._skew

    def now(self) -> datetime:
        """The time as the server has it."""
        return self._clock() + self._skew if self._skew else self._clock()

    def signer(self, used: FrozenCredentials, operation: str = _BATCH_WRITE) -> Signer:
        """A signer of requests to this endpoint.

        Raises:
            CredentialsError: The credentials are such as no request could carry.
        """
        url, target = self._endpoint.url, self._target
        parts = urlsplit(url)
        request_target = quote(parts.path or "/", safe="/%~:@!$&'()*+,;=")
        headers = {"User-Agent": self._endpoint.user_agent, "Accept-Encoding": "identity"}
        if target.proxy is not None and target.tls is None:
            request_target = f"{parts.scheme}://{parts.netloc}{request_target}"
            if target.proxy_authorization is not None:
                headers["Proxy-Authorization"] = target.proxy_authorization
        try:
            return Signer(
                host=host_header(url),
                path=parts.path or "/",
                request_target=request_target,
                region=self._endpoint.region,
                target=operation,
                identity=Identity(used.access_key, used.secret_key, used.token),
                headers=headers,
            )
        except ValueError as cause:
            raise CredentialsError(
                f"The credentials of '{self._options.credentials.provider}' cannot be used: "
                f"{cause}. Look for a stray line break where they are configured."
            ) from cause

    def current_credentials(self) -> FrozenCredentials:
        """The credentials of this moment, renewed if they are about to expire.

        Raises:
            CredentialsError: They expired, and new ones could not be had.
        """
        return self._credentials.get_frozen_credentials()

    def envelope(self, table: str) -> tuple[bytes, bytes]:
        """What stands before and behind the requests in a call's body."""
        before = b'{"RequestItems":{%b:[' % orjson.dumps(table)
        return before, b']},"ReturnConsumedCapacity":"TOTAL"}'

    def heal(
        self, error: ServiceError, date: str | None, used: FrozenCredentials, skew: timedelta
    ) -> ServiceError:
        """Mends what can be mended after a failed call: old credentials, a wrong clock.

        Credentials are renewed once; if DynamoDB refuses the new ones before it has taken any
        call that they signed, the error stays.

        Args:
            error: Why the call failed.
            date: The answer's Date header.
            used: The credentials that signed the call.
            skew: The clock's correction when it was signed.

        Returns:
            An error that may be retried if something was mended, else the error given.
        """
        if error.code in _SKEWED or (
            error.code == "InvalidSignatureException"
            and any(words in error.message for words in _SKEWED_WORDS)
        ):
            return self._corrected(error, date, skew)
        return self._refreshed(error, used) if error.code in _OLD_KEYS else error

    def proven(self, used: FrozenCredentials) -> None:
        """DynamoDB took a call that these credentials signed."""
        if self._unproven is not None and self._unproven == used:
            self._unproven = None

    def explain(self, code: str, message: str, table: str, **facts: Any) -> ServiceError:
        """An error of DynamoDB in words that say what to do."""
        host = urlsplit(self._endpoint.url).netloc
        where = f"table '{table}' at {host} ({self._options.aws_region})"
        return ServiceError(in_words(code, message, where), code=code, **facts)

    # --- what can be mended --------------------------------------------------------------

    def _refreshed(self, error: ServiceError, used: FrozenCredentials) -> ServiceError:
        with self._mending:
            if self._unproven == used:  # they are new; a later bundle may try newer ones
                self._unproven = None
                return error
            began = self._clock()
            if self._vain == used and began < self._vain_until:
                return error  # many calls are refused at once
            self._vain = used
            try:
                if not credentials.refresh(self._credentials, used):
                    return error
                self._unproven, self._vain = self.current_credentials(), None
            except CredentialsError as cause:
                mixed = ServiceError(
                    f"{error.message} {cause.message}", code=error.code, status=error.status
                )
                mixed.__cause__ = cause
                return mixed
            finally:
                ended = self._clock()
                # A quick look may be taken again at once.
                self._vain_until = ended + (ended - began) - _CREDENTIALS_HOLD
        return ServiceError(error.message, code="CredentialsRefreshed", status=error.status)

    def _corrected(self, error: ServiceError, date: str | None, used: timedelta) -> ServiceError:
        server = _http_date(date)
        with self._mending:
            if self._skew == used:  # else another call's answer was quicker
                if server is None or abs(server - self.now()) < _SKEW_TOLERANCE:
                    return error
                self._skew = server - self._clock()
                _logger.warning(
                    "This machine's clock differs from DynamoDB's by %s; allowing for that.",
                    self._skew,
                )
        return ServiceError(error.message, code="ClockSkewCorrected", status=error.status)

    # --- DescribeTable -------------------------------------------------------------------

    def _describe(self, table: str) -> TableKey | None:
        told = self._key_or_error(table)
        for _ in range(_DESCRIBE_ATTEMPTS - 1):
            if isinstance(told, TableKey) or told.code not in _ASKED_AGAIN:
                break
            told = self._key_or_error(table)
        if isinstance(told, TableKey):
            return told
        if told.code not in ("AccessDeniedException", "AccessDenied"):
            raise told
        _logger.info("dynamodb:DescribeTable is not allowed; going on without the key.")
        return None

    def _key_or_error(self, table: str) -> TableKey | ServiceError:
        skew = self._skew
        try:
            used = self.current_credentials()
            self.signer(used)  # botocore's own complaint would quote a token that no header carries
            with credentials.hushed():
                answer = self._client.describe_table(TableName=table)
            self.proven(used)
            return TableKey.of(answer["Table"])
        except botocore.exceptions.ClientError as refusal:
            # It must not become the error's cause: its text may quote the session token.
            error = self._refusal(refusal.response, table)
            headers = refusal.response["ResponseMetadata"].get("HTTPHeaders", {})
            return self.heal(error, headers.get("date"), used, skew)
        except _NO_ANSWER as cause:
            codes = [code for kind, code in _FAULTS.items() if isinstance(cause, kind)]
            code = codes[0] if codes else "ConnectionError"
            text = f"{cause}. {UNTRUSTED_ADVICE}" if code == "TlsError" else str(cause)
            error = self.explain(code, text, table)
            error.__cause__ = cause
            return error
        except _NO_DESCRIPTION as cause:
            error = self.explain("BadResponse", "the answer is not that of a DescribeTable", table)
            error.__cause__ = cause
            return error

    def _refusal(self, response: Any, table: str) -> ServiceError:
        metadata = response.get("ResponseMetadata", {})
        code, message = (response["Error"].get(name, "") for name in ("Code", "Message"))
        if code.isdecimal():  # what botocore makes of an answer without a code, and of its page
            code, message = f"HTTP {code}", NO_MESSAGE
        return self.explain(
            code or "Unknown",
            message,
            table,
            status=metadata.get("HTTPStatusCode", 0),
            request_id=metadata.get("RequestId"),
        )

    def _sign_again(self, request: Any, **_: Any) -> None:
        """Signs a request of botocore's, which knows no clock but this machine's, anew."""
        if self._skew:
            operation = request.headers["X-Amz-Target"]
            text = operation.decode() if isinstance(operation, bytes) else operation
            signer = self.signer(self.current_credentials(), text)
            [(stamp, authorization)] = signer.sign([[request.body]], self.now())
            for name, value in (("X-Amz-Date", stamp), ("Authorization", authorization)):
                del request.headers[name]
                request.headers[name] = value

    # --- botocore's client ---------------------------------------------------------------

    def _new_client(self, user_agent: str, verify: bool | None) -> Any:
        options = self._options
        client = self._session.create_client(
            "dynamodb",
            region_name=options.aws_region,
            endpoint_url=options.aws_endpoint,
            verify=verify,
            config=Config(
                user_agent_extra=user_agent,
                connect_timeout=CONNECT_TIMEOUT,
                read_timeout=options.sink_http_client_read_timeout / 1000,
                retries={"mode": "standard", "total_max_attempts": _DESCRIBE_ATTEMPTS},
                parameter_validation=False,
            ),
        )
        client.meta.events.register("before-send.dynamodb.DescribeTable", self._sign_again)
        return client


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
        self._signer: tuple[FrozenCredentials, Signer] | None = None
        self._signer_since = self._signer_until = datetime.max.replace(tzinfo=timezone.utc)
        self._unsent: list[Answer] = []

    @property
    def room(self) -> int:
        """How many more batches may be sent now.

        None of them before an answer was looked at that is there already: without credentials each
        batch may wait for their source, in vain.
        """
        return 0 if self._unsent else self._wire.room

    def send(self, calls: Sequence[Call]) -> None:
        """Signs and sends batches."""
        now = self._service.now()
        try:
            used, signer = self._current_signer(now)
        except CredentialsError as cause:
            self._unsent += [self._unsigned(call, cause) for call in calls]
            return
        bodies = [self._body(call) for call in calls]
        for call, body, head in zip(calls, bodies, signer.heads(bodies, now), strict=True):
            request = [head, *body] if len(body) > 1 else [head + body[0]]
            self._wire.send(request, _Sent(call, used, self._service.skew))

    def poll(self, timeout: float) -> list[Answer]:
        """The answers that are there; waits up to `timeout` seconds for the first one."""
        unsent, self._unsent = self._unsent, []
        replies = self._wire.poll(0.0 if unsent else timeout)
        return unsent + [self._answer(reply) for reply in replies]

    def close(self) -> None:
        """Ends all connections; batches on their way get no answer."""
        self._wire.close()

    def _current_signer(self, now: datetime) -> tuple[FrozenCredentials, Signer]:
        """The credentials and their signer; asks whether there are newer ones once a second."""
        if self._signer is None or not self._signer_since <= now < self._signer_until:
            used = self._service.current_credentials()
            if self._signer is None or self._signer[0] != used:
                self._signer = used, self._service.signer(used)
            looked = self._service.now()
            hold = max(_CREDENTIALS_HOLD, _LOOKS_SHARE * (looked - now))
            self._signer_since, self._signer_until = now, looked + hold
        return self._signer

    def _unsigned(self, call: Call, cause: CredentialsError) -> Answer:
        error = self._service.explain("ExpiredTokenException", cause.message, call.table)
        error.__cause__ = cause
        return Answer(call.tag, error=error)

    def _body(self, call: Call) -> Sequence[bytes]:
        before, after = self._envelopes.get(call.table) or self._new_envelope(call.table)
        return _between(before, call.bodies, after)

    def _new_envelope(self, table: str) -> tuple[bytes, bytes]:
        self._envelopes[table] = self._service.envelope(table)
        return self._envelopes[table]

    def _answer(self, reply: Reply) -> Answer:
        sent = reply.tag
        assert isinstance(sent, _Sent)  # noqa: S101 - send() is the only one to tag
        tag, bodies = sent.call.tag, sent.call.bodies
        explain = functools.partial(self._service.explain, table=sent.call.table)
        error = fault_of(reply, explain)
        if error is not None:
            error = self._service.heal(error, reply.headers.get("date"), sent.used, sent.skew)
            self._signer_until = self._signer_since  # there may be newer credentials now
            return Answer(tag, error=error, seconds=reply.seconds, sending=reply.sending)
        try:
            returned, consumed = content_of(reply.body)
            unprocessed = matching(bodies, returned) if returned else ()
        except (AttributeError, KeyError, TypeError, ValueError) as cause:
            error = explain("BadResponse", "the answer is not that of a BatchWriteItem", status=200)
            error.__cause__ = cause
            return Answer(tag, error=error, seconds=reply.seconds, sending=reply.sending)
        self._service.proven(sent.used)
        return Answer(tag, unprocessed, None, consumed, reply.seconds)


def _between(before: bytes, bodies: Sequence[bytes], after: bytes) -> Sequence[bytes]:
    """A call's body, in parts if it is large: to copy it would cost as much as to send it."""
    if sum(map(len, bodies)) < _WORTH_PARTS:
        return [b"%b%b%b" % (before, b",".join(bodies), after)]
    parts = [before, *chain.from_iterable(zip(bodies, repeat(b",")))]
    parts[-1] = after
    return parts


class _Sent(NamedTuple):
    call: Call
    used: FrozenCredentials
    skew: timedelta


def _loader_of(session: Any) -> Any:
    """Botocore's own loader of its model files; one for all clients of a process.

    To find and parse the files takes a third of a second, and each session would do it anew.
    """
    path = session.get_config_variable("data_path")
    with _loading:
        return _loaders.setdefault(path, session.get_component("data_loader"))


_loading = threading.Lock()
_loaders: dict[str | None, Any] = {}


def _http_date(text: str | None) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
