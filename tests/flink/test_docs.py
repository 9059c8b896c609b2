"""Every command of docs/flink.md that can run here is run, here or by the tests beside this one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from apache_beam.version import __version__ as beam_version

from beam_dynamodb.testing import FakeServer
from pipelines.fetched import ENVIRON, NotAvailableError, cached, program
from pipelines.flink_local import Cluster
from pipelines.local import free_port
from tests.flink.changes import ChangeLog, versions
from tests.flink.commands import BLOCKS, COMMANDS, NOT_HERE, ROOT, documented, environ
from tests.flink.jobs import ENDS_WITH_ITS_JOB, cancel_all, jobs, wait_until

pytestmark = ENDS_WITH_ITS_JOB

HERE = {"demo", "cluster", "load", "pool", "stream", "boot", "process", "jobs"}
BESIDE = {"stop", "cancel"}


def test_every_command_is_run_or_says_why_it_is_not() -> None:
    assert set(COMMANDS) == HERE | BESIDE
    assert len(COMMANDS) + NOT_HERE == BLOCKS


@contextlib.contextmanager
def running(script: str, folder: Path, **settings: str) -> Iterator[Path]:
    """A command of the page that does not end by itself; yields the file with what it prints."""
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {script}"],
            cwd=folder,
            env=environ(**settings),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield output
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            finally:
                process.kill()


@pytest.mark.flink
def test_the_demo(flink: Cluster) -> None:
    script = COMMANDS["demo"].replace("flink-demo", "flink-demo ROWS=500")
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "500 read = 500 written" in done.stdout
    assert "The table 'board' holds 20 items" in done.stdout


def test_the_demo_says_what_it_needs(tmp_path: Path) -> None:
    done = subprocess.run(
        [environ()["PATH"].split(os.pathsep)[0] + "/python", "-m", "pipelines.flink_demo"],
        cwd=ROOT,
        env=environ(PATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "needs Java 17 and Maven" in done.stderr


@pytest.mark.flink
def test_a_cluster_by_hand(flink: Cluster, tmp_path: Path) -> None:
    script = COMMANDS["cluster"].replace("managers=2", "managers=1")
    with running(script, tmp_path) as output:
        wait_until(lambda: "Flags of a pipeline:" in output.read_text(), "the flags")
    assert "Flink's console: http://" in output.read_text()


def settings_of(flink: Cluster, endpoint: FakeServer) -> dict[str, str]:
    return {
        "FLINK": " ".join(flink.flags),
        "CONSOLE": flink.url,
        "ENDPOINT": f"--aws_endpoint={endpoint.endpoint}",
    }


@pytest.mark.flink
def test_a_load(flink: Cluster, endpoint: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,v\n1,10\n2,20\n")
    said = documented("load", tmp_path, **settings_of(flink, endpoint))
    assert said.strip() == "2 read = 2 written + 0 superseded + 0 failed"
    assert versions(endpoint) == {1: 10, 2: 20}


@pytest.mark.flink
def test_workers_that_task_managers_start(
    flink: Cluster, endpoint: FakeServer, tmp_path: Path
) -> None:
    try:
        program("go", "Beam's boot program")
    except NotAvailableError as missing:
        pytest.skip(str(missing))
    made = cached(f"boot-{beam_version}", lambda into: _build_boot(into)) / "container"
    boot = tmp_path / "boot"
    # As in the image, whose environment has these.
    boot.write_text(
        f"#!/bin/sh\ncd {tmp_path}\nPATH={environ()['PATH']} PYTHONPATH={ROOT} "
        "AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing "
        "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 "
        f'exec {made} --semi_persist_dir={tmp_path} "$@"\n'
    )
    boot.chmod(0o755)
    (tmp_path / "rows.csv").write_text("id,v\n1,10\n2,20\n")
    documented("process", tmp_path, BOOT=str(boot), **settings_of(flink, endpoint))
    assert versions(endpoint) == {1: 10, 2: 20}


def _build_boot(into: Path) -> None:
    documented("boot", into, **{**ENVIRON, "GOBIN": str(into)})


@pytest.mark.flink
def test_a_pool_and_a_stream_by_hand(flink: Cluster, endpoint: FakeServer, tmp_path: Path) -> None:
    log, port = ChangeLog(tmp_path, keys=20), str(free_port())
    log.add(100)
    stream, pool = (COMMANDS[name].replace("50000", port) for name in ("stream", "pool"))
    settings = settings_of(flink, endpoint)
    (tmp_path / "pool").mkdir()
    with running(pool, tmp_path / "pool"):
        script = stream.replace("changes.jsonl", log.paths[0].name)
        with running(script, tmp_path, **settings):
            wait_until(lambda: versions(endpoint) == log.table, "the table")
            [job] = jobs(flink)
            assert job in documented("jobs", **settings)
            cancel_all(flink)


# --- what needs Docker and Kubernetes is at least of one piece -------------------------------


def test_the_image_has_the_beam_that_is_tested_and_what_is_built() -> None:
    text = (ROOT / "deploy" / "flink" / "Dockerfile").read_text()
    [image] = re.findall(r"\nFROM apache/beam_python(\S+)_sdk:(\S+)\n", text)
    assert image == ("3.11", beam_version)
    assert "COPY dist/*.tar.gz" in text
    assert f"container@v{beam_version}" in COMMANDS["boot"]


def test_the_cluster_has_a_pool_beside_each_task_manager() -> None:
    text = (ROOT / "deploy" / "flink" / "session-cluster.yaml").read_text()
    spec = yaml.safe_load(text)["spec"]
    [pool] = spec["taskManager"]["podTemplate"]["spec"]["containers"]
    assert pool["args"] == ["--worker_pool"]
    assert pool["ports"] == [{"containerPort": 50000}]
    assert "localhost:50000" in COMMANDS["stream"]
    assert spec["image"].removeprefix("flink:") in (ROOT / "pipelines/flink.pom.xml").read_text()
