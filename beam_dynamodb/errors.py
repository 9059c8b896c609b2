"""Every exception this package raises on purpose.

All of them derive from `DynamoDBSinkError`, so one `except` catches them. Beam rebuilds an
exception from its first argument alone, therefore each constructor works with one string; the
facts are attributes beside it. No message holds a secret, nor more of a row than its key.
"""

from __future__ import annotations

import re

__all__ = [
    "NOT_A_SOURCE",
    "CredentialsError",
    "DeadLetterError",
    "DynamoDBSinkError",
    "OptionError",
    "RowError",
    "ServiceError",
    "SourceNotSupportedError",
    "SqlError",
    "WriteError",
    "without_step",
]

_STEP = re.compile(r" \[while running '.*'\]\Z", re.DOTALL)

NOT_A_SOURCE = "Connector dynamodb can only be used as a sink. It cannot be used as a source."
"""What Flink's DynamoDB connector says to whoever wants to read from it."""


def without_step(text: str) -> str:
    """An error's text without what Beam appends to name the step that raised it."""
    return _STEP.sub("", text)


class DynamoDBSinkError(Exception):
    """The base of all errors of this package."""

    def __init__(self, message: str) -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        """The text, without what Beam may have appended to it."""
        return without_step(str(self.args[0]))


class OptionError(DynamoDBSinkError, ValueError):
    """An option is unknown, missing, of the wrong type, or contradicts another one.

    Attributes:
        option: The option's key as the user wrote it, or None where several are meant.
    """

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class SqlError(OptionError):
    """SQL cannot be read, or asks for what cannot be.

    Attributes:
        line: Where, from 1 on.
        column: Where in that line, from 1 on.
    """

    def __init__(
        self, message: str, *, line: int = 0, column: int = 0, option: str | None = None
    ) -> None:
        super().__init__(message, option=option)
        self.line = line
        self.column = column


class SourceNotSupportedError(DynamoDBSinkError):
    """Somebody tried to read through this connector, which only writes."""

    def __init__(self, message: str = NOT_A_SOURCE) -> None:
        super().__init__(message)


class RowError(DynamoDBSinkError, ValueError):
    """A row cannot become a DynamoDB item.

    Attributes:
        code: What kind of fault it is: `InvalidValue`, `InvalidKey`, `MissingKey`,
            `ItemTooLarge`, `InvalidChangeKind`, `InvalidTable` or `NotPicklable`.
        path: The attribute at fault, as in `order.lines[3].price`; empty for the whole row.
        key: The row's key as text where it is known.
        table: The table the row was meant for, where it is known.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "InvalidValue",
        path: str = "",
        key: str | None = None,
        table: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.path = path
        self.key = key
        self.table = table


class DeadLetterError(DynamoDBSinkError, ValueError):
    """A dead letter is none, or must be mended before it can be written again.

    Attributes:
        file: The file that holds it, where it is known.
        line: The number of its line there, from 1 on; 0 where it is unknown.
    """

    def __init__(self, message: str, *, file: str | None = None, line: int = 0) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


class CredentialsError(DynamoDBSinkError):
    """No usable AWS credentials could be had on this worker.

    Those that it got and that DynamoDB refuses are a `ServiceError`, with AWS's code.

    Attributes:
        provider: The value of `aws.credentials.provider` that was at work.
    """

    def __init__(self, message: str, *, provider: str | None = None) -> None:
        super().__init__(message)
        self.provider = provider


class ServiceError(DynamoDBSinkError):
    """One call to DynamoDB failed, in DynamoDB or on the way to it.

    Attributes:
        code: AWS's error code, such as `ThrottlingException`; our own for what never reached
            DynamoDB (`ConnectionError`, `ReadTimeout`, `Crc32Mismatch`, …).
        status: The HTTP status, 0 where there was no answer.
        retry_after: Seconds that the server asks to wait, or None.
        reasons: DynamoDB's throttling reasons as `(reason, resource ARN)` pairs.
        request_id: AWS's id of the request, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "Unknown",
        status: int = 0,
        retry_after: float | None = None,
        reasons: tuple[tuple[str, str], ...] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after = retry_after
        self.reasons = reasons
        self.request_id = request_id


class WriteError(DynamoDBSinkError):
    """A record could not be written, and no dead letters were asked for.

    Attributes:
        code: The error code that ended it.
        table: The table.
        key: The record's key as text.
        attempts: How many requests carried the record.
        retriable: Whether the same write may succeed later.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "Unknown",
        table: str | None = None,
        key: str | None = None,
        attempts: int = 0,
        retriable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.table = table
        self.key = key
        self.attempts = attempts
        self.retriable = retriable
