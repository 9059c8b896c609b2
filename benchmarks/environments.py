"""What the contenders need, made once in `.cache`: environments of Python, programs in Java."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from importlib.metadata import requires, version
from pathlib import Path

__all__ = ["OWN", "Missing", "java_command", "machine", "python_of", "versions"]

OWN = "beam-dynamodb"
"""The environment of whoever installs this package: what it requires, and no tools for developing,
with which starting a worker process takes twice as long."""

ROOT = Path(__file__).parents[1]
_JAVA = ROOT / "benchmarks" / "java"
_CACHE = ROOT / ".cache" / "benchmarks"
_PROGRAMS = {"beam": "BeamWrite", "flink": "FlinkWrite"}
_OPENED = [f"--add-opens=java.base/java.{each}=ALL-UNNAMED" for each in ("lang", "util")]
"""What Flink reads of the JDK by reflection."""


class Missing(Exception):
    """A contender cannot be had on this machine; the text says what is missing."""


def python_of(package: str) -> Path:
    """The interpreter that has a package; aiobotocore, for one, wants a botocore of its own.

    This package itself is read from the checkout.

    Raises:
        Missing: It cannot be installed.
    """
    wanted = [package]
    if package == OWN:
        wanted = [each for each in requires(OWN) or () if "extra ==" not in each]
    digest = hashlib.sha256(repr((wanted, sys.version, _python())).encode()).hexdigest()[:12]
    tag = f"{package}-{digest}"
    return _cached(tag, lambda into: _install(wanted, into)) / "bin" / "python"


def java_command(program: str) -> list[str]:
    """How to run a program in Java; Maven fetches what it needs.

    Raises:
        Missing: There is no Java 17, or no Maven.
    """
    java = _java()
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("needs Maven (mvn), which is not on the PATH")
    names = (
        f"{program}.pom.xml",
        f"{_PROGRAMS[program]}.java",
        "UserBehavior.java",
        "Measured.java",
    )
    sources = b"".join((_JAVA / name).read_bytes() for name in names)
    digest = hashlib.sha256(sources).hexdigest()[:12]
    place = _cached(f"{program}-{digest}", lambda into: _build(maven, program, into))
    return [java, *_OPENED, "-cp", f"{place / 'classes'}:{place / 'lib'}/*", _PROGRAMS[program]]


def versions(packages: Mapping[str, str], programs: set[str]) -> dict[str, str]:
    """What is installed.

    Args:
        packages: The packages to look for, each with the environment in which it is.
        programs: The programs in Java that were built.
    """
    found = {"Python": f"{platform.python_version()} ({_python()})", OWN: version(OWN)}
    for package, environment in packages.items():
        found[package] = _version(package, environment)
    if programs:
        told = subprocess.run([_java(), "-version"], capture_output=True, text=True, check=True)
        found["Java"] = re.findall(r'version "([^"]+)"', told.stderr)[0]
    for program in sorted(programs):
        pom = (_JAVA / f"{program}.pom.xml").read_text()
        for name, number in re.findall(r"<(\w+)\.version>([^<]+)<", pom):
            found[f"{program} in Java" if name == program else f"{program} {name}"] = number
    return found


def machine() -> dict[str, str]:
    """What this machine is, without its name."""
    with contextlib.suppress(OSError):
        model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / (1 << 30):.0f} GB",
        "system": f"{platform.system()} {platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _python() -> str:
    """The Python that environments are made with: two of one version may differ in speed."""
    return str(Path(sys.executable).resolve())


def _java() -> str:
    java = shutil.which("java")
    told = java and subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    number = told and re.search(r'version "(\d+)', told.stderr)
    if not (java and number and int(number[1]) >= 17):
        raise Missing("needs Java 17 or later, which is not on the PATH")
    return java


def _version(package: str, environment: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    python = str(python_of(environment))
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    place = _CACHE / name
    whole = place / ".whole"  # making it may have been killed halfway
    if not whole.exists():
        print(f"making .cache/benchmarks/{name}, once …", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        make(place)
        whole.touch()
    return place


def _install(packages: list[str], into: Path) -> None:
    venv.create(into, with_pip=True)  # cannot be moved later, so it is made where it stays
    _run(str(into / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages)


def _build(maven: str, program: str, into: Path) -> None:
    _run(
        maven, "-q", "-B", "-f", str(_JAVA / f"{program}.pom.xml"), f"-Dtarget={into}",
        "compile", "dependency:copy-dependencies", f"-DoutputDirectory={into / 'lib'}",
    )  # fmt: skip


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-2000:]
        raise Missing(f"{Path(command[0]).name} failed: {said}")
