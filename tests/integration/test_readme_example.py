"""The example in README.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from tests import processes

README = Path(__file__).parent.parent.parent / "README.md"


def test_example_in_the_readme_writes_its_rows(tmp_path, moto_endpoint, create_table):
    table = create_table(moto_endpoint, key=[("user_id", "N")], name="user_behavior")
    example = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    # Only the endpoint is added; and the runner, because the default one may fetch a program.
    program = example.replace("aws_region=", f'aws_endpoint="{moto_endpoint}", aws_region=')
    (tmp_path / "example.py").write_text(program, encoding="utf-8")
    runner = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    done = processes.run(str(tmp_path / "example.py"), f"--runner={runner}")
    assert done.returncode == 0, done.stderr
    assert sorted(item["user_id"]["N"] for item in table.items()) == ["1", "2"]
