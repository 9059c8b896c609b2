"""The only door to Dataflow: its four services, over gRPC or REST, with deadlines and retries.

Google's client has neither deadline nor retry of its own for these methods. Here each call has a
deadline; what only reads is tried again for some minutes, and what changes something never is.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, cast

import grpc
import requests
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import dataflow_v1beta3 as dataflow
from google.protobuf import json_format

from templates.launch.checks import check_no_secret
from templates.launch.errors import LaunchError, LostSightError

__all__ = ["Dataflow", "Job", "Launch", "Message", "Transport", "environment_of"]

Transport = Literal["grpc", "rest"]
Kind = Literal["flex", "classic"]

_TIMEOUT_SECONDS = 60.0
_LAUNCH_TIMEOUT_SECONDS = 300.0
_READ_RETRY_SECONDS = 300.0
_LOST = (
    exceptions.ServiceUnavailable,
    exceptions.GatewayTimeout,  # also DEADLINE_EXCEEDED
    exceptions.InternalServerError,
    exceptions.TooManyRequests,
    exceptions.RetryError,
    ConnectionError,
    # Over REST these come as they are:
    TransportError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
"""What leaves open whether the service did what it was asked to."""

_Requested = Literal["JOB_STATE_CANCELLED", "JOB_STATE_DRAINED"]


@dataclass(frozen=True, slots=True)
class Job:
    """What is known of a job.

    Attributes:
        id: Dataflow's name of it.
        name: The name that its launch gave it.
        state: For example `JOB_STATE_RUNNING`.
        streaming: Whether it has no end of its own.
        created: When, with a time zone; None where that is unknown.
    """

    id: str
    name: str
    state: str
    streaming: bool
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a job's log.

    Attributes:
        id: Tells it from other messages of the job.
        time: When, with a time zone.
        level: DEBUG, DETAILED, BASIC, WARNING or ERROR.
        text: What it says.
    """

    id: str
    time: datetime
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a template.

    Attributes:
        kind: `flex` or `classic`.
        job_name: The job's name.
        template: The template's path in Google Cloud Storage, or for a Flex template its whole
            specification as a mapping.
        parameters: Values by name.
        environment: Settings of Dataflow's runtime environment, see `environment_of`.
        update: Whether the running job of this name is replaced.
        transform_names: For an update: the old name of a step to its new one.
        validate_only: Whether nothing is launched.
    """

    kind: Kind
    job_name: str
    template: str | Mapping[str, Any]
    parameters: Mapping[str, str]
    environment: Mapping[str, Any] = field(default_factory=dict)
    update: bool = False
    transform_names: Mapping[str, str] = field(default_factory=dict)
    validate_only: bool = False


class Dataflow:
    """Dataflow in one region of one project.

    Every method raises LaunchError when it is refused, and LostSightError when the service cannot
    be reached.
    """

    def __init__(
        self,
        project: str,
        region: str,
        *,
        transport: Transport = "grpc",
        endpoint: str | None = None,
        read_retry_seconds: float = _READ_RETRY_SECONDS,
    ) -> None:
        """Connects to nothing yet.

        Args:
            project: The Google Cloud project.
            region: The region of the jobs, such as us-central1.
            transport: How requests travel.
            endpoint: Another host than Google's. One that begins with http:// is asked without
                encryption and credentials, for tests.
            read_retry_seconds: How long a request that only reads is tried again.
        """
        self._at = {"project_id": project, "location": region}
        self._project, self._region = project, region
        self._transport, self._endpoint = transport, endpoint
        self._clients: dict[Any, Any] = {}
        self._retry = Retry(
            predicate=if_exception_type(*_LOST),
            initial=0.5,
            maximum=20.0,
            timeout=read_retry_seconds,
        )

    def job_url(self, job_id: str) -> str:
        """The job's page in Google's console."""
        return (
            f"https://console.cloud.google.com/dataflow/jobs/{self._region}/{job_id}"
            f"?project={self._project}"
        )

    def launch(self, launch: Launch) -> Job | None:
        """Launches a template; asked once only, since a second try could launch a second job.

        Returns:
            The job, or None where the launch was only validated.
        """
        ask = self._launch_flex if launch.kind == "flex" else self._launch_classic
        with self._told("launch the job"):
            job = ask(launch)
        return None if launch.validate_only or not job.id else _job_of(job)

    def job(self, job_id: str) -> Job:
        """The job as it is now."""
        request = dataflow.GetJobRequest(
            **self._at, job_id=job_id, view=dataflow.JobView.JOB_VIEW_SUMMARY
        )
        with self._told(f"show the job {job_id}"):
            return _job_of(self._jobs.get_job(request, **self._reading))

    def jobs(self) -> Iterator[Job]:
        """All jobs of the region, the latest first."""
        request = dataflow.ListJobsRequest(**self._at)
        with self._told("list the jobs"):
            yield from map(_job_of, self._jobs.list_jobs(request, **self._reading))

    def messages(self, job_id: str, since: datetime | None, level: str) -> list[Message]:
        """The job's messages by time.

        Args:
            job_id: The job.
            since: Only those of this moment and later; None for all.
            level: The least level.
        """
        request = dataflow.ListJobMessagesRequest(
            **self._at,
            job_id=job_id,
            minimum_importance=getattr(dataflow.JobMessageImportance, f"JOB_MESSAGE_{level}"),
            start_time=since,
        )
        client = self._client(dataflow.MessagesV1Beta3Client)
        with self._told(f"show the messages of the job {job_id}"):
            found = list(client.list_job_messages(request, **self._reading))
        return sorted(map(_message_of, found), key=lambda each: each.time)

    def counters(self, job_id: str) -> dict[str, int]:
        """The pipeline's own counters, such as `beam_dynamodb.written`, summed over its steps."""
        request = dataflow.GetJobMetricsRequest(**self._at, job_id=job_id)
        client = self._client(dataflow.MetricsV1Beta3Client)
        with self._told(f"show the metrics of the job {job_id}"):
            metrics = client.get_job_metrics(request, **self._reading).metrics
        counters: dict[str, int] = {}
        for metric in metrics:
            context = dict(metric.name.context)
            if metric.name.origin != "user" or context.get("tentative") == "true":
                continue
            if isinstance(metric.scalar, float | int):
                name = f"{context.get('namespace', '')}.{metric.name.name}"
                counters[name] = counters.get(name, 0) + int(metric.scalar)
        return dict(sorted(counters.items()))

    def cancel(self, job_id: str) -> None:
        """Asks to stop the job at once; what it has not written is not written."""
        self._request_state(job_id, "JOB_STATE_CANCELLED", "cancel")

    def drain(self, job_id: str) -> None:
        """Asks a streaming job to write what it has read, and to end."""
        self._request_state(job_id, "JOB_STATE_DRAINED", "drain")

    def _request_state(self, job_id: str, state: _Requested, verb: str) -> None:
        request = dataflow.UpdateJobRequest(
            **self._at,
            job_id=job_id,
            job=dataflow.Job(id=job_id, requested_state=getattr(dataflow.JobState, state)),
        )
        with self._told(f"{verb} the job {job_id}"):
            self._jobs.update_job(request, timeout=_TIMEOUT_SECONDS)

    def _launch_flex(self, launch: Launch) -> dataflow.Job:
        parameter = dataflow.LaunchFlexTemplateParameter(
            job_name=launch.job_name,
            parameters=dict(launch.parameters),
            environment=_parsed(dataflow.FlexTemplateRuntimeEnvironment, launch.environment),
            update=launch.update,
            transform_name_mappings=dict(launch.transform_names),
        )
        if isinstance(launch.template, str):
            parameter.container_spec_gcs_path = launch.template
        else:
            parameter.container_spec = _parsed(dataflow.ContainerSpec, launch.template)
        request = dataflow.LaunchFlexTemplateRequest(
            **self._at, launch_parameter=parameter, validate_only=launch.validate_only
        )
        client = self._client(dataflow.FlexTemplatesServiceClient)
        answer = client.launch_flex_template(request, timeout=_LAUNCH_TIMEOUT_SECONDS)
        return cast(dataflow.Job, answer.job)

    def _launch_classic(self, launch: Launch) -> dataflow.Job:
        request = dataflow.LaunchTemplateRequest(
            **self._at,
            gcs_path=launch.template,
            validate_only=launch.validate_only,
            launch_parameters=dataflow.LaunchTemplateParameters(
                job_name=launch.job_name,
                parameters=dict(launch.parameters),
                environment=_parsed(dataflow.RuntimeEnvironment, launch.environment),
                update=launch.update,
                transform_name_mapping=dict(launch.transform_names),
            ),
        )
        client = self._client(dataflow.TemplatesServiceClient)
        answer = client.launch_template(request, timeout=_LAUNCH_TIMEOUT_SECONDS)
        return cast(dataflow.Job, answer.job)

    @property
    def _jobs(self) -> Any:
        return self._client(dataflow.JobsV1Beta3Client)

    @property
    def _reading(self) -> dict[str, Any]:
        return {"timeout": _TIMEOUT_SECONDS, "retry": self._retry}

    def _client(self, cls: Any) -> Any:
        if cls not in self._clients:
            with self._told("let anybody in"):
                self._clients[cls] = self._new_client(cls)
        return self._clients[cls]

    def _new_client(self, cls: Any) -> Any:
        endpoint = self._endpoint
        if endpoint is None or not endpoint.startswith("http://"):
            options = {"api_endpoint": endpoint} if endpoint else None
            return cls(transport=self._transport, client_options=options)
        if self._transport == "rest":
            return cls(
                transport="rest",
                credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call,unused-ignore]
                client_options={"api_endpoint": endpoint},
            )
        channel = grpc.insecure_channel(endpoint.removeprefix("http://"))
        return cls(transport=cls.get_transport_class("grpc")(channel=channel))

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except _LOST as cause:
            raise LostSightError(
                f"Dataflow gave no answer when asked to {doing}; whether it does is unknown: "
                f"{_text(cause)}"
            ) from cause
        except exceptions.GoogleAPICallError as cause:
            raise LaunchError(f"Dataflow does not {doing}: {_text(cause)}") from cause
        except GoogleAuthError as cause:
            raise LaunchError(f"No credentials of Google Cloud: {cause}") from cause


def environment_of(kind: Kind, settings: Mapping[str, str]) -> dict[str, Any]:
    """Settings of the runtime environment as JSON, from text.

    Args:
        kind: The kind of template, since the two have environments of their own.
        settings: Text by the name of the field, `max_workers` or `maxWorkers`. Lists and mappings
            are given as JSON.

    Raises:
        LaunchError: A field is unknown, its value does not fit it, or it holds a secret.
    """
    cls = _ENVIRONMENTS[kind]
    fields = {
        name: each for each in cls.pb().DESCRIPTOR.fields for name in (each.name, each.json_name)
    }
    empty = cls.pb()()
    environment: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in fields:
            raise LaunchError(
                f"--env has no setting '{name}'. There are: "
                f"{', '.join(sorted({each.name for each in fields.values()}))}."
            )
        environment[name] = _value(fields[name], getattr(empty, fields[name].name), text)
    for option in _parsed(cls, environment).additional_pipeline_options:
        check_no_secret({re.split(r"[=\s]", option)[0]: ""})
    return environment


_ENVIRONMENTS: Mapping[Kind, Any] = {
    "flex": dataflow.FlexTemplateRuntimeEnvironment,
    "classic": dataflow.RuntimeEnvironment,
}


def _value(of: Any, present: Any, text: str) -> Any:
    several = hasattr(present, "extend")
    # Text stays text even where it looks like a number, such as the name of a network.
    if not several and (isinstance(present, str) or of.enum_type is not None):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return [text] if several else text


def _parsed(cls: Any, settings: Mapping[str, Any]) -> Any:
    message = cls.pb()()
    try:
        json_format.ParseDict(dict(settings), message)
    except json_format.ParseError as fault:
        raise LaunchError(f"This is no {cls.__name__} of Dataflow: {fault}") from fault
    return cls.wrap(message)


def _job_of(job: dataflow.Job) -> Job:
    return Job(
        id=job.id,
        name=job.name,
        state=_name(job.current_state),
        streaming=_name(job.type_) == "JOB_TYPE_STREAMING",
        created=_moment(job.create_time),
    )


def _message_of(message: dataflow.JobMessage) -> Message:
    return Message(
        id=message.id,
        time=_moment(message.time) or datetime.min.replace(tzinfo=timezone.utc),
        level=_name(message.message_importance).removeprefix("JOB_MESSAGE_"),
        text=message.message_text,
    )


def _moment(time: Any) -> datetime | None:
    return time or None


def _name(value: Any) -> str:
    # A value that this version of the client does not know is a bare number.
    return str(getattr(value, "name", value))


def _text(fault: BaseException) -> str:
    return str(getattr(fault, "message", None) or fault)
