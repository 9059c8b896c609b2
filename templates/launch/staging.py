"""`stage`: puts a template where Dataflow finds it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import beam_dynamodb
from templates.launch import storage
from templates.launch.checks import pairs
from templates.launch.dataflow import environment_of
from templates.launch.errors import LaunchError
from templates.parameters import CLASSIC, CLASSIC_STAGED, TEMPLATES, Template

__all__ = ["add_stage_commands", "container_spec", "worker_package"]

_INSTALLED = __name__.startswith("beam_dynamodb.")
"""Whether the mains are part of the package, as in its wheel, or folders beside it."""

_PACKAGES = ("beam_dynamodb",) if _INSTALLED else ("beam_dynamodb", "pipelines", "templates")
_ROOT = Path(beam_dynamodb.__file__).parent.parent
_SETUP = '''"""What the workers of a classic template install."""

from setuptools import find_packages, setup

setup(
    name="beam-dynamodb-template",
    version={version!r},
    packages=find_packages(),
    install_requires={requires!r},
)
'''


def container_spec(
    template: Template, image: str, environment: Mapping[str, Any]
) -> dict[str, Any]:
    """A Flex template's specification, as JSON of Dataflow's `ContainerSpec`.

    Args:
        template: The template.
        image: The image for the launcher and, so that they need to install nothing, the workers.
        environment: Defaults of a launch's runtime environment.
    """
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": template.metadata(),
        "defaultEnvironment": {"sdkContainerImage": image, **environment},
    }


@contextmanager
def worker_package() -> Iterator[Path]:
    """A folder with what the workers install; yields the path of its setup.py.

    From a checkout it has `pipelines` and `templates` as packages of these names. They are too
    general for a Python that others share, but a worker is ours alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        for package in _PACKAGES:
            shutil.copytree(
                _ROOT / package,
                Path(folder, package),
                ignore=shutil.ignore_patterns("__pycache__", "testing", "*.json", "Dockerfile"),
            )
        setup = Path(folder, "setup.py")
        setup.write_text(
            _SETUP.format(
                version=importlib.metadata.version("beam-dynamodb"), requires=_requirements()
            ),
            encoding="utf-8",
        )
        yield setup


def _requirements() -> list[str]:
    """What the package needs beside Beam, which a worker has in the version that it must have."""
    every = importlib.metadata.requires("beam-dynamodb") or []
    return [each for each in every if "extra ==" not in each and not each.startswith("apache-beam")]


# --- the commands --------------------------------------------------------------------------


def add_stage_commands(commands: Any) -> None:
    """Adds them to the launcher's."""
    meaning = "Put a template where Dataflow finds it."
    stage = commands.add_parser("stage", help=meaning, description=meaning, allow_abbrev=False)
    kinds = stage.add_subparsers(dest="kind", required=True, metavar="KIND")
    _add_flex(kinds)
    _add_classic(kinds)


def _add_flex(kinds: Any) -> None:
    meaning = "Write the specification of a Flex template, whose image is there already."
    flex = kinds.add_parser("flex", help=meaning, description=meaning, allow_abbrev=False)
    flex.set_defaults(run=_stage_flex)
    flex.add_argument("--template", required=True, choices=tuple(TEMPLATES))
    flex.add_argument("--image", required=True, help="The container image.")
    flex.add_argument("--to", required=True, metavar="PATH", help="gs://… or a file.")
    flex.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="A default of Dataflow's runtime environment, such as max_workers=5. Repeatable.",
    )


def _add_classic(kinds: Any) -> None:
    meaning = "Stage the classic template, and its metadata beside it."
    classic = kinds.add_parser("classic", help=meaning, description=meaning, allow_abbrev=False)
    classic.set_defaults(run=_stage_classic)
    classic.add_argument("--to", required=True, metavar="PATH", help="gs://… of the template.")
    classic.add_argument("--project", required=True)
    classic.add_argument("--region", required=True)
    classic.add_argument("--staging_location", required=True, help="gs://… for the workers' files.")
    classic.add_argument("--temp_location", required=True, help="gs://… for the jobs' own files.")
    classic.add_argument(
        "--sdk_container_image",
        help="An image in which the workers have all; else they install a package from PyPI's.",
    )
    for each in CLASSIC_STAGED:
        classic.add_argument(f"--{each.name}", help=each.help_text.replace("%", "%%"))
    classic.add_argument(
        "beam_options", nargs="*", metavar="-- BEAM_OPTION", help="Options of Beam's own."
    )


def _stage_flex(arguments: argparse.Namespace) -> int:
    if not re.fullmatch(r"[\w.:/@-]+", arguments.image):
        raise LaunchError(f"'{arguments.image}' can't be the name of an image.")
    environment = environment_of("flex", pairs(arguments.env, "--env"))
    spec = container_spec(TEMPLATES[arguments.template], arguments.image, environment)
    storage.write(arguments.to, json.dumps(spec, indent=2) + "\n")
    print(f"Staged {arguments.to}")
    return 0


def _stage_classic(arguments: argparse.Namespace) -> int:
    from templates.classic.main import main

    flags = [
        f"--{name}={getattr(arguments, name)}"
        for name in ("project", "region", "staging_location", "temp_location")
    ]
    flags += [
        f"--{each.name}={getattr(arguments, each.name)}"
        for each in CLASSIC_STAGED
        if getattr(arguments, each.name) is not None
    ]
    flags += ["--runner=DataflowRunner", "--job_name=beam-dynamodb-classic"]
    flags += [f"--template_location={arguments.to}", *arguments.beam_options]
    if arguments.sdk_container_image:
        flags += [f"--sdk_container_image={arguments.sdk_container_image}"]
        code = main([*flags, "--sdk_location=container"])
    else:
        with worker_package() as setup:
            code = main([*flags, f"--setup_file={setup}"])
    if code:
        raise LaunchError("Nothing was staged.")
    storage.write(f"{arguments.to}_metadata", json.dumps(CLASSIC.metadata(), indent=2) + "\n")
    print(f"Staged {arguments.to}")
    return 0
