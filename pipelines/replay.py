r"""Writes dead letters to DynamoDB again.

    python -m pipelines.replay --input='failed*.jsonl' --aws_region=us-east-2 \
        --partitioned_by=flight,time_hour --dead_letters=again.jsonl

Each record goes to the table that its line tells, or all to `--table_name`. Lines can be mended
with an editor before. The input files stay as they are.

A replay writes what was to be written then: an item that has a newer value since is overwritten.

Exit codes: 0 all written, 1 the replay failed, 3 some failed again and are in `--dead_letters`, 130
it was stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.error_handling import ErrorHandler

from beam_dynamodb import WriteToDynamoDB
from beam_dynamodb.replay import ReadDeadLetters, WriteDeadLetters, beam_path, table_of
from pipelines.faults import exit_code, run_to_end
from pipelines.flags import add_sink_flags, read_flags, use_files
from pipelines.letters import check_new
from pipelines.live import sink_metric

__all__ = ["Summary", "main", "run"]

_PROGRAM = "python -m pipelines.replay" if __name__ == "__main__" else "beam-dynamodb replay"


@dataclass(frozen=True, slots=True)
class Summary:
    """Dead letters by what became of them.

    Attributes:
        read: Lines read.
        written: Records that DynamoDB acknowledged.
        superseded: Records that a later one of the same key made needless.
        ignored: Records that nobody writes, such as an UPDATE_BEFORE.
        skipped: Lines left out by `--only_retriable`.
        failed: Records that failed again, and lines that must be mended first.
    """

    read: int
    written: int
    superseded: int
    ignored: int
    skipped: int
    failed: int

    def __str__(self) -> str:
        rest = (
            self.read - self.written - self.superseded - self.ignored - self.skipped - self.failed
        )
        return (
            f"{self.read:,} read = {self.written:,} written + {self.superseded:,} superseded "
            f"+ {self.ignored:,} ignored + {self.skipped:,} skipped + {self.failed:,} failed again"
            + (f" + {rest:,} unaccounted for" if rest else "")
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the replay; prints a summary.

    Returns:
        The exit code, as this module says.
    """
    return exit_code("replay", lambda: run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> Summary:
    """Runs the replay.

    Args:
        argv: Flags of the replay, of the sink and of Beam.

    Returns:
        What became of the dead letters.

    Raises:
        OptionError: An option is not allowed; nothing was read.
        DeadLetterError: A line must be mended first, and there is no `--dead_letters`.
        DynamoDBSinkError: A record, or a table, cannot be written.
    """
    arguments, sink, options = read_flags(_parser(), argv)
    use_files(options, [*arguments.input, arguments.dead_letters])
    check_new(arguments.dead_letters)
    pipeline = beam.Pipeline(options=options)
    _build(pipeline, arguments, sink)
    return _summary(run_to_end(pipeline))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Writes dead letters to DynamoDB again. Flags of Beam follow the others.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--input",
        required=True,
        action="append",
        help="Files of dead letters: a path or a pattern. Repeatable.",
    )
    parser.add_argument(
        "--only_retriable",
        action="store_true",
        help="Leave out what would fail in the same way again.",
    )
    parser.add_argument(
        "--dead_letters",
        type=beam_path,
        metavar="PATH",
        help="Put what fails again, and lines to be mended first, into this new file, and go on. "
        "Without it the first such line ends the replay.",
    )
    parser.add_argument(
        "--change_kind",
        metavar="NAME",
        help="The attribute that tells puts and deletes apart, in lines whose operation is row.",
    )
    parser.add_argument(
        "--order_by", metavar="NAME", help="The attribute that is greatest in a key's latest row."
    )
    add_sink_flags(parser)
    return parser


def _build(
    pipeline: beam.Pipeline, arguments: argparse.Namespace, sink: Mapping[str, object]
) -> None:
    keywords: dict[str, object] = {**sink}
    with contextlib.ExitStack() as stack:
        handler = None
        if arguments.dead_letters:
            handler = stack.enter_context(ErrorHandler(WriteDeadLetters(arguments.dead_letters)))
        read = ReadDeadLetters(arguments.input, only_retriable=arguments.only_retriable)
        write = WriteToDynamoDB(
            keywords.pop("table_name", table_of),  # type: ignore[arg-type]
            partitioned_by=arguments.partitioned_by,
            primary_key=arguments.primary_key,
            change_kind=arguments.change_kind,
            order_by=arguments.order_by,
            **keywords,  # type: ignore[arg-type]
        )
        records = pipeline | "Read" >> read.with_error_handler(handler)
        _ = records | "Write" >> write.with_error_handler(handler)


def _summary(result: PipelineResult) -> Summary:
    return Summary(
        read=sink_metric(result, "letters_read"),
        written=sink_metric(result, "written"),
        superseded=sink_metric(result, "superseded"),
        ignored=sink_metric(result, "ignored"),
        skipped=sink_metric(result, "letters_skipped"),
        failed=sink_metric(result, "failed") + sink_metric(result, "letters_refused"),
    )


if __name__ == "__main__":
    sys.exit(main())
