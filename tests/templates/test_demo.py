"""`make template-demo`: a launch's parameters, run here."""

from __future__ import annotations

from tests import processes


def test_the_demo_writes_the_flights_that_left():
    done = processes.run("-m", "templates.demo", "--rows=900")
    assert done.returncode == 0, done.stderr
    assert "900 flights read, 896 of them left; the table holds 896 items." in done.stdout
    assert "python -m templates.launch launch" in done.stdout
