"""The providers that ask no server: keys, environment, system properties, profiles, and AUTO."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb import google
from beam_dynamodb.credentials import (
    _SOURCES,
    ResolvedCredentials,
    _Worker,
    java_properties,
    refresh,
    resolve,
)
from beam_dynamodb.credentials_options import (
    _USED,
    _USED_WITH_TOKEN,
    PROVIDERS,
    CredentialsOptions,
    credentials_options,
)
from beam_dynamodb.errors import CredentialsError
from beam_dynamodb.options import SinkOptions
from tests.integration.aws_standins import MARK, bait

SECRET = f"{MARK}-key"
TOKEN = f"{MARK}-token"


@pytest.fixture(autouse=True)
def _machine_full_of_other_credentials(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bait(tmp_path_factory.mktemp("bait")).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    return tmp_path


def find(
    home: Path,
    provider: str,
    environ: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
    **fields: str,
) -> ResolvedCredentials:
    return resolve(
        CredentialsOptions(provider, **fields),  # type: ignore[arg-type]
        region="us-east-2",
        environ={"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **(environ or {})},
        java_properties=properties,
    )


def keys(credentials: ResolvedCredentials) -> tuple[str | None, str | None, str | None]:
    return credentials.get_frozen_credentials()[:3]


def write_profile(path: Path, name: str, **settings: str) -> Path:
    lines = [f"[{name}]", *(f"{key} = {value}" for key, value in settings.items()), ""]
    with path.open("a") as file:
        file.write("\n".join(lines))
    return path


def static(access_key: str) -> dict[str, str]:
    return {"aws_access_key_id": access_key, "aws_secret_access_key": SECRET}


# --- which option is whose -----------------------------------------------------------------

SUFFIXES = {
    each.key.removeprefix("aws.credentials.")
    for each in SinkOptions.declared()
    if each.key.startswith("aws.credentials.") and each.key != "aws.credentials.provider"
}


class Asked:
    """Credentials options that note which of them are asked for."""

    def __init__(self, *lacking: str) -> None:
        given = {f"aws.credentials.{each}": each for each in SUFFIXES if each not in lacking}
        self._options = credentials_options(given)
        self.suffixes: set[str] = set()

    def __getattr__(self, name: str) -> object:
        if name == "base":
            self.suffixes.add("role.provider")
            return CredentialsOptions("BASIC", access_key_id="AKIA", secret_key=SECRET)
        value = getattr(self._options, name)
        if value in SUFFIXES:
            self.suffixes.add(value)
        return value


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_provider_uses_the_options_that_are_said_to_be_its_own(
    provider: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google, "secret", str)
    stores = [each for each in SUFFIXES if each.endswith(("Secret", "Audience"))]
    worker = _Worker("us-east-2", None, {"HOME": str(home)}, {}, lambda: None, None)  # type: ignore[arg-type,return-value]
    used: set[str] = set()
    for lacking in ([], stores):
        asked = Asked(*lacking)
        for source in _SOURCES[provider]:
            if "metadata" not in source.name:
                with contextlib.suppress(Exception):
                    source.load(asked, worker)  # type: ignore[arg-type]
        used |= asked.suffixes
    of_sessions = {"profile.path", "profile.name"} if "role.arn" in used else set()
    declared = {*_USED[provider], *(_USED_WITH_TOKEN if provider == "AUTO" else ())}
    assert used | of_sessions == declared | of_sessions


# --- BASIC ---------------------------------------------------------------------------------


def test_basic_gives_the_configured_keys(home: Path) -> None:
    found = find(home, "BASIC", access_key_id="AKIA", secret_key=SECRET)
    assert keys(found) == ("AKIA", SECRET, None)
    assert (found.access_key, found.secret_key, found.token) == ("AKIA", SECRET, None)
    assert found.get_deferred_property("account_id")() is None


def test_keys_without_a_provider_are_basic(home: Path) -> None:
    options = SinkOptions(
        {
            "connector": "dynamodb",
            "table-name": "some-table",
            "aws.region": "us-east-2",
            "aws.credentials.basic.accesskeyid": "AKIA",
            "aws.credentials.basic.secretkey": SECRET,
        }
    )
    found = resolve(options.credentials, region="us-east-2", environ={"HOME": str(home)})
    assert keys(found) == ("AKIA", SECRET, None)


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"secret_key": SECRET}, "accesskeyid"), ({"access_key_id": "AKIA"}, "secretkey")],
)
def test_basic_without_a_key_names_the_option(
    home: Path, given: dict[str, str], missing: str
) -> None:
    with pytest.raises(CredentialsError, match=f"'aws.credentials.basic.{missing}' is not set"):
        find(home, "BASIC", **given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"access_key_id": "AKIA\n", "secret_key": SECRET}, "access key ID"),
        ({"access_key_id": "AKIA", "secret_key": f"{SECRET}\n"}, "secret key"),
        ({"access_key_id": "AKIA", "secret_key": f"{SECRET} "}, "secret key"),
        ({"access_key_id": "AKIÄ", "secret_key": SECRET}, "access key ID"),
    ],
)
def test_a_key_with_a_character_that_none_has_is_told_without_the_key(
    home: Path, given: dict[str, str], named: str
) -> None:
    told = f"'BASIC' cannot get AWS credentials from: configured keys.*the {named} holds a blank"
    with pytest.raises(CredentialsError, match=told) as refused:
        find(home, "BASIC", **given)
    assert SECRET not in str(refused.value)


# --- ENV_VAR -------------------------------------------------------------------------------


def test_environment_variables_give_keys_and_session_token(home: Path) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": SECRET}
    assert keys(find(home, "ENV_VAR", environ)) == ("ENV", SECRET, None)
    environ["AWS_SESSION_TOKEN"] = TOKEN
    assert keys(find(home, "ENV_VAR", environ)) == ("ENV", SECRET, TOKEN)


def test_missing_environment_variables_are_named(home: Path) -> None:
    with pytest.raises(CredentialsError, match="AWS_ACCESS_KEY_ID is not set") as absent:
        find(home, "ENV_VAR", {"AWS_SECRET_ACCESS_KEY": SECRET})
    assert absent.value.provider == "ENV_VAR"
    assert "'aws.credentials.provider' = 'ENV_VAR'" in str(absent.value)
    with pytest.raises(CredentialsError, match="missing: AWS_SECRET_ACCESS_KEY"):
        find(home, "ENV_VAR", {"AWS_ACCESS_KEY_ID": "ENV"})


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "PROCESS")
    found = resolve(CredentialsOptions("ENV_VAR"), region="us-east-2")
    assert keys(found)[0] == "PROCESS"


# --- SYS_PROP ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["aws.secretKey", "aws.secretAccessKey"])
def test_system_properties_give_keys_under_both_names_of_the_secret(home: Path, name: str) -> None:
    properties = {"aws.accessKeyId": "PROP", name: SECRET, "aws.sessionToken": TOKEN}
    assert keys(find(home, "SYS_PROP", properties=properties)) == ("PROP", SECRET, TOKEN)


def test_the_documented_name_of_the_secret_goes_first(home: Path) -> None:
    properties = {"aws.secretAccessKey": "other", "aws.accessKeyId": "P", "aws.secretKey": SECRET}
    assert keys(find(home, "SYS_PROP", properties=properties)) == ("P", SECRET, None)


def test_missing_system_properties_are_named(home: Path) -> None:
    with pytest.raises(CredentialsError, match=r"aws\.accessKeyId is not set"):
        find(home, "SYS_PROP", properties={"aws.secretKey": SECRET})
    with pytest.raises(CredentialsError, match=r"missing: aws\.secretKey"):
        find(home, "SYS_PROP", properties={"aws.accessKeyId": "PROP"})


def test_system_properties_are_read_from_java_tool_options(home: Path) -> None:
    environ = {"JAVA_TOOL_OPTIONS": f"-Xmx1g -Daws.accessKeyId=PROP '-Daws.secretKey={SECRET}'"}
    assert keys(find(home, "SYS_PROP", environ)) == ("PROP", SECRET, None)


@pytest.mark.parametrize(
    ("text", "properties"),
    [  # each as a JVM (OpenJDK 17) reads it
        ("", {}),
        ("-Xmx1g -Da=b=c", {"a": "b=c"}),
        ("-Da='x y' -Db=\"q'r\"z", {"a": "x y", "b": "q'rz"}),
        (r"-Da=b\c", {"a": r"b\c"}),
        (r"-Da='b\' -Db=#c", {"a": "b\\", "b": "#c"}),
        ("-Dx=''", {"x": ""}),
        ("-De", {"e": ""}),
        ("-Da=x\t-Da=y\v-Db=z", {"a": "y", "b": "z"}),
    ],
)
def test_java_tool_options_are_split_as_the_jvm_does(text: str, properties: dict[str, str]) -> None:
    assert java_properties({"JAVA_TOOL_OPTIONS": text}, {}) == properties


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(st.characters(exclude_characters="'")))))
def test_any_quoted_value_of_a_property_is_read_back(settings: list[tuple[str, str]]) -> None:
    text = " ".join(f"-D{name}='{value}'" for name, value in settings)
    assert java_properties({"JAVA_TOOL_OPTIONS": text}, {}) == dict(settings)


def test_an_open_quote_is_an_error_that_does_not_show_the_text(home: Path) -> None:
    environ = {"JAVA_TOOL_OPTIONS": f"-Daws.accessKeyId=A -Daws.secretKey='{SECRET}"}
    with pytest.raises(CredentialsError, match="a quote in JAVA_TOOL_OPTIONS is not closed") as no:
        find(home, "SYS_PROP", environ)
    assert MARK not in str(no.value)


def test_interpreter_options_go_before_java_tool_options() -> None:
    program = (
        "from beam_dynamodb.credentials import java_properties\n"
        "print(sorted(java_properties({'JAVA_TOOL_OPTIONS': '-Da.b=java -Dc=java'}).items()))"
    )
    command = [sys.executable, "-X", "a.b=python=1", "-X", "dev", "-c", program]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == "[('a.b', 'python=1'), ('c', 'java')]"


# --- PROFILE -------------------------------------------------------------------------------


def test_profile_reads_the_default_profile_of_the_usual_file(home: Path) -> None:
    write_profile(
        home / ".aws/credentials", "default", **static("DEFAULT"), aws_session_token=TOKEN
    )
    assert keys(find(home, "PROFILE")) == ("DEFAULT", SECRET, TOKEN)


def test_profile_honours_the_variables_for_file_and_name(home: Path) -> None:
    path = write_profile(home / "elsewhere", "b", **static("B"))
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(path), "AWS_PROFILE": "b"}
    assert keys(find(home, "PROFILE", environ))[0] == "B"


def test_profile_options_go_before_the_variables(home: Path) -> None:
    wrong = write_profile(home / "wrong", "b", **static("WRONG"))
    path = write_profile(home / "right", "b", **static("B"))
    write_profile(path, "c", **static("C"))
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(wrong), "AWS_PROFILE": "b"}
    assert keys(find(home, "PROFILE", environ, profile_path=str(path)))[0] == "B"
    named = find(home, "PROFILE", environ, profile_path=str(path), profile_name="c")
    assert keys(named)[0] == "C"


def test_profile_reads_the_config_file_too(home: Path) -> None:
    write_profile(home / ".aws/config", "profile b", **static("B"))
    assert keys(find(home, "PROFILE", profile_name="b"))[0] == "B"


def test_a_profile_path_stands_alone(home: Path) -> None:
    write_profile(home / ".aws/config", "profile b", **static("B"))
    path = write_profile(home / "file", "a", **static("A"))
    with pytest.raises(CredentialsError, match="there is no profile 'b' in") as missing:
        find(home, "PROFILE", profile_path=str(path), profile_name="b")
    assert str(path) in str(missing.value)


def test_a_missing_profile_file_is_named(home: Path) -> None:
    path = str(home / "absent")
    with pytest.raises(CredentialsError, match=r"no profile 'default' in .*absent \(no such file"):
        find(home, "PROFILE", profile_path=path)
    with pytest.raises(CredentialsError, match=r"\.aws/credentials \(no such file\) or .*config"):
        find(home, "PROFILE")


def test_a_profile_without_credentials_is_named(home: Path) -> None:
    write_profile(home / ".aws/config", "default", region="us-east-1")
    with pytest.raises(CredentialsError, match="profile 'default' in .* holds no credentials"):
        find(home, "PROFILE")


def test_a_profile_with_half_the_keys_names_the_other(home: Path) -> None:
    write_profile(home / ".aws/credentials", "default", aws_access_key_id="A")
    with pytest.raises(CredentialsError, match="missing: aws_secret_access_key"):
        find(home, "PROFILE")


def test_an_unreadable_profile_file_is_an_error_that_does_not_show_its_text(home: Path) -> None:
    (home / ".aws/credentials").write_text(f"[default]\n{SECRET}\n")
    with pytest.raises(CredentialsError, match="Unable to parse config file") as fault:
        find(home, "PROFILE")
    assert MARK not in str(fault.value) + repr(fault.value.__cause__)


def test_a_profile_may_name_a_process(home: Path) -> None:
    answer = f'{{"Version": 1, "AccessKeyId": "PROC", "SecretAccessKey": "{SECRET}"}}'
    (home / "answer").write_text(answer)
    write_profile(home / ".aws/config", "default", credential_process=f"cat {home / 'answer'}")
    assert keys(find(home, "PROFILE")) == ("PROC", SECRET, None)


def test_a_rewritten_profile_file_is_read_at_refresh(home: Path) -> None:
    path = write_profile(home / ".aws/credentials", "default", **static("OLD"))
    found = find(home, "PROFILE")
    assert not refresh(found)
    path.unlink()
    write_profile(path, "default", **static("NEW"))
    assert refresh(found)
    assert keys(found)[0] == "NEW"


# --- WEB_IDENTITY_TOKEN and ASSUME_ROLE, as far as no server is needed ---------------------


def test_web_identity_names_what_is_missing(home: Path) -> None:
    with pytest.raises(CredentialsError, match="'aws.credentials.webIdentityToken.file' nor AWS_"):
        find(home, "WEB_IDENTITY_TOKEN")
    with pytest.raises(CredentialsError, match="neither 'aws.credentials.role.arn' nor AWS_ROLE_A"):
        find(home, "WEB_IDENTITY_TOKEN", web_identity_token_file="/nowhere/token")
    role = {"role_arn": "arn:aws:iam::123456789012:role/writer"}
    with pytest.raises(CredentialsError, match="No such file or directory: '/nowhere/token'"):
        find(home, "WEB_IDENTITY_TOKEN", web_identity_token_file="/nowhere/token", **role)


def test_assume_role_names_a_missing_role(home: Path) -> None:
    with pytest.raises(CredentialsError, match="'aws.credentials.role.arn' is not set"):
        find(home, "ASSUME_ROLE")


def test_assume_role_names_the_key_of_the_base_that_finds_nothing(home: Path) -> None:
    options = SinkOptions(
        {
            "connector": "dynamodb",
            "table-name": "some-table",
            "aws.region": "us-east-2",
            "aws.credentials.provider": "ASSUME_ROLE",
            "aws.credentials.role.arn": "arn:aws:iam::123456789012:role/outer",
            "aws.credentials.role.provider": "ASSUME_ROLE",
            "aws.credentials.role.provider.role.arn": "arn:aws:iam::123456789012:role/inner",
            "aws.credentials.role.provider.role.provider": "ENV_VAR",
        }
    )
    with pytest.raises(CredentialsError) as absent:
        resolve(options.credentials, region="us-east-2", environ={"HOME": str(home)})
    assert "'aws.credentials.role.provider.role.provider' = 'ENV_VAR'" in str(absent.value)
    assert absent.value.provider == "ENV_VAR"


# --- AUTO ----------------------------------------------------------------------------------


def test_auto_without_any_source_lists_all_it_looked_at(home: Path) -> None:
    with pytest.raises(CredentialsError) as absent:
        find(home, "AUTO")
    text = str(absent.value)
    looked_at = [
        "AWS_ACCESS_KEY_ID is not set",
        "aws.accessKeyId is not set",
        "AWS_WEB_IDENTITY_TOKEN_FILE is set",
        "no profile 'default'",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
        "no metadata service",
    ]
    places = [text.find(each) for each in looked_at]
    assert -1 not in places
    assert places == sorted(places)
    assert absent.value.provider == "AUTO"


@pytest.mark.parametrize(
    ("environ", "source", "reason"),
    [
        ({"AWS_ACCESS_KEY_ID": "A"}, "environment variables", "AWS_SECRET_ACCESS_KEY"),
        ({"JAVA_TOOL_OPTIONS": "-Daws.accessKeyId=A"}, "Java system properties", "aws.secretKey"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere"}, "web identity token", "AWS_ROLE_ARN"),
        ({"AWS_PROFILE": "absent"}, "profile", "there is no profile 'absent'"),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/"},
            "container metadata",
            "Unsupported host '192.0.2.1'",
        ),
    ],
)
def test_auto_stops_at_a_source_that_is_there_but_broken(
    home: Path, environ: dict[str, str], source: str, reason: str
) -> None:
    later = {} if "URI" in str(environ) else {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://[::1/"}
    with pytest.raises(CredentialsError, match=f"from: {source}") as broken:
        find(home, "AUTO", environ | later)
    assert reason in str(broken.value)


# --- what holds for all --------------------------------------------------------------------


def test_fixed_credentials_are_not_refreshed(home: Path) -> None:
    found = find(home, "BASIC", access_key_id="AKIA", secret_key=SECRET)
    assert refresh(found) is False
    assert refresh(found, found.get_frozen_credentials()) is False


def test_credentials_are_never_pickled(home: Path) -> None:
    found = find(home, "BASIC", access_key_id="AKIA", secret_key=SECRET)
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(found)


def test_no_text_of_credentials_shows_a_secret(home: Path) -> None:
    found = find(home, "BASIC", access_key_id="AKIA", secret_key=SECRET)
    frozen = found.get_frozen_credentials()
    shown = [str(found), repr(found), f"{found}", str(frozen), repr(frozen), f"{[frozen]}"]
    assert not [text for text in shown if MARK in text or "AKIA" in text]
