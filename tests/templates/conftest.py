"""What the templates' tests share: Cloud Storage on this machine, and nobody's credentials."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials

from pipelines.local import gcs_emulator
from tests.templates.google_standins import Bucket, MetadataServer, serve_metadata


@pytest.fixture(scope="session")
def gcs_endpoint() -> Iterator[str]:
    """The URL of an emulator of Google Cloud Storage, which has the bucket `bucket`."""
    with gcs_emulator("bucket") as url:
        yield url


@pytest.fixture
def gcs(gcs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A folder of its own in the emulator, which all of Google's clients in this process use."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_endpoint)
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "p-demo"))
    return Bucket("bucket", uuid.uuid4().hex)


@pytest.fixture
def metadata_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataServer]:
    """A metadata server of Google Cloud, which this process believes to be its machine's."""
    from google.auth.compute_engine import _metadata

    server = MetadataServer()
    with serve_metadata(server) as address:
        monkeypatch.setenv("GCE_METADATA_IP", address)
        monkeypatch.setenv("GCE_METADATA_HOST", address)
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", address)
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        yield server
