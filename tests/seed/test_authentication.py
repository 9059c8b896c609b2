"""Every option and every provider of the documented page's authentication gives its credentials."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from beam_dynamodb import OptionError, WriteToDynamoDB
from tests.integration.aws_standins import (
    MARK,
    ContainerMetadata,
    InstanceMetadata,
    Sts,
    serve,
)
from tests.seed.services import SECRET, SigningDynamoDB
from tests.seed.sinks import behavior, options, user_behavior, write

Start = Callable[..., Any]

ROLE = "arn:aws:iam::123456789012:role/writer"
INNER_ROLE = "arn:aws:iam::123456789012:role/inner"

KEYS = {
    **dict.fromkeys(["BASIC", "ENV", "PROP", "DEFAULT", "TEAM"], SECRET),
    **{f"{kind}{n}": f"{MARK}-key-{n}" for kind in ("ASIA", "ECS", "EC2") for n in range(1, 9)},
}
"""The secret keys by access key: a call that any other key signs is refused."""

BASIC = {
    "aws.credentials.basic.accesskeyid": "BASIC",
    "aws.credentials.basic.secretkey": SECRET,
}
BASIC_ROLE = {
    "aws.credentials.provider": "ASSUME_ROLE",
    "aws.credentials.role.arn": ROLE,
    "aws.credentials.role.provider": "BASIC",
    "aws.credentials.role.provider.basic.accesskeyid": "BASIC",
    "aws.credentials.role.provider.basic.secretkey": SECRET,
}


@dataclass
class Machine:
    """A worker with credentials in every place, and a DynamoDB and an STS that record signers.

    Attributes:
        service: The DynamoDB.
        endpoint: Its URL.
        sts: The STS.
        sts_endpoint: Its URL.
        profiles: A credentials file with the profiles `default` and `team`.
        token: A web identity token's file.
    """

    service: SigningDynamoDB
    endpoint: str
    sts: Sts
    sts_endpoint: str
    profiles: Path
    token: Path

    def write(self, given: Mapping[str, str]) -> tuple[str, str | None]:
        """Writes a row; returns which access key, with which session token, signed all calls."""
        sts = {"aws.credentials.role.stsEndpoint": self.sts_endpoint}
        write([behavior(1)], options(self.endpoint, {**sts, **given}))
        (signer,) = self.service.signers()
        assert len(self.service.db.items("user_behavior")) == 1
        return signer


@pytest.fixture
def machine(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    service, sts = SigningDynamoDB(user_behavior(), KEYS), Sts()
    profiles, token = tmp_path / "credentials", tmp_path / "token"
    profiles.write_text(
        "".join(
            f"[{name}]\naws_access_key_id = {name.upper()}\naws_secret_access_key = {SECRET}\n"
            for name in ("default", "team")
        )
    )
    token.write_text(f"{MARK}-web")
    made = Machine(service, start(serve(service)), sts, start(serve(sts)), profiles, token)
    sources = auto_sources(start, made)
    for name, value in (each for source in sources.values() for each in source.items()):
        monkeypatch.setenv(name, value)
    return made


def auto_sources(start: Start, machine: Machine) -> dict[str, dict[str, str]]:
    """The environment variables that make each source of AUTO present, in AUTO's order."""
    return {
        "ENV": {"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": SECRET},
        "PROP": {
            "JAVA_TOOL_OPTIONS": f"-Xmx1g -Daws.accessKeyId=PROP -Daws.secretKey={SECRET}",
        },
        "ASIA1": {"AWS_WEB_IDENTITY_TOKEN_FILE": str(machine.token), "AWS_ROLE_ARN": ROLE},
        "DEFAULT": {"AWS_SHARED_CREDENTIALS_FILE": str(machine.profiles)},
        "ECS1": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": start(serve(ContainerMetadata()))},
        "EC21": {
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": start(serve(InstanceMetadata())),
        },
    }


# --- one test per row ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "signer", "sts_action", "sts_signer"),
    [
        ("AUTO", "ENV", None, None),
        ("BASIC", "BASIC", None, None),
        ("ENV_VAR", "ENV", None, None),
        ("SYS_PROP", "PROP", None, None),
        ("PROFILE", "DEFAULT", None, None),
        ("ASSUME_ROLE", "ASIA1", "AssumeRole", "PROP"),
        ("WEB_IDENTITY_TOKEN", "ASIA1", "AssumeRoleWithWebIdentity", None),
    ],
)
def test_aws_credentials_provider__each_value_signs_with_its_own_credentials(
    machine: Machine, provider: str, signer: str, sts_action: str | None, sts_signer: str | None
) -> None:
    given = {
        **BASIC,
        "aws.credentials.provider": provider,
        "aws.credentials.role.arn": ROLE,
        "aws.credentials.role.provider": "SYS_PROP",
    }
    key, token = machine.write(given)
    assert (key, token) == (signer, f"{MARK}-token-1" if sts_action else None)
    asked = [(call.action, call.signer) for call in machine.sts.calls]
    assert asked == ([(sts_action, sts_signer)] if sts_action else [])


def test_aws_credentials_provider__auto_is_the_default(machine: Machine) -> None:
    assert machine.write({}) == ("ENV", None)


def test_aws_credentials_provider__other_values_are_refused() -> None:
    given = options("http://127.0.0.1:1", {"aws.credentials.provider": "ENV_VARS"})
    with pytest.raises(OptionError, match="'aws.credentials.provider': it must be one of AUTO,"):
        WriteToDynamoDB.from_options(given)


def test_aws_credentials_basic_accesskeyid__is_the_key_that_signs(machine: Machine) -> None:
    team = {"aws.credentials.basic.accesskeyid": "TEAM"}
    assert machine.write({**BASIC, "aws.credentials.provider": "BASIC", **team}) == ("TEAM", None)


def test_aws_credentials_basic_secretkey__makes_the_signature_and_a_wrong_one_is_refused(
    machine: Machine,
) -> None:
    assert machine.write(BASIC) == ("BASIC", None)
    wrong = {"aws.credentials.basic.secretkey": f"{MARK}-wrong"}
    with pytest.raises(Exception, match="InvalidSignatureException") as refused:
        write([behavior(2)], options(machine.endpoint, {**BASIC, **wrong}))
    assert MARK not in str(refused.value)
    assert len(machine.service.db.items("user_behavior")) == 1


def test_aws_credentials_profile_path__is_the_file_that_is_read(
    machine: Machine, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text(f"[default]\naws_access_key_id=TEAM\naws_secret_access_key={SECRET}\n")
    given = {
        "aws.credentials.provider": "PROFILE",
        "aws.credentials.profile.path": str(other),
    }
    assert machine.write(given) == ("TEAM", None)
    with pytest.raises(Exception, match=r"there is no profile 'default' in \S+/missing"):
        machine.write({**given, "aws.credentials.profile.path": str(tmp_path / "missing")})


def test_aws_credentials_profile_name__is_the_profile_that_is_read(machine: Machine) -> None:
    given = {
        "aws.credentials.provider": "PROFILE",
        "aws.credentials.profile.name": "team",
    }
    assert machine.write(given) == ("TEAM", None)
    with pytest.raises(Exception, match="there is no profile 'nobody' in"):
        machine.write({**given, "aws.credentials.profile.name": "nobody"})


def test_aws_credentials_role_arn__is_the_role_that_is_assumed(machine: Machine) -> None:
    assert machine.write(BASIC_ROLE) == ("ASIA1", f"{MARK}-token-1")
    assert [call.parameters["RoleArn"] for call in machine.sts.calls] == [ROLE]


def test_aws_credentials_role_session_name__is_told_to_sts_and_generated_if_not_set(
    machine: Machine,
) -> None:
    machine.write({**BASIC_ROLE, "aws.credentials.role.sessionName": "nightly"})
    write(
        [behavior(2)],
        options(
            machine.endpoint,
            {**BASIC_ROLE, "aws.credentials.role.stsEndpoint": machine.sts_endpoint},
        ),
    )
    named, generated = (call.parameters["RoleSessionName"] for call in machine.sts.calls)
    assert named == "nightly"
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", generated)


def test_aws_credentials_role_session_name__is_told_for_a_web_identity_too(
    machine: Machine,
) -> None:
    given = {
        "aws.credentials.provider": "WEB_IDENTITY_TOKEN",
        "aws.credentials.role.arn": INNER_ROLE,
        "aws.credentials.role.sessionName": "nightly",
    }
    machine.write(given)
    (call,) = machine.sts.calls
    asked = [call.parameters[name] for name in ("RoleArn", "RoleSessionName")]
    assert asked == [INNER_ROLE, "nightly"]


def test_aws_credentials_role_external_id__is_told_to_sts_only_if_set(machine: Machine) -> None:
    machine.write({**BASIC_ROLE, "aws.credentials.role.externalId": "partner-7"})
    sts = {"aws.credentials.role.stsEndpoint": machine.sts_endpoint}
    write([behavior(2)], options(machine.endpoint, {**BASIC_ROLE, **sts}))
    assert [call.parameters.get("ExternalId") for call in machine.sts.calls] == ["partner-7", None]


@pytest.mark.parametrize(
    ("base", "signer"),
    [("BASIC", "BASIC"), ("ENV_VAR", "ENV"), ("SYS_PROP", "PROP"), ("PROFILE", "DEFAULT")],
)
def test_aws_credentials_role_provider__signs_the_call_that_assumes_the_role(
    machine: Machine, base: str, signer: str
) -> None:
    machine.write({**BASIC_ROLE, "aws.credentials.role.provider": base})
    assert [call.signer for call in machine.sts.calls] == [signer]


def test_aws_credentials_role_provider__roles_can_be_nested(machine: Machine) -> None:
    inner = "aws.credentials.role.provider."
    signer = machine.write(
        {
            "aws.credentials.provider": "ASSUME_ROLE",
            "aws.credentials.role.arn": ROLE,
            "aws.credentials.role.externalId": "outer",
            "aws.credentials.role.provider": "ASSUME_ROLE",
            f"{inner}role.arn": INNER_ROLE,
            f"{inner}role.externalId": "inner",
            f"{inner}role.provider": "BASIC",
            f"{inner}role.provider.basic.accesskeyid": "BASIC",
            f"{inner}role.provider.basic.secretkey": SECRET,
        }
    )
    assert signer == ("ASIA2", f"{MARK}-token-2")
    asked = [
        (call.signer, call.parameters["RoleArn"], call.parameters["ExternalId"])
        for call in machine.sts.calls
    ]
    assert asked == [("BASIC", INNER_ROLE, "inner"), ("ASIA1", ROLE, "outer")]


def test_aws_credentials_web_identity_token_file__is_the_token_that_sts_gets(
    machine: Machine, tmp_path: Path
) -> None:
    other = tmp_path / "other-token"
    other.write_text(f"{MARK}-other-web")
    given = {
        "aws.credentials.provider": "WEB_IDENTITY_TOKEN",
        "aws.credentials.role.arn": ROLE,
        "aws.credentials.webIdentityToken.file": str(other),
    }
    assert machine.write(given) == ("ASIA1", f"{MARK}-token-1")
    assert [call.parameters["WebIdentityToken"] for call in machine.sts.calls] == [
        f"{MARK}-other-web"
    ]


# --- one test per sentence -----------------------------------------------------------------


def test_if_the_access_key_id_and_secret_key_are_set_this_results_in_using_the_basic_provider(
    machine: Machine,
) -> None:
    assert machine.write(BASIC) == ("BASIC", None)


def test_a_specific_provider_can_be_set_although_access_key_id_and_secret_key_are_set(
    machine: Machine,
) -> None:
    assert machine.write({**BASIC, "aws.credentials.provider": "AUTO"}) == ("ENV", None)


AUTO_ORDER = ("ENV", "PROP", "ASIA1", "DEFAULT", "ECS1", "EC21")


@pytest.mark.parametrize("first", AUTO_ORDER)
def test_auto_searches_env_vars_sys_props_web_identity_token_profile_and_ec2_ecs_in_this_order(
    machine: Machine, start: Start, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    sources = auto_sources(start, machine)
    assert tuple(sources) == AUTO_ORDER
    for absent in AUTO_ORDER[: AUTO_ORDER.index(first)]:
        for name in sources[absent]:
            monkeypatch.delenv(name)
    key, token = machine.write({})
    assert key == first
    assert (token is not None) == (first in ("ASIA1", "ECS1", "EC21"))


def test_auto_fails_the_job_and_names_where_it_looked_when_there_is_nothing(
    machine: Machine, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (each for source in auto_sources(start, machine).values() for each in source):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(machine.profiles) + "-missing")
    looked = (
        r"environment variables .*Java system properties .*web identity token .*profile "
        r".*container metadata .*instance metadata "
    )
    with pytest.raises(Exception, match=f"'AUTO' finds no AWS credentials.*{looked}"):
        machine.write({})
    assert machine.service.calls == []


def test_env_var_uses_aws_access_key_id_and_aws_secret_access_key_environment_variables(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "TEAM")
    assert machine.write({"aws.credentials.provider": "ENV_VAR"}) == ("TEAM", None)


def test_env_var_fails_the_job_when_the_variables_are_not_set(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Exception, match="'ENV_VAR' finds no AWS credentials.*AWS_ACCESS_KEY_ID"):
        machine.write({"aws.credentials.provider": "ENV_VAR"})


def test_sys_prop_uses_java_system_properties_aws_access_key_id_and_aws_secret_key(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = f"-Daws.accessKeyId=TEAM -Daws.secretKey={SECRET}"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", properties)
    assert machine.write({"aws.credentials.provider": "SYS_PROP"}) == ("TEAM", None)


@pytest.mark.moto
def test_assume_role_and_web_identity_token_get_credentials_from_a_real_sts(
    moto_endpoint: str, start: Start, machine: Machine
) -> None:
    # moto makes its keys up, so nobody here knows the secret ones.
    anybody = SigningDynamoDB(user_behavior())
    endpoint = start(serve(anybody))
    web = {
        "aws.credentials.provider": "WEB_IDENTITY_TOKEN",
        "aws.credentials.role.arn": ROLE,
        "aws.credentials.webIdentityToken.file": str(machine.token),
    }
    sts = {"aws.credentials.role.stsEndpoint": moto_endpoint}
    for given in (BASIC_ROLE, web):
        anybody.calls.clear()
        write([behavior(1)], options(endpoint, {**given, **sts}))
        ((key, token),) = anybody.signers()
        assert re.fullmatch(r"[AL]SIA\w+", key)
        assert token
    assert machine.sts.calls == []
