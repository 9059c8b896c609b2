"""A DynamoDB for tests that is as strict as the real one, and fails as it is told to.

`FakeDynamoDB` keeps the service's rules in memory, `FakeServer` puts it behind a local HTTP
endpoint, and `Faults` says what goes wrong there and when. `python -m beam_dynamodb.testing`
runs a server as a process of its own.
"""

from beam_dynamodb.testing.faults import (
    AccessDenied,
    ClockSkew,
    Delayed,
    Expired,
    Fault,
    Faults,
    HalfAnswer,
    Hang,
    InvalidCredentials,
    Plan,
    Rejected,
    Reset,
    ServerError,
    Slow,
    TableGone,
    Throttle,
    Unprocessed,
    WrongCrc32,
)
from beam_dynamodb.testing.rules import FakeDynamoDB, Refused, Write
from beam_dynamodb.testing.server import FakeServer, Stats

__all__ = [
    "AccessDenied",
    "ClockSkew",
    "Delayed",
    "Expired",
    "FakeDynamoDB",
    "FakeServer",
    "Fault",
    "Faults",
    "HalfAnswer",
    "Hang",
    "InvalidCredentials",
    "Plan",
    "Refused",
    "Rejected",
    "Reset",
    "ServerError",
    "Slow",
    "Stats",
    "TableGone",
    "Throttle",
    "Unprocessed",
    "Write",
    "WrongCrc32",
]
