"""Roles, web identity, metadata services and AUTO against real servers and loopback stand-ins."""

from __future__ import annotations

import itertools
import logging
import re
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import trustme
from botocore.utils import ContainerMetadataFetcher

from beam_dynamodb.credentials import FrozenCredentials, ResolvedCredentials, refresh, resolve
from beam_dynamodb.credentials_options import CredentialsOptions
from beam_dynamodb.errors import CredentialsError
from beam_dynamodb.options import SinkOptions
from tests.integration import aws_standins
from tests.integration.aws_standins import MARK, ContainerMetadata, InstanceMetadata, Sts, serve

ROLE = "arn:aws:iam::123456789012:role/writer"
INNER_ROLE = "arn:aws:iam::123456789012:role/inner"
SECRET = f"{MARK}-key"


@pytest.fixture(autouse=True)
def _machine_full_of_other_credentials(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws_standins.bait(tmp_path_factory.mktemp("bait")).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def serving() -> Iterator[Callable[..., str]]:
    """Starts stand-ins: `serving(Sts())` gives the URL."""
    with ExitStack() as stack:
        yield lambda *service: stack.enter_context(serve(*service))


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = aws_standins.utc_now()

    def __call__(self) -> datetime:
        return self.time

    def advance(self, step: timedelta) -> None:
        self.time += step


def find(
    home: Path, options: CredentialsOptions, environ: Mapping[str, str] | None = None, **more: Any
) -> ResolvedCredentials:
    return resolve(
        options,
        region="us-east-2",
        environ={"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **(environ or {})},
        **more,
    )


def configured(**credentials: str) -> CredentialsOptions:
    """The options of a sink with these below `aws.credentials`, dots written as `__`."""
    given = {
        f"aws.credentials.{key.replace('__', '.')}": value for key, value in credentials.items()
    }
    sink = {"connector": "dynamodb", "table-name": "some-table", "aws.region": "us-east-2"}
    return SinkOptions({**sink, **given}).credentials


def role(sts: str, **more: str) -> CredentialsOptions:
    base = {
        "role__provider__basic__accesskeyid": "AKIA",
        "role__provider__basic__secretkey": SECRET,
    }
    return configured(
        provider="ASSUME_ROLE", role__arn=ROLE, role__stsEndpoint=sts, **{**base, **more}
    )


def nested_role(sts: str, **more: str) -> CredentialsOptions:
    return configured(
        provider="ASSUME_ROLE",
        role__arn=ROLE,
        role__stsEndpoint=sts,
        role__provider="ASSUME_ROLE",
        role__provider__role__arn=INNER_ROLE,
        role__provider__role__provider__basic__accesskeyid="AKIA",
        role__provider__role__provider__basic__secretkey=SECRET,
        **more,
    )


def web_identity(sts: str, token: Path, **more: str) -> CredentialsOptions:
    return configured(
        provider="WEB_IDENTITY_TOKEN",
        role__arn=ROLE,
        role__stsEndpoint=sts,
        webIdentityToken__file=str(token),
        **more,
    )


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{MARK}-web-1")
    return path


# --- ASSUME_ROLE ---------------------------------------------------------------------------


def test_assume_role_sends_role_session_name_and_external_id(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    sts = Sts()
    options = role(serving(sts), role__sessionName="nightly", role__externalId="partner-7")
    found = find(tmp_path, options).get_frozen_credentials()
    assert found == ("ASIA1", f"{MARK}-key-1", f"{MARK}-token-1", "123456789012")
    (call,) = sts.calls
    assert (call.action, call.signer, call.token) == ("AssumeRole", "AKIA", None)
    asked = {name: value for name, value in call.parameters.items() if name != "Version"}
    assert asked == {
        "RoleArn": ROLE, "RoleSessionName": "nightly", "ExternalId": "partner-7",
    }  # fmt: skip


def test_a_session_name_is_generated_and_no_external_id_sent(
    serving: Callable[..., str], tmp_path: Path, token: Path
) -> None:
    sts = Sts()
    url = serving(sts)
    find(tmp_path, role(url))
    find(tmp_path, web_identity(url, token))
    for call in sts.calls:
        assert re.fullmatch(r"beam-dynamodb-\d{10}", call.parameters["RoleSessionName"])
        assert "ExternalId" not in call.parameters


def test_nested_roles_are_assumed_from_the_innermost_out(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    sts = Sts()
    third = "arn:aws:iam::123456789012:role/innermost"
    options = configured(
        provider="ASSUME_ROLE",
        role__arn=ROLE,
        role__stsEndpoint=serving(sts),
        role__externalId="outer-id",
        role__provider="ASSUME_ROLE",
        role__provider__role__arn=INNER_ROLE,
        role__provider__role__externalId="inner-id",
        role__provider__role__provider="ASSUME_ROLE",
        role__provider__role__provider__role__arn=third,
        role__provider__role__provider__role__sessionName="deep",
        role__provider__role__provider__role__provider="ENV_VAR",
    )
    environ = {"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": SECRET}
    found = find(tmp_path, options, environ)
    assert found.get_frozen_credentials().access_key == "ASIA3"
    asked = [
        (call.parameters["RoleArn"], call.parameters.get("ExternalId"), call.signer, call.token)
        for call in sts.calls
    ]
    assert asked == [
        (third, None, "ENV", None),
        (INNER_ROLE, "inner-id", "ASIA1", f"{MARK}-token-1"),
        (ROLE, "outer-id", "ASIA2", f"{MARK}-token-2"),
    ]
    assert sts.calls[0].parameters["RoleSessionName"] == "deep"


def caller(endpoint: str, found: ResolvedCredentials) -> str:
    frozen = found.get_frozen_credentials()
    client = boto3.client(
        "sts",
        endpoint_url=endpoint,
        region_name="us-east-2",
        aws_access_key_id=frozen.access_key,
        aws_secret_access_key=frozen.secret_key,
        aws_session_token=frozen.token,
        verify=False,
    )
    arn: str = client.get_caller_identity()["Arn"]
    client.close()
    return arn


@pytest.fixture
def _no_default_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    # boto3's own client in `caller` reads the environment of the process.
    for name in ("AWS_DEFAULTS_MODE", "AWS_CA_BUNDLE", "AWS_PROFILE"):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_no_default_mode")
def test_motos_sts_knows_the_assumed_roles(moto_endpoint: str, tmp_path: Path, token: Path) -> None:
    session = "arn:aws:sts::123456789012:assumed-role/writer/nightly"
    name = {"role__sessionName": "nightly"}
    for options in (
        role(moto_endpoint, **name),
        nested_role(moto_endpoint, **name),
        web_identity(moto_endpoint, token, **name),
    ):
        assert caller(moto_endpoint, find(tmp_path, options)) == session


PLAIN_ROLE = {
    "provider": "ASSUME_ROLE",
    "role__arn": ROLE,
    "role__provider__basic__accesskeyid": "AKIA",
    "role__provider__basic__secretkey": SECRET,
}


@pytest.fixture
def hosts_asked(serving: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts outside that were asked for: a loopback proxy refuses and records them."""
    asked = []

    def proxy(request: aws_standins.Request) -> tuple[int, str]:
        asked.append(request.path)
        return 403, ""

    url = serving(proxy)
    monkeypatch.setenv("HTTPS_PROXY", url)
    monkeypatch.setenv("https_proxy", url)
    return asked


def test_sts_is_that_of_the_region_where_no_endpoint_is_set(
    hosts_asked: list[str], tmp_path: Path
) -> None:
    with pytest.raises(CredentialsError, match="Failed to connect to proxy URL"):
        find(tmp_path, configured(**PLAIN_ROLE))
    assert set(hosts_asked) == {"sts.us-east-2.amazonaws.com:443"}


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"])
def test_the_endpoint_option_goes_before_the_variables(
    serving: Callable[..., str], tmp_path: Path, variable: str
) -> None:
    by_variable, by_option = Sts(), Sts()
    environ = {variable: serving(by_variable)}
    find(tmp_path, configured(**PLAIN_ROLE), environ)
    assert [call.region for call in by_variable.calls] == ["us-east-2"]
    find(tmp_path, role(serving(by_option)), environ)
    assert [call.region for call in by_option.calls] == ["us-east-2"]
    assert len(by_variable.calls) == 1


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (aws_standins.sts_error(403, "AccessDenied", "You may not."), "AccessDenied.*You may not"),
        (
            aws_standins.sts_error(
                403, "SignatureDoesNotMatch", f"It does not match.\n\nPOST\n{MARK}-token"
            ),
            "SignatureDoesNotMatch.*It does not match",
        ),
    ],
)
def test_a_refusal_of_sts_is_told_without_the_request_it_quotes(
    serving: Callable[..., str], tmp_path: Path, refusal: tuple[int, str], told: str
) -> None:
    url = serving(Sts(refusal=refusal))
    with pytest.raises(CredentialsError, match=told) as refused:
        find(tmp_path, role(url))
    assert refused.value.provider == "ASSUME_ROLE"
    assert "'aws.credentials.provider' = 'ASSUME_ROLE'" in str(refused.value)
    assert MARK not in whole_text(refused.value)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_certificates_of_sts_are_checked_as_asked(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    options = role(serving(Sts(), context))
    with pytest.raises(CredentialsError, match="certificate verify failed"):
        find(tmp_path, options)
    assert find(tmp_path, options, verify=False)
    assert find(tmp_path, options, verify=str(bundle))
    assert find(tmp_path, options, {"AWS_CA_BUNDLE": str(bundle)})


# --- WEB_IDENTITY_TOKEN --------------------------------------------------------------------


def test_web_identity_takes_what_options_lack_from_the_environment(
    serving: Callable[..., str], tmp_path: Path, token: Path
) -> None:
    sts = Sts()
    environ = {
        "AWS_ENDPOINT_URL_STS": serving(sts),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ROLE_ARN": ROLE,
        "AWS_ROLE_SESSION_NAME": "pod",
    }
    find(tmp_path, configured(provider="WEB_IDENTITY_TOKEN"), environ)
    other = configured(
        provider="WEB_IDENTITY_TOKEN", role__arn=INNER_ROLE, role__sessionName="mine"
    )
    find(tmp_path, other, environ)
    asked = [
        (call.action, call.parameters["RoleArn"], call.parameters["RoleSessionName"], call.signer)
        for call in sts.calls
    ]
    assert asked == [
        ("AssumeRoleWithWebIdentity", ROLE, "pod", None),
        ("AssumeRoleWithWebIdentity", INNER_ROLE, "mine", None),
    ]


def test_a_rotated_token_file_is_read_again_at_each_renewal(
    serving: Callable[..., str], tmp_path: Path, token: Path
) -> None:
    clock = Clock()
    sts = Sts(clock=clock)
    found = find(tmp_path, web_identity(serving(sts), token), now=clock)
    for number in (2, 3):
        token.write_text(f"{MARK}-web-{number}")
        clock.advance(timedelta(minutes=55))
        found.get_frozen_credentials()
    sent = [call.parameters["WebIdentityToken"] for call in sts.calls]
    assert sent == [f"{MARK}-web-{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("provider", ["role", "web identity"])
def test_a_profile_beside_them_has_no_effect(
    serving: Callable[..., str], tmp_path: Path, token: Path, provider: str
) -> None:
    url = serving(Sts())
    more = {"profile__name": "nowhere", "profile__path": str(tmp_path / "nothing")}
    options = role(url, **more) if provider == "role" else web_identity(url, token, **more)
    assert find(tmp_path, options).get_frozen_credentials().access_key == "ASIA1"


# --- renewal -------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["role", "nested role", "web identity"])
def test_in_a_long_run_no_expired_credentials_are_given(
    serving: Callable[..., str], tmp_path: Path, token: Path, provider: str
) -> None:
    clock = Clock()
    sts = Sts(lifetime=timedelta(hours=1), clock=clock)
    url = serving(sts)
    options, levels = {
        "role": (role(url), 1),
        "nested role": (nested_role(url), 2),
        "web identity": (web_identity(url, token), 1),
    }[provider]
    found = find(tmp_path, options, now=clock)
    given_at: dict[str | None, datetime] = {}
    for _ in range(12 * 60 // 4):
        key = found.get_frozen_credentials().access_key
        given_at.setdefault(key, clock.time)
        assert clock.time < given_at[key] + sts.lifetime - timedelta(minutes=10)
        clock.advance(timedelta(minutes=4))
    # Every 45 to 50 minutes at each level, not at each access.
    assert 12 * 60 / 50 <= len(given_at) <= 12 * 60 / 45 + 1
    assert len(sts.calls) <= levels * (len(given_at) + 1)


def test_credentials_that_live_shorter_than_the_margin_are_renewed_at_each_access(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    metadata = ContainerMetadata(lifetime=timedelta(minutes=5))
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": serving(metadata)}
    found = find(tmp_path, CredentialsOptions("AUTO"), environ)
    given = [found.get_frozen_credentials().access_key for _ in range(4)]
    assert len(set(given)) == 4


def test_a_failing_renewal_is_forgiven_while_the_old_credentials_are_good(
    serving: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    sts = Sts(clock=clock)
    found = find(tmp_path, role(serving(sts)), now=clock)
    sts.refusal = aws_standins.sts_error(403, "AccessDenied", f"Not now.\n{MARK}-token")
    clock.advance(timedelta(minutes=48))
    assert found.get_frozen_credentials().access_key == "ASIA1"
    assert "Refreshing temporary credentials failed" in caplog.text
    clock.advance(timedelta(minutes=10))
    assert found.get_frozen_credentials().access_key == "ASIA1"
    clock.advance(timedelta(minutes=1, seconds=30))
    with pytest.raises(CredentialsError, match=r"AccessDenied.*Not now") as fault:
        found.get_frozen_credentials()
    assert MARK not in whole_text(fault.value) + caplog.text
    sts.refusal = None
    assert found.get_frozen_credentials().access_key == "ASIA2"


def test_a_failing_renewal_of_container_metadata_is_forgiven_too(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    metadata = ContainerMetadata(lifetime=timedelta(minutes=5))
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": serving(metadata)}
    fetcher = ContainerMetadataFetcher(sleep=lambda _: None)
    found = find(tmp_path, CredentialsOptions("AUTO"), environ, container=fetcher)
    given = found.get_frozen_credentials()
    metadata.refusal = 500, "Not now."
    assert found.get_frozen_credentials() == given


def test_threads_share_one_renewal_and_get_whole_credentials(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    clock = Clock()
    sts = Sts(clock=clock)
    found = find(tmp_path, role(serving(sts)), now=clock)
    clock.advance(timedelta(minutes=59))
    start = threading.Barrier(8)

    def get(_: int) -> FrozenCredentials:
        start.wait()
        return found.get_frozen_credentials()

    with ThreadPoolExecutor(8) as pool:
        given = set(pool.map(get, range(8)))
    assert given == {("ASIA2", f"{MARK}-key-2", f"{MARK}-token-2", "123456789012")}
    assert len(sts.calls) == 2


# --- forced refresh ------------------------------------------------------------------------


def test_refresh_asks_sts_again_though_nothing_has_expired(
    serving: Callable[..., str], tmp_path: Path, token: Path
) -> None:
    sts = Sts()
    url = serving(sts)
    for options in (role(url), nested_role(url), web_identity(url, token)):
        found = find(tmp_path, options)
        before = found.get_frozen_credentials()
        assert refresh(found) is True
        assert found.get_frozen_credentials() != before


def test_threads_that_were_refused_the_same_credentials_refresh_once(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    sts = Sts()
    found = find(tmp_path, role(serving(sts)))
    refused = found.get_frozen_credentials()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: refresh(found, refused), range(8)))
    assert len(sts.calls) == 2


def test_a_refresh_that_sts_refuses_is_an_error(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    sts = Sts()
    found = find(tmp_path, role(serving(sts)))
    sts.refusal = aws_standins.sts_error(403, "AccessDenied", "Never.")
    with pytest.raises(CredentialsError, match="AccessDenied"):
        refresh(found)


# --- PROFILE, where it needs servers -------------------------------------------------------


def test_a_profile_may_assume_a_role_from_another_profile(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    sts = Sts()
    file = tmp_path / "credentials"
    file.write_text(
        f"[base]\naws_access_key_id = BASE\naws_secret_access_key = {SECRET}\n"
        f"[writer]\nrole_arn = {ROLE}\nsource_profile = base\nexternal_id = partner-7\n"
    )
    options = configured(
        provider="PROFILE", profile__path=str(file), profile__name="writer",
        role__stsEndpoint=serving(sts),
    )  # fmt: skip
    found = find(tmp_path, options)
    assert found.get_frozen_credentials().access_key == "ASIA1"
    assert (sts.calls[0].signer, sts.calls[0].parameters["ExternalId"]) == ("BASE", "partner-7")
    assert refresh(found) is True


@pytest.mark.parametrize(
    ("source", "signer"),
    [("Environment", "ENV"), ("EcsContainer", "ECS1"), ("Ec2InstanceMetadata", "EC21")],
)
def test_a_profile_may_take_its_base_from_elsewhere(
    serving: Callable[..., str], tmp_path: Path, source: str, signer: str
) -> None:
    sts = Sts()
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(
        f"[profile writer]\nrole_arn = {ROLE}\ncredential_source = {source}\n"
        f"endpoint_url = {serving(sts)}\n"
    )
    environ = {
        "AWS_ACCESS_KEY_ID": "ENV",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": serving(ContainerMetadata()),
        **instance_environ(serving(InstanceMetadata())),
    }
    found = find(tmp_path, configured(provider="PROFILE", profile__name="writer"), environ)
    assert found.get_frozen_credentials().access_key == "ASIA1"
    assert sts.calls[0].signer == signer


def test_the_endpoint_of_the_config_file_can_be_ignored(
    serving: Callable[..., str], tmp_path: Path, hosts_asked: list[str]
) -> None:
    sts = Sts()
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(f"[default]\nendpoint_url = {serving(sts)}\n")
    find(tmp_path, configured(**PLAIN_ROLE))
    assert (len(sts.calls), hosts_asked) == (1, [])
    with pytest.raises(CredentialsError):
        find(tmp_path, configured(**PLAIN_ROLE), {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"})
    assert (len(sts.calls), set(hosts_asked)) == (1, {"sts.us-east-2.amazonaws.com:443"})


def test_a_profile_may_name_a_token_file(
    serving: Callable[..., str], tmp_path: Path, token: Path
) -> None:
    sts = Sts()
    file = tmp_path / "credentials"
    file.write_text(f"[default]\nrole_arn = {ROLE}\nweb_identity_token_file = {token}\n")
    options = configured(
        provider="PROFILE", profile__path=str(file), role__stsEndpoint=serving(sts)
    )
    assert find(tmp_path, options).get_frozen_credentials().access_key == "ASIA1"
    assert sts.calls[0].parameters["WebIdentityToken"] == f"{MARK}-web-1"


def test_a_profile_that_asks_for_an_mfa_code_fails_at_once(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        f"[default]\naws_access_key_id = A\naws_secret_access_key = {SECRET}\n"
        f"[writer]\nrole_arn = {ROLE}\nsource_profile = default\nmfa_serial = arn:mfa\n"
    )
    options = configured(provider="PROFILE", profile__path=str(file), profile__name="writer")
    with pytest.raises(CredentialsError, match="asks for an MFA code"):
        find(tmp_path, options)


# --- metadata services ---------------------------------------------------------------------


def test_instance_metadata_is_read_with_a_token_as_version_2_wants(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    metadata = InstanceMetadata()
    environ = instance_environ(serving(metadata))
    found = find(tmp_path, CredentialsOptions("AUTO"), environ)
    frozen = found.get_frozen_credentials()
    assert frozen[:3] == ("EC21", f"{MARK}-key-1", f"{MARK}-token-1")
    assert metadata.requests[0].method == "PUT"
    assert refresh(found) is True
    assert found.get_frozen_credentials().access_key == "EC22"


def instance_environ(url: str) -> dict[str, str]:
    return {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}


def test_instance_metadata_without_a_role_or_disabled_is_absent(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    metadata = InstanceMetadata(role=None)
    environ = instance_environ(serving(metadata))
    with pytest.raises(CredentialsError, match="no metadata service gave"):
        find(tmp_path, CredentialsOptions("AUTO"), environ)
    asked = len(metadata.requests)
    assert asked > 0
    with pytest.raises(CredentialsError, match="no metadata service gave"):
        find(tmp_path, CredentialsOptions("AUTO"), {**environ, "AWS_EC2_METADATA_DISABLED": "true"})
    assert len(metadata.requests) == asked


def test_container_metadata_gets_the_token_from_a_file_read_at_each_renewal(
    serving: Callable[..., str], tmp_path: Path, token: Path
) -> None:
    metadata = ContainerMetadata()
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": serving(metadata),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }
    found = find(tmp_path, CredentialsOptions("AUTO"), environ)
    token.write_text(f"{MARK}-web-2")
    assert refresh(found) is True
    sent = [request.headers["Authorization"] for request in metadata.requests]
    assert sent == [f"{MARK}-web-1", f"{MARK}-web-2"]


def test_a_relative_uri_is_asked_of_the_containers_own_address(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    metadata = ContainerMetadata()
    fetcher = ContainerMetadataFetcher()
    assert fetcher.IP_ADDRESS == "169.254.170.2"
    fetcher.IP_ADDRESS = serving(metadata).removeprefix("http://")
    environ = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/some-id"}
    found = find(tmp_path, CredentialsOptions("AUTO"), environ, container=fetcher)
    assert found.get_frozen_credentials().access_key == "ECS1"
    assert metadata.requests[0].path == "/v2/credentials/some-id"


@pytest.mark.parametrize(
    "refusal",
    [
        (500, f'{{"SecretAccessKey": "{MARK}"}}'),
        (200, f"{MARK}, which is not JSON"),
        (200, f'{{"SecretAccessKey": "{MARK}"}}'),
    ],
)
def test_a_container_service_that_fails_is_told_without_its_answer(
    serving: Callable[..., str], tmp_path: Path, refusal: tuple[int, str]
) -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": serving(ContainerMetadata(refusal=refusal)),
        **instance_environ(serving(InstanceMetadata())),
    }
    fetcher = ContainerMetadataFetcher(sleep=lambda _: None)
    with pytest.raises(CredentialsError, match="from: container metadata") as fault:
        find(tmp_path, CredentialsOptions("AUTO"), environ, container=fetcher)
    assert MARK not in whole_text(fault.value)


# --- AUTO ----------------------------------------------------------------------------------


@dataclass
class Present:
    """What makes one source of AUTO present, and the key that it gives."""

    environ: dict[str, str]
    key: str
    properties: dict[str, str] | None = None


AUTO_ORDER = ("environment", "properties", "web identity", "profile", "container", "instance")


def sources(
    serving: Callable[..., str],
    folder: Path,
    token: Path,
    clock: Callable[[], datetime] = aws_standins.utc_now,
) -> dict[str, Present]:
    profile = folder / "credentials"
    profile.write_text(f"[default]\naws_access_key_id = PROF\naws_secret_access_key = {SECRET}\n")
    web = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ROLE_ARN": ROLE,
        "AWS_ENDPOINT_URL_STS": serving(Sts(clock=clock)),
    }
    environment = {"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": SECRET}
    properties = {"aws.accessKeyId": "PROP", "aws.secretKey": SECRET}
    container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": serving(ContainerMetadata())}
    return {
        "environment": Present(environment, "ENV"),
        "properties": Present({}, "PROP", properties),
        "web identity": Present(web, "ASIA"),
        "profile": Present({"AWS_SHARED_CREDENTIALS_FILE": str(profile)}, "PROF"),
        "container": Present(container, "ECS"),
        "instance": Present(instance_environ(serving(InstanceMetadata())), "EC2"),
    }


def test_auto_takes_the_first_source_that_is_present_in_the_documented_order(
    serving: Callable[..., str], tmp_path: Path, token: Path
) -> None:
    known = sources(serving, tmp_path, token)
    for chosen in itertools.product([True, False], repeat=len(AUTO_ORDER)):
        present = [known[name] for name, there in zip(AUTO_ORDER, chosen, strict=True) if there]
        if not present:
            continue
        environ = {name: value for each in present for name, value in each.environ.items()}
        properties = next((each.properties for each in present if each.properties), None)
        found = find(tmp_path, CredentialsOptions("AUTO"), environ, java_properties=properties)
        key = found.get_frozen_credentials().access_key or ""
        assert key.rstrip("0123456789") == present[0].key.rstrip("0123456789"), chosen


def test_auto_names_web_identity_when_sts_refuses_it(
    serving: Callable[..., str], tmp_path: Path, token: Path
) -> None:
    known = sources(serving, tmp_path, token)
    refusal = aws_standins.sts_error(400, "ExpiredTokenException", "Token expired.")
    environ = {
        **known["web identity"].environ,
        **known["profile"].environ,
        "AWS_ENDPOINT_URL_STS": serving(Sts(refusal=refusal)),
    }
    with pytest.raises(CredentialsError, match=r"web identity token\. .*ExpiredTokenException"):
        find(tmp_path, CredentialsOptions("AUTO"), environ)


# --- secrets -------------------------------------------------------------------------------


def whole_text(error: BaseException) -> str:
    """All that a log, a debugger or a serializer may show of an error."""
    texts, left = [], [error]
    while left:
        each = left.pop()
        texts += [repr(each), str(each), repr(each.args), *traceback.format_exception(each)]
        left += [other for other in (each.__cause__, each.__context__) if other is not None]
    return "\n".join(texts)


def test_no_secret_is_logged_or_shown_by_any_provider(
    serving: Callable[..., str],
    tmp_path: Path,
    token: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    known = sources(serving, tmp_path, token, clock)
    url = serving(Sts(clock=clock))
    auto = CredentialsOptions("AUTO")
    cases = [
        *((auto, each.environ, each.properties) for each in known.values()),
        (configured(basic__accesskeyid="AKIA", basic__secretkey=SECRET), {}, None),
        (CredentialsOptions("PROFILE"), known["profile"].environ, None),
        (role(url), {}, None),
        (nested_role(url), {}, None),
        (web_identity(url, token), {}, None),
    ]
    for options, environ, properties in cases:
        found = find(tmp_path, options, environ, java_properties=properties, now=clock)
        assert MARK in str(tuple(found.get_frozen_credentials()))
        clock.advance(timedelta(minutes=58))
        shown = [found.get_frozen_credentials(), found, vars(found), options]
        refresh(found)
        assert MARK not in "".join(f"{each!r} {each}" for each in shown)
    assert "gives AWS credentials from: role" in caplog.text
    assert MARK not in caplog.text
