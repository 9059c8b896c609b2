"""Where AWS credentials come from on a worker, how they stay fresh, and how they stay hidden.

The work itself (files, STS, metadata services, expiry) is botocore's; here stand the documented
providers, their order, and what a user is told when there are no credentials.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import re
import shlex
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from botocore.config import Config
from botocore.configprovider import ConfigChainFactory
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    AssumeRoleProvider,
    AssumeRoleWithWebIdentityCredentialFetcher,
    CanonicalNameCredentialSourcer,
    ContainerProvider,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
    EnvProvider,
    InstanceMetadataProvider,
    ProfileProviderBuilder,
    RefreshableCredentials,
)
from botocore.exceptions import ClientError, CredentialRetrievalError
from botocore.session import Session
from botocore.utils import (
    ContainerMetadataFetcher,
    FileWebIdentityTokenLoader,
    InstanceMetadataFetcher,
    resolve_imds_endpoint_mode,
)

from beam_dynamodb import google
from beam_dynamodb.credentials_options import CredentialsOptions
from beam_dynamodb.errors import CredentialsError

__all__ = [
    "FrozenCredentials",
    "ResolvedCredentials",
    "hushed",
    "java_properties",
    "refresh",
    "resolve",
    "session_with",
]

T = TypeVar("T")


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


_logger = logging.getLogger(__name__)

# STS answers within a second; a worker that cannot reach it should say so soon.
_CLIENT_CONFIG = Config(
    connect_timeout=5,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    # They would be looked for in os.environ; `_Session` finds them in the environment it is given.
    ignore_configured_endpoint_urls=True,  # type: ignore[call-arg,unused-ignore]
)
# The Flink documentation says the first; the AWS SDK for Java 2, which Flink uses, the second.
_SECRET_PROPERTIES = ("aws.secretKey", "aws.secretAccessKey")
_METADATA_REFRESH_WINDOW = 15 * 60  # seconds; what botocore's own chain asks of instance metadata
_LAST_SECONDS = 60
"""Before credentials expire: where they could not be renewed, they are still given until then, as
by the AWS SDK for Java, which Flink uses. botocore says ten minutes."""


# --- what the rest of the package uses -----------------------------------------------------


class FrozenCredentials(NamedTuple):
    """Credentials at one moment, as a tuple whose text shows no secret.

    Attributes:
        access_key: The access key ID.
        secret_key: The secret key.
        token: The session token of temporary credentials, else None.
        account_id: The account's ID where the source tells it, else None.
    """

    access_key: str
    secret_key: str
    token: str | None = None
    account_id: str | None = None

    def __repr__(self) -> str:
        return "FrozenCredentials(…)"


class ResolvedCredentials(Credentials):
    """Credentials of one provider, for botocore and for signing. Made by `resolve`.

    They renew themselves before they expire: within 15 minutes of the expiry one thread tries to,
    and what it can't get yet the old ones stand in for; in the last minute all wait for it. Safe to
    share between threads. They belong to one worker process and refuse to be pickled.

    Attributes:
        method: Botocore's short name for where they come from, such as `assume-role`.
    """

    # Not botocore's constructor, which takes fixed keys: here they are read at each access.
    def __init__(self, options: CredentialsOptions, worker: _Worker) -> None:
        self._options = options
        self._worker = worker
        self._renewing = threading.Lock()
        self._found = _find(options, worker)
        self.method = self._found.credentials.method

    def get_frozen_credentials(self) -> FrozenCredentials:  # type: ignore[override]
        """The credentials to sign the next request with; to be used at once, not kept.

        Raises:
            CredentialsError: They expire within a minute and could not be renewed.
        """
        found = self._found
        fetch = found.credentials.get_frozen_credentials
        now: Any = _quietly(self._options, found.source, fetch)
        return FrozenCredentials(now.access_key, now.secret_key, now.token, now.account_id)

    def renew(self, refused: FrozenCredentials | None = None) -> bool:
        """See `refresh`."""
        with self._renewing:
            before = self.get_frozen_credentials() if refused is None else refused
            if self.get_frozen_credentials() == before:
                self._found = _find(self._options, self._worker)
            return self.get_frozen_credentials() != before

    access_key = property(lambda self: self.get_frozen_credentials().access_key)
    secret_key = property(lambda self: self.get_frozen_credentials().secret_key)
    token = property(lambda self: self.get_frozen_credentials().token)
    account_id = property(lambda self: self.get_frozen_credentials().account_id)

    def __repr__(self) -> str:
        return f"ResolvedCredentials(provider={self._options.provider!r}, …)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are resolved on the worker; they are never pickled.")


def resolve(
    options: CredentialsOptions,
    *,
    region: str,
    verify: bool | str | None = None,
    environ: Mapping[str, str] = os.environ,
    java_properties: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = _utc_now,
    container: ContainerMetadataFetcher | None = None,
) -> ResolvedCredentials:
    """Finds the credentials that `options` ask for, now and on this machine.

    To be called on a worker, not where the pipeline is built. AUTO looks, in the order that the
    Flink documentation gives, at environment variables, system properties, web identity, profile,
    container (ECS, EKS) and instance (EC2) metadata. A source that is not there gives way to the
    next; one that is there but fails ends the search. Proxies, and the variables that a profile's
    `credential_process` sees, are the process's own, whatever `environ` is.

    Args:
        options: The provider and what belongs to it.
        region: The AWS region whose STS is asked.
        verify: What STS's certificate is checked against: False for no check, a path to a bundle,
            None for `AWS_CA_BUNDLE` or the usual authorities.
        environ: Where AWS's environment variables are read.
        java_properties: Java system properties; None reads this process's, see `java_properties`.
        now: The clock, with a time zone, by which roles' credentials are renewed.
        container: The reader of container metadata; None for botocore's.

    Raises:
        CredentialsError: There are none, or their source fails. It names the provider's key, where
            was looked, and what is missing.
    """
    worker = _Worker(region, verify, environ, java_properties, now, container)
    return ResolvedCredentials(options, worker)


def refresh(credentials: ResolvedCredentials, refused: FrozenCredentials | None = None) -> bool:
    """Asks the source for new credentials, whatever the clock says of the present ones.

    For the case that DynamoDB answers ExpiredTokenException.

    Args:
        credentials: What `resolve` gave.
        refused: Those that signed the refused request. If others have replaced them meanwhile,
            the source is not asked again.

    Returns:
        Whether the credentials are other ones now, so that trying again makes sense. Always False
        for fixed ones, such as BASIC.

    Raises:
        CredentialsError: As `resolve`.
    """
    return credentials.renew(refused)


def session_with(credentials: ResolvedCredentials) -> Session:
    """A botocore session of this process's own settings, whose clients sign with these."""
    session = Session()
    session.register_component("credential_provider", _Resolved(credentials))
    return session


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keeps botocore's debug lines out of the log, which quote requests with their secrets."""
    reset = _fetching.set(True)
    try:
        yield
    finally:
        _fetching.reset(reset)


def java_properties(
    environ: Mapping[str, str], xoptions: Mapping[str, str | bool] | None = None
) -> dict[str, str]:
    """The Java system properties of a Python process.

    They come from `python -X name=value`, then from `-Dname=value` in `JAVA_TOOL_OPTIONS`, which
    is split as the JVM does it: at white space, with '…' and "…" around what holds some, without
    escapes.

    Args:
        environ: Where `JAVA_TOOL_OPTIONS` is read.
        xoptions: The `-X` options; None for this interpreter's.

    Raises:
        ValueError: A quote is not closed. The JVM does not start with it either.
    """
    if xoptions is None:
        xoptions = getattr(sys, "_xoptions", {})
    words = shlex.shlex(environ.get("JAVA_TOOL_OPTIONS", ""), posix=True, punctuation_chars=False)
    words.whitespace_split = True
    words.whitespace += "\v\f"
    words.commenters = words.escape = ""
    try:
        settings = [word[2:] for word in words if word.startswith("-D")]
    except ValueError:
        raise ValueError("a quote in JAVA_TOOL_OPTIONS is not closed") from None
    given = {name: value for name, _, value in (each.partition("=") for each in settings)}
    return given | {name: value for name, value in xoptions.items() if isinstance(value, str)}


# --- the sources ---------------------------------------------------------------------------


class _AbsentError(Exception):
    """A source is not there; the text says what it would need."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """What a source may look at on this machine; see `resolve`."""

    region: str
    verify: bool | str | None
    environ: Mapping[str, str] = field(repr=False)
    properties: Mapping[str, str] | None = field(repr=False)
    now: Callable[[], datetime]
    container: ContainerMetadataFetcher | None


@dataclass(frozen=True, slots=True)
class _Source:
    """One place that may hold credentials.

    Attributes:
        name: What an error calls it.
        load: Gives its credentials, or raises `_AbsentError`; any other error is a failure.
    """

    name: str
    load: Callable[[CredentialsOptions, _Worker], Credentials]


@dataclass(frozen=True, slots=True)
class _Found:
    source: _Source
    credentials: Credentials


def _basic(options: CredentialsOptions, _: _Worker) -> Credentials:
    pairs = (
        ("basic.accesskeyid", options.access_key_id, options.access_key_id_secret),
        ("basic.secretkey", options.secret_key, options.secret_key_secret),
    )
    for suffix, value, stored in pairs:
        if not (value or stored):
            raise _AbsentError(f"'{options.key(suffix)}' is not set")
    access_key, secret_key = (value or google.secret(stored or "") for _, value, stored in pairs)
    return Credentials(access_key, secret_key)


def _environment(_: CredentialsOptions, worker: _Worker) -> Credentials:
    return _loaded(EnvProvider(worker.environ), "AWS_ACCESS_KEY_ID is not set")


def _system_properties(_: CredentialsOptions, worker: _Worker) -> Credentials:
    properties = worker.properties
    if properties is None:
        properties = java_properties(worker.environ)
    secrets = [name for name in _SECRET_PROPERTIES if properties.get(name)]
    names = {
        "access_key": "aws.accessKeyId",
        "secret_key": (*secrets, *_SECRET_PROPERTIES)[0],
        "token": "aws.sessionToken",
        "account_id": "aws.accountId",
    }
    return _loaded(EnvProvider(properties, names), "aws.accessKeyId is not set")


def _web_identity(options: CredentialsOptions, worker: _Worker) -> Credentials:
    environ = worker.environ
    load_token = _token_loader(options, environ)
    role = options.role_arn or environ.get("AWS_ROLE_ARN")
    if not role:
        role_key = options.key("role.arn")
        raise LookupError(f"neither '{role_key}' nor AWS_ROLE_ARN is set beside the token")
    session_name = options.role_session_name or environ.get("AWS_ROLE_SESSION_NAME")
    fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
        client_creator=_Session(options, worker).create_client,
        web_identity_token_loader=load_token,
        role_arn=role,
        extra_args={"RoleSessionName": session_name or _session_name(worker)},
        cache=_NoCache(),
    )
    return DeferredRefreshableCredentials(
        fetcher.fetch_credentials, "assume-role-with-web-identity", worker.now
    )


def _token_loader(options: CredentialsOptions, environ: Mapping[str, str]) -> Callable[[], str]:
    """Gets a token that is valid now; called anew whenever the role's credentials are renewed."""
    if options.web_identity_audience:
        return partial(google.identity_token, options.web_identity_audience)
    file = options.web_identity_token_file or environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not file:
        file_key = options.key("webIdentityToken.file")
        raise _AbsentError(f"neither '{file_key}' nor AWS_WEB_IDENTITY_TOKEN_FILE is set")
    return FileWebIdentityTokenLoader(file)


def _role(options: CredentialsOptions, worker: _Worker) -> Credentials:
    if not options.role_arn:
        raise _AbsentError(f"'{options.key('role.arn')}' is not set")
    base = options.base or CredentialsOptions("AUTO", path=options.key("role.provider."))
    asked = {
        "RoleSessionName": options.role_session_name or _session_name(worker),
        "ExternalId": options.role_external_id,
    }
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=_Session(options, worker).create_client,
        source_credentials=ResolvedCredentials(base, worker),
        role_arn=options.role_arn,
        extra_args={name: value for name, value in asked.items() if value},
        cache=_NoCache(),
    )
    return DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role", worker.now)


def _session_name(worker: _Worker) -> str:
    return f"beam-dynamodb-{worker.now().timestamp():.0f}"


def _profile(options: CredentialsOptions, worker: _Worker) -> Credentials:
    session = _Session(options, worker, with_profile=True)
    named = session.get_config_variable("profile")
    name = named or "default"
    places = " or ".join(_shown_file(path) for path in session.profile_files)
    if name not in session.available_profiles:
        # What somebody asked for by name is there or it is an error; the default may be absent.
        missing = LookupError if named or options.profile_path else _AbsentError
        raise missing(f"there is no profile '{name}' in {places}")
    return _loaded(
        _profile_chain(session, name, worker),
        f"the profile '{name}' in {places} holds no credentials",
    )


def _profile_chain(session: _Session, name: str, worker: _Worker) -> CredentialResolver:
    """All that a profile may say: keys, a role, a token file, SSO, a process."""
    cache: dict[str, Any] = {}
    builder = ProfileProviderBuilder(session, cache, worker.region)
    outside: list[CredentialProvider] = [
        EnvProvider(worker.environ),
        _container_provider(worker),
        _instance_provider(session, worker),
    ]
    role = AssumeRoleProvider(
        load_config=lambda: session.full_config,
        client_creator=session.create_client,
        cache=cache,
        profile_name=name,
        prompter=_refuse_prompt,
        credential_sourcer=CanonicalNameCredentialSourcer(outside),
        profile_provider_builder=builder,
    )
    # Environment variables are a source of their own here.
    return CredentialResolver([role, *builder.providers(name, disable_env_vars=True)])


def _refuse_prompt(_: str) -> NoReturn:
    raise LookupError("the profile asks for an MFA code, which nobody can enter on a worker")


def _shown_file(path: str) -> str:
    # Not Path.expanduser, which raises where there is no home.
    there = Path(os.path.expanduser(path)).is_file()  # noqa: PTH111
    return path if there else f"{path} (no such file)"


def _container(_: CredentialsOptions, worker: _Worker) -> Credentials:
    relative, full = ContainerProvider.ENV_VAR, ContainerProvider.ENV_VAR_FULL
    return _loaded(_container_provider(worker), f"neither {relative} nor {full} is set")


def _container_provider(worker: _Worker) -> ContainerProvider:
    return ContainerProvider(worker.environ, worker.container)  # type: ignore[arg-type]


def _instance(options: CredentialsOptions, worker: _Worker) -> Credentials:
    provider = _instance_provider(_Session(options, worker), worker)
    return _loaded(provider, "no metadata service gave a role's credentials")


def _instance_provider(session: _Session, worker: _Worker) -> InstanceMetadataProvider:
    setting = session.get_config_variable
    fetcher = InstanceMetadataFetcher(
        timeout=setting("metadata_service_timeout"),
        num_attempts=setting("metadata_service_num_attempts"),
        env=worker.environ,
        user_agent=session.user_agent(),
        config={
            "ec2_metadata_service_endpoint": setting("ec2_metadata_service_endpoint"),
            "ec2_metadata_service_endpoint_mode": resolve_imds_endpoint_mode(session),
            "ec2_metadata_v1_disabled": setting("ec2_metadata_v1_disabled"),
            "ec2_credential_refresh_window": _METADATA_REFRESH_WINDOW,
        },
    )
    return InstanceMetadataProvider(fetcher)


def _loaded(provider: CredentialProvider | CredentialResolver, absence: str) -> Credentials:
    load = provider.load_credentials if isinstance(provider, CredentialResolver) else provider.load
    credentials: Credentials | None = load()
    if credentials is None:
        raise _AbsentError(absence)
    return credentials


_ENVIRONMENT = _Source("environment variables", _environment)
_SYSTEM_PROPERTIES = _Source("Java system properties", _system_properties)
_WEB_IDENTITY = _Source("web identity token", _web_identity)
_PROFILE = _Source("profile", _profile)

_SOURCES: Mapping[str, tuple[_Source, ...]] = {
    "BASIC": (_Source("configured keys", _basic),),
    "ENV_VAR": (_ENVIRONMENT,),
    "SYS_PROP": (_SYSTEM_PROPERTIES,),
    "PROFILE": (_PROFILE,),
    "ASSUME_ROLE": (_Source("role", _role),),
    "WEB_IDENTITY_TOKEN": (_WEB_IDENTITY,),
    "AUTO": (
        _ENVIRONMENT,
        _SYSTEM_PROPERTIES,
        _WEB_IDENTITY,
        _PROFILE,
        _Source("container metadata", _container),
        _Source("instance metadata", _instance),
    ),
}
"""Where each value of `aws.credentials.provider` looks, in order."""


# --- the search ----------------------------------------------------------------------------


def _find(options: CredentialsOptions, worker: _Worker) -> _Found:
    absences = []
    for source in _SOURCES[options.provider]:
        try:
            credentials = _quietly(options, source, partial(_ready, source, options, worker))
        except _AbsentError as absence:
            absences.append(f"{source.name} ({absence})")
        else:
            _logger.info("%s gives AWS credentials from: %s", _asked(options), source.name)
            return _Found(source, credentials)
    raise CredentialsError(
        f"{_asked(options)} finds no AWS credentials on this worker. Looked at: "
        f"{'; '.join(absences)}. Provide what is missing, or set another provider.",
        provider=options.provider,
    )


def _ready(source: _Source, options: CredentialsOptions, worker: _Worker) -> Credentials:
    credentials = source.load(options, worker)
    if isinstance(credentials, RefreshableCredentials):
        # A private attribute, since few of the makers of credentials take it as an argument.
        vars(credentials)["_mandatory_refresh_timeout"] = _LAST_SECONDS
    found = credentials.get_frozen_credentials()  # some sources do nothing before they are asked
    for name, value in (("access key ID", found.access_key), ("secret key", found.secret_key)):
        if value and not _KEY.fullmatch(value):
            raise ValueError(
                f"the {name} holds a blank, a line break or another character that no key has, "
                "perhaps at its end"
            )
    return credentials


_KEY = re.compile(r"[!-~]+")
"""All of ASCII that shows; what AWS gives out is of fewer characters."""


def _asked(options: CredentialsOptions) -> str:
    return f"'{options.provider_key}' = '{options.provider}'"


def _quietly(options: CredentialsOptions, source: _Source, fetch: Callable[[], T]) -> T:
    """What `fetch` gives; botocore's faults become ours, and its logs show no secret meanwhile."""
    reset = _fetching.set(True)
    try:
        return fetch()
    except (_AbsentError, CredentialsError):
        raise
    except Exception as fault:  # botocore lets KeyError, OSError and others through
        cause = _told(source, fault)
    finally:
        _fetching.reset(reset)
    # Outside the handler, so that the fault itself, whose text may be anything, is not its context.
    raise CredentialsError(
        f"{_asked(options)} cannot get AWS credentials from: {source.name}. {cause}",
        provider=options.provider,
    ) from cause


def _told(source: _Source, fault: Exception) -> Exception:
    """The fault as it may be shown.

    STS quotes the whole signed request, session token included, in the later lines of a
    SignatureDoesNotMatch; metadata services answer with bodies of their own. So the text ends
    before the second line and before anything like JSON or XML.
    """
    if isinstance(fault, ClientError):
        error = fault.response.get("Error", {})
        code, text = error.get("Code", "Unknown"), _sentence(error.get("Message", ""))
        answer: Any = {"Error": {"Code": code, "Message": text}}
        return ClientError(answer, fault.operation_name).with_traceback(fault.__traceback__)
    text = f"{type(fault).__name__}: {_sentence(str(fault))}"
    told = CredentialRetrievalError(provider=source.name, error_msg=text)
    return told.with_traceback(fault.__traceback__)


def _sentence(text: str) -> str:
    return re.split(r"[\r\n{<]", text, maxsplit=1)[0].strip()[:300]


# --- botocore, kept from os.environ, from stale answers and from talking --------------------


class _Session(Session):
    """A botocore session that takes its settings from the worker's `environ`.

    Attributes:
        profile_files: The paths in which profiles are looked for.
    """

    def __init__(
        self, options: CredentialsOptions, worker: _Worker, *, with_profile: bool = False
    ) -> None:
        # Of other sources than a profile its options have no effect, as in Flink.
        super().__init__(profile=options.profile_name if with_profile else None)
        self._region = worker.region
        self._worker_environ = worker.environ
        self._sts_endpoint = options.role_sts_endpoint
        chains = ConfigChainFactory(self, worker.environ)
        store = self.get_component("config_store")
        for name, (key, variable, default, convert) in self.session_var_map.items():
            chain = chains.create_config_chain(name, variable, key, default, convert)
            store.set_config_provider(name, chain)
        self.profile_files = self._set_profile_files(options.profile_path if with_profile else None)
        self.set_default_client_config(_CLIENT_CONFIG)
        if worker.verify is not None:
            self.set_config_variable("ca_bundle", worker.verify)

    def create_client(self, service_name: str, *args: Any, **settings: Any) -> Any:
        """As botocore's, with the worker's region and endpoints where none are given."""
        settings.setdefault("region_name", self._region)
        settings.setdefault("endpoint_url", self._endpoint(service_name))
        return super().create_client(service_name, *args, **settings)

    def _endpoint(self, service: str) -> str | None:
        if service == "sts" and self._sts_endpoint:
            return self._sts_endpoint
        if self.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        environ = self._worker_environ
        own = environ.get(f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}")
        shared = own or environ.get("AWS_ENDPOINT_URL")
        return shared or self.get_scoped_config().get("endpoint_url")

    def _set_profile_files(self, given: str | None) -> list[str]:
        names = ("credentials_file", "config_file")
        # A path in the options stands alone, as in Flink.
        usual = [str(self.get_config_variable(name)) for name in names]
        files = [self._from_home(path) for path in ([given, os.devnull] if given else usual)]
        for name, path in zip(names, files, strict=True):
            self.set_config_variable(name, path)
        return files[:1] if given else files

    def _from_home(self, path: str) -> str:
        home = self._worker_environ.get("HOME")
        return str(Path(home, path[2:])) if home and path.startswith("~/") else path


@dataclass(frozen=True, slots=True)
class _Resolved:
    """Gives a botocore session the credentials that are there already."""

    credentials: ResolvedCredentials

    def load_credentials(self) -> ResolvedCredentials:
        return self.credentials


class _NoCache(dict[str, Any]):
    """Takes nothing in, because a fetcher judges what it kept by a clock that is not ours."""

    def __setitem__(self, key: str, value: Any) -> None:
        """Keeps nothing."""


_fetching: contextvars.ContextVar[bool] = contextvars.ContextVar("fetching", default=False)


def _without_secrets(record: logging.LogRecord) -> bool:
    """While credentials are fetched or used, botocore's debug lines and tracebacks hold them."""
    if _fetching.get():
        record.exc_info = record.exc_text = None
    return record.levelno >= logging.WARNING or not _fetching.get()


for _name in ("auth", "credentials", "endpoint", "hooks", "parsers", "utils"):
    logging.getLogger(f"botocore.{_name}").addFilter(_without_secrets)
