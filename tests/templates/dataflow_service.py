"""A Dataflow service on the loopback interface, over gRPC and REST, whose jobs follow scripts.

It refuses what Google's service is known to refuse: parameters that do not fit the metadata, two
active jobs of one name, changes to jobs that have ended, draining a batch job.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import grpc
from google.cloud import dataflow_v1beta3 as df
from google.protobuf import json_format

from tests.templates.http_stand_in import QuietHandler, serving_http

_START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
_ENDED = {"DONE", "FAILED", "CANCELLED", "DRAINED", "UPDATED"}
_PAGE = 2


class Refusal(Exception):
    """What the service answers instead of what it was asked for."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.UNAVAILABLE: 503,
}


@dataclass
class Step:
    """What a job is, and has said, after one more look at it."""

    state: str
    messages: Sequence[tuple[str, str]] = ()
    counters: Mapping[str, int] = field(default_factory=dict)


SUCCESS = (
    Step("QUEUED", [("BASIC", "Worker configuration: n1-standard-1")]),
    Step("RUNNING", [("DEBUG", "hush"), ("BASIC", "Starting 1 workers")], {"written": 10}),
    Step("DONE", [("BASIC", "Stopping worker pool")], {"written": 20, "failed": 1}),
)
FAILURE = (
    Step("RUNNING", [("WARNING", "A worker was slow")]),
    Step("FAILED", [("ERROR", "Table 'flights' does not exist")]),
)
ENDLESS = (Step("RUNNING", [("BASIC", "Starting 1 workers")], {"written": 5}),)


@dataclass
class FakeJob:
    """A job; looks at it move it along its script."""

    id: str
    name: str
    script: list[Step]
    streaming: bool
    parameters: Mapping[str, str]
    created: datetime
    state: str = "PENDING"
    messages: list[Any] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        if self.script:
            step = self.script.pop(0)
            self.state = step.state
            self.counters.update(step.counters)
            for level, text in step.messages:
                number = len(self.messages)
                self.messages.append(
                    df.JobMessage(
                        id=f"{self.id}-{number}",
                        # Two of them share a moment, as in the service now and then.
                        time=self.created + timedelta(seconds=number // 2),
                        message_importance=df.JobMessageImportance[f"JOB_MESSAGE_{level}"],
                        message_text=text,
                    )
                )

    def proto(self) -> df.Job:
        kind = "JOB_TYPE_STREAMING" if self.streaming else "JOB_TYPE_BATCH"
        return df.Job(
            id=self.id,
            name=self.name,
            type_=df.JobType[kind],
            current_state=df.JobState[f"JOB_STATE_{self.state}"],
            create_time=self.created,
        )


@dataclass
class FakeDataflow:
    """The service.

    Attributes:
        specs: Flex templates by path.
        options: For classic templates by path: the names of their parameters.
        script: What the next jobs do.
        streaming: Whether they are streaming jobs.
        refusals: Raised by the next requests of a method, by its name.
        requests: All requests: the method's name and the message.
    """

    specs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    options: dict[str, set[str]] = field(default_factory=dict)
    script: Sequence[Step] = SUCCESS
    streaming: bool = False
    refusals: dict[str, list[Refusal]] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: Any = field(default_factory=threading.RLock)

    def answer(self, method: str, request: Any) -> Any:
        with self._lock:
            self.requests.append((method, request))
            if self.refusals.get(method):
                raise self.refusals[method].pop(0)
            return getattr(self, f"_{method}")(request)

    def asked(self, method: str) -> list[Any]:
        return [request for name, request in self.requests if name == method]

    # --- the methods

    def _LaunchFlexTemplate(self, request: Any) -> Any:
        parameter = request.launch_parameter
        inline = df.ContainerSpec.to_dict(parameter.container_spec)
        spec = self.specs.get(parameter.container_spec_gcs_path)
        metadata = inline["metadata"] if spec is None else spec["metadata"]
        if metadata is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "There is no template.")
        names = json_format.ParseDict(metadata, df.TemplateMetadata.pb()()).parameters
        for known in names:
            value = parameter.parameters.get(known.name)
            if value is None and not known.is_optional:
                self._invalid(f"Missing required parameter {known.name}")
            if value and not all(re.fullmatch(each, value) for each in known.regexes):
                self._invalid(f"Invalid value for parameter {known.name}")
        job = self._launched(request, parameter)
        return df.LaunchFlexTemplateResponse(job=job)

    def _LaunchTemplate(self, request: Any) -> Any:
        known = self.options.get(request.gcs_path)
        if known is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "There is no template.")
        unexpected = sorted(request.launch_parameters.parameters.keys() - known)
        if unexpected:
            self._invalid(f"Found unexpected parameters: {unexpected}")
        return df.LaunchTemplateResponse(job=self._launched(request, request.launch_parameters))

    def _GetJob(self, request: Any) -> Any:
        job = self._job(request.job_id)
        job.look()
        return job.proto()

    def _ListJobs(self, request: Any) -> Any:
        jobs = sorted(self.jobs.values(), key=lambda each: each.created, reverse=True)
        first = int(request.page_token or 0)
        last = first + _PAGE
        return df.ListJobsResponse(
            jobs=[each.proto() for each in jobs[first:last]],
            next_page_token=str(last) if last < len(jobs) else "",
        )

    def _UpdateJob(self, request: Any) -> Any:
        job = self._job(request.job_id)
        verb = request.job.requested_state.name.removeprefix("JOB_STATE_")
        if job.state in _ENDED:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION, f"The job has terminated in {job.state}."
            )
        if verb == "DRAINED" and not job.streaming:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "Only streaming jobs can be drained")
        meanwhile = "DRAINING" if verb == "DRAINED" else "CANCELLING"
        job.script = [Step(meanwhile, [("BASIC", f"{meanwhile} as asked")]), Step(verb)]
        return job.proto()

    def _ListJobMessages(self, request: Any) -> Any:
        order = ["DEBUG", "DETAILED", "BASIC", "WARNING", "ERROR"]
        least = order.index(request.minimum_importance.name.removeprefix("JOB_MESSAGE_"))
        found = [
            each
            for each in self._job(request.job_id).messages
            if order.index(each.message_importance.name.removeprefix("JOB_MESSAGE_")) >= least
            and not (request.start_time and each.time < request.start_time)
        ]
        first = int(request.page_token or 0)
        last = first + _PAGE
        return df.ListJobMessagesResponse(
            job_messages=found[first:last],
            next_page_token=str(last) if last < len(found) else "",
        )

    def _GetJobMetrics(self, request: Any) -> Any:
        counters = self._job(request.job_id).counters
        metrics = [
            _metric(name, count, step, tentative)
            for name, total in counters.items()
            for tentative in (False, True)
            # A counter of two steps, and numbers that are not committed yet.
            for step, count in (("s1", total - 1), ("s2", 1))
        ]
        metrics.append(df.MetricUpdate(name={"origin": "dataflow/v1b3", "name": "x"}, scalar=7.0))
        return df.JobMetrics(metrics=metrics)

    # --- what they share

    def _launched(self, request: Any, parameter: Any) -> df.Job:
        name = parameter.job_name
        active = [j for j in self.jobs.values() if j.name == name and j.state not in _ENDED]
        if active and not parameter.update:
            raise Refusal(grpc.StatusCode.ALREADY_EXISTS, f"There is an active job {name}.")
        if request.validate_only:
            return df.Job()
        for old in active:
            old.script = [Step("UPDATED")]
        number = next(self._numbers)
        created = _START + timedelta(minutes=number)
        job = FakeJob(
            id=f"{created:%Y-%m-%d_%H_%M_%S}-{number}",
            name=name,
            script=list(self.script),
            streaming=self.streaming,
            parameters=dict(parameter.parameters),
            created=created,
        )
        self.jobs[job.id] = job
        return job.proto()

    def _job(self, job_id: str) -> FakeJob:
        if job_id not in self.jobs:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"There is no job {job_id}.")
        return self.jobs[job_id]

    def _invalid(self, message: str) -> None:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def _metric(name: str, count: int, step: str, tentative: bool) -> df.MetricUpdate:
    context = {"namespace": "beam_dynamodb", "step": step}
    if tentative:
        context["tentative"] = "true"
    structured = {"origin": "user", "name": name, "context": context}
    return df.MetricUpdate(name=structured, scalar=float(count))


# --- gRPC ----------------------------------------------------------------------------------


_REQUESTS: Mapping[str, Any] = {
    "LaunchFlexTemplate": df.LaunchFlexTemplateRequest,
    "LaunchTemplate": df.LaunchTemplateRequest,
    "GetJob": df.GetJobRequest,
    "ListJobs": df.ListJobsRequest,
    "UpdateJob": df.UpdateJobRequest,
    "ListJobMessages": df.ListJobMessagesRequest,
    "GetJobMetrics": df.GetJobMetricsRequest,
}


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, service: FakeDataflow) -> None:
        self._service = service

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]
        if method not in _REQUESTS:
            return None

        def handle(request: Any, context: Any) -> Any:
            try:
                return self._service.answer(method, request)
            except Refusal as refusal:
                context.abort(refusal.code, str(refusal))

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=_REQUESTS[method].deserialize,
            response_serializer=lambda response: type(response).serialize(response),
        )


@contextlib.contextmanager
def grpc_server(service: FakeDataflow) -> Iterator[str]:
    """Yields the endpoint."""
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([_Handlers(service)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait(5)


# --- REST ----------------------------------------------------------------------------------


_BASE = r"/v1b3/projects/(?P<project_id>[^/]+)/locations/(?P<location>[^/]+)"
_JOB = rf"{_BASE}/jobs/(?P<job_id>[^/:]+)"
_ROUTES = (
    ("POST", rf"{_BASE}/flexTemplates:launch", "LaunchFlexTemplate", None),
    ("POST", rf"{_BASE}/templates:launch", "LaunchTemplate", "launch_parameters"),
    ("GET", rf"{_BASE}/jobs", "ListJobs", None),
    ("GET", _JOB, "GetJob", None),
    ("PUT", _JOB, "UpdateJob", "job"),
    ("GET", rf"{_JOB}/messages", "ListJobMessages", None),
    ("GET", rf"{_JOB}/metrics", "GetJobMetrics", None),
)


def _rest_answer(service: FakeDataflow, verb: str, url: str, body: str) -> tuple[int, str]:
    parts = urlsplit(url)
    for wanted, path, method, field_name in _ROUTES:
        found = re.fullmatch(path, parts.path)
        if wanted == verb and found:
            # The form of the answer, which is always JSON, is `$alt` of Google's newer clients and
            # `alt` of gcloud.
            given = {name.lstrip("$"): value for name, value in parse_qsl(parts.query)}
            query = {name: value for name, value in given.items() if name != "alt"}
            content = json.loads(body or "{}")
            fields = {field_name: content} if field_name else content
            message = _REQUESTS[method].pb()()
            json_format.ParseDict({**query, **fields, **found.groupdict()}, message)
            try:
                response = service.answer(method, _REQUESTS[method].wrap(message))
            except Refusal as refusal:
                status = _HTTP[refusal.code]
                error = {"code": status, "message": str(refusal), "status": refusal.code.name}
                return status, json.dumps({"error": error})
            return 200, type(response).to_json(response, use_integers_for_enums=False)
    return 404, json.dumps({"error": {"code": 404, "message": f"{verb} {url}"}})


@contextlib.contextmanager
def rest_server(service: FakeDataflow) -> Iterator[str]:
    """Yields the endpoint."""

    class Handler(QuietHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            try:
                status, text = _rest_answer(service, self.command, self.path, body)
            except ConnectionAbortedError:
                return  # without an answer, the connection is closed
            self.answer(status, text, Content_Type="application/json")

        do_GET = do_POST = do_PUT = do

    with serving_http(Handler) as address:
        yield f"http://{address}"


SERVERS: Mapping[str, Callable[[FakeDataflow], Any]] = {"grpc": grpc_server, "rest": rest_server}
