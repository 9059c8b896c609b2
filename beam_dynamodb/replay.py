"""Beam's face of dead letters: writes them to files of JSON lines, and reads them back to records.

    with ErrorHandler(WriteDeadLetters("gs://bucket/failed.jsonl")) as handler:
        rows | WriteToDynamoDB("t", aws_region="us-east-2").with_error_handler(handler)

    letters = pipeline | ReadDeadLetters("gs://bucket/failed*.jsonl")
    letters | WriteToDynamoDB(table_of, aws_region="us-east-2")

Files are on any file system that Beam knows; gzip and bzip2 are read as their names say.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import os
import posixpath
import re
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics.metric import Metrics
from apache_beam.options.value_provider import ValueProvider
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from beam_dynamodb.dead_letters import DeadLetter, TableRow, Unreadable, table_of
from beam_dynamodb.errors import DeadLetterError
from beam_dynamodb.meters import NAMESPACE

__all__ = [
    "DeadLetter",
    "ReadDeadLetters",
    "TableRow",
    "ToLines",
    "Unreadable",
    "WriteDeadLetters",
    "beam_path",
    "files_of",
    "table_of",
    "takes_empty",
]

Mend = Callable[[DeadLetter], DeadLetter | None]

_REFUSED = "refused"
_WILD = r"[*?[]"

_UNFINISHED = ".unfinished"
"""How the name of a bundle's file ends until it is complete; for good where a worker was lost."""

_UNPACKING: Mapping[str, Callable[[Any], Any]] = {
    CompressionTypes.GZIP: lambda file: gzip.GzipFile(fileobj=file),
    CompressionTypes.BZIP2: bz2.BZ2File,
}
"""Not Beam's own, which takes what is left of a file that was cut off for all of it."""


# --- to files ------------------------------------------------------------------------------


class WriteDeadLetters(beam.PTransform[Any, Any]):
    """Writes dead letters to files, one line of JSON each, which `ReadDeadLetters` reads.

    Takes a sink's `FailedRecord`s, what Beam's own error handling gives, and `DeadLetter`s, in any
    windows. A transform for Beam's `ErrorHandler`. Returns the paths of the files.

    Bounded input makes the file `path` (on S3 only if there is a dead letter), or with several
    shards files such as `failed-00000-of-00004.jsonl`. Unbounded input makes a file for each
    bundle, such as `failed-0d9f….jsonl`, complete as soon as it has this name: no trigger holds a
    dead letter back, and none comes too late.

    As with Beam's `WriteToText`, the file of bounded input takes the place of one that is there.
    """

    def __init__(self, path: str | ValueProvider, *, shards: int = 1) -> None:
        """Nothing is written yet.

        Args:
            path: The path, on any file system that Beam knows. What is known only when the
                pipeline runs makes a file for each bundle, as unbounded input does.
            shards: How many files bounded input makes; 0 lets the runner choose.
        """
        super().__init__()
        self._path = beam_path(path) if isinstance(path, str) else path
        self._shards = shards

    def expand(self, failed: PCollection[Any]) -> PCollection[str]:
        """Writes them."""
        lines = failed | "ToLines" >> beam.ParDo(ToLines()).with_output_types(str)
        if not lines.is_bounded or isinstance(self._path, ValueProvider):
            return lines | "ToFiles" >> beam.ParDo(_WriteBundle(self._path))
        no_empty = not takes_empty(self._path)
        if self._shards == 1:
            return lines | "ToFile" >> beam.io.WriteToText(
                self._path, shard_name_template="", skip_if_empty=no_empty
            )
        stem, suffix = posixpath.splitext(self._path)
        return lines | "ToFiles" >> beam.io.WriteToText(
            stem, suffix, num_shards=self._shards, skip_if_empty=no_empty
        )


def takes_empty(path: str) -> bool:
    """Whether there may be an empty file of this path."""
    # Beam writes to S3 in parts, of which an empty file has none: S3 refuses it.
    return not path.startswith("s3://")


class ToLines(beam.DoFn):
    """Dead letters to lines of JSON that keep the event time."""

    def process(self, failed: Any, timestamp: Any = beam.DoFn.TimestampParam) -> Iterator[str]:
        """Yields the line."""
        micros = None if timestamp == MIN_TIMESTAMP else timestamp.micros
        yield DeadLetter.of(failed, micros).to_line()


class _WriteBundle(beam.DoFn):
    """The lines of each bundle to a file of their own, there when it is complete."""

    def __init__(self, path: str | ValueProvider) -> None:
        self._path = path

    def start_bundle(self) -> None:
        self._file: Any = None

    def process(self, line: str, windowed: Any = beam.DoFn.WindowedValueParam) -> None:
        if self._file is None:
            path = self._path.get() if isinstance(self._path, ValueProvider) else self._path
            stem, self._suffix = posixpath.splitext(beam_path(path))
            self._name = f"{stem}-{uuid.uuid4().hex}"
            self._file = FileSystems.create(
                self._name + _UNFINISHED,
                compression_type=CompressionTypes.detect_compression_type(path),
            )
        self._file.write(f"{line}\n".encode())
        self._last = windowed.timestamp, tuple(windowed.windows)

    def finish_bundle(self) -> Iterator[Any]:
        if self._file is not None:
            self._file.close()
            path = f"{self._name}{self._suffix}"
            FileSystems.rename([self._name + _UNFINISHED], [path])
            yield WindowedValue(path, *self._last)


# --- from files ----------------------------------------------------------------------------


class ReadDeadLetters(beam.PTransform[Any, Any]):
    """Reads files of dead letters; gives the records, fit for `WriteToDynamoDB`.

    Records are `Put`s, `Delete`s, or rows whose change kind the sink judges again; `table_of`
    gives the table of each. They carry the event time that they had, and those of one table and
    key come in its order; those of one time, or without any, in that of the files' names and lines.

    What is written again is what was to be written then: where an item has had a newer value
    since, the replay overwrites it.

    A line that can't be written before it is mended raises `DeadLetterError` with its file and
    number, unless there is an error handler, which gets it as a `DeadLetter`.
    """

    def __init__(
        self,
        patterns: str | Sequence[str],
        *,
        mend: Mend | None = None,
        only_retriable: bool = False,
    ) -> None:
        """Nothing is read yet.

        Args:
            patterns: Paths or patterns of files; each must match some file.
            mend: Called with each `DeadLetter`; gives the one to write instead, best by
                `dataclasses.replace`, or None to leave it out.
            only_retriable: Whether those are left out whose write would fail again, as they are
                before any mending.
        """
        super().__init__()
        self._patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self._mend = mend
        self._only_retriable = only_retriable
        self._handler: Any = None

    def with_error_handler(self, error_handler: Any) -> ReadDeadLetters:
        """Sends lines that can't be written to a Beam `ErrorHandler`; None asks for none.

        Returns:
            This transform.
        """
        self._handler = error_handler
        return self

    def expand(self, begin: PBegin) -> PCollection[Any]:
        """Reads them."""
        to_letters = _ToLetters(self._mend, self._only_retriable, self._handler is not None)
        letters, refused = (
            begin
            | "Patterns" >> beam.Create([self._patterns])
            | "Find" >> beam.FlatMap(_files_to_read)
            | "Read" >> beam.ParDo(_ReadLines())
            | "ToLetters" >> beam.ParDo(to_letters).with_outputs(_REFUSED, main="letters")
        )
        if self._handler is not None:
            self._handler.add_error_pcollection(refused)
        return (
            letters
            | "ByKey" >> beam.ParDo(_ByKey())
            | "Together" >> beam.GroupByKey()
            | "InOrder" >> beam.ParDo(_InOrder())
        )


def beam_path(text: str) -> str:
    """A path as Beam takes it: it has no file system for URLs such as file:///folder/name."""
    return text.removeprefix("file://")


def files_of(
    patterns: Iterable[str], missing: Callable[[str], Exception]
) -> dict[str, FileMetadata]:
    """The files of paths and patterns by their paths, on any file system that Beam knows.

    A file that two patterns match is one file.

    Args:
        patterns: Paths or patterns.
        missing: Gives the error to raise for a pattern that matches no file.
    """
    files: dict[str, FileMetadata] = {}
    for pattern in patterns:
        found = _matched(pattern)
        if not found:
            raise missing(pattern)
        files |= {each.path: each for each in found}
    return files


def _matched(pattern: str) -> list[FileMetadata]:
    there, pattern = "", beam_path(pattern)
    if re.search(_WILD, pattern) and "://" not in pattern:
        there, pattern = _absolute(pattern)
    elif Path(pattern).is_dir() and not pattern.endswith("/"):
        return []  # Beam takes a folder for a file
    found: list[FileMetadata] = FileSystems.match([pattern])[0].metadata_list
    # On S3 and Cloud Storage a folder may be an object of no bytes, with a slash at its end.
    return [each for each in found if each.path.startswith(there) and not each.path.endswith("/")]


def _absolute(pattern: str) -> tuple[str, str]:
    """A local pattern from the root on, without which Beam finds nothing, and how its files begin.

    What is there by its very name, such as a folder `old [1]`, is no pattern. Beam can't quote its
    wild characters, so any one character stands for each.
    """
    path = Path(os.path.abspath(pattern))  # noqa: PTH100 - resolve() would follow links
    there = next(each for each in (path, *path.parents) if each.exists())
    rest = path.relative_to(there)
    return str(there), str(Path(re.sub(_WILD, "?", str(there))) / rest)


def _files_to_read(patterns: Sequence[str]) -> Iterable[FileMetadata]:
    whole: dict[str, FileMetadata] = {}
    for pattern in patterns:
        asked = _is_unfinished(pattern)  # for such files by name
        found = files_of([pattern], _no_file)
        whole |= {path: each for path, each in found.items() if asked or not _is_unfinished(path)}
    if not whole:
        raise _no_file(patterns[0])
    return whole.values()


def _is_unfinished(path: str) -> bool:
    # The letters of such a bundle are in the file of its next try too.
    return path.endswith(_UNFINISHED)


def _no_file(pattern: str) -> DeadLetterError:
    return DeadLetterError(f"No file of dead letters matches '{pattern}'.", file=pattern)


class _Line(NamedTuple):
    file: str
    number: int
    text: str


class _Placed(NamedTuple):
    file: str
    number: int
    letter: DeadLetter


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    """A file's content, unpacked as its name says.

    Raises:
        DeadLetterError: It can't be unpacked to its end.
    """
    unpacking = _UNPACKING.get(CompressionTypes.detect_compression_type(path))
    if unpacking is None:
        with FileSystems.open(path) as binary:
            yield binary
        return
    packed = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    try:
        with packed, unpacking(packed) as binary:
            yield binary
    except (EOFError, zlib.error, OSError) as cause:
        if isinstance(cause, OSError) and cause.errno is not None:
            raise  # of the system, not of what stands in the file
        raise DeadLetterError(
            f"{path} is not compressed as its name says, or cut off: {cause}. Bring it here whole, "
            f"or unpack into a file what there is of it.",
            file=path,
        ) from cause


class _ReadLines(beam.DoFn):
    def process(self, file: FileMetadata) -> Iterator[_Line]:
        with _opened(file.path) as binary:
            for number, line in enumerate(iter(binary.readline, b""), start=1):
                # What is not UTF-8 stays recognisable, and is refused when the line is read.
                text = line.decode("utf-8", "surrogateescape").removeprefix("\ufeff").strip()
                if text:
                    yield _Line(file.path, number, text)


class _ToLetters(beam.DoFn):
    """Lines to letters that can be written, in the order of the file."""

    _read = Metrics.counter(NAMESPACE, "letters_read")
    _skipped = Metrics.counter(NAMESPACE, "letters_skipped")
    _refused = Metrics.counter(NAMESPACE, "letters_refused")

    def __init__(self, mend: Mend | None, only_retriable: bool, handled: bool) -> None:
        self._mend = mend
        self._only_retriable = only_retriable
        self._handled = handled

    def process(self, line: _Line) -> Iterable[Any]:
        self._read.inc()
        letter = DeadLetter(line.text, code="InvalidDeadLetter")
        try:
            letter = DeadLetter.from_line(line.text)
            mended = self._mended(letter)
            if mended is None:
                self._skipped.inc()
                return ()
            letter = mended
            letter.record()
        except DeadLetterError as fault:
            return [self._refusal(line, letter, fault)]
        return [_Placed(line.file, line.number, letter)]

    def _mended(self, letter: DeadLetter) -> DeadLetter | None:
        if self._only_retriable and not letter.retriable:
            return None
        if self._mend is None:
            return letter
        try:
            mended = self._mend(letter)
        except Exception as cause:
            raise DeadLetterError(f"mend= raised {type(cause).__name__}.") from cause
        if mended is not None and not isinstance(mended, DeadLetter):
            raise DeadLetterError(f"mend= gave a {type(mended).__name__}, not a DeadLetter.")
        return mended

    def _refusal(
        self, line: _Line, letter: DeadLetter, fault: DeadLetterError
    ) -> TaggedOutput[str, DeadLetter]:
        where = f"{line.file}, line {line.number}"
        if not self._handled:
            raise DeadLetterError(
                f"{where}: {fault.message}", file=line.file, line=line.number
            ) from fault
        self._refused.inc()
        message = f"{where}: {fault.message} {letter.message}".rstrip()
        return TaggedOutput(_REFUSED, dataclasses.replace(letter, message=message))


class _ByKey(beam.DoFn):
    def process(self, placed: _Placed) -> Iterator[tuple[bytes, _Placed]]:
        # Only to bring them together: two keys of one text may share a group.
        letter = placed.letter
        yield f"{letter.table} {letter.key}".encode("utf-8", "replace"), placed


class _InOrder(beam.DoFn):
    """The records of a group by event time; those without one first, by their places."""

    def process(self, group: tuple[bytes, Iterable[_Placed]]) -> Iterator[Any]:
        for letter in (each.letter for each in sorted(group[1], key=_order_of)):
            yield TimestampedValue(letter.record(), Timestamp(micros=_micros_of(letter)))


def _order_of(placed: _Placed) -> tuple[int, str, int]:
    return _micros_of(placed.letter), placed.file, placed.number


def _micros_of(letter: DeadLetter) -> int:
    return MIN_TIMESTAMP.micros if letter.timestamp is None else letter.timestamp
