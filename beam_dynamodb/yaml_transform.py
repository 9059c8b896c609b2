"""`type: WriteToDynamoDB` of Beam YAML: the sink with its options as flat config.

`providers.yaml` beside this file is the listing that a pipeline includes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Optional

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beam_dynamodb.errors import OptionError
from beam_dynamodb.options import SinkOptions
from beam_dynamodb.transform import WriteToDynamoDB

__all__ = ["YamlWriteToDynamoDB", "write_to_dynamodb"]

_POST_WRITE = "post_write"

# Beam reads these annotations as schema types, for which it wants typing's own spelling.
_TYPES = {"Boolean": Optional[bool], "Integer": Optional[int], "Long": Optional[int]}  # noqa: UP045
_KEYS = {
    "partitioned_by": "The attributes to deduplicate by.",
    "primary_key": "The table's key attributes, the partition key first.",
}
_NAMES = {
    "order_by": "The attribute that is greatest in a key's latest row.",
    "change_kind": "The attribute that says +I, +U, -U or -D.",
}


class YamlWriteToDynamoDB(beam.PTransform[Any, Any]):
    """The sink as Beam YAML wants it: its outputs in a dict, its failures as rows."""

    def __init__(self, error_handling: Mapping[str, Any] | None = None, **options: object) -> None:
        """Checks the options.

        Args:
            error_handling: `{"output": NAME}` sends rows that can't be written to this output;
                with `threshold` their share is limited.
            **options: As for `WriteToDynamoDB`, the table being `table_name`.

        Raises:
            OptionError: One is unknown or not allowed.
        """
        super().__init__()
        options = {"connector": "dynamodb", **options}
        known = {name: value for name, value in options.items() if value is not None}
        beside = {name: known.pop(name) for name in (*_KEYS, *_NAMES) if name in known}
        self._write = WriteToDynamoDB.from_options(known, **beside)  # type: ignore[arg-type]
        self._failed: str | None = None
        if error_handling is not None:
            self._handle(error_handling)

    def _handle(self, handling: object) -> None:
        if not isinstance(handling, Mapping):
            raise _handling_error(f"it is no mapping: {type(handling).__name__}")
        unknown = handling.keys() - {"output", "threshold"}
        output = handling.get("output")
        if unknown:
            raise _handling_error(f"it has {', '.join(sorted(map(repr, unknown)))}")
        if not isinstance(output, str) or not output:
            raise _handling_error("it has no output")
        if output == _POST_WRITE:
            raise _handling_error(f"'{_POST_WRITE}' is where the written rows come out")
        self._failed = output
        self._write = self._write.with_exception_handling(threshold=handling.get("threshold", 1.0))

    def expand(self, rows: PCollection[Any]) -> dict[str, PCollection[Any]]:
        """Writes the rows; `post_write` holds those that are written."""
        result = rows | "Write" >> self._write
        outputs = {_POST_WRITE: result.written}
        if self._failed is not None:
            from apache_beam.yaml.yaml_errors import map_errors_to_standard_format

            as_rows = map_errors_to_standard_format(rows.element_type)
            outputs[self._failed] = result.failed | "FailedRows" >> as_rows
        return outputs


def _handling_error(what: str) -> OptionError:
    return OptionError(
        f"'error_handling' takes 'output', a name, and 'threshold'; {what}.",
        option="error_handling",
    )


def write_to_dynamodb(**config: Any) -> YamlWriteToDynamoDB:
    """Makes the transform of a YAML pipeline's config."""
    return YamlWriteToDynamoDB(**config)


def _parameter(name: str, kind: Any, *, required: bool = False) -> inspect.Parameter:
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _declared() -> tuple[inspect.Signature, str]:
    """The config's schema and documentation, of which Beam YAML reads names, types and texts."""
    options = [each for each in SinkOptions.declared() if each.key != "connector"]
    texts = {each.keyword: each.description for each in options} | _KEYS | _NAMES
    texts["error_handling"] = "{output: NAME} sends rows that can't be written to this output."
    parameters = [
        _parameter(
            each.keyword,
            str if each.required else _TYPES.get(each.type_name, Optional[str]),  # noqa: UP045
            required=each.required,
        )
        for each in options
    ]
    names = Optional[list[str]]  # noqa: UP045
    parameters += [_parameter(name, names) for name in _KEYS]
    parameters += [_parameter(name, Optional[str]) for name in _NAMES]  # noqa: UP045
    parameters.append(_parameter("error_handling", Optional[dict[str, Any]]))  # noqa: UP045
    lines = "\n".join(f"    {name}: {text}" for name, text in texts.items())
    return inspect.Signature(parameters), f"{write_to_dynamodb.__doc__}\n\nArgs:\n{lines}\n"


write_to_dynamodb.__signature__, write_to_dynamodb.__doc__ = _declared()  # type: ignore[attr-defined]
