r"""Stages, launches and follows the jobs of Dataflow templates.

    python -m templates.launch stage flex --template=files --image=IMAGE --to=gs://b/files.json
    python -m templates.launch launch gs://b/files.json --project=P --region=R \
        -p input='gs://b/flights/*.csv' -p table_name=flights -p aws_region=us-east-2
    python -m templates.launch watch JOB
    python -m templates.launch drain JOB

Exit codes: 0 the job is done, drained or replaced by its update (or was launched, where no more
was asked for); 1 it failed; 2 something was refused, or the command is wrong; 3 it was cancelled;
4 it was no longer followed, and goes on; 130 interrupted, and the job goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from templates.launch import storage
from templates.launch.checks import check_job_name, check_no_secret, check_parameters, pairs
from templates.launch.dataflow import Dataflow, Launch, environment_of
from templates.launch.errors import LaunchError, LostSightError
from templates.launch.following import ENDS, Follower, FollowTimeoutError
from templates.launch.reporting import Report
from templates.launch.staging import add_stage_commands

__all__ = ["main"]

_REFUSED, _NOT_FOLLOWED, _INTERRUPTED = 2, 4, 130
_LEVELS = ("DEBUG", "DETAILED", "BASIC", "WARNING", "ERROR")
_JOB_ID = re.compile(r"\d{4}-\d\d-\d\d_[\w-]+")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command of the launcher.

    Returns:
        The exit code, as this module says.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except FollowTimeoutError as end:
        print(end, file=sys.stderr)
        return _NOT_FOLLOWED
    except LaunchError as fault:
        print(fault, file=sys.stderr)
        return _REFUSED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return _INTERRUPTED


# --- the commands --------------------------------------------------------------------------


def _launch(arguments: argparse.Namespace) -> int:
    template, metadata = _template(arguments)
    parameters = _parameters(arguments)
    options = pairs(arguments.pipeline_option, "--pipeline_option")
    check_job_name(arguments.job_name)
    check_no_secret({**parameters, **options})
    if metadata is not None:
        check_parameters(metadata, parameters)
    dataflow, report = _dataflow(arguments), Report(as_json=arguments.json)
    launch = Launch(
        kind=arguments.kind,
        job_name=arguments.job_name,
        template=template,
        parameters={**parameters, **options},
        environment=environment_of(arguments.kind, pairs(arguments.env, "--env")),
        update=arguments.update,
        transform_names=pairs(arguments.transform_name, "--transform_name"),
        validate_only=arguments.validate_only,
    )
    try:
        job = dataflow.launch(launch)
    except LostSightError as lost:
        raise LaunchError(f"{lost}\nTo see: list --name={launch.job_name}") from lost
    if job is None:
        report.note("Dataflow accepts this launch. Nothing was launched.")
        return 0
    report.launched(dataflow, job)
    return 0 if arguments.until == "launched" else _follow(arguments, dataflow, report, job.id)


def _watch(arguments: argparse.Namespace) -> int:
    dataflow = _dataflow(arguments)
    return _follow(
        arguments, dataflow, Report(as_json=arguments.json), _job_id(arguments, dataflow)
    )


def _cancel(arguments: argparse.Namespace) -> int:
    dataflow = _dataflow(arguments)
    job_id = _job_id(arguments, dataflow)
    dataflow.cancel(job_id)
    return _end(arguments, dataflow, job_id, "JOB_STATE_CANCELLED")


def _drain(arguments: argparse.Namespace) -> int:
    dataflow = _dataflow(arguments)
    job_id = _job_id(arguments, dataflow)
    dataflow.drain(job_id)
    return _end(arguments, dataflow, job_id, "JOB_STATE_DRAINED")


def _metrics(arguments: argparse.Namespace) -> int:
    dataflow = _dataflow(arguments)
    print(json.dumps(dataflow.counters(_job_id(arguments, dataflow)), indent=2))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    report = Report(as_json=arguments.json)
    for job in _dataflow(arguments).jobs():
        named = arguments.name in (None, job.name)
        if named and not (arguments.active and job.state in ENDS):
            report.job(job)
    return 0


# --- what they share -----------------------------------------------------------------------


def _follow(arguments: argparse.Namespace, dataflow: Dataflow, report: Report, job_id: str) -> int:
    follower = Follower(
        dataflow,
        job_id,
        report,
        time.monotonic,
        time.sleep,
        level=arguments.level,
        poll_seconds=arguments.poll,
        timeout_seconds=arguments.timeout,
    )
    try:
        return _until_end(arguments, follower)
    except LostSightError as lost:
        raise FollowTimeoutError(f"{lost}\n{job_id} goes on.") from lost


def _until_end(arguments: argparse.Namespace, follower: Follower) -> int:
    """Follows a job, also once Ctrl-C has asked for its end."""
    states = ("JOB_STATE_RUNNING",) if arguments.until == "running" else ()
    job_id, note = follower.job_id, follower.report.note
    try:
        return _code(follower, *states)
    except KeyboardInterrupt:
        if arguments.on_interrupt == "leave":
            note(f"{job_id} goes on. To follow it again: watch {job_id}")
            return _INTERRUPTED
        note(f"Interrupted: {arguments.on_interrupt} of {job_id}. Once more leaves it.")
        getattr(follower.dataflow, arguments.on_interrupt)(job_id)
        return _code(follower)


def _code(follower: Follower, *states: str) -> int:
    return ENDS.get(follower.until(*states).state, 0)


def _end(arguments: argparse.Namespace, dataflow: Dataflow, job_id: str, wanted: str) -> int:
    """Follows a job that was asked to end; 0 when it ended as asked."""
    report = Report(as_json=arguments.json)
    if arguments.until == "launched":
        report.note(f"{job_id} was asked to {arguments.command}.")
        return 0
    code = _follow(arguments, dataflow, report, job_id)
    return 0 if code == ENDS[wanted] else code


def _template(arguments: argparse.Namespace) -> tuple[str | Mapping[str, Any], Any]:
    """The template as a launch takes it, and its metadata if it can be had."""
    read = _object(arguments.template, storage.read(arguments.template), "template")
    arguments.kind = "flex" if "image" in read else "classic"
    if arguments.kind == "flex":
        in_gcs = storage.is_gcs(arguments.template)
        return arguments.template if in_gcs else read, read.get("metadata")
    if not storage.is_gcs(arguments.template):
        raise LaunchError(f"Dataflow takes a classic template from gs://, not {arguments.template}")
    path = f"{arguments.template}_metadata"
    beside = storage.read_if_there(path)
    return arguments.template, None if beside is None else _object(path, beside, "metadata")


def _object(path: str, text: str, what: str) -> Mapping[str, Any]:
    try:
        read = json.loads(text)
    except ValueError as cause:
        raise LaunchError(
            f"{path} is no {what}: it is no JSON. Name what 'stage' wrote."
        ) from cause
    if not isinstance(read, dict):
        raise LaunchError(f"{path} is no {what}: it is no JSON object. Name what 'stage' wrote.")
    return read


def _parameters(arguments: argparse.Namespace) -> dict[str, str]:
    given = pairs(arguments.parameter, "--parameter")
    if arguments.parameter_file is None:
        return given
    try:
        read = json.loads(storage.read(arguments.parameter_file))
    except ValueError as cause:
        raise LaunchError(f"{arguments.parameter_file} is no JSON.") from cause
    if not (isinstance(read, dict) and all(isinstance(each, str) for each in read.values())):
        raise LaunchError(f"{arguments.parameter_file} must be a JSON object of texts by name.")
    return {**read, **given}


def _dataflow(arguments: argparse.Namespace) -> Dataflow:
    project = arguments.project or os.environ.get("GOOGLE_CLOUD_PROJECT")
    region = arguments.region or os.environ.get("CLOUDSDK_DATAFLOW_REGION")
    for flag, value in (("project", project), ("region", region)):
        if not value:
            raise LaunchError(f"--{flag} is missing.")
    return Dataflow(
        str(project),
        str(region),
        transport=arguments.transport,
        endpoint=arguments.endpoint,
        read_retry_seconds=arguments.retry,
    )


def _job_id(arguments: argparse.Namespace, dataflow: Dataflow) -> str:
    """The job's id; of several of one name the latest that has not ended, else the latest."""
    given: str = arguments.job
    if _JOB_ID.fullmatch(given):
        return given
    jobs = [each for each in dataflow.jobs() if each.name == given]
    if not jobs:
        raise LaunchError(f"There is no job '{given}' in {arguments.region}.")
    return min(jobs, key=lambda each: each.state in ENDS).id


# --- the command line ----------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m templates.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_stage_commands(commands)
    _add_launch(_command(commands, "launch", _launch, "Launch a template, and follow its job."))
    for name, run, meaning in (
        ("watch", _watch, "Follow a job."),
        ("cancel", _cancel, "Stop a job at once, and follow it until it has stopped."),
        ("drain", _drain, "Let a streaming job write what it has read, and follow its end."),
    ):
        command = _command(commands, name, run, meaning)
        _add_job(command)
        _add_following(command)
    _add_job(_command(commands, "metrics", _metrics, "Show the counters of a job as JSON."))
    command = _command(commands, "list", _list, "List the jobs of a region, the latest first.")
    command.add_argument("--name", help="Only jobs of this name.")
    command.add_argument("--active", action="store_true", help="Only jobs that have not ended.")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], meaning: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=meaning, description=meaning, allow_abbrev=False
    )
    command.set_defaults(run=run, until="ended")
    command.add_argument("--project", help="Default: GOOGLE_CLOUD_PROJECT.")
    command.add_argument("--region", help="Default: CLOUDSDK_DATAFLOW_REGION.")
    command.add_argument("--transport", choices=("grpc", "rest"), default="grpc")
    command.add_argument(
        "--endpoint",
        help="Another host than Google's. With http:// before it, without encryption and "
        "credentials, for tests.",
    )
    command.add_argument(
        "--retry",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="How long what only reads is tried again. Default: %(default)g.",
    )
    command.add_argument("--json", action="store_true", help="Print an object of JSON a line.")
    return command


def _add_launch(command: argparse.ArgumentParser) -> None:
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    command.add_argument(
        "template", help="gs://… of a template, or a file with a Flex template's specification."
    )
    command.add_argument(
        "--job_name", default=f"beam-dynamodb-{stamp}", help="Default: %(default)s, by the time."
    )
    command.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A parameter of the template. Repeatable.",
    )
    command.add_argument(
        "--parameter_file", metavar="PATH", help="A JSON object of parameters; -p goes before it."
    )
    command.add_argument(
        "--pipeline_option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="An option of Beam's own, passed on as it is. Repeatable.",
    )
    command.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A setting of Dataflow's runtime environment, such as max_workers=5. Repeatable.",
    )
    command.add_argument(
        "--update", action="store_true", help="Replace the running job of this name."
    )
    command.add_argument(
        "--transform_name",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="For --update: a step that has a new name. Repeatable.",
    )
    command.add_argument(
        "--validate_only", action="store_true", help="Let Dataflow check it, and launch nothing."
    )
    _add_following(command)


def _add_job(command: argparse.ArgumentParser) -> None:
    command.add_argument("job", help="The job's id, or its name.")


def _add_following(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--until",
        choices=("launched", "running", "ended"),
        default="ended",
        help="How long to follow the job. Default: until it has ended.",
    )
    command.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="Follow it no longer; it goes on."
    )
    command.add_argument(
        "--on_interrupt",
        choices=("leave", "cancel", "drain"),
        default="leave",
        help="What Ctrl-C means for the job. Default: it goes on.",
    )
    command.add_argument(
        "--level",
        choices=_LEVELS,
        default="BASIC",
        type=str.upper,
        help="The least level of its messages. Default: BASIC.",
    )
    command.add_argument(
        "--poll",
        type=float,
        default=15.0,
        metavar="SECONDS",
        help="Ask for news at least so often. Default: %(default)g.",
    )
