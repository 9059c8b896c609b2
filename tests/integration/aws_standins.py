"""Loopback stand-ins for AWS STS, EC2 instance metadata and ECS container metadata.

They speak AWS's own protocols, record each call, and hand out numbered credentials. Every secret
and token in them contains `MARK`, so that a test can look for leaks.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

MARK = "hush"
"""What all secrets of these tests have in common."""


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str


Answer = tuple[int, str]


@contextlib.contextmanager
def serve(answer: Callable[[Request], Answer], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answers requests on a loopback port with `answer`; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            request = Request(self.command, self.path, dict(self.headers), body)
            status, text = answer(request)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = do_POST = do_CONNECT = handle_one

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that refuses our certificate is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class StsCall:
    """One call of STS: what it asked for, and whose credentials signed it."""

    action: str
    parameters: dict[str, str]
    signer: str | None
    region: str | None
    token: str | None


@dataclass
class Sts:
    """STS that grants every role to everybody, for `lifetime` by `clock`."""

    lifetime: timedelta = timedelta(hours=1)
    clock: Callable[[], datetime] = utc_now
    refusal: Answer | None = None
    calls: list[StsCall] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body))
        signature = request.headers.get("Authorization", "")
        signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/sts/", signature)
        call = StsCall(
            action=form.pop("Action"),
            parameters=form,
            signer=signed and signed[1],
            region=signed and signed[2],
            token=request.headers.get("X-Amz-Security-Token"),
        )
        self.calls.append(call)
        return self.refusal or (200, self._grant(call, next(self._numbers)))

    def _grant(self, call: StsCall, number: int) -> str:
        expiry = (self.clock() + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        role = (
            call.parameters["RoleArn"].replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
        )
        return (
            f'<{call.action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<{call.action}Result><AssumedRoleUser>"
            f"<Arn>{role}/{call.parameters['RoleSessionName']}</Arn>"
            f"<AssumedRoleId>AROA:{number}</AssumedRoleId></AssumedRoleUser><Credentials>"
            f"<AccessKeyId>ASIA{number}</AccessKeyId>"
            f"<SecretAccessKey>{MARK}-key-{number}</SecretAccessKey>"
            f"<SessionToken>{MARK}-token-{number}</SessionToken>"
            f"<Expiration>{expiry}</Expiration></Credentials></{call.action}Result>"
            f"<ResponseMetadata><RequestId>{number}</RequestId></ResponseMetadata>"
            f"</{call.action}Response>"
        )


def sts_error(status: int, code: str, message: str) -> Answer:
    """An error as STS words it."""
    return status, (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>r</RequestId></ErrorResponse>"
    )


@dataclass
class InstanceMetadata:
    """EC2's metadata service, version 2 only: no answer without the token of a PUT."""

    role: str | None = "the-role"
    lifetime: timedelta = timedelta(hours=6)
    requests: list[Request] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        if request.method == "PUT" and request.path == "/latest/api/token":
            return 200, f"{MARK}-imds-token"
        if request.headers.get("x-aws-ec2-metadata-token") != f"{MARK}-imds-token":
            return 401, ""
        folder = "/latest/meta-data/iam/security-credentials/"
        if self.role is None or not request.path.startswith(folder):
            return 404, ""
        if request.path == folder:
            return 200, self.role
        return 200, metadata_credentials("EC2", next(self._numbers), self.lifetime)


@dataclass
class ContainerMetadata:
    """The metadata service of ECS and EKS."""

    lifetime: timedelta = timedelta(hours=6)
    refusal: Answer | None = None
    requests: list[Request] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        grant = metadata_credentials("ECS", next(self._numbers), self.lifetime)
        return self.refusal or (200, grant)


def metadata_credentials(service: str, number: int, lifetime: timedelta) -> str:
    """Credentials as both metadata services word them."""
    return json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": f"{service}{number}",
            "SecretAccessKey": f"{MARK}-key-{number}",
            "Token": f"{MARK}-token-{number}",
            "Expiration": (utc_now() + lifetime).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def bait(folder: Path) -> dict[str, str]:
    """Environment variables of a machine full of credentials that no test asked for.

    Set in `os.environ`, they spoil every test in which botocore looks there, or in the home
    folder, instead of in the environment that it was given.
    """
    aws = folder / ".aws"
    aws.mkdir()
    keys = f"aws_access_key_id = BAIT\naws_secret_access_key = {MARK}-bait\n"
    nowhere = "http://127.0.0.1:9"
    (aws / "credentials").write_text(f"[default]\n{keys}[bait]\n{keys}")
    (aws / "config").write_text(f"[default]\nendpoint_url = {nowhere}\n")
    return {
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": "BAIT",
        "AWS_SECRET_ACCESS_KEY": f"{MARK}-bait",
        "AWS_SESSION_TOKEN": f"{MARK}-bait",
        "AWS_PROFILE": "bait",
        "AWS_SHARED_CREDENTIALS_FILE": str(aws / "credentials"),
        "AWS_CONFIG_FILE": str(aws / "config"),
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(aws / "credentials"),
        "AWS_ROLE_ARN": "arn:aws:iam::999999999999:role/bait",
        "AWS_ROLE_SESSION_NAME": "bait",
        "AWS_ENDPOINT_URL": nowhere,
        "AWS_ENDPOINT_URL_STS": nowhere,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": nowhere,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": f"{MARK}-bait",
        "AWS_EC2_METADATA_DISABLED": "false",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": nowhere,
        "AWS_CA_BUNDLE": "/nowhere/bait.pem",
        "AWS_DEFAULTS_MODE": "bait",
        "JAVA_TOOL_OPTIONS": f"-Daws.accessKeyId=BAIT -Daws.secretKey={MARK}-bait",
    }
