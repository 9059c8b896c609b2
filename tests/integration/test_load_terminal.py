"""`pipelines.load` as a person sees it: on a terminal, stopped with Ctrl-C, in its report."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from beam_dynamodb.testing import FakeDynamoDB, FakeServer, Faults, Slow
from pipelines import load
from tests.processes import environment
from tests.servers import REGION

_PATIENCE_SECONDS = 120


def server(faults):
    db = FakeDynamoDB()
    db.create_table("things", {"id": "N"})
    return FakeServer(db, faults=faults)


def flags(server, *more):
    return [
        "--table_name=things",
        f"--aws_region={REGION}",
        f"--aws_endpoint={server.endpoint}",
        "--types=id:N",
        "--keys=id",
        *more,
    ]


def rows_file(folder, count):
    path = folder / "rows.csv"
    text = "id,text\n" + "".join(f"{number},row {number}\n" for number in range(count))
    path.write_text(text, encoding="utf-8")
    return f"--input={path}"


class Terminal:
    """A load in a terminal of its own."""

    def __init__(self, argv):
        master, slave = pty.openpty()
        self._screen = master
        self.text = ""
        screen = {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.load", *argv],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**environment(), **screen},
        )  # fmt: skip
        os.close(slave)

    def read_until(self, pattern, patience=None):
        """Reads what the screen shows until it matches, or the load or the patience ends."""
        deadline = time.monotonic() + (patience or _PATIENCE_SECONDS)
        while not re.search(pattern, self.text):
            if time.monotonic() > deadline:
                if patience:
                    break
                raise AssertionError(f"{pattern!r} was not shown:\n{self.text[-2000:]}")
            if not select.select([self._screen], [], [], 1)[0]:
                continue
            try:
                data = os.read(self._screen, 65536)
            except OSError:  # the other end is closed
                break
            self.text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode(errors="replace"))
        return self.text

    def end(self):
        """Reads the rest; gives the exit code."""
        self.read_until(r"(?!)")
        os.close(self._screen)
        return self.process.wait(_PATIENCE_SECONDS)

    def stop(self):
        """Presses Ctrl-C, and again where nothing follows, as a person would."""
        for _ in range(4):
            self.process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and self.process.poll() is None:
                if "Stopped" in self.read_until(r"Stopped", patience=1):
                    return


def test_a_terminal_shows_progress_and_the_summary(tmp_path):
    with server(Faults.random(1, {Slow(0.05): 0.5}, unprocessed=0.1)) as fake:
        terminal = Terminal([rows_file(tmp_path, 3000), *flags(fake)])
        assert terminal.end() == 0, terminal.text
    assert "3,000 read = 3,000 written + 0 superseded + 0 failed" in terminal.text
    assert "3000/3000" in terminal.text
    assert re.search(r"[\d,]+ items/s, [1-9][\d,]* write units, [1-9][\d,]* retried", terminal.text)
    assert "━" in terminal.text, "a bar"


def test_ctrl_c_ends_with_a_summary_and_no_traceback(tmp_path):
    with server(Faults.always(Slow(0.2))) as fake:
        argv = [rows_file(tmp_path, 20_000), *flags(fake, "--sink_requests_max_inflight=1")]
        terminal = Terminal(argv)
        terminal.read_until(r"writing")
        terminal.stop()
        assert terminal.end() == 130, terminal.text
    assert re.search(r"Stopped\. [\d,]+ read = [1-9][\d,]* written", terminal.text), terminal.text
    assert "Traceback" not in terminal.text
    assert "To load the rest, run the same again" in terminal.text


# --- the report ----------------------------------------------------------------------------


@pytest.fixture
def browser():
    """Opens a page in a real browser without a window; gives the page's DOM afterwards."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("the report's test needs the program chromium, which is not on the PATH")

    def dom(path, profile):
        done = subprocess.run(
            [
                program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-sync",
                "--disable-component-update", "--disable-dev-shm-usage",
                f"--user-data-dir={profile}", "--dump-dom", path.as_uri(),
            ],
            capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return dom


def test_the_report_opens_in_a_browser_and_shows_the_run(tmp_path, browser, capsys):
    report = tmp_path / "report.html"
    with server(Faults.random(1, unprocessed=0.1)) as fake:
        argv = [rows_file(tmp_path, 2000), *flags(fake, f"--report={report}")]
        assert load.main(argv) == 0, capsys.readouterr().err
    page = report.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)\s*=|url\(|@import", page), "it needs nothing from elsewhere"
    probe = (
        "<script>document.title = JSON.stringify({"
        "plots: [...document.querySelectorAll('svg')].map(p => [p.id,"
        " p.querySelector('polyline').getTotalLength() > 100,"
        " p.getBoundingClientRect().width > 300]),"
        "samples: JSON.parse(document.getElementById('samples').textContent).length,"
        "text: document.querySelector('table').innerText})</script></body>"
    )
    (tmp_path / "probed.html").write_text(page.replace("</body>", probe), encoding="utf-8")
    dom = browser(tmp_path / "probed.html", tmp_path / "profile")
    seen = json.loads(re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1].replace("&amp;", "&"))
    assert [each[0] for each in seen["plots"]] == [
        "rate", "latency", "throttling", "failures", "units",
    ]  # fmt: skip
    assert all(drawn and wide for _, drawn, wide in seen["plots"])
    assert seen["samples"] >= 2
    assert re.search(r"Written\s+2,000", seen["text"])
    assert re.search(r"Retried writes\s+[1-9]", seen["text"])
