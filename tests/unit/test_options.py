"""Options: what is refused, in which words; nested credentials; secrets."""

from __future__ import annotations

import re

import pytest

from beam_dynamodb.errors import OptionError
from beam_dynamodb.options import SinkOptions, keyword_of

BASE = {"connector": "dynamodb", "table-name": "user_behavior", "aws.region": "us-east-2"}


@pytest.mark.parametrize(
    ("key", "keyword"),
    [
        ("table-name", "table_name"),
        ("sink.batch.max-size", "sink_batch_max_size"),
        ("aws.credentials.role.sessionName", "aws_credentials_role_session_name"),
        ("aws.credentials.webIdentityToken.file", "aws_credentials_web_identity_token_file"),
        ("aws.credentials.basic.accesskeyid", "aws_credentials_basic_accesskeyid"),
    ],
)
def test_a_key_as_a_keyword(key: str, keyword: str) -> None:
    assert keyword_of(key) == keyword


def test_all_missing_options_are_named() -> None:
    with pytest.raises(OptionError) as caught:
        SinkOptions.parse({"connector": "dynamodb"})
    assert str(caught.value) == (
        "One or more required options are missing.\n\nMissing required options are:\n\n"
        "aws.region\ntable-name"
    )


@pytest.mark.parametrize("written", ["sink.batch.max-size", "sink_batch_max_size"])
def test_the_key_is_named_as_it_was_written(written: str) -> None:
    with pytest.raises(OptionError, match=written) as caught:
        SinkOptions.parse({**BASE, written: 26})
    assert caught.value.option == written


MOST = {"Integer": 2**31 - 1, "Long": 2**63 - 1}
BOUNDED = [
    each.key
    for each in SinkOptions.declared()
    if each.type_name in MOST and each.key != "sink.batch.max-size"
]


@pytest.mark.parametrize("key", BOUNDED)
def test_a_number_is_at_most_what_its_type_has_in_java(key: str) -> None:
    most = MOST[next(each.type_name for each in SinkOptions.declared() if each.key == key)]
    for given in (most, str(most)):
        assert SinkOptions.parse({**BASE, key: given}).values[key] == most
    for given in (most + 1, str(most + 1)):
        with pytest.raises(OptionError, match=f"'{key}': it must be at most {most}, "):
            SinkOptions.parse({**BASE, key: given})


def test_an_option_given_by_key_and_keyword_is_given_twice() -> None:
    with pytest.raises(OptionError, match="'sink.batch.max-size' is given twice"):
        SinkOptions.parse({**BASE, "sink.batch.max-size": 5, "sink_batch_max_size": 5})


def test_none_is_not_given() -> None:
    assert SinkOptions.parse({**BASE, "aws.endpoint": None}) == SinkOptions.parse(BASE)


ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/user_behavior"


def test_the_region_of_a_tables_arn_is_that_of_the_sink() -> None:
    SinkOptions.parse({**BASE, "table-name": ARN, "aws.region": "eu-central-1"})
    SinkOptions.parse({"connector": "dynamodb", "table-name": ARN}, may_miss=["aws.region"])
    with pytest.raises(OptionError) as caught:
        SinkOptions.parse({**BASE, "table-name": ARN})
    assert str(caught.value) == (
        "Invalid value for option 'aws.region': it must be 'eu-central-1', the region of the ARN "
        "that 'table-name' gives, not 'us-east-2'."
    )
    assert caught.value.option == "aws.region"
    keywords = {keyword_of(key): value for key, value in BASE.items()}
    with pytest.raises(OptionError, match="'aws_region': .* the ARN that 'table_name' gives"):
        SinkOptions.parse({**keywords, "table_name": ARN})


NESTED = {
    **BASE,
    "aws.credentials.provider": "ASSUME_ROLE",
    "aws.credentials.role.arn": "arn:aws:iam::1:role/outer",
    "aws.credentials.role.provider": "ASSUME_ROLE",
    "aws.credentials.role.provider.role.arn": "arn:aws:iam::1:role/inner",
    "aws.credentials.role.provider.role.externalId": "x-1",
    "aws.credentials.role.provider.role.provider": "BASIC",
    "aws.credentials.role.provider.role.provider.basic.accesskeyid": "AKIDEXAMPLE",
    "aws.credentials.role.provider.role.provider.basic.secretkey": "s3cr3t-key",
}


def test_roles_nest_to_any_depth() -> None:
    outer = SinkOptions.parse(NESTED).credentials
    assert (outer.provider, outer.role_arn) == ("ASSUME_ROLE", "arn:aws:iam::1:role/outer")
    inner = outer.base
    assert inner is not None
    assert (inner.role_arn, inner.role_external_id) == ("arn:aws:iam::1:role/inner", "x-1")
    base = inner.base
    assert base is not None
    assert (base.provider, base.access_key_id, base.base) == ("BASIC", "AKIDEXAMPLE", None)


def test_a_nested_role_names_its_own_missing_key() -> None:
    given = {key: each for key, each in NESTED.items() if not key.endswith("secretkey")}
    with pytest.raises(
        OptionError,
        match=r"set 'aws\.credentials\.role\.provider\.role\.provider\.basic\.secretkey'",
    ):
        SinkOptions.parse(given)


def test_keys_without_a_provider_are_basic_and_an_explicit_provider_is_obeyed() -> None:
    keys = {
        "aws.credentials.basic.accesskeyid": "AKIDEXAMPLE",
        "aws.credentials.basic.secretkey": "s3cr3t-key",
    }
    assert SinkOptions.parse({**BASE, **keys}).credentials.provider == "BASIC"
    explicit = {**BASE, **keys, "aws.credentials.provider": "AUTO"}
    assert SinkOptions.parse(explicit).credentials.provider == "AUTO"
    assert SinkOptions.parse(BASE).credentials.provider == "AUTO"


KEYS = {"basic.accesskeyid": "AKIDEXAMPLE", "basic.secretkey": "s3cr3t-key"}
UNLESS = " unless AUTO finds a web identity token on the worker"
UNUSED: list[tuple[dict[str, str], list[str]]] = [
    ({}, []),
    (KEYS, []),
    ({"profile.name": "p", "role.stsEndpoint": "https://sts.example"}, []),
    ({"role.arn": "r", "webIdentityToken.file": "/f"}, []),
    (
        {"role.arn": "r"},
        [f"role.arn{UNLESS}: ASSUME_ROLE or WEB_IDENTITY_TOKEN; provider is AUTO"],
    ),
    (
        {**KEYS, "provider": "ENV_VAR"},
        [
            "basic.accesskeyid: BASIC; provider is ENV_VAR",
            "basic.secretkey: BASIC; provider is ENV_VAR",
        ],
    ),
    (
        {**KEYS, "profile.name": "p"},
        ["profile.name: AUTO or PROFILE; provider is BASIC"],
    ),
    (
        {
            "provider": "WEB_IDENTITY_TOKEN",
            "role.externalId": "x",
            "role.provider.profile.name": "p",
        },
        [
            "role.externalId: ASSUME_ROLE; provider is WEB_IDENTITY_TOKEN",
            "role.provider.profile.name: ASSUME_ROLE; provider is WEB_IDENTITY_TOKEN",
        ],
    ),
    (
        {
            "provider": "ASSUME_ROLE",
            "role.arn": "r",
            "role.provider": "PROFILE",
            "role.provider.role.arn": "r",
        },
        ["role.provider.role.arn: ASSUME_ROLE or WEB_IDENTITY_TOKEN; role.provider is PROFILE"],
    ),
]


@pytest.mark.parametrize(("given", "told"), UNUSED)
def test_what_no_provider_uses_is_told_with_the_provider_that_would(
    given: dict[str, str], told: list[str]
) -> None:
    path = "aws.credentials."
    options = SinkOptions.parse({**BASE, **{path + key: each for key, each in given.items()}})
    form = re.compile(r"([\w.]+)( unless .*)?: (.+); ([\w.]+) is (\w+)")
    sentence = rf"'{path}\1' has no effect\2: it is for \3, and '{path}\4' is \5."
    assert list(options.without_effect()) == [form.sub(sentence, each) for each in told]


def test_roles_that_all_have_an_effect_are_told_nothing() -> None:
    assert list(SinkOptions.parse(NESTED).without_effect()) == []


def test_no_secret_shows() -> None:
    options = SinkOptions.parse(NESTED)
    shown = f"{options!r} {options} {options.credentials!r} {options.credentials.base!r}"
    assert "s3cr3t" not in shown
    assert "AKIDEXAMPLE" not in shown


def test_a_secret_of_the_wrong_type_does_not_show_in_the_error() -> None:
    with pytest.raises(OptionError) as caught:
        SinkOptions.parse({**BASE, "aws.credentials.basic.secretkey": 12345678})
    assert "12345678" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_wrong_declaration_is_noticed() -> None:
    from beam_dynamodb.options import Option

    with pytest.raises((TypeError, RuntimeError)):

        class Wrong:
            max_size = Option("sink.batch.max-size", "g", "Integer", int, 1, "d")  # type: ignore[arg-type]
