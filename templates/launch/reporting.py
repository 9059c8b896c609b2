"""What the launcher prints: lines for people, or with `--json` an object a line for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TextIO

from templates.launch.dataflow import Dataflow, Job, Message

__all__ = ["Report"]

_SHOWN_FIRST = ("written", "superseded", "failed")
_NAMESPACE = "beam_dynamodb."


class Report:
    """Prints each event at once, so that a pipe or a log shows it when it happens."""

    def __init__(self, *, as_json: bool, stream: TextIO | None = None) -> None:
        self._as_json = as_json
        self._stream = stream

    def launched(self, dataflow: Dataflow, job: Job) -> None:
        """The job is there."""
        url = dataflow.job_url(job.id)
        self._print("launched", f"Launched {job.name} as {job.id}\n{url}", id=job.id, url=url)

    def state(self, job: Job, time: datetime) -> None:
        """The job's state changed."""
        state = job.state.removeprefix("JOB_STATE_")
        self._print("state", f"{_clock(time)} is now {state}", time=time, state=state)

    def message(self, message: Message) -> None:
        """The job said something."""
        self._print(
            "message",
            f"{_clock(message.time)} {message.level:<8} {message.text}",
            time=message.time,
            level=message.level,
            text=message.text,
        )

    def progress(self, counters: Mapping[str, int], time: datetime) -> None:
        """The rows so far."""
        rows = {name: counters.get(_NAMESPACE + name, 0) for name in _SHOWN_FIRST}
        line = ", ".join(f"{count:,} {name}" for name, count in rows.items())
        self._print("progress", f"{_clock(time)} {line}", time=time, **rows)

    def counters(self, counters: Mapping[str, int]) -> None:
        """All counters, at the end."""
        self._print("counters", json.dumps(counters), counters=counters)

    def job(self, job: Job) -> None:
        """A job of a list."""
        state = job.state.removeprefix("JOB_STATE_")
        kind = "streaming" if job.streaming else "batch"
        created = "" if job.created is None else job.created.isoformat(timespec="seconds")
        self._print(
            "job",
            f"{job.id}  {state:<11} {kind:<9} {created:<25} {job.name}",
            id=job.id,
            name=job.name,
            state=state,
            kind=kind,
            created=job.created,
        )

    def note(self, text: str) -> None:
        """Anything else."""
        self._print("note", text, text=text)

    def _print(self, event: str, line: str, **facts: Any) -> None:
        if self._as_json:
            line = json.dumps({"event": event, **facts}, default=_text)
        print(line, file=self._stream or sys.stdout, flush=True)


def _clock(time: datetime) -> str:
    return time.astimezone().strftime("%H:%M:%S")


def _text(value: Any) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else str(value)
