"""The Flex templates' image: its Dockerfile, and where buildah runs, the image itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from templates.parameters import TEMPLATES
from tests.servers import REGION, NotAvailableError, buildah
from tests.templates.launched import run_template

ROOT = Path(__file__).parent.parent.parent
FLEX = ROOT / "templates" / "flex"
SDK = re.compile(r"docker\.io/apache/beam_python(\d\.\d+)_sdk:(\S+)")


def instructions():
    """The Dockerfile's instructions: name and arguments."""
    text = (FLEX / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]


def arguments(name):
    return [rest for each, rest in instructions() if each == name]


def copied():
    """What is copied from the checkout: the sources, and the place."""
    sources = [rest.split() for rest in arguments("COPY") if not rest.startswith("--from")]
    return [(words[:-1], words[-1]) for words in sources]


# --- the Dockerfile ------------------------------------------------------------------------


def test_all_that_is_copied_is_there():
    for sources, _ in copied():
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source.rstrip('/')}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_base_has_the_beam_that_is_pinned_and_the_launchers_python():
    launcher, sdk = arguments("FROM")
    python, beam = SDK.fullmatch(sdk).groups()
    assert f"apache-beam[gcp]=={beam}" in (FLEX / "requirements.txt").read_text().splitlines()
    assert f"python{python.replace('.', '')}-template-launcher-base" in launcher
    project = (ROOT / "pyproject.toml").read_text()
    assert f"Programming Language :: Python :: {python}" in project


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_launchers_file_of_each_template_is_copied(template):
    (setting,) = [each for each in arguments("ENV") if "PY_FILE" in each]
    path = setting.partition("=")[2].replace("${TEMPLATE}", template)
    (workdir,) = arguments("WORKDIR")
    inside = Path(path).relative_to(workdir)
    assert (ROOT / inside).is_file()
    assert any(str(inside).startswith(place) for _, place in copied())
    (found,) = [each for each in arguments("ENV") if "PYTHONPATH" in each]
    assert found == f"PYTHONPATH={workdir}"


def test_only_the_pipelines_file_is_told_so_nothing_is_staged_or_installed_at_a_launch():
    text = (FLEX / "Dockerfile").read_text()
    assert "FLEX_TEMPLATE_PYTHON_REQUIREMENTS_FILE" not in text
    assert "FLEX_TEMPLATE_PYTHON_SETUP_FILE" not in text
    assert arguments("ENTRYPOINT") == ['["/opt/apache/beam/boot"]']
    assert any("pip check" in each for each in arguments("RUN"))


def test_what_is_compiled_is_beside_the_sources_that_the_path_finds():
    (install,) = [each for each in arguments("RUN") if "pip install" in each]
    assert "-e '.[gcp]'" in install


# --- the build script ----------------------------------------------------------------------


@pytest.fixture
def build(tmp_path):
    """Runs build.sh where gcloud and docker only write down what they are asked."""
    for name in ("gcloud", "docker"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/asked"\n')
        program.chmod(0o755)

    def run(*arguments, **environ):
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(
            [FLEX / "build.sh", *arguments],
            env={**os.environ, "PATH": path, "PYTHON": sys.executable, "TAG": "1", **environ},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        asked = tmp_path / "asked"
        return done, asked.read_text().splitlines() if asked.exists() else []

    return run


IMAGE = "us-docker.pkg.dev/p/r/beam-dynamodb-pubsub:1"


def test_cloud_build_builds_and_the_specification_names_its_image(build, tmp_path):
    done, asked = build("pubsub", "us-docker.pkg.dev/p/r", f"{tmp_path}/specs/")
    assert done.returncode == 0, done.stderr
    (command,) = asked
    assert command.startswith("gcloud builds submit . --config=templates/flex/cloudbuild.yaml ")
    assert command.endswith(f" --substitutions=_TEMPLATE=pubsub,_IMAGE={IMAGE}")
    assert json.loads((tmp_path / "specs" / "pubsub.json").read_text())["image"] == IMAGE


def test_docker_may_build_instead(build, tmp_path):
    done, asked = build("pubsub", "us-docker.pkg.dev/p/r", str(tmp_path), BUILDER="docker")
    assert done.returncode == 0, done.stderr
    assert [each.split()[1] for each in asked] == ["build", "push"]
    assert f"TEMPLATE=pubsub -t {IMAGE} ." in asked[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "TEMPLATE is missing"),
        (["files"], "REPOSITORY is missing"),
        (["kafka", "r", "gs://b"], "There is no template kafka"),
    ],
)
def test_a_wrong_build_is_refused(build, arguments, words):
    done, asked = build(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert not asked


def test_cloud_build_uses_the_dockerfile_as_it_is():
    (step,) = yaml.safe_load((FLEX / "cloudbuild.yaml").read_text())["steps"]
    assert step["args"][:3] == ["build", "-f", "templates/flex/Dockerfile"]
    assert step["args"][-1] == "."


# --- the image -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image_tool(tmp_path_factory):
    """Runs buildah, with this machine's programs in every container; skips where it can't."""
    try:
        return buildah(tmp_path_factory.mktemp("images"))
    except NotAvailableError as missing:
        pytest.skip(str(missing))


def _standin(folder):
    """A Dockerfile of what stands in for both bases: this machine's Python, Beam, a launcher."""
    folder.mkdir()
    launcher = Path(__file__).with_name("python_template_launcher")
    (folder / launcher.name).write_bytes(launcher.read_bytes())
    (folder / launcher.name).chmod(0o755)
    site = Path(sysconfig.get_path("purelib"))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "Dockerfile").write_text(
        "FROM scratch\n"
        "ENV PATH=/opt/venv/bin:/usr/bin:/bin PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=false\n"
        f"COPY {launcher.name} /opt/google/dataflow/{launcher.name}\n"
        f"RUN mkdir -p /tmp && {sys._base_executable} -m venv /opt/venv "
        "&& pip uninstall --quiet --yes setuptools "  # an old one; Beam's comes with the next line
        f"&& echo {site} > /opt/venv/lib/python{version}/site-packages/beam.pth\n"
    )
    return folder


@pytest.mark.buildah
def test_the_image_is_built_and_the_job_that_it_stages_writes_rows(
    image_tool, tmp_path, gcs, moto_endpoint, create_table
):
    table = create_table(moto_endpoint)
    tags = [flag for name in arguments("FROM") for flag in ("-t", name.split()[0])]
    image_tool("bud", *tags, str(_standin(tmp_path / "base")))
    image_tool("bud", "-f", str(FLEX / "Dockerfile"), "-t", "localhost/template", str(ROOT))
    staged = tmp_path / "staged"
    staged.mkdir()
    parameters = {
        "input": gcs.put("a.csv", "id,n\n1,10\n2,20\n"), "types": "n:N", "table_name": table.name,
        "aws_region": REGION, "aws_endpoint": table.endpoint, "partitioned_by": "id",
    }  # fmt: skip
    options = [
        "--runner=DataflowRunner", "--project=p-demo", "--region=us-central1", "--job_name=job",
        "--no_auth", "--dataflow_endpoint=http://localhost:9", f"--staging_location={staged}",
        f"--temp_location={staged}", f"--template_location={staged}/job_object",
        "--sdk_container_image=localhost/template", "--sdk_location=container",
    ]  # fmt: skip
    container = image_tool("from", "localhost/template").strip()
    image_tool(
        "run", "-v", f"{staged}:{staged}", "--env", "NO_GCE_CHECK=true",
        "--env", f"PARAMETERS={json.dumps(parameters)}", "--env", f"OPTIONS={json.dumps(options)}",
        container, "--", "/opt/google/dataflow/python_template_launcher",
    )  # fmt: skip
    job = (staged / "job_object").read_bytes()
    pools = json.loads(job)["environment"]["workerPools"]
    assert pools[0]["workerHarnessContainerImage"] == "localhost/template"
    assert not [each for each in pools[0]["packages"] if each["name"].endswith((".whl", ".gz"))]
    run_template(job, (staged / "pipeline.pb").read_bytes(), {}).wait_until_finish()
    assert sorted(table.items(), key=str) == [
        {"id": {"S": "1"}, "n": {"N": "10"}}, {"id": {"S": "2"}, "n": {"N": "20"}},
    ]  # fmt: skip
