"""`WriteToDynamoDB`: the face that Beam sees, and how its steps fit together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.options.value_provider import ValueProvider
from apache_beam.pvalue import AsSingleton, PCollection
from apache_beam.runners.direct.direct_runner import SwitchingDirectRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.combiners import CountCombineFn
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.display import DisplayDataItem
from apache_beam.transforms.external import ExternalTransform
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints import KV
from apache_beam.utils.shared import Shared

from beam_dynamodb.declared import Columns, ToColumns
from beam_dynamodb.errors import OptionError, SourceNotSupportedError, WriteError
from beam_dynamodb.failing import FAILED
from beam_dynamodb.options import keyword_of
from beam_dynamodb.packs import Pack
from beam_dynamodb.requests import ChangeKind
from beam_dynamodb.results import FailedRecord, WriteResult
from beam_dynamodb.sink import KEYWORDS, ErrorHandling, Settings, attribute_names, parse_known
from beam_dynamodb.to_request import ToRequest
from beam_dynamodb.write_steps import (
    WriteBundle,
    WriteLatest,
    WriteLatestOfShard,
    WriteLatestUntilTimeout,
)

if TYPE_CHECKING:
    from beam_dynamodb.ddl import Table

__all__ = ["ReadFromDynamoDB", "WriteToDynamoDB"]

_SHARDS = 32
"""Into how many shards the identities of records fall where nobody knows how many workers there
are: the most that can deduplicate at once. Each one more lets more rows wait, and costs Beam
milliseconds for the state of each bundle."""

_SHARDS_OF_WORKER = 4
"""The same for each of several local workers, which have what is in a shard in memory at once."""


class WriteToDynamoDB(beam.PTransform[Any, Any]):
    """Writes rows to DynamoDB, at least once, the latest record of a key last.

    Elements are rows (dict, `beam.Row`, NamedTuple, dataclass, or an item in wire form), each a
    put of the whole item, or `Put(row)` and `Delete(key)`.

        rows ── ToRequest ── WriteBundle, or with keys ── written
                    │        WriteLatest (stateful)
                    │                  │
                    └───── failed ─────┘

    The keyword arguments are the options of Flink's DynamoDB SQL connector, `sink.batch.max-size`
    being `sink_batch_max_size`; `SinkOptions` declares them. Without a handler for failures
    (`with_error_handler`, `with_exception_handling`) a record that can't be written fails the
    pipeline.
    """

    def __init__(
        self,
        table: str | ValueProvider | Callable[[Any], str] | None = None,
        *,
        partitioned_by: Sequence[str] = (),
        primary_key: Sequence[str] = (),
        order_by: str | None = None,
        change_kind: ChangeKind = None,
        connector: str = "dynamodb",
        table_name: str | ValueProvider | Callable[[Any], str] | None = None,
        aws_region: str | ValueProvider | None = None,
        aws_endpoint: str | ValueProvider | None = None,
        aws_trust_all_certificates: bool | str | ValueProvider | None = None,
        aws_credentials_provider: str | ValueProvider | None = None,
        aws_credentials_basic_accesskeyid: str | ValueProvider | None = None,
        aws_credentials_basic_secretkey: str | ValueProvider | None = None,
        aws_credentials_basic_accesskeyid_google_secret: str | ValueProvider | None = None,
        aws_credentials_basic_secretkey_google_secret: str | ValueProvider | None = None,
        aws_credentials_profile_path: str | ValueProvider | None = None,
        aws_credentials_profile_name: str | ValueProvider | None = None,
        aws_credentials_role_arn: str | ValueProvider | None = None,
        aws_credentials_role_session_name: str | ValueProvider | None = None,
        aws_credentials_role_external_id: str | ValueProvider | None = None,
        aws_credentials_role_provider: str | ValueProvider | None = None,
        aws_credentials_role_sts_endpoint: str | ValueProvider | None = None,
        aws_credentials_web_identity_token_file: str | ValueProvider | None = None,
        aws_credentials_web_identity_token_google_audience: str | ValueProvider | None = None,
        sink_batch_max_size: int | str | ValueProvider | None = None,
        sink_requests_max_inflight: int | str | ValueProvider | None = None,
        sink_requests_max_buffered: int | str | ValueProvider | None = None,
        sink_flush_buffer_timeout: int | str | ValueProvider | None = None,
        sink_fail_on_error: bool | str | ValueProvider | None = None,
        sink_retry_timeout: int | str | ValueProvider | None = None,
        sink_ignore_nulls: bool | str | ValueProvider | None = None,
        sink_http_client_max_concurrency: int | str | ValueProvider | None = None,
        sink_http_client_read_timeout: int | str | ValueProvider | None = None,
        **nested: Any,
    ) -> None:
        """Checks the options; touches neither network nor credentials.

        Args:
            table: The table's name or ARN, or a callable that gives an element's; a table that is
                called by both counts as two, between which no order is kept.
            partitioned_by: The attributes that identify a record. Of the records of one identity
                in a batch only the latest is written (the connector's PARTITIONED BY). Best the
                table's primary key.
            primary_key: The table's key attributes, the partition key first; found out with
                DescribeTable if not given, where that is allowed.
            order_by: The attribute whose greatest value is the latest record of a batch; the
                event timestamp if not given.
            change_kind: The field, or a callable, that tells +I, +U, -U or -D (or INSERT,
                UPDATE_AFTER, UPDATE_BEFORE, DELETE). A field is not written itself. A `Put` is
                written as it is, whatever stands in the field.
            connector: 'dynamodb'.
            table_name: The table by the name of its option, for those who give all by keyword.
            aws_region: See `SinkOptions`, as for all that follow.
            **nested: The options of nested roles, `aws_credentials_role_provider_…`.

        Raises:
            OptionError: An option is unknown, missing, not allowed, or contradicts another.
        """
        super().__init__()
        given = {name: value for name, value in locals().items() if name in KEYWORDS} | nested
        table = _only_one(table, table_name)
        given["table_name"] = None if callable(table) else table
        self._settings = Settings(
            table=table,
            given=given,
            partitioned_by=attribute_names("partitioned_by", partitioned_by),
            primary_key=attribute_names("primary_key", primary_key),
            order_by=order_by,
            change_kind=change_kind,
            shared=Shared(),
        )
        self._settings.check()
        self._handling: ErrorHandling | None = None
        self._columns: Columns | None = None

    @classmethod
    def from_options(
        cls,
        options: Mapping[str, Any],
        *,
        partitioned_by: Sequence[str] = (),
        primary_key: Sequence[str] = (),
        order_by: str | None = None,
        change_kind: ChangeKind = None,
    ) -> WriteToDynamoDB:
        """A sink from the documented keys, verbatim, as in a DDL's WITH clause.

        Args:
            options: For example `{"connector": "dynamodb", "table-name": "user_behavior",
                "aws.region": "us-east-2"}`, with values as text or as Python values.
            partitioned_by: As for the constructor.
            primary_key: As for the constructor.
            order_by: As for the constructor.
            change_kind: As for the constructor.

        Raises:
            OptionError: As for the constructor; it names the key as it was written.
        """
        parse_known(options)
        keywords = {keyword_of(key): value for key, value in options.items()}
        return cls(
            partitioned_by=partitioned_by,
            primary_key=primary_key,
            order_by=order_by,
            change_kind=change_kind,
            **keywords,
        )

    @classmethod
    def from_ddl(
        cls,
        ddl: str | Table,
        *,
        options: Mapping[str, Any] | None = None,
        order_by: str | None = None,
        change_kind: ChangeKind = None,
    ) -> WriteToDynamoDB:
        """A sink from Flink's CREATE TABLE, which also declares what rows look like.

        Rows are checked and converted by the declared types: a column that a row lacks is NULL,
        and a field that is no column, or a value that is not of its column's type, is a bad row.
        Records are deduplicated by PARTITIONED BY, else by PRIMARY KEY.
        What comes out as written, or as refused by DynamoDB, is the converted row, a dict.

        Args:
            ddl: One CREATE TABLE statement, or what `parse_table` made of it. Beside WITH it may
                have COMMENT, PARTITIONED BY, PRIMARY KEY, watermarks and computed columns; the
                last two are never written. Its WITH may also have `change-kind` and `order-by`,
                each the name of a column.
            options: Options by their keys that stand in for those of the WITH clause, for secrets
                and for endpoints of tests.
            order_by: As for the constructor.
            change_kind: As for the constructor; its field need not be a column.

        Raises:
            OptionError: `order_by` is no column; or as for the constructor.
            SqlError: The statement can't be read, or declares what can't be; its `line` and
                `column` say where.
            SourceNotSupportedError: The statement is a query.
        """
        from beam_dynamodb.ddl import parse_table  # sqlglot is not loaded where no SQL is

        table = parse_table(ddl) if isinstance(ddl, str) else ddl
        table = table.with_options(options or {})
        table.check_sink()
        change_kind = change_kind or table.change_kind
        table.check_column("order_by", order_by)
        sink = cls.from_options(
            table.sink_options(),
            partitioned_by=table.key_names,
            primary_key=table.primary_key,
            order_by=order_by or table.order_by,
            change_kind=change_kind,
        )
        sink._columns = Columns(table.columns, change_kind)  # noqa: SLF001
        return sink

    def with_exception_handling(
        self,
        *,
        exc_class: type[BaseException] | tuple[type[BaseException], ...] = Exception,
        threshold: float = 1.0,
        threshold_windowing: Any = None,
        error_handler: Any = None,
        on_failure_callback: Callable[[Exception, Any], None] | None = None,
    ) -> WriteToDynamoDB:
        """Asks for dead letters: records that can't be written go to the result's `failed`.

        The keywords are those of `ParDo.with_exception_handling`. What no record is to blame for
        (credentials, permissions, a missing table) fails the pipeline as ever.

        Args:
            exc_class: Only failures of this type (`RowError`, `WriteError`) become dead letters.
            threshold: The share of failing records, from 0 to 1, above which the pipeline fails.
            threshold_windowing: The windowing in which that share is judged.
            error_handler: A Beam `ErrorHandler` that gets the dead letters.
            on_failure_callback: Called with the exception and the element on the worker.

        Returns:
            This transform.

        Raises:
            OptionError: The threshold is no such share, or `exc_class` no class of exceptions.
        """
        self._handling = ErrorHandling(
            exc_class, threshold, threshold_windowing, error_handler, on_failure_callback
        )
        return self

    def with_error_handler(self, error_handler: Any, **exception_handling: Any) -> WriteToDynamoDB:
        """Sends dead letters to a Beam `ErrorHandler`; None asks for none.

        Args:
            error_handler: The handler, or None.
            **exception_handling: As for `with_exception_handling`.

        Returns:
            This transform.
        """
        if error_handler is None:
            return self
        return self.with_exception_handling(error_handler=error_handler, **exception_handling)

    def expand(self, rows: PCollection[Any]) -> WriteResult:
        """Builds the steps; see the class."""
        settings, handling = self._settings, self._handling and self._handling.for_workers()
        fit, failures = rows, []
        if self._columns is not None:
            fit, undeclared = rows | "ToColumns" >> beam.ParDo(
                ToColumns(self._columns, settings, handling)
            ).with_outputs(FAILED, main="rows")
            failures = [undeclared]
        requests, refused = fit | "ToRequest" >> beam.ParDo(
            ToRequest(settings, handling, self._shards(rows.pipeline), travel=self._travel(rows))
        ).with_outputs(FAILED, main="requests")
        requests._windowing = Windowing(GlobalWindows())  # noqa: SLF001 - as Beam's Reshuffle
        written, failed = self._write(requests, handling, is_bounded=rows.is_bounded)
        # Each element comes back in the windows it had.
        written._windowing = failed._windowing = rows.windowing  # noqa: SLF001
        written.element_type = fit.element_type
        return WriteResult(written, self._dead_letters(rows, *failures, refused, failed))

    def _shards(self, pipeline: beam.Pipeline) -> int:
        workers = _local_workers(pipeline)
        if workers == 1 or not self._settings.partitioned_by:
            return 1
        return _SHARDS_OF_WORKER * workers or _SHARDS

    def _travel(self, rows: PCollection[Any]) -> bool:
        """Whether requests leave the process where they are made, or go into a state."""
        pipeline = rows.pipeline
        is_fused = isinstance(pipeline.runner, FnApiRunner) and _local_workers(pipeline) == 1
        return bool(self._settings.partitioned_by) and not (is_fused and rows.is_bounded)

    def _write(
        self, requests: PCollection[Any], handling: ErrorHandling | None, *, is_bounded: bool
    ) -> tuple[PCollection[Any], PCollection[Any]]:
        """Adds the step that writes; gives what is written, and what failed."""
        label = "WriteLatest" if self._settings.partitioned_by else "WriteBundle"
        step: type[beam.DoFn] = WriteBundle
        requests.element_type = Pack  # whose coder tells a size without pickling it
        if self._settings.partitioned_by:
            requests.element_type = KV[int, Pack]
            step = WriteLatest if is_bounded else WriteLatestUntilTimeout
            # Fused with what is before it, a stateful step would have one worker of several.
            if is_bounded and _local_workers(requests.pipeline) > 1:
                requests, step = requests | "Shards" >> beam.GroupByKey(), WriteLatestOfShard
        write = beam.ParDo(step(self._settings, handling))
        written, failed = requests | label >> write.with_outputs(FAILED, main="written")
        return written, failed

    def _dead_letters(
        self, rows: PCollection[Any], *failed: PCollection[Any]
    ) -> PCollection[FailedRecord] | None:
        handling = self._handling
        if handling is None:
            return None
        letters = failed | "Failed" >> beam.Flatten()
        letters.element_type = FailedRecord
        if handling.threshold < 1.0:
            _ = (rows, letters) | "Threshold" >> _Threshold(handling)
        if handling.error_handler is not None:
            handling.error_handler.add_error_pcollection(letters)
        return letters

    def display_data(self) -> dict[str, Any]:
        """What a runner's job page may show; never credentials."""
        given = {
            keyword_of(key): value
            for key, value in self._settings.given.items()
            if value is not None and not keyword_of(key).startswith("aws_credentials")
        }
        if callable(self._settings.table):
            given["table_name"] = "a callable"
        keys = {
            "partitioned_by": ", ".join(self._settings.partitioned_by) or None,
            "primary_key": ", ".join(self._settings.primary_key) or None,
            "order_by": self._settings.order_by,
        }
        return {
            name: DisplayDataItem(str(value), label=name)
            for name, value in {**given, **keys}.items()
            if value is not None
        }


class ReadFromDynamoDB(beam.PTransform[Any, Any]):
    """There is none: the connector is write-only."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Always raises.

        Raises:
            SourceNotSupportedError: In the words of Flink's DynamoDB connector.
        """
        raise SourceNotSupportedError


def _only_one(table: Any, table_name: Any) -> Any:
    if table is not None and table_name is not None:
        raise OptionError(
            "The table is given twice: give it first or as 'table_name', not both.",
            option="table_name",
        )
    return table_name if table is None else table


def _local_workers(pipeline: beam.Pipeline) -> int:
    """How many processes or threads of the DirectRunner the pipeline runs in; 0 elsewhere.

    It gives a stateful step, and all that is fused with it, to one of them; what is grouped it
    gives to all. Elsewhere a stateful step is the better one: Flink holds a group in memory.
    """
    # What an expansion service makes has a runner there, but runs in the pipeline that asked.
    is_expanded = ExternalTransform.get_local_namespace() != "external"
    if is_expanded or not isinstance(pipeline.runner, (SwitchingDirectRunner, FnApiRunner)):
        return 0
    workers = int(pipeline.options.view_as(DirectOptions).direct_num_workers)
    return workers or os.cpu_count() or 1


class _Threshold(beam.PTransform[Any, Any]):
    """Fails the pipeline when too large a share of the records failed."""

    def __init__(self, handling: ErrorHandling) -> None:
        super().__init__()
        self._handling = handling

    def expand(self, inputs: tuple[PCollection[Any], PCollection[Any]]) -> PCollection[Any]:
        rows, letters = inputs
        total = AsSingleton(
            self._windowed(rows, "All")
            | "CountAll" >> beam.CombineGlobally(CountCombineFn()).without_defaults(),
            0,
        )
        return (
            self._windowed(letters, "Failed")
            | "CountFailed" >> beam.CombineGlobally(CountCombineFn()).without_defaults()
            | "Check" >> beam.ParDo(_CheckThreshold(self._handling.threshold), total)
        )

    def _windowed(self, elements: PCollection[Any], name: str) -> PCollection[Any]:
        windowing = self._handling.threshold_windowing
        if windowing is None:
            return elements
        return elements | f"Window{name}" >> beam.WindowInto(windowing)


class _CheckThreshold(beam.DoFn):
    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def process(self, failed: int, total: int) -> None:
        if failed > total * self._threshold:
            raise WriteError(
                f"{failed} of {total} records failed, more than the threshold of "
                f"{self._threshold:.2%} allows.",
                code="TooManyFailures",
            )
