"""What a user may ask of the sink: each option declared once, checked when it is given.

Keys, types, defaults and meanings are those of Flink's DynamoDB SQL connector, in its words.
Everything that speaks of options (keyword arguments, DDL, the README's table, pipeline flags,
template metadata) is derived from the declarations in `SinkOptions`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, NoReturn, TypeVar, overload
from urllib.parse import urlsplit

from beam_dynamodb.credentials_options import (
    CREDENTIALS,
    PROVIDERS,
    CredentialsOptions,
    check_credentials,
    credentials_options,
)
from beam_dynamodb.errors import OptionError
from beam_dynamodb.table import BATCH_MAX_REQUESTS, is_table_name

__all__ = [
    "GOOGLE_SECRET",
    "Option",
    "SinkOptions",
    "keyword_of",
]

T = TypeVar("T")

GOOGLE_SECRET = r"projects/[a-z0-9.:-]+/secrets/[A-Za-z0-9_-]{1,255}(/versions/([a-zA-Z0-9_-]+))?"  # noqa: S105 - the form of its name
"""A name in Google's Secret Manager, as a regular expression."""

_MOST = {"Integer": 2**31 - 1, "Long": 2**63 - 1}
"""The greatest value of each type that has one, as Java has it."""

_NESTED = "aws.credentials.role.provider."
_MISSING = "One or more required options are missing.\n\nMissing required options are:\n\n"


def keyword_of(key: str) -> str:
    """The key as a Python identifier: `sink.batch.max-size` is `sink_batch_max_size`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key)
    return re.sub(r"[.-]", "_", words).lower()


# --- how each type of option is read -------------------------------------------------------


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {type(value).__name__}")
    if not value.strip():
        raise ValueError("must not be empty")
    return str.__str__(value)  # str() of an Enum is its name


def _integer(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be an integer, not {_shown(value)}")
    return value


def _positive(value: object) -> int:
    number = _integer(value)
    if number <= 0:
        raise ValueError(f"must be a positive integer, not {number}")
    return number


def _milliseconds(value: object) -> int:
    try:
        return _positive(value)
    except ValueError as fault:
        raise ValueError(f"{fault}; it counts milliseconds, without a unit") from None


def _batch_size(value: object) -> int:
    number = _positive(value)
    if number > BATCH_MAX_REQUESTS:
        raise ValueError(
            f"must be between 1 and {BATCH_MAX_REQUESTS}, not {number}: "
            f"DynamoDB takes at most {BATCH_MAX_REQUESTS} writes in a batch"
        )
    return number


def _boolean(value: object) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


def _connector(value: object) -> str:
    if value != "dynamodb":
        raise ValueError(f"must be 'dynamodb', not {_shown(value)}")
    return "dynamodb"


def _table_name(value: object) -> str:
    name = _string(value)
    if not is_table_name(name):
        raise ValueError(
            f"must be a table's name (3 to 255 letters, digits, '_', '.', '-') or ARN, not '{name}'"
        )
    return name


def _region(value: object) -> str:
    name = _string(value)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"must be the name of an AWS region such as us-east-2, not '{name}'")
    return name


def _endpoint(value: object) -> str:
    url = _string(value)
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or re.search(r"\s", url):
        raise ValueError(f"must be a URL such as https://host:8000 with its scheme, not '{url}'")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("must be a plain URL, without user, query or fragment")
    return url.rstrip("/")


def _google_secret(value: object) -> str:
    name = _string(value)
    if not re.fullmatch(GOOGLE_SECRET, name):  # not shown: it may be the secret itself
        raise ValueError(
            "must be a secret's name such as projects/my-project/secrets/my-secret, or with "
            "/versions/7 behind it"
        )
    return name if "/versions/" in name else f"{name}/versions/latest"


def _provider(value: object) -> str:
    if value not in PROVIDERS:
        raise ValueError(f"must be one of {', '.join(PROVIDERS)}, not {_shown(value)}")
    return str(value)


def _shown(value: object) -> str:
    return f"'{value}'" if isinstance(value, (str, int, float, bool)) else type(value).__name__


# --- the declarations ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Option(Generic[T]):
    """The declaration of one option, and the attribute of `SinkOptions` that holds its value.

    Attributes:
        key: The key as the Flink documentation spells it.
        group: The heading under which the documentation lists it.
        type_name: The documented type's name.
        parse: Turns what the user gave into the value; raises ValueError saying what is allowed.
        default: The value when it is not given; None means that there is none.
        required: Whether a sink cannot be without it.
        secret: Whether its value must never be shown.
        added: True for what this package has beyond the documented options.
        description: What it does, in one or two sentences.
    """

    key: str
    group: str
    type_name: str
    parse: Callable[[object], T]
    default: T
    description: str
    required: bool = False
    secret: bool = False
    added: bool = False

    @property
    def keyword(self) -> str:
        """The option's name as a keyword argument."""
        return keyword_of(self.key)

    @overload
    def __get__(self, owner: None, owner_type: type) -> Option[T]: ...

    @overload
    def __get__(self, owner: SinkOptions, owner_type: type) -> T: ...

    def __get__(self, owner: SinkOptions | None, owner_type: type) -> Option[T] | T:
        if owner is None:
            return self
        value: T = owner.values.get(self.key, self.default)  # type: ignore[assignment]
        return value

    def __set_name__(self, owner: type, name: str) -> None:
        if name != self.keyword:
            raise TypeError(f"option {self.key} must be declared as {self.keyword}, not {name}")


def _optional(parse: Callable[[object], T]) -> Callable[[object], T | None]:
    return parse


_COMMON = "Common Options"
_AUTH = "Authentication Options"
_SINK = "Sink Options"
_HTTP = "HTTP Client Options"


class SinkOptions:
    """The options of one sink, complete and checked. Immutable, comparable, picklable.

    Reading an attribute gives the value or its default: `options.sink_batch_max_size`. Reading it
    from the class gives the declaration: `SinkOptions.sink_batch_max_size.description`.

    Attributes:
        values: Exactly what was given, by key, parsed.
    """

    connector = Option(
        "connector",
        _COMMON,
        "String",
        _connector,
        "dynamodb",
        "Specify what connector to use. For DynamoDB use 'dynamodb'.",
        required=True,
    )
    table_name = Option(
        "table-name",
        _COMMON,
        "String",
        _table_name,
        "",
        "Name of the DynamoDB table to use.",
        required=True,
    )
    aws_region = Option(
        "aws.region",
        _COMMON,
        "String",
        _region,
        "",
        "The AWS region where the DynamoDB table is defined.",
        required=True,
    )
    aws_endpoint = Option(
        "aws.endpoint",
        _COMMON,
        "String",
        _optional(_endpoint),
        None,
        "The AWS endpoint for DynamoDB.",
    )
    aws_trust_all_certificates = Option(
        "aws.trust.all.certificates",
        _COMMON,
        "Boolean",
        _boolean,
        False,
        "If true accepts all SSL certificates.",
    )
    aws_credentials_provider = Option(
        "aws.credentials.provider",
        _AUTH,
        "String",
        _provider,
        "AUTO",
        "A credentials provider to use when authenticating against the DynamoDB endpoint: "
        + ", ".join(PROVIDERS)
        + ".",
    )
    aws_credentials_basic_accesskeyid = Option(
        "aws.credentials.basic.accesskeyid",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "The AWS access key ID to use when setting credentials provider type to BASIC.",
        secret=True,
    )
    aws_credentials_basic_secretkey = Option(
        "aws.credentials.basic.secretkey",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "The AWS secret key to use when setting credentials provider type to BASIC.",
        secret=True,
    )
    aws_credentials_basic_accesskeyid_google_secret = Option(
        "aws.credentials.basic.accesskeyid.googleSecret",
        _AUTH,
        "String",
        _optional(_google_secret),
        None,
        "The name in Google's Secret Manager of the AWS access key ID for BASIC, read on the "
        "worker. It stands in for the key ID itself.",
        added=True,
    )
    aws_credentials_basic_secretkey_google_secret = Option(
        "aws.credentials.basic.secretkey.googleSecret",
        _AUTH,
        "String",
        _optional(_google_secret),
        None,
        "The name in Google's Secret Manager of the AWS secret key for BASIC, read on the worker. "
        "It stands in for the secret key itself.",
        added=True,
    )
    aws_credentials_profile_path = Option(
        "aws.credentials.profile.path",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "Optional configuration for profile path if credential provider type is set to be PROFILE.",
    )
    aws_credentials_profile_name = Option(
        "aws.credentials.profile.name",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "Optional configuration for profile name if credential provider type is set to be PROFILE.",
    )
    aws_credentials_role_arn = Option(
        "aws.credentials.role.arn",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "The role ARN to use when credential provider type is set to ASSUME_ROLE or "
        "WEB_IDENTITY_TOKEN.",
    )
    aws_credentials_role_session_name = Option(
        "aws.credentials.role.sessionName",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "The role session name to use when credential provider type is set to ASSUME_ROLE or "
        "WEB_IDENTITY_TOKEN. Generated when it is not set.",
    )
    aws_credentials_role_external_id = Option(
        "aws.credentials.role.externalId",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "The external ID to use when credential provider type is set to ASSUME_ROLE.",
    )
    aws_credentials_role_provider = Option(
        "aws.credentials.role.provider",
        _AUTH,
        "String",
        _optional(_provider),
        None,
        "The credentials provider that provides credentials for assuming the role when credential "
        "provider type is set to ASSUME_ROLE. Roles can be nested, so this value can again be set "
        "to ASSUME_ROLE; its own options then follow under aws.credentials.role.provider.",
    )
    aws_credentials_role_sts_endpoint = Option(
        "aws.credentials.role.stsEndpoint",
        _AUTH,
        "String",
        _optional(_endpoint),
        None,
        "The endpoint of AWS STS for ASSUME_ROLE and WEB_IDENTITY_TOKEN, where it is not that of "
        "aws.region.",
        added=True,
    )
    aws_credentials_web_identity_token_file = Option(
        "aws.credentials.webIdentityToken.file",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "The absolute path to the web identity token file that should be used if provider type is "
        "set to WEB_IDENTITY_TOKEN.",
    )
    aws_credentials_web_identity_token_google_audience = Option(
        "aws.credentials.webIdentityToken.googleAudience",
        _AUTH,
        "String",
        _optional(_string),
        None,
        "The audience of the identity token that Google Cloud gives the worker's service account, "
        "for WEB_IDENTITY_TOKEN. It stands in for the token file.",
        added=True,
    )
    sink_batch_max_size = Option(
        "sink.batch.max-size",
        _SINK,
        "Integer",
        _batch_size,
        BATCH_MAX_REQUESTS,
        "Maximum batch size of elements to be written to DynamoDB.",
    )
    sink_requests_max_inflight = Option(
        "sink.requests.max-inflight",
        _SINK,
        "Integer",
        _positive,
        50,
        "Maximum number of parallel batch requests to DynamoDB. It holds per worker process.",
    )
    sink_requests_max_buffered = Option(
        "sink.requests.max-buffered",
        _SINK,
        "Integer",
        _positive,
        10_000,
        "Size of input buffer before applying backpressure to upstream job graph. It holds per "
        "worker process and must exceed sink.batch.max-size.",
    )
    sink_flush_buffer_timeout = Option(
        "sink.flush-buffer.timeout",
        _SINK,
        "Long",
        _milliseconds,
        5_000,
        "Threshold time in ms for an element to be in a buffer before flushing.",
    )
    sink_fail_on_error = Option(
        "sink.fail-on-error",
        _SINK,
        "Boolean",
        _boolean,
        False,
        "Flag used for retrying failed requests. If set any request failure will not be retried "
        "and will fail the job.",
    )
    sink_retry_timeout = Option(
        "sink.retry.timeout",
        _SINK,
        "Long",
        _milliseconds,
        300_000,
        "Time in ms without any progress on a table after which failed requests are no longer "
        "retried.",
        added=True,
    )
    sink_ignore_nulls = Option(
        "sink.ignore-nulls",
        _SINK,
        "Boolean",
        _boolean,
        False,
        "If true a null attribute of a row is left out instead of being written as NULL.",
        added=True,
    )
    sink_http_client_max_concurrency = Option(
        "sink.http-client.max-concurrency",
        _HTTP,
        "Integer",
        _positive,
        10_000,
        "Maximum number of allowed concurrent requests by the HTTP client.",
    )
    sink_http_client_read_timeout = Option(
        "sink.http-client.read-timeout",
        _HTTP,
        "Integer",
        _milliseconds,
        360_000,
        "Timeout in ms for each read to the underlying socket.",
    )

    __slots__ = ("values",)

    values: Mapping[str, object]

    def __init__(self, values: Mapping[str, object], spelled: Callable[[str], str] = str) -> None:
        self.values = dict(values)
        _check_together(self, spelled)

    @classmethod
    def declared(cls) -> Iterator[Option[object]]:
        """All options, in the documentation's order."""
        return (each for each in vars(cls).values() if isinstance(each, Option))

    @classmethod
    def parse(
        cls,
        given: Mapping[str, object],
        *,
        may_miss: Iterable[str] = (),
        beside: Collection[str] = (),
    ) -> SinkOptions:
        """Reads options by their documented keys or their keywords.

        Args:
            given: Values by key (`sink.batch.max-size`) or keyword (`sink_batch_max_size`), as
                Python values or as the text that a DDL has. None counts as not given.
            may_miss: The keys or keywords of required options that are not known yet.
            beside: The names of what is asked for beside the options; a misspelt one is named too.

        Raises:
            OptionError: An unknown key, a value that is not allowed, a missing or contradicting
                option. It names the key as the user wrote it, or would have.
        """
        values: dict[str, object] = {}
        spelled = keyword_of if any("_" in str(each) for each in given) else str
        find = partial(_find, spelled=spelled, beside=beside)
        for written, value in given.items():
            option, key = find(written)
            if key in values:
                raise OptionError(f"Option '{key}' is given twice.", option=written)
            if value is not None:
                values[key] = _parsed(option, written, value)
        present = {*values, *(find(written)[1] for written in may_miss)}
        missing = sorted(each.key for each in cls.declared() if each.required)
        missing = [spelled(key) for key in missing if key not in present]
        if missing:
            raise OptionError(_MISSING + "\n".join(missing), option=missing[0])
        return cls(values, spelled)

    def render(self) -> dict[str, str]:
        """The given options as text by documented key, as a DDL's WITH clause has them."""
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in self.values.items()
        }

    @property
    def credentials(self) -> CredentialsOptions:
        """The credentials asked for, with what they stand on when roles are nested."""
        return credentials_options(self.values)

    def without_effect(self) -> Iterator[str]:
        """A sentence for each option that no provider of credentials uses.

        They are no errors, as in Flink; but who gave one may write as somebody else.
        """
        levels = self.credentials.levels
        for key in self.values:
            if key.startswith(CREDENTIALS) and key != levels[0].provider_key:
                level = [each for each in levels if key.startswith(each.path)][-1]
                reason = level.unused(key.removeprefix(level.path))
                if reason is not None:
                    yield f"'{key}' {reason}."

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SinkOptions) and self.values == other.values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = {
            key: "***" if _find(key)[0].secret else value for key, value in self.values.items()
        }
        return f"SinkOptions({shown})"


_BY_KEY = {each.key: each for each in SinkOptions.declared()}
_BY_KEYWORD = {each.keyword: each for each in SinkOptions.declared()}
_BASE_OPTIONS = {
    key.removeprefix(CREDENTIALS): option
    for key, option in _BY_KEY.items()
    if key.startswith(CREDENTIALS)
    and key not in ("aws.credentials.provider", "aws.credentials.role.stsEndpoint")
}
_BASE_KEYWORDS = {keyword_of(suffix): suffix for suffix in _BASE_OPTIONS}


def _find(
    written: str, spelled: Callable[[str], str] = str, beside: Collection[str] = ()
) -> tuple[Option[object], str]:
    """The declaration and the documented key of what a user wrote as a key."""
    if not isinstance(written, str):
        raise OptionError(f"An option's key must be a string, not {type(written).__name__}.")
    option = _BY_KEY.get(written) or _BY_KEYWORD.get(written)
    if option is not None:
        return option, option.key
    for nested, separator, suffixes in (
        (_NESTED, "role.provider.", {each: each for each in _BASE_OPTIONS}),
        (keyword_of(_NESTED), "role_provider_", _BASE_KEYWORDS),
    ):
        if written.startswith(nested):
            rest, depth = written.removeprefix(nested), 1
            while rest.startswith(separator) and rest not in suffixes:
                rest, depth = rest.removeprefix(separator), depth + 1
            if rest in suffixes:
                suffix = suffixes[rest]
                return _BASE_OPTIONS[suffix], CREDENTIALS + "role.provider." * depth + suffix
    _refuse_unknown(written, spelled, beside)


def _refuse_unknown(
    written: str, spelled: Callable[[str], str], beside: Collection[str]
) -> NoReturn:
    known = [[*_BY_KEY, *beside], [*_BY_KEYWORD, *beside]]
    # Of two that are equally near, the one in the user's own spelling.
    if spelled is keyword_of and not re.search("[.-]", written):
        known.reverse()
    found = [difflib.get_close_matches(written, each, n=1, cutoff=0.5) for each in known]
    near = next(filter(None, found), [])
    hint = f" Did you mean '{near[0]}'?" if near else ""
    if written in beside:
        hint = " It is an argument of its own, beside the options."
    raise OptionError(f"Unknown option '{written}'.{hint}", option=written)


def _parsed(option: Option[object], written: str, value: object) -> object:
    try:
        parsed = option.parse(value)
        _check_most(option.type_name, parsed)
        return parsed
    except ValueError as fault:
        raise OptionError(
            f"Invalid value for option '{written}': it {_hidden(option, fault)}.", option=written
        ) from (None if option.secret else fault)


def _check_most(type_name: str, value: object) -> None:
    most = _MOST.get(type_name)
    if most is not None and isinstance(value, int) and value > most:
        raise ValueError(f"must be at most {most}, the greatest {type_name}, not {value}")


def _hidden(option: Option[object], fault: ValueError) -> str:
    return "must be a non-empty string" if option.secret else str(fault)


def _check_together(options: SinkOptions, spelled: Callable[[str], str]) -> None:
    _check_region(options, spelled)
    if options.sink_requests_max_buffered <= options.sink_batch_max_size:
        buffered = spelled("sink.requests.max-buffered")
        raise OptionError(
            f"Invalid value for option '{buffered}': it must exceed "
            f"'{spelled('sink.batch.max-size')}' ({options.sink_batch_max_size}), "
            f"not be {options.sink_requests_max_buffered}.",
            option=buffered,
        )
    for level in options.credentials.levels:
        check_credentials(level, spelled)


def _check_region(options: SinkOptions, spelled: Callable[[str], str]) -> None:
    arn = re.match("arn:[^:]*:dynamodb:([^:]*):", options.table_name)
    if arn and options.aws_region and options.aws_region != arn[1]:
        key = spelled("aws.region")
        raise OptionError(
            f"Invalid value for option '{key}': it must be '{arn[1]}', the region of the ARN that "
            f"'{spelled('table-name')}' gives, not '{options.aws_region}'.",
            option=key,
        )
