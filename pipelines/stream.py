r"""Follows files of changes and keeps a DynamoDB table as they say, until they end.

    python -m pipelines.stream --changes='log/*.jsonl' --table_name=people --aws_region=us-east-2 \
        --partitioned_by=id --primary_key=id --streaming

Each line is a change: a row as a JSON object with its kind (`+I`, `+U`, `-U` or `-D`) in the field
`kind` and its time, in seconds since 1970, in the field `at`. `pipelines.changes` has the details.

The runner is any that runs splittable steps with state and timers; docs/flink.md has the flags for
Flink.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import sys
from collections.abc import Mapping, Sequence

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.transforms.window import FixedWindows

from beam_dynamodb import DynamoDBSinkError, OptionError, WriteDeadLetters, WriteToDynamoDB
from beam_dynamodb.replay import beam_path
from pipelines.changes import FollowChanges
from pipelines.columns import names
from pipelines.flags import add_sink_flags, read_flags
from pipelines.stable_ids import StableIds

__all__ = ["main", "start"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job until its files end, or the runner is told to stop it.

    Returns:
        0, or 1 when it failed.
    """
    try:
        state = start(sys.argv[1:] if argv is None else argv).wait_until_finish()
    except (DynamoDBSinkError, ValueError, OSError, RuntimeError) as fault:
        print(f"The job failed. {fault}", file=sys.stderr)
        return 1
    print(f"The job is over: {state}")
    return 0


def start(argv: Sequence[str]) -> PipelineResult:
    """Starts the job; most runners return at once.

    Args:
        argv: Flags of the job, of the sink and of Beam.

    Raises:
        OptionError: An option of the sink is not allowed, or no file is named.
    """
    arguments, sink, options = read_flags(_parser(), argv)
    patterns = arguments.changes
    # A file that two patterns match is one file: two readers would write each row twice.
    paths = sorted({path for each in patterns for path in glob.glob(each) or [each]})  # noqa: PTH207
    if any(glob.has_magic(path) for path in paths):
        raise OptionError(f"no file is there for --changes={','.join(paths)}", option="changes")
    pipeline = beam.Pipeline(options=options)
    pipeline.component_id_map = StableIds()  # so that a changed job goes on from a savepoint
    _build(pipeline, paths, arguments, sink)
    return pipeline.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.stream",
        description="Follows files of changes into a DynamoDB table. Flags of Beam follow.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--changes", required=True, type=names, help="Files of JSON lines, or patterns: a,b.")
    add("--kind", default="kind", help="The field that says +I, +U, -U or -D.")
    add("--time", default="at", help="The field with the event time, in seconds since 1970.")
    add("--lateness", type=float, default=0.0, metavar="SECONDS",
        help="How far the watermark stays behind the latest event time.")  # fmt: skip
    add("--window", type=float, metavar="SECONDS",
        help="Fixed windows of event time; the end of one writes what waits of it.")  # fmt: skip
    add("--omit", type=names, default=[], metavar="NAMES", help="Fields not to write: a,b.")
    add("--dead_letters", type=beam_path, metavar="PATH",
        help="Put rows that can't be written into files beside this name, one for each bundle, and "
        "go on. Without it the first such row fails the job.")  # fmt: skip
    add_sink_flags(parser)
    return parser


def _build(
    pipeline: beam.Pipeline,
    paths: Sequence[str],
    arguments: argparse.Namespace,
    sink: Mapping[str, object],
) -> None:
    rows = pipeline | "Changes" >> FollowChanges(
        paths, time_field=arguments.time, lateness=arguments.lateness
    )
    if arguments.omit:
        rows |= "Omit" >> beam.ParDo(Omit(arguments.omit))
    if arguments.window:
        rows |= "Window" >> beam.WindowInto(FixedWindows(arguments.window))
    write = WriteToDynamoDB.from_options(
        sink,
        partitioned_by=arguments.partitioned_by,
        primary_key=arguments.primary_key,
        change_kind=arguments.kind,
    )
    with contextlib.ExitStack() as stack:
        handler = None
        if arguments.dead_letters:
            handler = stack.enter_context(ErrorHandler(WriteDeadLetters(arguments.dead_letters)))
        _ = rows | "Write" >> write.with_error_handler(handler)


class Omit(beam.DoFn):
    """Leaves fields out."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = frozenset(fields)

    def process(self, row: Mapping[str, object]) -> list[dict[str, object]]:
        """The row without them."""
        return [{name: value for name, value in row.items() if name not in self._fields}]


if __name__ == "__main__":
    sys.exit(main())
