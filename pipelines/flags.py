"""The sink's options as command-line flags, derived from their declarations.

Plain argparse and no `PipelineOptions` subclass: Beam adds the flags of every imported subclass
to every pipeline of a process, so that two mains with an `--input` could not live in one.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence

import boto3
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    S3Options,
    StandardOptions,
    _BeamArgumentParser,
)

from beam_dynamodb.errors import OptionError
from beam_dynamodb.options import Option, SinkOptions
from pipelines.columns import names
from pipelines.secret_names import holds_secret

__all__ = [
    "add_sink_flags",
    "beam_parser",
    "flags_of",
    "in_process_unless_named",
    "is_in_process",
    "nearest",
    "read_flags",
    "refuse_misspelt",
    "refuse_secrets",
    "sink_options",
    "use_files",
]

_IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"

_NEAR = 0.75
"""How like a known flag an unknown one is that can only be meant for it."""


def add_sink_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each option of the sink: `sink.batch.max-size` is `--sink_batch_max_size`.

    An option that holds a secret has no flag, because command lines show in process lists and in
    runners' consoles: let the workers find the credentials by another provider than BASIC.
    """
    group = parser.add_argument_group("options of the sink")
    for option in _flags():
        # A boolean flag may stand without a value, which means true.
        bare = {"nargs": "?", "const": "true"} if option.type_name == "Boolean" else {}
        group.add_argument(
            f"--{option.keyword}",
            metavar=option.type_name.upper(),
            help=f"{option.description}{_default(option)}".replace("%", "%%"),
            **bare,  # type: ignore[arg-type]
        )
    for keyword, meaning in (
        ("partitioned_by", "Attributes to deduplicate by: a,b."),
        ("primary_key", "The table's key attributes, the partition key first: a,b."),
    ):
        group.add_argument(f"--{keyword}", metavar="NAMES", type=names, default=[], help=meaning)


def read_flags(
    parser: argparse.ArgumentParser, argv: Sequence[str]
) -> tuple[argparse.Namespace, dict[str, object], PipelineOptions]:
    """Reads the command line of a main: its own flags, the sink's and Beam's.

    Args:
        parser: The main's parser, with the sink's flags.
        argv: The command line.

    Returns:
        What the parser understood, the sink's options by keyword, and Beam's options, with the
        in-process runner where none is named.

    Raises:
        OptionError: As `refuse_secrets`, `sink_options` and `refuse_misspelt`.
    """
    arguments, rest = parser.parse_known_args(list(argv))
    refuse_secrets(rest)
    sink, rest = sink_options(arguments, rest)
    refuse_misspelt(parser, rest)
    return arguments, sink, in_process_unless_named(PipelineOptions(rest))


def in_process_unless_named(options: PipelineOptions) -> PipelineOptions:
    """Beam's options with the in-process runner where none is named.

    The plain DirectRunner may fetch a program from the internet; this one is part of Beam.
    """
    standard = options.view_as(StandardOptions)
    standard.runner = standard.runner or _IN_PROCESS
    return options


def use_files(options: PipelineOptions, paths: Iterable[str | None]) -> None:
    """Makes Beam's options count for what is read and written outside of the pipeline too.

    Args:
        options: Those of Beam.
        paths: What will be read and written.

    Raises:
        OptionError: A path is in S3, and this process, which would open it, has no credentials.
    """
    FileSystems.set_options(options)
    in_s3 = [path for path in paths if path and path.startswith("s3://")]
    # Workers elsewhere may have what this machine has not.
    if not in_s3 or not is_in_process(options) or options.view_as(S3Options).s3_access_key_id:
        return
    if boto3.Session().get_credentials() is None:  # Beam would ask S3 again for ten minutes
        raise OptionError(
            f"There are no AWS credentials for {in_s3[0]} on this machine. Set AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )


def is_in_process(options: PipelineOptions) -> bool:
    """Whether the pipeline runs in this process alone, one bundle after the other."""
    return bool(options.view_as(StandardOptions).runner == _IN_PROCESS)


def sink_options(
    arguments: argparse.Namespace, rest: Sequence[str]
) -> tuple[dict[str, object], list[str]]:
    """The options given, by their keywords, as `from_options` takes them.

    Args:
        arguments: What a parser with these flags understood.
        rest: What it did not. Flags of nested roles are among it, such as
            `--aws_credentials_role_provider_role_arn=…`, and so are misspelt ones.

    Returns:
        The options, and what of `rest` is not meant for the sink.

    Raises:
        OptionError: A flag has no value.
    """
    given: dict[str, object] = {"connector": "dynamodb"}
    given |= {each.keyword: getattr(arguments, each.keyword) for each in _flags()}
    others: list[str] = []
    words = list(rest)
    while words:
        each = words.pop(0)
        if not each.startswith(("--aws_", "--sink_")):
            others.append(each)
            continue
        keyword, separator, value = each.removeprefix("--").partition("=")
        if not separator and words and not words[0].startswith("--"):
            value = words.pop(0)
        given[keyword] = value
    return {key: value for key, value in given.items() if value is not None}, others


def refuse_secrets(flags: Sequence[str], *, prefix: str = "aws") -> None:
    """Refuses secrets, however they are spelled: command lines show in lists of processes.

    Args:
        flags: Flags, or keys with their values as `--set` has them.
        prefix: Whose secrets; those of the sink begin like this, and Beam's own do not.

    Raises:
        OptionError: One holds a secret. It is named, not shown.
    """
    for each in flags:
        name = each.partition("=")[0].removeprefix("--")
        if name.lower().startswith(prefix) and holds_secret(name):
            raise OptionError(
                f"'{name}' holds a secret: it cannot be a flag. Let the workers find the "
                f"credentials by another provider, such as ENV_VAR or PROFILE.",
                option=name,
            )


def refuse_misspelt(parser: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    """Refuses what is nearly a flag of the parser's: Beam would only warn of it, and go on.

    Args:
        parser: The parser that understood the others.
        rest: What it did not.

    Raises:
        OptionError: A flag is misspelt. It names the one that was meant.
    """
    ours = flags_of(parser)
    of_beam = flags_of(beam_parser())
    for flag in (each.partition("=")[0] for each in rest if each.startswith("--")):
        if flag in of_beam:
            continue
        near = nearest(flag, [*ours, *of_beam])
        if near:
            raise OptionError(f"Unknown flag '{flag}'. Did you mean '{near}'?", option=flag)


def nearest(flag: str, known: Iterable[str]) -> str | None:
    """The known flag that a misspelt one is meant for; None where none is like it."""
    near = difflib.get_close_matches(flag, list(known), n=1, cutoff=_NEAR)
    return near[0] if near else None


def flags_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """What a parser does with each of its flags."""
    return {
        each: action
        for action in parser._actions  # noqa: SLF001 - argparse tells them nowhere else
        for each in action.option_strings
    }


def beam_parser() -> argparse.ArgumentParser:
    """A parser of Beam's flags that raises `ArgumentError` for a wrong value.

    A job server may know more flags, therefore not all others are wrong.
    """
    parser = _BeamArgumentParser(allow_abbrev=False, add_help=False, exit_on_error=False)
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # noqa: SLF001
    return parser


def _flags() -> list[Option[object]]:
    return [each for each in SinkOptions.declared() if not each.secret and each.key != "connector"]


def _default(option: Option[object]) -> str:
    if option.default in (None, ""):
        return ""
    text = str(option.default)
    return f" Default: {text.lower() if isinstance(option.default, bool) else text}."
