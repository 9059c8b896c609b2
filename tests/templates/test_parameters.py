"""The templates' metadata and specifications: as Dataflow reads them, and as the options say."""

from __future__ import annotations

import json
import re

import pytest
from google.cloud import dataflow_v1beta3 as df
from google.protobuf import json_format

from beam_dynamodb import OptionError
from beam_dynamodb.credentials_options import PROVIDERS
from beam_dynamodb.options import SinkOptions
from pipelines.columns import Columns
from pipelines.formats import FORMATS
from templates import metadata
from templates.launch import main as launcher
from templates.launch.staging import container_spec
from templates.main import parser_of
from templates.parameters import CLASSIC, CLASSIC_STAGED, DEAD_LETTERS, TEMPLATES

EVERY = {**TEMPLATES, "classic": CLASSIC}
templates = pytest.mark.parametrize("template", EVERY.values(), ids=EVERY)


def parameter(name):
    found = {each.name: each for template in EVERY.values() for each in template.parameters}
    return found[name]


def test_the_files_are_those_of_the_declarations():
    for path, text in metadata.files().items():
        assert path.read_text(encoding="utf-8") == text, "run `make docs`"


@templates
def test_dataflow_can_read_the_metadata(template):
    message = json_format.ParseDict(template.metadata(), df.TemplateMetadata.pb()())
    assert message.name == template.name
    assert message.streaming == template.streaming
    assert len(message.parameters) == len(template.parameters)
    for each in message.parameters:
        assert all((each.name, each.label, each.help_text, each.group_name)), each.name


@templates
def test_every_option_of_the_sink_is_a_parameter_but_those_that_hold_a_secret(template):
    names = [each.name for each in template.parameters]
    told = [each for each in SinkOptions.declared() if each.key != "connector"]
    assert {each.keyword for each in told if not each.secret} <= set(names)
    assert not {each.keyword for each in told if each.secret} & set(names)
    assert not [name for name in names if name.endswith(("basic_accesskeyid", "basic_secretkey"))]


@templates
def test_what_the_options_say_of_themselves_is_in_the_metadata(template):
    found = {each["name"]: each for each in template.metadata()["parameters"]}
    for option in SinkOptions.declared():
        if option.secret or option.key == "connector":
            continue
        told = found[option.keyword]
        assert option.description in told["helpText"]
        assert option.key in told["helpText"]
        assert told["groupName"] == option.group
        assert told["isOptional"] == (not option.required)
        default = told.get("defaultValue")
        if default is None:
            assert option.default in (None, "")
        else:
            assert option.parse(default) == option.default


def test_each_parameter_is_a_flag_of_its_pipeline():
    for template in TEMPLATES.values():
        flags = {each.dest for each in parser_of(template)._actions} - {"help"}
        assert flags == {each.name for each in template.parameters}


def test_parameters_of_the_classic_template_are_those_of_the_flex_one_for_files():
    classic = {each.name for each in (*CLASSIC.parameters, *CLASSIC_STAGED)}
    flex = {each.name for each in TEMPLATES["files"].parameters}
    assert flex - classic == {"only_retriable"}, "a replay is for Flex"
    assert classic <= flex


def test_the_choices_are_those_of_the_code():
    assert parameter("aws_credentials_provider").choices == PROVIDERS
    files = {each.name: each for each in TEMPLATES["files"].parameters}
    assert set(files["format"].choices) == {"auto", DEAD_LETTERS, *FORMATS}


# --- regular expressions -------------------------------------------------------------------

GOOD_AND_BAD = {
    "input": (
        ["gs://b/x.csv", "gs://b/in/*.csv.gz,gs://c/y.json"], ["", "/x.csv", "b/x", "gs://b/x,y"],
    ),
    "in_order": (["true", "false", "True"], ["yes", "1", "tru"]),
    "only_retriable": (["true", "false"], ["no"]),
    "encoding": (["utf-8", "latin-1", "iso8859_15"], ["utf 8"]),
    "delimiter": ([";", "|", "tab", "."], [";;", "tabs"]),
    "types": (["a:N", "a b:SS,c.d:BOOL", "user:Name:S,b:N"], ["a", "a:X", "a:N,", "a:N;b"]),
    "rename": (["a:b", "a:b,c:d", "user:Name:name,b:c"], ["a", "a:", ":a", "a:b,"]),
    "drop": (["a", "a,b"], [",a", "a,,b"]),
    "derive": (["id={a}{b}"], ["id", "={a}"]),
    "python_udf": (["gs://b/f/udf.py"], ["udf.py", "gs://b/udf.js"]),
    "python_udf_function": (["process", "_f2"], ["2f", "a.b", "f()"]),
    "partitioned_by": (["id", "id,time_hour"], ["id,", ","]),
    "primary_key": (["id", "id,at"], ["a,b,c"]),
    "table_name": (
        ["Tab", "a_b-c.d", "arn:aws:dynamodb:us-east-2:123456789012:table/flights"],
        ["T", "a/b", "ä" * 3, "x" * 256, "arn:aws:s3:::bucket/flights"],
    ),
    "aws_region": (["us-east-2", "us-gov-west-1"], ["US-EAST-2", "us_east", "us-east-"]),
    "aws_endpoint": (
        [
            "https://dynamodb.us-east-2.amazonaws.com", "http://127.0.0.1:8000", "https://h/path",
            "http://h:1", "http://h:65535/x", "http://[::1]:8000", "http://[fe80::1]",
        ],
        [
            "dynamodb.us-east-2.amazonaws.com", "ftp://h", "https://u@h", "https://h?x=1",
            "http://h:0", "http://h:65536", "http://h:99999", "http://:80", "http://h:x", "http://",
        ],
    ),
    "aws_credentials_role_arn": (
        ["arn:aws:iam::123456789012:role/beam", "arn:aws-us-gov:iam::123456789012:role/a/b"],
        ["arn:aws:iam::12:role/beam", "arn:aws:iam::123456789012:user/beam", "beam"],
    ),
    "aws_credentials_role_session_name": (["be", "a=b,c.d@e-f", "x" * 64], ["b", "a b", "x" * 65]),
    "aws_credentials_role_external_id": (
        ["ab", "a:b/c", "x" * 1000, "x" * 1001, "x" * 1224], ["a", "a b", "x" * 1225],
    ),
    "aws_credentials_role_sts_endpoint": (["https://sts.us-east-2.amazonaws.com"], ["sts"]),
    "aws_credentials_basic_accesskeyid_google_secret": (
        ["projects/p-1/secrets/aws-key", "projects/p/secrets/s/versions/latest"],
        ["AKIAIOSFODNN7EXAMPLE", "projects/p/secrets/", "secrets/s", "projects/p/secrets/s/2"],
    ),
    "aws_credentials_basic_secretkey_google_secret": (["projects/p/secrets/s"], ["hush/hush"]),
    "aws_credentials_role_provider_role_arn": (["arn:aws:iam::123456789012:role/b"], ["b"]),
    "aws_credentials_role_provider_basic_accesskeyid_google_secret": (
        ["projects/p/secrets/s"], ["AKIA"],
    ),
    "aws_credentials_role_provider_basic_secretkey_google_secret": (
        ["projects/p/secrets/s"], ["hush"],
    ),
    "aws_trust_all_certificates": (["true", "TRUE", "False"], ["1", "truefalse"]),
    "sink_batch_max_size": (["1", "9", "10", "25"], ["0", "26", "-1", "2.5", "100", ""]),
    "sink_requests_max_inflight": (
        ["1", "50", str(2**31 - 1)], ["0", "-1", "1e3", "05", "1" * 11],
    ),
    "sink_requests_max_buffered": (["26"], ["0"]),
    "sink_flush_buffer_timeout": (["5000", str(2**63 - 1)], ["0", "5s", "1" * 20]),
    "sink_fail_on_error": (["true", "false"], ["0"]),
    "sink_retry_timeout": (["300000", str(2**63 - 1)], ["0", "5min"]),
    "sink_ignore_nulls": (["true", "false"], ["null"]),
    "sink_http_client_max_concurrency": (["10000"], ["0"]),
    "sink_http_client_read_timeout": (["360000"], ["0"]),
    "dead_letters": (
        ["gs://b/failed.jsonl", "projects/p/topics/t"],
        ["gs://b", "/tmp/x", "projects/p/subscriptions/s", "t"],
    ),
    "input_subscription": (
        ["projects/p/subscriptions/s"], ["s", "projects/p/topics/t", "projects/p/subscriptions/"],
    ),
    "input_topic": (["projects/p/topics/t"], ["t", "projects/p/subscriptions/s"]),
    "input_table": (
        ["p-1:d_s.t", "p.d.t$20260101", "example.com:p.d.t-1"], ["t", "d.", "p:d", "p d.t"],
    ),
    "selected_fields": (["a", "a,b.c"], ["a,"]),
}  # fmt: skip
CLASSIC_ONLY = {"dead_letters": (["gs://b/failed.jsonl"], ["projects/p/topics/t"])}


def _with_patterns(template):
    return {each["name"]: each["regexes"] for each in template.metadata()["parameters"]
            if "regexes" in each}  # fmt: skip


@templates
def test_each_regular_expression_takes_the_good_and_refuses_the_bad(template):
    tables = GOOD_AND_BAD | (CLASSIC_ONLY if template is CLASSIC else {})
    for name, (regex,) in _with_patterns(template).items():
        good, bad = tables[name]
        # Whether Dataflow matches the whole value or searches in it, the outcome is the same.
        for match in (re.fullmatch, re.search):
            assert [each for each in good if not match(regex, each)] == [], name
            assert [each for each in bad if match(regex, each)] == [], name


@templates
def test_regular_expressions_are_such_as_re2_understands(template):
    for (regex,) in _with_patterns(template).values():
        assert re.fullmatch(r"\^\(.*\)\$", regex)
        assert not re.search(r"\(\?|\\[1-9]|[*+?}][+]", regex), "look-around, back reference"
        assert all(int(most) <= 1000 for most in re.findall(r"([0-9]+)}", regex))


@pytest.mark.parametrize("name", ["types", "rename", "drop", "derive"])
def test_what_a_regular_expression_takes_the_columns_take(name):
    for value in GOOD_AND_BAD[name][0]:
        Columns.parse(**{name: value})


@pytest.mark.parametrize("option", list(SinkOptions.declared()), ids=lambda each: each.key)
def test_what_a_regular_expression_takes_the_option_takes(option):
    good, bad = GOOD_AND_BAD.get(option.keyword, ((), ()))
    for value in good:
        option.parse(value)
    required = ("connector", "table_name", "aws_region")
    # The patterns may be stricter; where the option has a rule of its own, they are not laxer.
    if option.type_name in ("Integer", "Long", "Boolean") or option.key.endswith("ndpoint"):
        for value in bad:
            if value != "05":
                with pytest.raises(OptionError, match=f"'{option.keyword}': it must"):
                    SinkOptions.parse({option.keyword: value}, may_miss=required)


# --- specifications ------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_staged_specification_is_one_of_dataflow(name, tmp_path):
    path = tmp_path / "spec.json"
    image = "us-docker.pkg.dev/p/r/files:1"
    command = ["stage", "flex", f"--template={name}", f"--image={image}", f"--to={path}"]
    assert launcher([*command, "--env=max_workers=7"]) == 0
    spec = json.loads(path.read_text())
    message = json_format.ParseDict(spec, df.ContainerSpec.pb()())
    assert message.image == image
    assert message.sdk_info.language == df.SDKInfo.Language.PYTHON
    assert message.default_environment.sdk_container_image == image
    assert message.default_environment.max_workers == 7
    assert spec == container_spec(TEMPLATES[name], image, {"max_workers": 7})


def test_a_specification_goes_to_cloud_storage(gcs):
    command = ["stage", "flex", "--template=files", "--image=gcr.io/p/i"]
    assert launcher([*command, f"--to={gcs.path('files.json')}"]) == 0
    spec = json.loads(gcs.objects()["files.json"])
    assert spec["metadata"]["name"] == TEMPLATES["files"].name


@pytest.mark.parametrize("flags", [["--image=a b"], ["--image=i", "--env=x=1"]])
def test_a_wrong_specification_is_refused(flags, tmp_path):
    path = tmp_path / "spec.json"
    assert launcher(["stage", "flex", "--template=files", f"--to={path}", *flags]) == 2
    assert not path.exists()
