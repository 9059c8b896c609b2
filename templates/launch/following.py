"""Follows a job: its states, its messages and how many rows it has written, until it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from templates.launch.dataflow import Dataflow, Job, Message
from templates.launch.errors import LaunchError
from templates.launch.reporting import Report

__all__ = ["ENDS", "FollowTimeoutError", "Follower"]

ENDS: Mapping[str, int] = {
    "JOB_STATE_DONE": 0,
    "JOB_STATE_DRAINED": 0,
    "JOB_STATE_UPDATED": 0,
    "JOB_STATE_FAILED": 1,
    "JOB_STATE_CANCELLED": 3,
}
"""The states that a job ends in, and the launcher's exit code for each."""

_PROGRESS_SECONDS = 10.0
_FIRST_POLL_SECONDS = 1.0
_GROWTH = 1.5


class FollowTimeoutError(LaunchError):
    """The time for following a job is over; the job goes on."""


@dataclass
class Follower:
    """Follows one job; a second call of `until` goes on where the first was interrupted.

    Attributes:
        dataflow: Where the job runs.
        job_id: The job.
        report: Where its news go.
        clock: Seconds, always growing.
        sleep: Waits for so many seconds.
        level: The least level of messages.
        poll_seconds: How long there are at most no news.
        timeout_seconds: How long the job is followed, or None for as long as it takes.
    """

    dataflow: Dataflow
    job_id: str
    report: Report
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    level: str = "BASIC"
    poll_seconds: float = 15.0
    timeout_seconds: float | None = None
    _state: str = field(default="", init=False)
    _seen: set[str] = field(default_factory=set, init=False)
    _since: datetime | None = field(default=None, init=False)
    _progress_at: float | None = field(default=None, init=False)
    _counters: Mapping[str, int] = field(default_factory=dict, init=False)

    def until(self, *states: str) -> Job:
        """Reports until the job has ended, or is in one of the states.

        Returns:
            The job as it is then.

        Raises:
            FollowTimeoutError: The time is over.
            LaunchError: The job does not exist, or can't be seen any longer.
        """
        started = self.clock()
        pause = min(_FIRST_POLL_SECONDS, self.poll_seconds)
        while True:
            job = self.dataflow.job(self.job_id)
            self._report(job)
            if job.state in ENDS:
                self._last_words(job)
                return job
            if job.state in states:
                return job
            left = self._left(started)
            if left <= 0:
                raise FollowTimeoutError(
                    f"The time of {self.timeout_seconds:g} s is over; {self.job_id} goes on."
                )
            self.sleep(min(pause, left))
            pause = min(pause * _GROWTH, self.poll_seconds)

    def _left(self, started: float) -> float:
        if self.timeout_seconds is None:
            return float("inf")
        return started + self.timeout_seconds - self.clock()

    def _report(self, job: Job) -> None:
        if job.state != self._state:
            self._state = job.state
            self.report.state(job, datetime.now(timezone.utc))
        self._report_messages()
        due = self._progress_at is None or self.clock() >= self._progress_at + _PROGRESS_SECONDS
        if job.state == "JOB_STATE_RUNNING" and due:
            self._progress_at = self.clock()
            self._report_progress()

    def _report_messages(self) -> list[Message]:
        # The moment of the last message is asked for again: others may share it.
        found = self.dataflow.messages(self.job_id, self._since, self.level)
        new = [each for each in found if each.id not in self._seen]
        for message in new:
            self.report.message(message)
            self._seen.add(message.id)
            self._since = message.time
        return new

    def _report_progress(self) -> None:
        counters = self.dataflow.counters(self.job_id)
        if counters and counters != self._counters:
            self._counters = counters
            self.report.progress(counters, datetime.now(timezone.utc))

    def _last_words(self, job: Job) -> None:
        """Messages come a little later than the state that they tell of."""
        if job.state == "JOB_STATE_FAILED":
            self.sleep(self.poll_seconds)
        self._report_messages()
        self.report.counters(self.dataflow.counters(self.job_id))
