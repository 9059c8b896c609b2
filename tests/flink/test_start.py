"""A job starts, whenever its first checkpoint is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_dynamodb.testing import FakeServer
from pipelines.flink_local import Cluster
from tests.flink.changes import ChangeLog, versions
from tests.flink.jobs import (
    ENDS_WITH_ITS_JOB,
    LOOPBACK,
    STREAMING,
    cancel_all,
    sink_flags,
    started,
    wait_until,
)

pytestmark = [pytest.mark.flink, ENDS_WITH_ITS_JOB]


def test_a_checkpoint_that_ends_the_first_bundle_does_not_keep_what_came_of_it(
    flink: Cluster, endpoint: FakeServer, tmp_path: Path
) -> None:
    # Bundles that do not end by themselves meanwhile are all ended by checkpoints. Without
    # --finish_bundle_before_checkpointing the step after Impulse then never tells what it read.
    log = ChangeLog(tmp_path, keys=20)
    log.add(100)
    long_bundles = [*STREAMING, "--max_bundle_time_mills=60000", "--parallelism=1"]
    with started(*flink.flags, LOOPBACK, *long_bundles, log.flag, *sink_flags(endpoint)):
        wait_until(lambda: versions(endpoint) == log.table, "the table", seconds=40)
        cancel_all(flink)
