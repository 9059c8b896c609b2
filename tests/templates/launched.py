"""Runs a staged template as Dataflow would: from its files, with the launch's parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.options.value_provider import RuntimeValueProvider
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult
from apache_beam.utils import shared


def run_template(template: bytes, graph: bytes, parameters: Mapping[str, str]) -> PipelineResult:
    """Runs a template.

    Args:
        template: The template's JSON.
        graph: Its `pipeline.pb`.
        parameters: As a launch gives them.
    """
    options = json.loads(template)["environment"]["sdkPipelineOptions"]["options"]
    unexpected = parameters.keys() - options.keys()
    assert not unexpected, f"Found unexpected parameters: {sorted(unexpected)}"
    merged = {name: _whole(value) for name, value in options.items() if value is not None}
    merged |= parameters
    proto = beam_runner_api_pb2.Pipeline.FromString(graph)
    for environment in proto.components.environments.values():
        environment.urn = "beam:env:embedded_python:v1"
        environment.payload = b""
        del environment.dependencies[:]
    # A job has workers of its own; what those of another launch share is not theirs.
    shared._shared_map = shared._SharedMap()
    before = RuntimeValueProvider.runtime_options
    RuntimeValueProvider.set_runtime_options(merged)
    try:
        return FnApiRunner().run_via_runner_api(proto, PipelineOptions(["--no_auth"]))
    finally:
        RuntimeValueProvider.runtime_options = before


def _whole(value: Any) -> Any:
    """A number as the service renders it; the template's JSON has doubles only."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
