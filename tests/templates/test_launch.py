"""The launcher against a local Dataflow service, on both transports."""

from __future__ import annotations

import json
import signal
import time
from datetime import datetime, timezone
from types import SimpleNamespace

import grpc
import pytest
import requests
from google.auth.exceptions import TransportError

from templates.launch import cli, main
from templates.launch.checks import check_no_secret, check_parameters
from templates.launch.dataflow import Dataflow, environment_of
from templates.launch.errors import LaunchError, LostSightError, ParameterError
from templates.launch.following import Follower, FollowTimeoutError
from templates.launch.reporting import Report
from templates.parameters import FILES, TEMPLATES
from tests import processes
from tests.templates.dataflow_service import (
    ENDLESS,
    FAILURE,
    SERVERS,
    FakeDataflow,
    Refusal,
    Step,
    rest_server,
)

METADATA = {
    "name": "Test",
    "parameters": [
        {"name": "input", "label": "Input", "helpText": "The files.", "regexes": ["gs://.+"]},
        {"name": "table_name", "label": "Table", "helpText": "The table."},
        {
            "name": "sink_batch_max_size",
            "label": "Batch",
            "helpText": "At most 25.",
            "isOptional": True,
            "regexes": ["^([1-9]|1[0-9]|2[0-5])$"],
        },
        {
            "name": "input_format",
            "label": "Format",
            "helpText": "The format.",
            "isOptional": True,
            "enumOptions": [{"value": "CSV"}, {"value": "JSON"}],
        },
    ],
}
SPEC = {"image": "gcr.io/p/image", "sdkInfo": {"language": "PYTHON"}, "metadata": METADATA}
GOOD = ["-p", "input=gs://b/*.csv", "-p", "table_name=flights"]


@pytest.fixture
def service():
    return FakeDataflow()


@pytest.fixture(params=["grpc", "rest"])
def at(request, service):
    with SERVERS[request.param](service) as endpoint:
        yield [
            "--project=p", "--region=us-central1", f"--transport={request.param}",
            f"--endpoint={endpoint}",
        ]  # fmt: skip


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC))
    return str(path)


@pytest.fixture
def launch(spec, at):
    """Launches with good parameters; returns the exit code."""
    return lambda *more: main(["launch", spec, *at, "--job_name=job", "--poll=0.01", *GOOD, *more])


# --- launch and follow ---------------------------------------------------------------------


def test_a_job_is_launched_and_followed_until_it_is_done(service, launch, capsys):
    assert launch("-p", "input_format=CSV", "--env=max_workers=5") == 0
    out = capsys.readouterr().out
    (job,) = service.jobs.values()
    assert job.parameters == {
        "input": "gs://b/*.csv", "table_name": "flights", "input_format": "CSV",
    }  # fmt: skip
    (request,) = service.asked("LaunchFlexTemplate")
    assert request.launch_parameter.environment.max_workers == 5
    assert request.launch_parameter.container_spec.image == "gcr.io/p/image"
    assert f"https://console.cloud.google.com/dataflow/jobs/us-central1/{job.id}" in out
    assert "hush" not in out, "DEBUG was not asked for"
    states = [line.rpartition(" is now ")[2] for line in out.splitlines() if " is now " in line]
    assert states == ["QUEUED", "RUNNING", "DONE"]
    assert out.count("Stopping worker pool") == 1
    assert "10 written, 0 superseded, 0 failed" in out
    counters = {"beam_dynamodb.failed": 1, "beam_dynamodb.written": 20}
    assert json.loads(out.splitlines()[-1]) == counters


def test_a_failed_job_says_why(service, launch, capsys):
    service.script = FAILURE
    assert launch() == 1
    out = capsys.readouterr().out
    assert "ERROR    Table 'flights' does not exist" in out
    assert "WARNING  A worker was slow" in out


def test_a_message_that_comes_after_the_end_of_a_failed_job_is_shown(service, launch, capsys):
    service.script = [Step("FAILED"), Step("FAILED", [("ERROR", "late")])]
    late = FakeDataflow._ListJobMessages

    def answer(self, request):
        found = late(self, request)
        self.jobs[request.job_id].look()  # what comes between two requests
        return found

    service._ListJobMessages = answer.__get__(service)
    assert launch() == 1
    assert "late" in capsys.readouterr().out


def test_messages_of_all_levels_can_be_asked_for(launch, capsys):
    assert launch("--level=debug") == 0
    assert "DEBUG    hush" in capsys.readouterr().out


def test_events_can_be_had_as_json(launch, capsys):
    assert launch("--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in events[:2]] == ["launched", "state"]
    assert {"message", "progress", "counters"} <= {each["event"] for each in events}


def test_a_launch_may_return_at_once(service, launch, capsys):
    assert launch("--until=launched") == 0
    assert not service.asked("GetJob")


def test_a_streaming_job_may_be_followed_until_it_runs(service, launch, capsys):
    service.script = [Step("QUEUED"), *ENDLESS]
    assert launch("--until=running") == 0
    (job,) = service.jobs.values()
    assert job.state == "RUNNING"


def test_a_job_that_takes_too_long_is_left_to_itself(service, launch, capsys):
    service.script = ENDLESS
    assert launch("--timeout=0.05") == 4
    (job,) = service.jobs.values()
    assert f"{job.id} goes on" in capsys.readouterr().err
    assert job.state == "RUNNING"


def test_a_launch_may_be_only_validated(service, launch, capsys):
    assert launch("--validate_only") == 0
    assert "Nothing was launched" in capsys.readouterr().out
    assert not service.jobs


def test_an_update_replaces_the_running_job(service, launch, capsys):
    service.script = ENDLESS
    assert launch("--until=launched") == 0
    assert launch("--update", "--transform_name=Old=New", "--until=launched") == 0
    old, _ = service.jobs.values()
    old.look()
    assert old.state == "UPDATED"
    request = service.asked("LaunchFlexTemplate")[-1].launch_parameter
    assert dict(request.transform_name_mappings) == {"Old": "New"}


def test_beams_own_options_are_passed_on(service, launch):
    assert launch("--pipeline_option=sdk_container_image=gcr.io/p/i", "--until=launched") == 0
    (job,) = service.jobs.values()
    assert job.parameters["sdk_container_image"] == "gcr.io/p/i"


# --- what is refused -----------------------------------------------------------------------


def test_all_faults_of_the_parameters_are_told_before_the_service_is_asked(
    service, spec, at, capsys
):
    faulty = ["-p", "inptu=gs://b", "-p", "input=/x", "-p", "sink_batch_max_size=26"]
    assert main(["launch", spec, *at, *faulty, "-p", "input_format=XML"]) == 2
    err = capsys.readouterr().err
    assert "'inptu' is no parameter of this template. Did you mean 'input'?" in err
    assert "'table_name' is missing: The table." in err
    assert "'input' must match gs://.+" in err
    assert "'sink_batch_max_size' must match" in err
    assert "'input_format' must be one of CSV, JSON" in err
    assert "/x" not in err, "a value may be a secret in the wrong place"
    assert not service.requests


SINK = {"table_name": "flights", "aws_region": "us-east-2"}


@pytest.mark.parametrize(
    ("template", "parameters", "words"),
    [
        ("pubsub", {}, "'input_subscription' or 'input_topic', one of them"),
        (
            "pubsub",
            dict.fromkeys(["input_topic", "dead_letters"], "projects/p/topics/t"),
            "'dead_letters' must be another topic",
        ),
        ("bigquery", {"query": "SELECT 1", "input_table": "p:d.t"}, "'query' or 'input_table'"),
        ("bigquery", {"query": "SELECT 1", "order_by": "at"}, "needs 'partitioned_by'"),
        ("files", {"input": "gs://b/x", "types": "a:N,a:S"}, "'types' names 'a' twice"),
        ("files", {"input": "gs://b/x", "derive": "x={"}, "'derive' cannot be"),
    ],
)
def test_what_the_job_would_refuse_is_refused_by_the_launcher(template, parameters, words):
    with pytest.raises(ParameterError, match=words):
        check_parameters(TEMPLATES[template].metadata(), {**SINK, **parameters})


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"aws_credentials_provider": "ASSUME_ROLE"}, "Please set 'aws_credentials_role_arn'"),
        ({"sink_requests_max_buffered": "25"}, "it must exceed 'sink_batch_max_size'"),
        (
            {"aws_credentials_basic_secretkey_google_secret": "projects/p/secrets/s"},
            "Please set 'aws_credentials_basic_accesskeyid'",
        ),
    ],
)
def test_parameters_that_contradict_each_other_are_told_too(parameters, words):
    given = {"input": "gs://b/x", **SINK}
    check_parameters(FILES.metadata(), given)
    with pytest.raises(ParameterError, match=words):
        check_parameters(FILES.metadata(), {**given, **parameters})


@pytest.mark.parametrize("flag", ["-p", "--pipeline_option"])
@pytest.mark.parametrize("level", ["", "role_provider_", "role_provider_role_provider_"])
def test_a_secret_goes_nowhere(service, launch, capsys, flag, level):
    assert launch(flag, f"aws_credentials_{level}basic_secretkey=hush") == 2
    captured = capsys.readouterr()
    assert "holds a secret" in captured.err
    assert "hush" not in captured.err + captured.out
    assert not service.requests


@pytest.mark.parametrize(
    "name",
    [
        "aws.credentials.basic.secretkey", "aws-credentials-basic-secretkey",
        "AWS_CREDENTIALS_BASIC_ACCESSKEYID", "awsCredentialsRoleProviderBasicSecretkey",
        "AWS_SECRET_ACCESS_KEY", "s3_secret_access_key", "s3_access_key_id", "s3_session_token",
    ],
)  # fmt: skip
def test_a_secret_goes_nowhere_however_it_is_spelled(name):
    with pytest.raises(LaunchError, match=f"'{name}' holds a secret") as raised:
        check_no_secret({name: "hush"})
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("kind", ["flex", "classic"])
@pytest.mark.parametrize("between", ["=", " "])
def test_a_secret_is_no_option_of_the_environment(kind, between):
    option = f"--aws_credentials_basic_secretkey{between}hush"
    with pytest.raises(LaunchError, match="holds a secret") as raised:
        environment_of(kind, {"additionalPipelineOptions": option})
    assert "hush" not in str(raised.value)


def test_a_name_in_secret_manager_is_no_secret():
    check_no_secret({"aws_credentials_basic_secretkey_google_secret": "projects/p/secrets/s"})


def test_what_the_service_refuses_is_told_in_its_words(service, launch, capsys):
    service.script = ENDLESS
    assert launch("--until=launched") == 0
    assert launch() == 2
    assert "There is an active job job." in capsys.readouterr().err


def test_a_launch_without_an_answer_is_not_tried_again(service, launch, capsys):
    unavailable = Refusal(grpc.StatusCode.UNAVAILABLE, "try later")
    service.refusals["LaunchFlexTemplate"] = [unavailable]
    assert launch() == 2
    err = capsys.readouterr().err
    assert "whether it does is unknown" in err
    assert "list --name=job" in err
    assert len(service.asked("LaunchFlexTemplate")) == 1


def test_following_outlives_a_moment_without_the_service(service, launch):
    service.refusals["GetJob"] = [Refusal(grpc.StatusCode.UNAVAILABLE, "try later")]
    assert launch() == 0


@pytest.mark.parametrize("retry", ["5", "0.01"])
def test_following_outlives_a_connection_that_is_lost(service, spec, capsys, retry):
    service.refusals["GetJob"] = [ConnectionAbortedError()] * (1 if retry == "5" else 99)
    with rest_server(service) as endpoint:
        at = ["--project=p", "--region=r", "--transport=rest", f"--endpoint={endpoint}"]
        code = main(["launch", spec, *at, "--poll=0.01", f"--retry={retry}", *GOOD])
    assert code == (0 if retry == "5" else 4)
    assert ("goes on" in capsys.readouterr().err) == (code == 4)


@pytest.mark.parametrize(
    "fault",
    [
        requests.exceptions.ReadTimeout("late"),
        requests.exceptions.ChunkedEncodingError("cut"),
        TransportError("no token"),
    ],
)
def test_what_is_lost_on_the_way_leaves_open_what_became_of_it(monkeypatch, fault):
    class Jobs:
        def update_job(self, request, timeout):
            raise fault

    dataflow = Dataflow("p", "r", transport="rest", endpoint="http://127.0.0.1:1")
    monkeypatch.setattr(dataflow, "_client", lambda _: Jobs())
    with pytest.raises(LostSightError, match="unknown"):
        dataflow.cancel("j")


def test_a_service_that_stays_away_leaves_the_job_to_itself(service, launch, capsys):
    service.refusals["GetJob"] = [Refusal(grpc.StatusCode.UNAVAILABLE, "no")] * 99
    assert launch("--retry=0.1") == 4
    assert "goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--job_name=Job_1"], "can't be a job's name"),
        (["--env=max_wrokers=1"], "--env has no setting 'max_wrokers'"),
        (["--env=max_workers=many"], "FlexTemplateRuntimeEnvironment"),
        (["-p", "table_name"], "must have the form NAME=VALUE"),
        (["--parameter_file=nowhere.json"], "There is no file nowhere.json"),
    ],
)
def test_a_wrong_command_is_refused(service, launch, capsys, flags, words):
    assert launch(*flags) == 2
    assert words in capsys.readouterr().err
    assert not service.jobs


@pytest.mark.parametrize("text", ["{", "5", "[]", "null"])
def test_a_template_that_is_none_is_refused(tmp_path, at, capsys, text):
    path = tmp_path / "t.json"
    path.write_text(text)
    assert main(["launch", str(path), *at]) == 2
    assert "is no template: it is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "5", '{"parameters": 5}', '{"parameters": [5]}'])
def test_broken_metadata_beside_a_classic_template_is_told(service, at, gcs, capsys, text):
    path = gcs.put("t", json.dumps({"environment": {}}))
    gcs.put("t_metadata", text)
    assert main(["launch", path, *at, *GOOD]) == 2
    assert "metadata" in capsys.readouterr().err
    assert not service.requests


def test_metadata_need_not_tell_more_than_names():
    metadata = {"parameters": [{"name": "a"}, {"name": "b", "regexes": ["("]}]}
    check_parameters(metadata, {"a": "1", "b": "2"})
    with pytest.raises(ParameterError, match="'a' is missing"):
        check_parameters(metadata, {"b": "2"})


def test_project_and_region_are_asked_for(spec, capsys, monkeypatch):
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    assert main(["launch", spec, *GOOD]) == 2
    assert "--project is missing" in capsys.readouterr().err


def test_parameters_come_from_a_file_too(service, spec, at, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"input": "gs://b/x", "table_name": "other"}))
    flags = [f"--parameter_file={path}", "-p", "table_name=flights", "--until=launched"]
    assert main(["launch", spec, *at, *flags]) == 0
    (job,) = service.jobs.values()
    assert job.parameters == {"input": "gs://b/x", "table_name": "flights"}


# --- jobs that are there -------------------------------------------------------------------


@pytest.fixture
def running(service, launch):
    """The id of a running streaming job."""
    service.script, service.streaming = ENDLESS, True
    assert launch("--until=running") == 0
    (job,) = service.jobs.values()
    return job.id


def test_a_job_is_cancelled(service, running, at, capsys):
    assert main(["cancel", running, *at, "--poll=0.01"]) == 0
    assert service.jobs[running].state == "CANCELLED"
    assert "CANCELLING as asked" in capsys.readouterr().out


def test_a_job_is_drained_by_its_name(service, running, at):
    assert main(["drain", "job", *at, "--poll=0.01"]) == 0
    assert service.jobs[running].state == "DRAINED"


def test_watching_a_job_that_someone_cancels_says_so(service, running, at):
    assert main(["cancel", running, *at, "--until=launched"]) == 0
    assert main(["watch", running, *at, "--poll=0.01"]) == 3


def test_a_batch_job_cannot_be_drained(service, running, at, capsys):
    service.jobs[running].streaming = False
    assert main(["drain", running, *at]) == 2
    assert "Only streaming jobs can be drained" in capsys.readouterr().err


def test_a_job_that_has_ended_cannot_be_cancelled(service, launch, at, capsys):
    assert launch() == 0
    assert main(["cancel", "job", *at]) == 2
    assert "terminated" in capsys.readouterr().err


def test_an_unknown_job_is_told(at, capsys):
    assert main(["watch", "nobody", *at]) == 2
    assert main(["watch", "2026-01-01_00_00_00-1", *at]) == 2
    assert "There is no job" in capsys.readouterr().err


def test_the_metrics_of_a_job_are_its_own_committed_counters(running, at, capsys):
    capsys.readouterr()
    assert main(["metrics", running, *at]) == 0
    assert json.loads(capsys.readouterr().out) == {"beam_dynamodb.written": 5}


def test_jobs_are_listed_over_all_pages(service, spec, at, capsys):
    for name in ("one", "two", "three"):
        flags = [f"--job_name={name}", "--poll=0.01", *GOOD]
        assert main(["launch", spec, *at, *flags]) == 0
    service.script = ENDLESS
    assert main(["launch", spec, *at, "--job_name=four", "--until=launched", *GOOD]) == 0
    capsys.readouterr()
    assert main(["list", *at]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == ["four", "three", "two", "one"]
    assert main(["list", *at, "--active", "--json"]) == 0
    (listed,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (listed["name"], listed["kind"]) == ("four", "batch")
    assert main(["list", *at, "--name=two"]) == 0
    assert capsys.readouterr().out.split()[-1] == "two"


# --- Ctrl-C --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_interrupt", "code", "state"),
    [("leave", 130, "RUNNING"), ("cancel", 3, "CANCELLED"), ("drain", 0, "DRAINED")],
)
@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_an_interrupt_does_with_the_job_what_was_asked(
    service, spec, transport, on_interrupt, code, state
):
    service.script, service.streaming = ENDLESS, True
    with SERVERS[transport](service) as endpoint:
        command = [
            "-m", "templates.launch", "launch", spec, "--project=p", "--region=r",
            f"--endpoint={endpoint}", f"--transport={transport}", "--job_name=job", "--poll=0.05",
            f"--on_interrupt={on_interrupt}", *GOOD,
        ]  # fmt: skip
        with processes.running(*command) as process:
            deadline = time.monotonic() + 60
            while len(service.asked("GetJob")) < 3:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)  # once: a second one would leave the job
            _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    (job,) = service.jobs.values()
    assert job.state == state


def test_a_service_that_stays_away_after_an_interrupt_leaves_the_job_to_itself(
    service, launch, monkeypatch, capsys
):
    service.script, service.streaming = ENDLESS, True

    def interrupt(_):
        service.refusals["GetJob"] = [Refusal(grpc.StatusCode.UNAVAILABLE, "no")] * 99
        raise KeyboardInterrupt

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=interrupt)
    monkeypatch.setattr(cli, "time", clock)
    assert launch("--on_interrupt=drain", "--retry=0.1") == 4
    assert "goes on" in capsys.readouterr().err


# --- classic templates ---------------------------------------------------------------------


def test_a_classic_template_is_launched_from_cloud_storage(service, at, gcs, capsys):
    path = gcs.put("t", json.dumps({"name": "x", "environment": {}}))
    service.options[path] = {"input", "table_name"}
    # Without metadata beside it only the service can judge the parameters.
    assert main(["launch", path, *at, *GOOD, "-p", "more=1"]) == 2
    assert "Found unexpected parameters" in capsys.readouterr().err
    gcs.put("t_metadata", json.dumps(METADATA))
    assert main(["launch", path, *at, "--poll=0.01", "--env=maxWorkers=3", *GOOD]) == 0
    request = service.asked("LaunchTemplate")[-1]
    assert request.gcs_path == path
    assert request.launch_parameters.environment.max_workers == 3
    assert main(["launch", path, *at, "-p", "input=gs://x"]) == 2
    assert "'table_name' is missing" in capsys.readouterr().err


def test_a_flex_template_in_cloud_storage_is_launched_by_its_path(service, at, gcs):
    path = gcs.put("spec.json", json.dumps(SPEC))
    service.specs[path] = SPEC
    assert main(["launch", path, *at, "--poll=0.01", *GOOD]) == 0
    (request,) = service.asked("LaunchFlexTemplate")
    assert request.launch_parameter.container_spec_gcs_path == path


@pytest.mark.parametrize(
    ("template", "words"),
    [("gs://bucket/nothing", "There is no file"), ("gs://bucket", "must name a bucket and an")],
)
def test_a_template_that_is_not_there_is_told(at, gcs, capsys, template, words):
    assert main(["launch", template, *at, *GOOD]) == 2
    assert words in capsys.readouterr().err


def test_a_classic_template_of_this_machine_is_refused(at, tmp_path, capsys):
    path = tmp_path / "t.json"
    path.write_text("{}")
    assert main(["launch", str(path), *at]) == 2
    assert "takes a classic template from gs://" in capsys.readouterr().err


# --- the parts -----------------------------------------------------------------------------


def test_settings_of_the_environment_are_read_by_their_types():
    given = {
        "network": "123", "max_workers": "5", "enableStreamingEngine": "true",
        "additional_experiments": "a", "additional_user_labels": '{"team": "data"}',
        "ip_configuration": "WORKER_IP_PRIVATE",
    }  # fmt: skip
    assert environment_of("flex", given) == {
        "network": "123", "max_workers": 5, "enableStreamingEngine": True,
        "additional_experiments": ["a"], "additional_user_labels": {"team": "data"},
        "ip_configuration": "WORKER_IP_PRIVATE",
    }  # fmt: skip


def test_pauses_grow_up_to_the_longest_and_end_with_the_timeout(service, capsys):
    service.script = ENDLESS
    service.jobs["j"] = job_at(service)
    pauses = []

    with rest_server(service) as endpoint:
        follower = Follower(
            Dataflow("p", "r", transport="rest", endpoint=endpoint),
            "j",
            Report(as_json=False),
            clock=lambda: sum(pauses),
            sleep=pauses.append,
            poll_seconds=2.0,
            timeout_seconds=6.0,
        )
        with pytest.raises(FollowTimeoutError):
            follower.until()
    assert pauses == [1.0, 1.5, 2.0, 1.5]


def job_at(service):
    from tests.templates.dataflow_service import FakeJob

    created = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return FakeJob("j", "job", list(service.script), True, {}, created)


def test_missing_credentials_of_google_cloud_are_told(monkeypatch, capsys):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    assert main(["list", "--project=p", "--region=r"]) == 2
    assert "No credentials of Google Cloud: File /nowhere.json" in capsys.readouterr().err


def test_a_service_that_is_not_there_is_told():
    dataflow = Dataflow("p", "r", endpoint="http://127.0.0.1:1", read_retry_seconds=0.1)
    with pytest.raises(LaunchError, match="no answer"):
        dataflow.job("j")
