"""The sink's options as command-line flags."""

from __future__ import annotations

import argparse
import os

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

from beam_dynamodb.errors import OptionError
from beam_dynamodb.options import SinkOptions
from pipelines import load, replay, sql, stream
from pipelines.flags import (
    add_sink_flags,
    in_process_unless_named,
    read_flags,
    refuse_misspelt,
    sink_options,
    use_files,
)
from pipelines.load_flags import load_parser


def parsed(*argv):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_sink_flags(parser)
    return sink_options(*parser.parse_known_args(list(argv)))


def test_every_option_without_a_secret_is_a_flag():
    values = {"aws.region": "eu-west-1", "aws.endpoint": "https://host", "table-name": "abc"}
    for option in SinkOptions.declared():
        if option.secret or option.key == "connector":
            continue
        value = values.get(option.key) or str(option.default or "text").lower()
        given, others = parsed(f"--{option.keyword}={value}")
        assert given == {"connector": "dynamodb", option.keyword: value}
        assert others == []


def test_boolean_flag_may_stand_alone():
    given, _ = parsed("--sink_fail_on_error", "--table_name=abc", "--aws_region=us-east-2")
    assert SinkOptions.parse(given).sink_fail_on_error is True


@pytest.mark.parametrize("between", ["=", " "])
def test_options_of_nested_roles_are_flags_too(between):
    flag = f"--aws_credentials_role_provider_role_arn{between}arn:aws:iam::123456789012:role/base"
    given, others = parsed("--aws_credentials_provider=ASSUME_ROLE", *flag.split(), "--runner=X")
    assert given["aws_credentials_role_provider_role_arn"].endswith("role/base")
    assert others == ["--runner=X"]


def test_a_flag_of_a_nested_role_without_a_value_is_refused():
    given, others = parsed("--aws_credentials_role_provider_role_arn", "--runner=X")
    assert others == ["--runner=X"]
    with pytest.raises(OptionError, match=r"role_arn': it must not be empty"):
        SinkOptions.parse({"table_name": "abc", "aws_region": "us-east-2", **given})


def test_misspelt_flag_is_refused_by_name_with_the_nearest_one():
    given, _ = parsed("--sink_batch_maxsize=3")
    with pytest.raises(OptionError, match=r"sink_batch_maxsize.*sink_batch_max_size"):
        SinkOptions.parse(given)


@pytest.mark.parametrize(
    "flag",
    [
        "--aws_credentials_basic_accesskeyid=AKIA",
        "--aws_credentials_basic_secretkey=hush",
        "--aws_credentials_role_provider_basic_secretkey=hush",
        "--aws_credentials_role_provider_role_provider_basic_secretkey=hush",
        "--aws.credentials.basic.secretkey=hush",
        "--awsCredentialsBasicSecretkey=hush",
        "--aws-credentials-basic-secretkey=hush",
    ],
)
def test_secret_cannot_be_a_flag(flag):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_sink_flags(parser)
    with pytest.raises(OptionError, match="holds a secret") as refused:
        read_flags(parser, [flag])
    assert "hush" not in str(refused.value)
    assert "AKIA" not in str(refused.value)


@pytest.mark.parametrize(
    ("main", "flag", "meant"),
    [
        (load, "--partitoned_by=id", "--partitioned_by"),
        (load, "--number=n", "--numbers"),
        (load, "--dead-letters=x", "--dead_letters"),
        (load, "--tpyes=id:N", "--types"),
        (load, "--runer=FlinkRunner", "--runner"),
        (replay, "--only_retryable", "--only_retriable"),
    ],
)
def test_a_misspelt_flag_does_not_start_a_pipeline_that_lacks_what_was_meant(
    main, flag, meant, capsys
):
    argv = ["--input=nowhere", "--table_name=abc", "--aws_region=us-east-2", flag]
    assert main.main(argv) == 1
    told = capsys.readouterr().err
    assert f"'{flag.partition('=')[0]}'" in told
    assert f"Did you mean '{meant}'" in told


@pytest.mark.parametrize("parser", [load_parser("load"), replay._parser()], ids=["load", "replay"])
def test_no_flag_of_beam_is_taken_for_a_misspelt_one(parser):
    beams = _BeamArgumentParser(add_help=False)
    for each in PipelineOptions.__subclasses__():
        if each.__module__.startswith("apache_beam."):
            each._add_argparse_args(beams)
    flags = [each for action in beams._actions for each in action.option_strings]
    assert "--runner" in flags
    # Flags that only a job server knows.
    flags += ["--parallelism=2", "--checkpointing_interval=1", "--object_reuse", "--attached_mode"]
    refuse_misspelt(parser, flags)


SCRIPT = """
CREATE TABLE files (a INT)
  WITH ('connector' = 'filesystem', 'path' = 's3://bucket/a.csv', 'format' = 'csv');
CREATE TABLE shown (a INT) WITH ('connector' = 'print');
INSERT INTO shown SELECT a FROM files;
"""


@pytest.fixture
def without_credentials(tmp_path, monkeypatch):
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)  # and puts back what was there
    return tmp_path


@pytest.mark.parametrize("main", [load, replay, sql])
def test_s3_is_not_asked_for_minutes_where_nobody_has_credentials(
    main, without_credentials, capsys
):
    (without_credentials / "job.sql").write_text(SCRIPT, encoding="utf-8")
    sink = ["--input=s3://bucket/a.csv", "--table_name=abc", "--aws_region=us-east-2"]
    assert main.main([str(without_credentials / "job.sql")] if main is sql else sink) == 1
    assert "There are no AWS credentials for s3://bucket/a.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", [["--s3_access_key_id=AKIA"], ["--runner=DataflowRunner"]], ids=["keys", "elsewhere"]
)
def test_s3_is_asked_where_somebody_may_have_credentials(flags, without_credentials):
    options = in_process_unless_named(PipelineOptions(flags))
    use_files(options, ["s3://bucket/a.csv"])
    assert FileSystems._pipeline_options is options


@pytest.mark.parametrize(
    ("parser", "needed"),
    [
        (load_parser("load"), "--input=rows.csv"),
        (replay._parser(), "--input=failed.jsonl"),
        (sql._parser(), "job.sql"),
        (stream._parser(), "--changes=changes.jsonl"),
    ],
    ids=["load", "replay", "sql", "stream"],
)
def test_what_is_written_may_be_a_url_of_a_local_file(parser, needed):
    arguments, _ = parser.parse_known_args([needed, "--dead_letters=file:///folder/failed.jsonl"])
    assert arguments.dead_letters == "/folder/failed.jsonl"
