"""What the options of one sink say of its credentials: a provider, and what it stands on.

`credentials` finds them on a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from beam_dynamodb.errors import OptionError

__all__ = [
    "CREDENTIALS",
    "PROVIDERS",
    "CredentialsOptions",
    "check_credentials",
    "credentials_options",
]

PROVIDERS = (
    "AUTO",
    "BASIC",
    "ENV_VAR",
    "SYS_PROP",
    "PROFILE",
    "ASSUME_ROLE",
    "WEB_IDENTITY_TOKEN",
)
"""The values of `aws.credentials.provider`."""

CREDENTIALS = "aws.credentials."
"""What the keys of all of these options begin with."""

_USED: Mapping[str, tuple[str, ...]] = {
    "AUTO": (
        "profile.path",
        "profile.name",
        "webIdentityToken.file",
        "webIdentityToken.googleAudience",
        "role.stsEndpoint",
    ),
    "BASIC": (
        "basic.accesskeyid",
        "basic.secretkey",
        "basic.accesskeyid.googleSecret",
        "basic.secretkey.googleSecret",
    ),
    "ENV_VAR": (),
    "SYS_PROP": (),
    "PROFILE": ("profile.path", "profile.name", "role.stsEndpoint"),
    "ASSUME_ROLE": (
        "role.arn",
        "role.sessionName",
        "role.externalId",
        "role.provider",
        "role.stsEndpoint",
    ),
    "WEB_IDENTITY_TOKEN": (
        "webIdentityToken.file",
        "webIdentityToken.googleAudience",
        "role.arn",
        "role.sessionName",
        "role.stsEndpoint",
    ),
}
"""What each provider takes from the options behind the prefix."""

_USED_WITH_TOKEN = ("role.arn", "role.sessionName")
"""What AUTO takes too where it has a web identity token."""


@dataclass(frozen=True, slots=True)
class CredentialsOptions:
    """Where the credentials come from: one provider and what belongs to it.

    Attributes:
        provider: One of `PROVIDERS`.
        path: The prefix of the keys it was read from, for error messages.
        base: For ASSUME_ROLE, the credentials that may assume the role.
    """

    provider: str
    path: str = CREDENTIALS
    access_key_id: str | None = None
    secret_key: str | None = None
    access_key_id_secret: str | None = None
    secret_key_secret: str | None = None
    profile_path: str | None = None
    profile_name: str | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    role_external_id: str | None = None
    role_sts_endpoint: str | None = None
    web_identity_token_file: str | None = None
    web_identity_audience: str | None = None
    base: CredentialsOptions | None = None

    def __repr__(self) -> str:
        return f"CredentialsOptions(provider={self.provider!r}, …)"

    def key(self, suffix: str) -> str:
        """The full option key of a suffix, such as `role.arn`, at this level of nesting."""
        return self.path + suffix

    @property
    def provider_key(self) -> str:
        """The key of the option that says the provider."""
        return self.key("provider") if self.path == CREDENTIALS else self.path.removesuffix(".")

    @property
    def levels(self) -> list[CredentialsOptions]:
        """These and what they stand on, the outermost first."""
        return [self, *(self.base.levels if self.base else ())]

    def unused(self, suffix: str) -> str | None:
        """Why the provider of this level takes nothing from an option; None if it does.

        Args:
            suffix: What of the option's key follows this level's path.
        """
        suffix = "role.provider" if suffix.startswith("role.provider.") else suffix
        with_token = self.provider == "AUTO" and suffix in _USED_WITH_TOKEN
        has_token = self.web_identity_token_file or self.web_identity_audience
        if suffix in _USED[self.provider] or (with_token and has_token):
            return None
        unless = " unless AUTO finds a web identity token on the worker" if with_token else ""
        users = " or ".join(name for name in PROVIDERS if suffix in _USED[name])
        asked = f"'{self.provider_key}' is {self.provider}"
        return f"has no effect{unless}: it is for {users}, and {asked}"


def credentials_options(values: Mapping[str, object]) -> CredentialsOptions:
    """The credentials asked for, with what they stand on when roles are nested.

    Args:
        values: The values of options by their keys.
    """
    return _read(values, CREDENTIALS, "aws.credentials.provider")


def _read(values: Mapping[str, object], path: str, provider_key: str) -> CredentialsOptions:
    def text(suffix: str) -> str | None:
        value = values.get(path + suffix)
        return None if value is None else str(value)

    keys = (text("basic.accesskeyid"), text("basic.secretkey"))
    secrets = (text("basic.accesskeyid.googleSecret"), text("basic.secretkey.googleSecret"))
    named = values.get(provider_key)
    provider = str(named) if named is not None else ("BASIC" if any(keys + secrets) else "AUTO")
    sts_endpoint = values.get("aws.credentials.role.stsEndpoint")
    return CredentialsOptions(
        provider=provider,
        path=path,
        access_key_id=keys[0],
        secret_key=keys[1],
        access_key_id_secret=secrets[0],
        secret_key_secret=secrets[1],
        profile_path=text("profile.path"),
        profile_name=text("profile.name"),
        role_arn=text("role.arn"),
        role_session_name=text("role.sessionName"),
        role_external_id=text("role.externalId"),
        role_sts_endpoint=None if sts_endpoint is None else str(sts_endpoint),
        web_identity_token_file=text("webIdentityToken.file"),
        web_identity_audience=text("webIdentityToken.googleAudience"),
        base=_read(values, path + "role.provider.", path + "role.provider")
        if provider == "ASSUME_ROLE"
        else None,
    )


def check_credentials(credentials: CredentialsOptions, spelled: Callable[[str], str]) -> None:
    """Refuses credentials that lack something, or have it twice; not what they stand on.

    Args:
        credentials: Those of one level.
        spelled: How the user spells an option's key.

    Raises:
        OptionError: It names the option.
    """
    _check_alternatives(credentials, spelled)
    wanted = {
        "BASIC": {
            "basic.accesskeyid": credentials.access_key_id or credentials.access_key_id_secret,
            "basic.secretkey": credentials.secret_key or credentials.secret_key_secret,
        },
        "ASSUME_ROLE": {"role.arn": credentials.role_arn},
    }.get(credentials.provider, {})
    missing = [spelled(credentials.key(each)) for each, value in wanted.items() if value is None]
    if missing:
        raise OptionError(
            f"Please set {' and '.join(repr(key) for key in missing)} "
            f"when using the {credentials.provider} credentials provider.",
            option=missing[0],
        )


def _check_alternatives(credentials: CredentialsOptions, spelled: Callable[[str], str]) -> None:
    for suffix, value, other, stand_in in (
        ("basic.accesskeyid", credentials.access_key_id,
         "basic.accesskeyid.googleSecret", credentials.access_key_id_secret),
        ("basic.secretkey", credentials.secret_key,
         "basic.secretkey.googleSecret", credentials.secret_key_secret),
        ("webIdentityToken.file", credentials.web_identity_token_file,
         "webIdentityToken.googleAudience", credentials.web_identity_audience),
    ):  # fmt: skip
        if value is not None and stand_in is not None:
            key, instead = (spelled(credentials.key(each)) for each in (suffix, other))
            raise OptionError(f"Please set '{key}' or '{instead}', not both.", option=instead)
