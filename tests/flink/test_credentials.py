"""Credentials are those of the workers' environment, not of the process that starts the job."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from beam_dynamodb.testing import FakeDynamoDB
from beam_dynamodb.testing.signatures import check_signature
from pipelines import load
from pipelines.flink_local import Cluster, worker_pool
from pipelines.local import DUMMY_CREDENTIALS
from tests.beam.helpers import REGION, TABLE
from tests.flink.jobs import ENDS_WITH_ITS_JOB
from tests.integration.aws_standins import MARK, Answer, Request, Sts, serve

pytestmark = [pytest.mark.flink, ENDS_WITH_ITS_JOB]

ROLE = "arn:aws:iam::123456789012:role/writer"
GRANTED = {f"ASIA{each}": f"{MARK}-key-{each}" for each in range(1, 10)}


class Endpoint:
    """A DynamoDB that knows these secrets only, and remembers who signed with which token."""

    def __init__(self, secrets: dict[str, str]) -> None:
        self.db = FakeDynamoDB(region=REGION)
        self.db.create_table(TABLE, {"id": "N"})
        self.signers: set[tuple[str, str | None]] = set()
        self._secrets = secrets

    def __call__(self, request: Request) -> Answer:
        headers = {name.lower(): value for name, value in request.headers.items()}
        check_signature(request.method, request.path, headers, request.body.encode(), self._secrets)
        [signer] = re.findall(r"Credential=([^/]+)/", headers["authorization"])
        self.signers.add((signer, headers.get("x-amz-security-token")))
        operation = headers["x-amz-target"].rpartition(".")[2]
        return 200, json.dumps(self.db.call(operation, json.loads(request.body)))


def run(
    flink: Cluster, endpoint: Endpoint, folder: Path, environ: dict[str, str], *flags: str
) -> None:
    """Loads two rows with workers that have this in their environment, and no other keys."""
    (folder / "rows.csv").write_text("id,v\n1,10\n2,20\n")
    bare = {name: value for name, value in os.environ.items() if name not in DUMMY_CREDENTIALS}
    with worker_pool(folder, {**bare, **environ}) as pool, serve(endpoint) as url:
        load.run(
            [
                f"--input={folder / 'rows.csv'}", "--numbers=id,v", f"--table_name={TABLE}",
                f"--aws_region={REGION}", f"--aws_endpoint={url}", "--partitioned_by=id",
                *flink.flags, *pool.flags, "--parallelism=1", *flags,
            ]
        )  # fmt: skip
    assert len(endpoint.db.items(TABLE)) == 2


def test_web_identity_of_the_worker_pool(flink: Cluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{MARK}-web-1")
    sts, endpoint = Sts(), Endpoint(GRANTED)
    with serve(sts) as url:
        identity = {
            "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            "AWS_ENDPOINT_URL_STS": url,
        }
        run(flink, endpoint, tmp_path, identity)
    asked = {(call.action, call.parameters["WebIdentityToken"]) for call in sts.calls}
    assert asked == {("AssumeRoleWithWebIdentity", f"{MARK}-web-1")}
    numbers = range(1, len(sts.calls) + 1)
    assert endpoint.signers
    assert endpoint.signers <= {(f"ASIA{each}", f"{MARK}-token-{each}") for each in numbers}


def test_system_properties_of_the_worker_pool(flink: Cluster, tmp_path: Path) -> None:
    endpoint = Endpoint({"AKIAPROPERTY": f"{MARK}-property"})
    properties = f"-Daws.accessKeyId=AKIAPROPERTY -Daws.secretKey={MARK}-property"
    environ = {"JAVA_TOOL_OPTIONS": properties}
    run(flink, endpoint, tmp_path, environ, "--aws_credentials_provider=SYS_PROP")
    assert endpoint.signers == {("AKIAPROPERTY", None)}
