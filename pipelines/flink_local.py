r"""Flink on this machine, from Maven's artifacts: Beam's job server, and a cluster behind it.

    python -m pipelines.flink_local                     # the job server with Flink inside it
    python -m pipelines.flink_local --task_managers=2   # with a cluster of separate JVMs

prints the flags that a pipeline needs to run there, and keeps it up until it is interrupted.
Needs Maven and Java 17, for the cluster a JDK; what is fetched stays in `.cache`. Flink's own
distribution is not needed: its `bin/` would only compute the settings that `_CLUSTER` spells out.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.fetched import ENVIRON, NotAvailableError, cached, copy_jars, program
from pipelines.local import HOST, free_port, guarded

__all__ = ["Cluster", "Program", "WorkerPool", "cluster", "job_server", "main", "worker_pool"]

_POM = Path(__file__).with_name("flink.pom.xml")

_OPENED = ("java.lang", "java.net", "java.nio", "java.time", "java.util", "sun.nio.ch")
"""The packages of Java's base module that Flink 1.19 reflects upon."""

_START_SECONDS = 120.0
"""How long a JVM may take until it answers; far more than it needs on an idle machine."""

_WITHIN = "[local]"
"""Where a job runs that no cluster runs: in the job server's own JVM."""

_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_JOB_SERVER_OF_CLUSTER = str(Path(__file__).with_name("FlinkJobServer.java"))

_CLUSTER: Mapping[str, object] = {
    "jobmanager.rpc.address": HOST,
    "rest.address": HOST,
    "taskmanager.host": HOST,
    # What taskmanager.sh would compute out of the memory of the machine.
    "taskmanager.cpu.cores": 2,
    "taskmanager.memory.framework.heap.size": "64m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.task.heap.size": "192m",
    "taskmanager.memory.task.off-heap.size": "32m",
    "taskmanager.memory.managed.size": "32m",
    "taskmanager.memory.network.min": "32m",
    "taskmanager.memory.network.max": "32m",
    "taskmanager.memory.jvm-metaspace.size": "192m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
    # A lost TaskManager is noticed in seconds instead of the default 50.
    "heartbeat.interval": 1000,
    "heartbeat.timeout": 10000,
    "cluster.evenly-spread-out-slots": "true",
    # All that a job needs is there already; so its classes need not be loaded anew for each.
    "classloader.resolve-order": "parent-first",
}


class Program:
    """A program in a process of its own.

    Attributes:
        pid: Of the process above it, which ends it when this process ends.
        log: The file with all that it prints.
    """

    def __init__(self, guard: subprocess.Popen[bytes], log: Path) -> None:
        self._guard = guard
        self.pid = guard.pid
        self.log = log

    @property
    def has_ended(self) -> bool:
        """Whether it runs no longer."""
        return self._guard.poll() is not None

    def kill(self) -> None:
        """Kills it at once, as when its machine is lost."""
        assert self._guard.stdin is not None  # noqa: S101 - guarded() made it
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._guard.stdin.write(b"kill\n")
            self._guard.stdin.flush()


class Cluster:
    """A session cluster of one JobManager and its TaskManagers, and a job server before it.

    Attributes:
        flags: The flags that send a pipeline there.
        url: Flink's REST address.
        folder: Where checkpoints, savepoints and logs go.
        job_manager: The one that was started last.
        task_managers: By their ids, in the order of their start, also those that were killed.
    """

    def __init__(self, folder: Path, url: str, start: Callable[[str, str, str], Program]) -> None:
        self.folder = folder
        self.url = url
        self.flags: list[str] = []
        self.task_managers: dict[str, Program] = {}
        self._start = start
        self.job_manager = self.new_job_manager()

    def new_job_manager(self) -> Program:
        """Starts a JobManager in the place of one that was killed; it knows no job."""
        self.job_manager = self._start("job-manager", _JOB_MANAGER, "-Xmx384m")
        return self.job_manager

    def add_task_manager(self) -> Program:
        """Starts one more TaskManager; it offers its slots when it is ready."""
        name = f"task-manager-{len(self.task_managers) + 1}"
        self.task_managers[name] = self._start(name, _TASK_MANAGER, "-Xmx256m")
        return self.task_managers[name]

    def ask(self, path: str) -> Any:
        """Asks Flink's REST interface.

        Raises:
            OSError: It is not there, or it refuses; an HTTPError then.
        """
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - http
            return json.load(answer)

    def slots(self) -> int:
        """How many slots are free; -1 where no JobManager answers."""
        try:
            return int(self.ask("/overview")["slots-available"])
        except OSError:
            return -1


@contextlib.contextmanager
def job_server(*, flink_master: str = _WITHIN, folder: Path | None = None) -> Iterator[list[str]]:
    """Runs Beam's job server for Flink.

    Args:
        flink_master: The REST address of a cluster as host:port, whose JVMs have the same jars;
            `[local]` runs each job within the job server.
        folder: Where its log goes; a temporary one if not given.

    Yields:
        The flags that send a pipeline there.

    Raises:
        NotAvailableError: Java or Maven is missing.
        RuntimeError: It did not start; the message holds its last words.
    """
    with contextlib.ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port, artifact_port = free_port(), free_port()
        main_class = _JOB_SERVER if flink_master == _WITHIN else _JOB_SERVER_OF_CLUSTER
        jvm = _start_java(
            stack, folder / "job-server.log", main_class, "-Xmx512m",
            [f"--job-host={HOST}", f"--job-port={port}", f"--artifact-port={artifact_port}",
             "--expansion-port=0", f"--artifacts-dir={folder / 'artifacts'}",
             f"--flink-master={flink_master}"],
        )  # fmt: skip
        _await(lambda: _listens(port), jvm)
        yield [
            "--runner=PortableRunner",
            f"--job_endpoint={HOST}:{port}",
            f"--artifact_endpoint={HOST}:{artifact_port}",
        ]


@contextlib.contextmanager
def cluster(
    task_managers: int = 2, slots: int = 2, folder: Path | None = None
) -> Iterator[Cluster]:
    """Runs a session cluster, each part in a JVM of its own, and a job server before it.

    Args:
        task_managers: How many to begin with.
        slots: Of each TaskManager.
        folder: Where checkpoints, savepoints and logs go; a temporary one if not given.

    Yields:
        The cluster, when all its slots are there.

    Raises:
        NotAvailableError: Java or Maven is missing.
        RuntimeError: A part did not start; the message holds its last words.
    """
    with contextlib.ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rest_port = free_port()
        settings = {
            **_CLUSTER,
            "jobmanager.rpc.port": free_port(),
            "rest.port": rest_port,
            "taskmanager.numberOfTaskSlots": slots,
            "io.tmp.dirs": folder / "tmp",
            "state.checkpoints.dir": (folder / "checkpoints").as_uri(),
            "state.savepoints.dir": (folder / "savepoints").as_uri(),
        }
        lines = [f"{key}: {value}\n" for key, value in settings.items()]
        (folder / "flink-conf.yaml").write_text("".join(lines))

        def start(name: str, main_class: str, memory: str) -> Program:
            arguments = ["--configDir", str(folder), f"-Dtaskmanager.resource-id={name}"]
            return _start_java(stack, folder / f"{name}.log", main_class, memory, arguments)

        flink = Cluster(folder, f"http://{HOST}:{rest_port}", start)
        for _ in range(task_managers):
            flink.add_task_manager()
        _await(
            lambda: flink.slots() == task_managers * slots,
            flink.job_manager,
            *flink.task_managers.values(),
        )
        flink.flags = stack.enter_context(
            job_server(flink_master=f"{HOST}:{rest_port}", folder=folder)
        )
        yield flink


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """A pool that starts Python workers when Flink asks for them.

    Attributes:
        flags: The flags that let a pipeline use it.
        program: The pool; each of its workers is a child of its process.
    """

    flags: list[str]
    program: Program


@contextlib.contextmanager
def worker_pool(
    folder: Path | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[WorkerPool]:
    """Runs a pool of Python workers.

    Args:
        folder: Where its log goes; a temporary one if not given.
        environ: The environment of the workers; this process's if not given.

    Raises:
        RuntimeError: It did not start; the message holds its last words.
    """
    with contextlib.ExitStack() as stack:
        folder = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        command = [
            sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main",
            f"--service_port={port}",
        ]  # fmt: skip
        # It starts a program named python, and that must find the modules of this checkout.
        environ = {
            **(os.environ if environ is None else environ),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        started = _start(stack, folder / "worker-pool.log", command, environ)
        _await(lambda: _listens(port), started)
        flags = ["--environment_type=EXTERNAL", f"--environment_config={HOST}:{port}"]
        yield WorkerPool(flags, started)


def _jars() -> Path:
    # The name tells what the pom asks for, so that another pom fetches anew.
    digest = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    return cached(f"flink-{digest}", lambda into: copy_jars(_POM, "Flink", into))


def _start_java(
    stack: contextlib.ExitStack, log: Path, main_class: str, memory: str, arguments: Sequence[str]
) -> Program:
    java = program("java", "Flink")
    command = [
        java, memory, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        *(f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in _OPENED),
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-cp", f"{_jars()}/*", main_class, *arguments,
    ]  # fmt: skip
    return _start(stack, log, command, ENVIRON)


def _start(
    stack: contextlib.ExitStack, log: Path, command: Sequence[str], environ: Mapping[str, str]
) -> Program:
    output = stack.enter_context(log.open("ab"))
    return Program(stack.enter_context(guarded(command, output, environ=environ)), log)


def _await(condition: Callable[[], bool], *started: Program) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        ended = [each for each in started if each.has_ended]
        if ended or time.monotonic() > deadline:
            log = (*ended, *started)[0].log
            words = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"The {log.stem} did not start. Its last words:\n{words}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=5):
        return True
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Runs Flink until it is interrupted.

    Returns:
        0, or 1 where Java or Maven is missing, or a part of it does not start.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.flink_local", description=__doc__)
    add = parser.add_argument
    add("--task_managers", type=int, default=0, help="JVMs of a cluster; 0: all in one JVM")
    add("--slots", type=int, default=2, help="of each TaskManager")
    options = parser.parse_args(argv)
    try:
        with contextlib.ExitStack() as stack:
            if options.task_managers:
                flink = stack.enter_context(cluster(options.task_managers, options.slots))
                flags = flink.flags
                print(f"Flink's console: {flink.url}")
            else:
                flags = stack.enter_context(job_server())
            print(f"Flags of a pipeline: {' '.join(flags)} --environment_type=LOOPBACK", flush=True)
            threading.Event().wait()
    except (NotAvailableError, RuntimeError) as fault:
        print(fault, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
