"""Stand-ins for what a Dataflow worker finds on Google Cloud: its metadata, its bucket, secrets."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
from google.cloud import storage

from tests.integration.aws_standins import MARK
from tests.templates.http_stand_in import QuietHandler, serving_http

EMAIL = "worker@p-demo.iam.gserviceaccount.com"


@dataclass
class Bucket:
    """A folder of a bucket.

    Attributes:
        bucket: The bucket's name.
        folder: The folder's.
    """

    bucket: str
    folder: str

    def path(self, name: str) -> str:
        return f"gs://{self.bucket}/{self.folder}/{name}"

    def put(self, name: str, contents: bytes | str) -> str:
        """Makes an object; returns its path."""
        self._bucket().blob(f"{self.folder}/{name}").upload_from_string(contents)
        return self.path(name)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """The contents of all objects by name."""
        start = f"{self.folder}/"
        blobs = storage.Client().list_blobs(self.bucket, prefix=start + prefix)
        return {blob.name.removeprefix(start): blob.download_as_bytes() for blob in blobs}

    def _bucket(self) -> Any:
        return storage.Client().bucket(self.bucket)


@dataclass
class MetadataServer:
    """Hands out numbered identity tokens of one service account, each with `MARK` in it."""

    requests: list[str] = field(default_factory=list)
    audiences: list[str] = field(default_factory=list)
    account: bool = True

    def answer(self, url: str) -> tuple[int, str, str]:
        parts = urlsplit(url)
        self.requests.append(url)
        path = parts.path.removeprefix("/computeMetadata/v1/").rstrip("/")
        account = "instance/service-accounts/default"
        if parts.path in ("/", ""):
            return 200, "application/text", ""
        if path == "project/project-id":
            return 200, "application/text", "p-demo"
        if not self.account:
            return 404, "application/text", "no service account"
        if path == account:
            about = {"email": EMAIL, "scopes": [], "aliases": ["default"]}
            return 200, "application/json", json.dumps(about)
        if path == f"{account}/token":
            token = {"access_token": f"{MARK}-access", "expires_in": 3600, "token_type": "Bearer"}
            return 200, "application/json", json.dumps(token)
        if path == f"{account}/identity":
            audience = parse_qs(parts.query)["audience"][0]
            self.audiences.append(audience)
            return 200, "application/text", identity(audience, len(self.audiences))
        return 404, "application/text", ""


def identity(audience: str, number: int) -> str:
    """A token in the form of Google's, signed by nobody."""
    claims = {"aud": audience, "azp": "1234567890", "exp": time.time() + 3600, "iat": time.time()}
    parts = ({"alg": "RS256", "typ": "JWT"}, {**claims, "sub": "1234567890", "n": number})
    texts = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in parts]
    return ".".join([*(each.rstrip("=") for each in texts), f"{MARK}{number}AA"])


@contextlib.contextmanager
def serve_metadata(metadata: MetadataServer) -> Iterator[str]:
    """Yields host and port."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            status, kind, text = metadata.answer(self.path)
            self.answer(status, text, Metadata_Flavor="Google", Content_Type=kind)

    with serving_http(Handler) as address:
        yield address


@contextlib.contextmanager
def secret_manager(secrets: dict[str, bytes]) -> Iterator[Any]:
    """Google's client of Secret Manager, connected to a service that keeps these secrets."""
    from google.cloud import secretmanager

    request_class = secretmanager.AccessSecretVersionRequest
    response_class = secretmanager.AccessSecretVersionResponse

    def access(request: Any, context: Any) -> Any:
        if request.name not in secrets:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret [{request.name}] not found")
        return response_class(name=request.name, payload={"data": secrets[request.name]})

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            assert details.method.endswith("/AccessSecretVersion")
            return grpc.unary_unary_rpc_method_handler(
                access, request_class.deserialize, response_class.serialize
            )

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([Handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client_class = secretmanager.SecretManagerServiceClient
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield client_class(transport=client_class.get_transport_class("grpc")(channel=channel))
    finally:
        channel.close()
        server.stop(None).wait(5)
