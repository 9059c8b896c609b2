"""Stages the classic template: `python -m templates.classic.main --template_location=gs://…`.

Best by `python -m templates.launch stage classic`, which adds what the workers need.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.value_provider import StaticValueProvider
from apache_beam.runners.runner import PipelineResult

from beam_dynamodb import DynamoDBSinkError, OptionError
from pipelines.flags import refuse_misspelt, refuse_secrets
from pipelines.sources import told
from templates.files import build
from templates.parameters import CLASSIC, CLASSIC_STAGED
from templates.rows import Values

__all__ = ["main", "pipeline_of"]


def main(argv: Sequence[str] | None = None) -> int:
    """Stages the template, or with another runner than Dataflow's runs it.

    Returns:
        0, or 1 when a setting is not allowed; what that is stands on standard error.
    """
    try:
        pipeline = pipeline_of(sys.argv[1:] if argv is None else argv)
    except (DynamoDBSinkError, ValueError) as fault:
        print(fault, file=sys.stderr)
        return 1
    result: PipelineResult = pipeline.run()
    result.wait_until_finish()  # of a template: at once
    return 0


def pipeline_of(argv: Sequence[str]) -> beam.Pipeline:
    """The pipeline that a command line asks for.

    Args:
        argv: The settings of `CLASSIC_STAGED`, and Beam's options. A parameter of the template
            given here is fixed; a launch can't change it.

    Raises:
        OptionError: A setting is not allowed.
    """
    parser = argparse.ArgumentParser(description=CLASSIC.description, allow_abbrev=False)
    for each in CLASSIC_STAGED:
        parser.add_argument(f"--{each.name}", help=each.help_text.replace("%", "%%"))
    arguments, rest = parser.parse_known_args(list(argv))
    known = {f"--{each.name}" for each in CLASSIC.parameters}
    others = [each for each in rest if each.partition("=")[0] not in known]
    _refuse_unknown(others)
    refuse_secrets(others, prefix="")
    refuse_misspelt(parser, others)
    options = PipelineOptions(rest)
    providers = _providers(options)
    _check_choices(providers)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, {**vars(arguments), **providers})
    return pipeline


def _refuse_unknown(rest: Sequence[str]) -> None:
    """Refuses options of the sink that are no parameters, such as secrets; Beam would keep them."""
    for flag in rest:
        name = flag.removeprefix("--").partition("=")[0]
        if name.startswith(("aws_", "sink_")):
            raise OptionError(
                f"'{name}' is no parameter of the template. Secrets are never parameters: let the "
                f"workers find the credentials.",
                option=name,
            )


def _check_choices(providers: Values) -> None:
    """Refuses what is fixed to none of a parameter's choices, such as a replay, which Flex has."""
    for each in CLASSIC.parameters:
        provider = providers[each.name]
        fixed = told(provider) if isinstance(provider, StaticValueProvider) else None
        if fixed and each.choices and fixed not in each.choices:
            raise OptionError(
                f"'{each.name}' must be one of {', '.join(each.choices)} in the classic template.",
                option=each.name,
            )


def _providers(options: PipelineOptions) -> Values:
    given = options.view_as(_options_class())
    return {each.name: getattr(given, each.name) for each in CLASSIC.parameters}


@functools.cache
def _options_class() -> type[PipelineOptions]:
    """The parameters as options of Beam, which a template's JSON lists by name.

    Made when it is needed: Beam adds the options of every known class to every pipeline of a
    process.
    """

    class ClassicOptions(PipelineOptions):
        @classmethod
        def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
            for each in CLASSIC.parameters:
                # All are text, and without a default: what is absent is judged on the worker.
                parser.add_value_provider_argument(  # type: ignore[attr-defined]
                    f"--{each.name}", type=str, help=each.help_text.replace("%", "%%")
                )

    return ClassicOptions


if __name__ == "__main__":
    sys.exit(main())
