"""How a template's pipeline is run: parameters are flags, everything else is Beam's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineResult

from beam_dynamodb import DynamoDBSinkError
from pipelines.flags import refuse_misspelt, refuse_secrets, sink_options
from pipelines.letters import check_new
from templates.parameters import Template
from templates.rows import Values, is_topic

__all__ = ["Build", "main", "parser_of", "read_parameters"]

Build = Callable[[beam.Pipeline, Values], None]
"""Puts a template's steps into a pipeline."""


def main(template: Template, build: Build, argv: Sequence[str] | None = None) -> int:
    """Runs a template's pipeline.

    With Dataflow's runner it returns when the job is submitted, or staged as a template; Google's
    launcher takes that for its end. With any other it returns when the pipeline has ended.

    Returns:
        0, or 1 when a parameter is not allowed; what that is stands on standard error.
    """
    try:
        values, options = read_parameters(template, sys.argv[1:] if argv is None else argv)
        if not template.streaming:  # a stream's files have names of their own
            _check_letters(values.get("dead_letters"), options)
        pipeline = beam.Pipeline(options=options)
        build(pipeline, values)
    except (DynamoDBSinkError, ValueError) as fault:
        print(fault, file=sys.stderr)
        return 1
    result: PipelineResult = pipeline.run()
    runner = options.view_as(StandardOptions).runner or ""
    if "Dataflow" not in runner:
        result.wait_until_finish()
    return 0


def _check_letters(destination: str | None, options: PipelineOptions) -> None:
    if destination and not is_topic(destination):
        FileSystems.set_options(options)
        check_new(destination)


def read_parameters(template: Template, argv: Sequence[str]) -> tuple[Values, PipelineOptions]:
    """The parameters that a command line gives, by name, and Beam's options.

    Raises:
        OptionError: A flag is misspelt, or holds a secret.
    """
    parser = parser_of(template)
    arguments, rest = parser.parse_known_args(list(argv))
    refuse_secrets(rest, prefix="")  # Beam's too, which a job's page would show
    sink, rest = sink_options(arguments, rest)
    refuse_misspelt(parser, rest)
    # The console writes an empty text where nothing was entered.
    values = {name: each for name, each in {**vars(arguments), **sink}.items() if each}
    options = PipelineOptions(rest)
    if template.streaming:
        options.view_as(StandardOptions).streaming = True
    return values, options


def parser_of(template: Template) -> argparse.ArgumentParser:
    """A parser with a flag for each parameter; what they hold is judged where it is used."""
    parser = argparse.ArgumentParser(
        description=f"{template.description} Flags of Beam follow the others.", allow_abbrev=False
    )
    for each in template.parameters:
        parser.add_argument(
            f"--{each.name}",
            required=each.required,
            help=each.help_text.replace("%", "%%"),
            choices=("", *each.choices) if each.choices else None,
            metavar="TEXT",
        )
    return parser
