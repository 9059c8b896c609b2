"""What can be said of a launch before Dataflow is asked: the job's name and the parameters."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from google.cloud.dataflow_v1beta3 import TemplateMetadata
from google.protobuf import json_format

from beam_dynamodb import OptionError
from pipelines.columns import Columns
from pipelines.secret_names import holds_secret
from templates.launch.errors import LaunchError, ParameterError
from templates.rows import check_one_of, check_topics, columns_of, sink_of

__all__ = ["check_job_name", "check_no_secret", "check_parameters", "pairs"]

_ONE_OF = (("input_subscription", "input_topic"), ("query", "input_table"))
"""Parameters of which a launch takes one."""

_JOB_NAME = re.compile(r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?")


def pairs(settings: Sequence[str], flag: str) -> dict[str, str]:
    """Reads settings such as `a=1`, of which the last of a name counts.

    Raises:
        LaunchError: One has no `=`.
    """
    split = [setting.partition("=") for setting in settings]
    for name, separator, _ in split:
        if not (name and separator):
            raise LaunchError(f"{flag} must have the form NAME=VALUE, not '{name}'.")
    return {name: value for name, _, value in split}


def check_job_name(name: str) -> None:
    """Refuses what Dataflow would refuse.

    Raises:
        LaunchError: It is no name of a job.
    """
    if not _JOB_NAME.fullmatch(name):
        raise LaunchError(
            f"'{name}' can't be a job's name: lower-case letters, digits and '-', the first a "
            f"letter, the last no '-'."
        )


def check_no_secret(options: Mapping[str, str]) -> None:
    """Refuses secrets among what is passed on unchecked; the page of a job shows all of it.

    Raises:
        LaunchError: An option is there that holds a secret. It is named, not shown.
    """
    for name in options:
        if holds_secret(name):
            raise LaunchError(
                f"'{name}' holds a secret, which whoever sees the job could read. Let the workers "
                f"take a role, or name a secret of Secret Manager."
            )


def check_parameters(metadata: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Compares parameters with what a template says of them, and with one another.

    The values are not part of what is raised, since one may be a secret that was put in a wrong
    place.

    Args:
        metadata: The template's, as in its JSON.
        parameters: Values by name, as they would be launched with.

    Raises:
        ParameterError: With all faults at once.
        LaunchError: The metadata is broken.
    """
    known = _known(metadata)
    faults = [
        *_unknown(known, parameters),
        *_missing(known, parameters),
        *(
            fault
            for name, value in parameters.items()
            if name in known
            for fault in _misfits(known[name], value)
        ),
    ]
    # What belongs together can be judged once each value is what it should be.
    faults = faults or list(_contradictions(known, parameters))
    if faults:
        raise ParameterError(faults)


def _known(metadata: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parameters that a template has, by name."""
    try:
        message = TemplateMetadata.pb()()
        json_format.ParseDict(dict(metadata), message, ignore_unknown_fields=True)
    except (json_format.ParseError, TypeError, ValueError) as cause:
        raise LaunchError(
            f"The template's metadata is none of Dataflow's: {cause} Stage the template anew."
        ) from cause
    return {str(each.get("name", "")): each for each in metadata.get("parameters") or ()}


def _unknown(known: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterator[str]:
    for name in parameters.keys() - known.keys():
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        yield f"'{name}' is no parameter of this template.{hint}"


def _missing(known: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterator[str]:
    for name, parameter in known.items():
        # Dataflow's console leaves an empty text where nothing was entered.
        if not parameter.get("isOptional") and not parameters.get(name):
            yield f"'{name}' is missing: {_help(parameter)}"


def _contradictions(known: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterator[str]:
    """What the job would refuse some minutes later."""
    given = {name: value for name, value in parameters.items() if value and name in known}
    if not given.keys() >= {"table_name", "aws_region"}:
        return  # it is another's template
    pairs_there = [pair for pair in _ONE_OF if known.keys() >= set(pair)]
    checks: list[Callable[[], Any]] = [
        partial(sink_of, given),
        partial(check_topics, given),
        lambda: Columns.parse(**columns_of(given)),
        *(partial(check_one_of, given, *pair) for pair in pairs_there),
    ]
    for check in checks:
        try:
            check()
        except OptionError as fault:
            yield str(fault)


def _misfits(parameter: Mapping[str, Any], value: str) -> Iterator[str]:
    if not value and parameter.get("isOptional"):
        return
    choices = [each.get("value", "") for each in parameter.get("enumOptions") or ()]
    if choices and value not in choices:
        yield f"'{parameter['name']}' must be one of {', '.join(choices)}."
    for regex in parameter.get("regexes") or ():
        if not _matches(regex, value):
            yield f"'{parameter['name']}' must match {regex}: {_help(parameter)}"


def _matches(regex: str, value: str) -> bool:
    try:
        return bool(re.fullmatch(regex, value))
    except re.error:  # Dataflow, whose expressions are not Python's, judges it
        return True


def _help(parameter: Mapping[str, Any]) -> str:
    return str(parameter.get("helpText") or parameter.get("label") or "see the template.")
