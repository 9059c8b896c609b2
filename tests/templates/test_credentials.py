"""AWS credentials of a Dataflow worker: its Google identity for a role, or keys kept as secrets."""

from __future__ import annotations

import builtins
import contextlib
import logging
from datetime import timedelta

import apache_beam as beam
import boto3
import pytest

from beam_dynamodb import OptionError, SinkOptions, WriteToDynamoDB, google
from beam_dynamodb.credentials import refresh, resolve
from beam_dynamodb.errors import CredentialsError
from tests.beam.helpers import pipeline as pipeline_of
from tests.integration.aws_standins import MARK, Sts, serve, utc_now
from tests.servers import REGION
from tests.templates.google_standins import secret_manager

ROLE = "arn:aws:iam::123456789012:role/writer"
INNER = "arn:aws:iam::123456789012:role/inner"
AUDIENCE = "sts.amazonaws.com"
SINK = {"table_name": "some-table", "aws_region": REGION, "connector": "dynamodb"}
KEY_ID, KEY = "projects/p/secrets/id", "projects/p/secrets/key"


def find(given, **more):
    options = SinkOptions.parse({**SINK, **given}).credentials
    return resolve(options, region=REGION, environ={"AWS_EC2_METADATA_DISABLED": "true"}, **more)


def identity(sts, **more):
    return {
        "aws_credentials_provider": "WEB_IDENTITY_TOKEN",
        "aws_credentials_role_arn": ROLE,
        "aws_credentials_role_sts_endpoint": sts,
        "aws_credentials_web_identity_token_google_audience": AUDIENCE,
        **more,
    }


@pytest.fixture
def sts():
    service = Sts()
    with serve(service) as service.url:
        yield service


# --- the identity of the service account ---------------------------------------------------


def test_the_workers_identity_is_exchanged_for_a_role(metadata_server, sts):
    found = find(identity(sts.url)).get_frozen_credentials()
    assert found.access_key == "ASIA1"
    (call,) = sts.calls
    assert call.action == "AssumeRoleWithWebIdentity"
    assert call.signer is None, "the token is all that is needed"
    assert call.parameters["RoleArn"] == ROLE
    assert f"{MARK}1AA" in call.parameters["WebIdentityToken"]
    assert metadata_server.audiences == [AUDIENCE]


def test_each_renewal_has_a_new_token_of_its_own(metadata_server, sts):
    now = [utc_now()]
    sts.clock = lambda: now[0]
    credentials = find(identity(sts.url), now=lambda: now[0])
    assert credentials.get_frozen_credentials().access_key == "ASIA1"
    now[0] += timedelta(minutes=58)
    assert credentials.get_frozen_credentials().access_key == "ASIA2"
    tokens = [call.parameters["WebIdentityToken"] for call in sts.calls]
    assert len(set(tokens)) == 2
    assert refresh(credentials)
    assert len(metadata_server.audiences) == 3


def test_the_role_may_be_the_base_of_another(metadata_server, sts):
    find({
        "aws_credentials_provider": "ASSUME_ROLE",
        "aws_credentials_role_arn": ROLE,
        "aws_credentials_role_sts_endpoint": sts.url,
        "aws_credentials_role_provider": "WEB_IDENTITY_TOKEN",
        "aws_credentials_role_provider_role_arn": INNER,
        "aws_credentials_role_provider_web_identity_token_google_audience": AUDIENCE,
    }).get_frozen_credentials()  # fmt: skip
    assert [(c.action, c.parameters["RoleArn"]) for c in sts.calls] == [
        ("AssumeRoleWithWebIdentity", INNER), ("AssumeRole", ROLE),
    ]  # fmt: skip


def test_auto_takes_the_identity_where_an_audience_is_set(metadata_server, sts):
    assert find(identity(sts.url, aws_credentials_provider="AUTO")).method == (
        "assume-role-with-web-identity"
    )


def test_motos_sts_knows_the_role(metadata_server, moto_endpoint):
    now = find(identity(moto_endpoint)).get_frozen_credentials()
    client = boto3.client(
        "sts", endpoint_url=moto_endpoint, region_name=REGION, aws_access_key_id=now.access_key,
        aws_secret_access_key=now.secret_key, aws_session_token=now.token,
    )  # fmt: skip
    with contextlib.closing(client):
        assert ":assumed-role/writer/" in client.get_caller_identity()["Arn"]


def test_a_machine_without_service_account_is_told(metadata_server, sts):
    metadata_server.account = False
    with pytest.raises(CredentialsError, match="web identity token"):
        find(identity(sts.url))
    assert not sts.calls


def test_a_missing_role_is_told(metadata_server):
    given = identity("http://127.0.0.1:9")
    del given["aws_credentials_role_arn"]
    with pytest.raises(CredentialsError, match=r"role\.arn"):
        find(given)


# --- secrets by their names ----------------------------------------------------------------


@pytest.fixture
def secrets(monkeypatch):
    kept = {f"{KEY_ID}/versions/latest": b"AKIA-1\n", f"{KEY}/versions/3": f"{MARK}-1".encode()}
    with secret_manager(kept) as client:
        monkeypatch.setattr(google, "_secret_manager", lambda: client)
        yield kept


BY_NAME = {
    "aws_credentials_basic_accesskeyid_google_secret": KEY_ID,
    "aws_credentials_basic_secretkey_google_secret": f"{KEY}/versions/3",
}


def test_keys_are_read_by_their_names(secrets):
    found = find(BY_NAME).get_frozen_credentials()
    assert found == ("AKIA-1", f"{MARK}-1", None, None)


def test_keys_that_were_changed_are_read_again_when_they_are_refused(secrets):
    credentials = find(BY_NAME)
    assert not refresh(credentials)
    secrets[f"{KEY}/versions/3"] = f"{MARK}-2".encode()
    assert refresh(credentials)
    assert credentials.get_frozen_credentials().secret_key == f"{MARK}-2"


@pytest.mark.parametrize(
    ("contents", "words"),
    [(None, "not found"), (b"\xff\xfe", "empty or no text"), (b" \n", "empty or no text")],
)
def test_a_secret_that_cannot_be_had_is_named(secrets, contents, words):
    del secrets[f"{KEY}/versions/3"]
    if contents is not None:
        secrets[f"{KEY}/versions/3"] = contents
    with pytest.raises(CredentialsError, match=words) as caught:
        find(BY_NAME)
    assert f"{KEY}/versions/3" in str(caught.value)


def test_a_key_in_the_place_of_a_name_is_refused_and_not_shown():
    given = {**SINK, "aws_credentials_basic_secretkey_google_secret": f"{MARK}/key"}
    with pytest.raises(OptionError, match="must be a secret's name") as caught:
        SinkOptions.parse(given)
    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {**BY_NAME, "aws_credentials_basic_secretkey": "x"},
        {
            "aws_credentials_web_identity_token_file": "/f",
            "aws_credentials_web_identity_token_google_audience": "a",
        },
    ],
)
def test_two_sources_of_one_thing_are_refused(given):
    with pytest.raises(OptionError, match="not both"):
        SinkOptions.parse({**SINK, **given})


def test_half_of_the_keys_is_refused():
    given = {"aws_credentials_basic_accesskeyid_google_secret": KEY_ID}
    with pytest.raises(OptionError, match="aws_credentials_basic_secretkey"):
        SinkOptions.parse({**SINK, **given})


# --- both ----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [BY_NAME, identity("http://127.0.0.1:9")])
def test_what_to_install_is_told_where_googles_libraries_are_missing(monkeypatch, given):
    real = builtins.__import__

    def without_google(name, *more):
        if name.startswith("google."):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without_google)
    with pytest.raises(CredentialsError, match=r"beam-dynamodb\[gcp\]"):
        find(given)


@pytest.mark.parametrize("by", ["identity", "secrets"])
def test_rows_are_written_with_them_and_nothing_secret_travels_or_is_logged(
    by, metadata_server, secrets, sts, moto_endpoint, create_table, caplog, monkeypatch
):
    table = create_table(moto_endpoint)
    given = identity(sts.url) if by == "identity" else BY_NAME
    caplog.set_level(logging.DEBUG)
    pipeline = pipeline_of()
    write = WriteToDynamoDB(table.name, aws_region=REGION, aws_endpoint=table.endpoint, **given)
    _ = pipeline | beam.Create([{"id": "a"}]) | write
    assert MARK not in str(pipeline.to_runner_api())
    with monkeypatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        pipeline.run().wait_until_finish()
    assert [item["id"]["S"] for item in table.items()] == ["a"]
    assert MARK not in caplog.text
    assert not [name for name in write.display_data() if name.startswith("aws_credentials")]
