"""What an installed user gets: the wheel in a fresh environment, and its command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from beam_dynamodb import cli
from beam_dynamodb.testing import FakeDynamoDB, FakeServer

ROOT = Path(__file__).parent.parent.parent


def built(folder, **environ):
    """A wheel, built from the checkout's files."""
    source = folder / "source"
    left_out = shutil.ignore_patterns(
        ".*", "build", "dist", "tests", "*.c", "*.egg-info", "*.so", "__pycache__"
    )
    shutil.copytree(ROOT, source, ignore=left_out)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", f"--outdir={folder}"]
    done = subprocess.run(
        [*build, str(source)], capture_output=True, text=True, check=False,
        env={**os.environ, **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(tmp_path_factory.mktemp("wheel"))


def environment(wheel, folder):
    """The programs of an environment that has only what the wheel needs beside it."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    # The dependencies are those of this environment; the package itself must not be.
    here = sysconfig.get_paths()["purelib"]
    (site / "dependencies.pth").write_text(f"{here}\n", encoding="utf-8")
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(program, *argv, cwd):
        return subprocess.run(
            [str(folder / "bin" / program), *argv],
            capture_output=True, text=True, cwd=cwd, env=environ, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The command of the wheel."""
    run = environment(wheel, tmp_path_factory.mktemp("installed"))
    return lambda *argv, cwd: run("beam-dynamodb", *argv, cwd=cwd)


def test_the_wheel_takes_no_name_but_its_own_in_site_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"beam_dynamodb"}
    assert "beam_dynamodb/pipelines/load.py" in names
    assert "beam_dynamodb/providers.yaml" in names
    assert "beam_dynamodb/py.typed" in names
    assert not [each for each in names if each.endswith((".c", ".h", ".pyx"))]
    with zipfile.ZipFile(wheel) as archive:
        entry = next(each for each in names if each.endswith("entry_points.txt"))
        assert "beam-dynamodb = beam_dynamodb.cli:main" in archive.read(entry).decode()
        folders = ("beam_dynamodb/pipelines/", "beam_dynamodb/templates/")
        for each in names:
            if each.startswith(folders) and each.endswith(".py"):
                source = archive.read(each).decode()
                assert not re.search(
                    r"^\s*(from|import) (pipelines|templates)\b", source, re.MULTILINE
                ), each


def test_the_installed_command_loads_a_file(installed, tmp_path):
    db = FakeDynamoDB()
    db.create_table("things", {"id": "S"})
    (tmp_path / "a.csv").write_text("id,n\na,1\nb,x\n", encoding="utf-8")
    with FakeServer(db) as server:
        done = installed(
            "load", "--input=a.csv", "--types=n:N", "--table_name=things",
            "--aws_region=us-east-2", f"--aws_endpoint={server.endpoint}",
            "--dead_letters=dead.jsonl",
            cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert [item["id"]["S"] for item in db.items("things")] == ["a"]
    assert "2 read = 1 written + 0 superseded + 1 failed" in done.stdout
    assert "a.csv, line 3, column 'n'" in (tmp_path / "dead.jsonl").read_text()


def test_the_installed_command_runs_sql_in_the_package(installed, tmp_path):
    (tmp_path / "job.sql").write_text(
        "CREATE TABLE t (a INT) WITH ('connector' = 'print'); INSERT INTO t VALUES (1);",
        encoding="utf-8",
    )
    done = installed("sql", "job.sql", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "+I[1]"), done.stderr


def test_the_installed_help_names_the_installed_command(installed, tmp_path):
    done = installed("template", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: beam-dynamodb template" in done.stdout
    assert "python -m templates" not in done.stdout


# --- the command itself --------------------------------------------------------------------


def test_the_command_tells_what_there_is(capsys):
    assert cli.main(["--help"]) == 0
    usage = capsys.readouterr().out
    for name in ("load", "sql", "replay", "template", "providers"):
        assert f"  {name}" in usage
    assert cli.main([]) == 2


def test_an_unknown_command_names_the_nearest(capsys):
    assert cli.main(["laod"]) == 2
    assert "Did you mean 'load'?" in capsys.readouterr().err


def test_the_listing_for_yaml_is_where_the_command_says(capsys):
    assert cli.main(["providers"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text().count("WriteToDynamoDB") == 1


def test_a_command_of_the_checkout_runs_from_it(tmp_path, capsys):
    script = tmp_path / "job.sql"
    script.write_text("CREATE TABLE t (a INT) WITH ('connector' = 'print');", encoding="utf-8")
    assert cli.main(["sql", str(script), "--check"]) == 0
    assert capsys.readouterr().out == "The script is right: 1 tables, 0 INSERTs.\n"


@pytest.mark.parametrize("name", ["load", "sql", "replay"])
def test_a_command_is_told_as_it_was_started(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: beam-dynamodb {name} ")
    module = f"pipelines.{name}"
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.startswith(f"usage: python -m {module} ")


def test_a_command_whose_modules_lack_says_what_to_install(monkeypatch, capsys):
    def lacking(module):
        raise ModuleNotFoundError("No module named 'duckdb'", name="duckdb")

    monkeypatch.setattr(cli, "_main_of", lacking)
    assert cli.main(["sql", "job.sql"]) == 1
    assert "pip install 'beam-dynamodb[sql]'" in capsys.readouterr().err


def which_encoder(wheel, folder):
    code = "from beam_dynamodb import columns; print(columns.RowEncoder)"
    done = environment(wheel, folder / "environment")("python", "-c", code, cwd=folder)
    return done.stdout.strip() or done.stderr


_COMPILER = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"


@pytest.mark.skipif(
    shutil.which(_COMPILER.split()[0]) is None, reason=f"there is no C compiler ({_COMPILER})"
)
def test_with_a_compiler_rows_are_encoded_by_what_it_made(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        names = [each for each in archive.namelist() if each.endswith((".so", ".pyd"))]
    compiled = {each.split(".")[0] for each in names}
    sources = Path(cli.__file__).parent.glob("*.pyx")
    assert compiled == {f"beam_dynamodb/{each.stem}" for each in sources}
    assert which_encoder(wheel, tmp_path) == "<class 'beam_dynamodb.row_encoder.RowEncoder'>"


def test_without_a_compiler_the_package_is_installed_all_the_same(tmp_path):
    assert which_encoder(built(tmp_path, CC="false"), tmp_path) == "None"
