"""What the templates' pipelines share: the user's function, the sink, and where failures go."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.value_provider import StaticValueProvider, ValueProvider
from apache_beam.pvalue import PCollection
from apache_beam.transforms.error_handling import ErrorHandler

from beam_dynamodb import Delete, OptionError, Put, WriteDeadLetters, WriteError, WriteToDynamoDB
from beam_dynamodb.dead_letters import DeadLetter, Unreadable
from beam_dynamodb.replay import ToLines
from beam_dynamodb.tagged_json import dumps
from pipelines.columns import names
from pipelines.sources import ToDeadLetter, told
from templates.parameters import DEAD_LETTERS

__all__ = [
    "KIND",
    "ApplyFunction",
    "DeadLettersTo",
    "Values",
    "check_one_of",
    "check_topics",
    "columns_of",
    "failures_to",
    "is_replay",
    "is_topic",
    "is_true",
    "sink_of",
    "write",
]

Values = Mapping[str, Any]
"""Parameters by name: text, or in a classic template `ValueProvider`s of it; empty is absent."""

_MESSAGE_BYTES = 9_500_000
"""Of 10 MB that Pub/Sub takes in a request, what leaves room for all that goes with a message."""

_CUT_CHARACTERS = 1_000

KIND = "__change_kind"
"""The field with the change kind of a row that has none of its own; never written."""

_COLUMNS = ("types", "rename", "drop", "derive", "null", "separator")
_KEYS = ("partitioned_by", "primary_key")
_FUNCTION = "process"
_PUTS = ("+I", "+U", "INSERT", "UPDATE_AFTER")


def is_true(text: Any) -> bool:
    """Whether a parameter says true; the console writes it in small letters."""
    return str(told(text) or "").lower() == "true"


def check_one_of(values: Values, one: str, other: str) -> None:
    """Checks that one of two parameters is set, and not both.

    Raises:
        OptionError: None is, or both are.
    """
    if bool(values.get(one)) == bool(values.get(other)):
        raise OptionError(f"Please set '{one}' or '{other}', one of them.", option=one)


def check_topics(values: Values) -> None:
    """Checks that dead letters go to another topic than the one that is read.

    Raises:
        OptionError: They go to the same.
    """
    topic = values.get("input_topic")
    if topic and topic == values.get("dead_letters"):
        raise OptionError(
            "'dead_letters' must be another topic than 'input_topic': what fails would be read "
            "again, and fail again, for ever.",
            option="dead_letters",
        )


def is_replay(values: Values) -> bool:
    """Whether dead letters are read, and not rows."""
    return bool(values.get("format") == DEAD_LETTERS)


def columns_of(values: Values) -> dict[str, Any]:
    """What becomes of the columns, for `Columns.parse`."""
    return {name: values[name] for name in _COLUMNS if values.get(name) is not None}


@contextlib.contextmanager
def failures_to(destination: Any) -> Iterator[ErrorHandler | None]:
    """The handler of all steps' failures within the block; None where they fail the job.

    Args:
        destination: Of the dead letters: a path, a topic, or nothing.
    """
    is_none = isinstance(destination, StaticValueProvider) and not told(destination)
    if is_none or not destination:
        yield None
        return
    with ErrorHandler(DeadLettersTo(destination)) as handler:
        yield handler


def write(rows: PCollection[Any], values: Values, handler: ErrorHandler | None) -> None:
    """Applies the user's function to the rows, if there is one, and writes them.

    Args:
        rows: What `WriteToDynamoDB` takes.
        values: The parameters.
        handler: Gets what can't be written.

    Raises:
        OptionError: A parameter of the sink is not allowed.
    """
    is_new = not is_replay(values)  # else the function had its turn before the row failed
    if is_new and values.get("python_udf") is not None:
        apply = beam.ParDo(
            ApplyFunction(
                values["python_udf"],
                values.get("python_udf_function"),
                change_kind=values.get("change_kind"),
            )
        )
        rows = rows | "ApplyFunction" >> (
            apply if handler is None else apply.with_exception_handling(error_handler=handler)
        )
    _ = rows | "Write" >> sink_of(values).with_error_handler(handler)


def sink_of(values: Values) -> WriteToDynamoDB:
    """The sink that the parameters ask for.

    Raises:
        OptionError: One of them is not allowed.
    """
    options = {
        name: value
        for name, value in values.items()
        if name.startswith(("aws_", "sink_")) or name == "table_name"
    }
    return WriteToDynamoDB.from_options(
        {"connector": "dynamodb", **options},
        order_by=values.get("order_by"),
        change_kind=values.get("change_kind"),
        **{name: names(values.get(name) or "") for name in _KEYS},
    )


# --- the user's function -------------------------------------------------------------------


class ApplyFunction(beam.DoFn):
    """Gives each row to a function of a Python file, and what it returns to the next step.

    The function gets a copy of a row and returns a row, None for none, or a list of rows. Deletes
    pass as they are, and without a file all rows do.
    """

    def __init__(self, path: Any, function: Any, *, change_kind: str | None = None) -> None:
        """The file is read on the worker.

        Args:
            path: The Python file, on any file system that Beam knows.
            function: The function's name; `process` where it is not given.
            change_kind: The field that tells a row's change kind, if there is one. What the
                function returns of a put without this field is a put.
        """
        self._path = path
        self._function = function
        self._change_kind = change_kind

    def setup(self) -> None:
        """Runs the file once for each worker thread, so that its function needs no locks.

        Raises:
            OptionError: It can't be run, or has no such function.
        """
        path = told(self._path)
        self._call = _loaded(path, told(self._function) or _FUNCTION) if path else None

    def process(self, row: Any) -> Iterable[Any]:
        """Yields what the function returns."""
        kind = self._kind_of(row)
        if self._call is None or kind not in (*_PUTS, None):
            return [row]
        # A copy: where the function raises, the row goes to the dead letters as it came.
        found = self._call(copy.deepcopy(row.row if isinstance(row, Put) else row))
        made = found if isinstance(found, list) else [found]
        return [self._change(each, kind) for each in made if each is not None]

    def _kind_of(self, row: Any) -> str | None:
        """A row's change kind; None where it has none, which the function may give it."""
        if isinstance(row, (Put, Delete)):
            return "+I" if isinstance(row, Put) else "-D"
        return row.get(self._change_kind) if self._change_kind else None

    def _change(self, made: Any, kind: str | None) -> Any:
        unsaid = self._change_kind and kind and isinstance(made, dict)
        return Put(made) if unsaid and self._change_kind not in made else made


def _loaded(path: str, function: str) -> Callable[[Any], Any]:
    with FileSystems.open(path) as file:
        source = file.read()
    module: dict[str, Any] = {"__name__": "python_udf", "__file__": path}
    try:
        exec(compile(source, path, "exec"), module)  # noqa: S102 - the user's own code
    except Exception as cause:
        raise OptionError(
            f"'python_udf': {path} can't be run: {cause!r}", option="python_udf"
        ) from cause
    call = module.get(function)
    if not callable(call):
        raise OptionError(
            f"'python_udf_function': {path} has no function {function}.",
            option="python_udf_function",
        )
    return call


# --- dead letters --------------------------------------------------------------------------


class DeadLettersTo(beam.PTransform[Any, Any]):
    """Writes dead letters to a file, or to a Pub/Sub topic, a line of JSON each.

    Of a classic template it is a path, of files that do not take the place of an earlier job's; and
    where a job has none the first dead letter fails it.
    """

    def __init__(self, destination: str | ValueProvider) -> None:
        """Nothing is written yet.

        Args:
            destination: `gs://…`, `projects/…/topics/…`, or a ValueProvider of the first.
        """
        super().__init__()
        fixed = isinstance(destination, StaticValueProvider) and told(destination)
        self._destination = fixed if fixed and is_topic(fixed) else destination

    def expand(self, failed: PCollection[Any]) -> Any:
        """Writes them."""
        letters = failed | "Place" >> beam.ParDo(_ToDeadLetter())
        destination = self._destination
        if isinstance(destination, ValueProvider):
            letters = letters | "OrFail" >> beam.ParDo(_OrFail(destination))
            return letters | "ToFiles" >> WriteDeadLetters(destination)
        if not is_topic(destination):
            return letters | "ToFile" >> WriteDeadLetters(destination)
        return (
            letters
            | "ToLines" >> beam.ParDo(ToLines())
            | "ToMessages" >> beam.ParDo(_ToMessage()).with_output_types(bytes)
            | "ToTopic" >> beam.io.WriteToPubSub(destination)
        )


def is_topic(destination: str) -> bool:
    """Whether a destination is a topic of Pub/Sub."""
    return destination.startswith("projects/")


class _ToDeadLetter(ToDeadLetter):
    """To dead letters; what the user's function failed on is a row, also where it is a `Put`."""

    def process(self, failed: Any, timestamp: Any = beam.DoFn.TimestampParam) -> Iterator[Any]:
        if type(failed) is tuple and isinstance(failed[0], Put):
            failed = (failed[0].row, *failed[1:])
        yield from super().process(failed, timestamp)


class _ToMessage(beam.DoFn):
    """Lines to messages. Beam raises on one that Pub/Sub does not take, again and again."""

    def process(self, line: str) -> Iterator[bytes]:
        message = line.encode()
        if len(message) > _MESSAGE_BYTES:
            message = gzip.compress(message)
        yield message if len(message) <= _MESSAGE_BYTES else _cut(line).to_line().encode()


def _cut(line: str) -> DeadLetter:
    """A dead letter without its content, of which no more than the beginning is told."""
    letter = DeadLetter.from_line(line)
    return dataclasses.replace(
        letter,
        element=Unreadable(type(letter.element).__name__, dumps(letter.element)[:_CUT_CHARACTERS]),
        beside=None,
        message=f"{letter.message[:_CUT_CHARACTERS]} With {len(line):,} characters it is too large "
        f"for a message of Pub/Sub, even compressed, and so cut.",
    )


class _OrFail(beam.DoFn):
    """Lets dead letters pass where the job has a place for them."""

    def __init__(self, destination: ValueProvider) -> None:
        self._destination = destination

    def process(self, failed: Any) -> Iterator[Any]:
        if not self._destination.get():
            letter = DeadLetter.of(failed)
            raise WriteError(
                f"{letter.code}: {letter.message} To go on when rows fail, set dead_letters.",
                code=letter.code,
                table=letter.table,
                key=letter.key,
            )
        yield failed
