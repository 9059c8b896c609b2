"""Creates the table that a load writes to, where there is none yet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import botocore.exceptions

from beam_dynamodb import OptionError, ServiceError, SinkOptions
from beam_dynamodb.credentials import resolve, session_with
from beam_dynamodb.table import TableKey

__all__ = ["Billing", "client", "create_table", "describe"]

_PROVISIONED = re.compile(r"provisioned:(\d+),(\d+)")
_KINDS = ("HASH", "RANGE")


@dataclass(frozen=True, slots=True)
class Billing:
    """How a table is paid for.

    Attributes:
        read_units: Read capacity; None for on demand.
        write_units: Write capacity; None for on demand.
    """

    read_units: int | None = None
    write_units: int | None = None

    @classmethod
    def parse(cls, text: str) -> Billing:
        """Reads `on-demand` or `provisioned:READ,WRITE`.

        Raises:
            OptionError: It is neither.
        """
        if text == "on-demand":
            return cls()
        found = _PROVISIONED.fullmatch(text)
        if found is None or "0" in found.groups():
            raise OptionError(
                f"'--create_table' must be on-demand or provisioned:READ,WRITE (capacity units "
                f"of at least 1), not '{text}'.",
                option="create_table",
            )
        return cls(int(found[1]), int(found[2]))

    def request(self) -> dict[str, Any]:
        """What CreateTable takes of it."""
        if self.write_units is None:
            return {"BillingMode": "PAY_PER_REQUEST"}
        units = {"ReadCapacityUnits": self.read_units, "WriteCapacityUnits": self.write_units}
        return {"BillingMode": "PROVISIONED", "ProvisionedThroughput": units}


def client(options: SinkOptions) -> Any:
    """A botocore client with the sink's endpoint and credentials."""
    verify = False if options.aws_trust_all_certificates else None
    found = resolve(options.credentials, region=options.aws_region, verify=verify)
    return session_with(found).create_client(
        "dynamodb",
        region_name=options.aws_region,
        endpoint_url=options.aws_endpoint,
        verify=verify,
    )


def describe(options: SinkOptions) -> dict[str, Any] | None:
    """What DescribeTable says; None where there is no such table, or it may not be asked.

    Raises:
        ServiceError: DynamoDB can't be reached.
    """
    try:
        found: dict[str, Any] = client(options).describe_table(TableName=options.table_name)
    except botocore.exceptions.ClientError:
        return None
    except botocore.exceptions.BotoCoreError as cause:
        raise ServiceError(f"DynamoDB could not be asked: {cause}") from cause
    return found["Table"]


def create_table(
    options: SinkOptions, keys: Sequence[str], types: Mapping[str, str], billing: Billing
) -> bool:
    """Creates the table if there is none, and waits until it takes writes.

    Args:
        options: The sink's options.
        keys: The key attributes, the partition key first.
        types: Their types, S, N or B.
        billing: How it is paid for.

    Returns:
        Whether it was created; False where it was there.

    Raises:
        OptionError: It is there with another key, or no key is told.
        ServiceError: DynamoDB refuses.
    """
    if not 1 <= len(keys) <= len(_KINDS):
        raise OptionError(
            "'--create_table' needs '--keys': the partition key, and the sort key if there is one.",
            option="keys",
        )
    there = describe(options)
    if there is not None:
        _check_key(options.table_name, there, keys)
        if there["TableStatus"] != "CREATING":  # as by an earlier run that was stopped
            return False
    dynamodb = client(options)
    try:
        if there is None:
            dynamodb.create_table(**_asked(options.table_name, keys, types, billing))
        dynamodb.get_waiter("table_exists").wait(
            TableName=options.table_name, WaiterConfig={"Delay": 2, "MaxAttempts": 150}
        )
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as cause:
        raise ServiceError(
            f"The table '{options.table_name}' could not be created: {cause}"
        ) from cause
    return there is None


def _asked(
    table: str, keys: Sequence[str], types: Mapping[str, str], billing: Billing
) -> dict[str, Any]:
    """What CreateTable takes."""
    return {
        "TableName": table,
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": types[name]} for name in keys
        ],
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(keys, _KINDS, strict=False)
        ],
        **billing.request(),
    }


def _check_key(table: str, described: Mapping[str, Any], keys: Sequence[str]) -> None:
    there = TableKey.of(described)
    if there.names != tuple(keys):
        raise OptionError(
            f"The table '{table}' is there already, and its key is {there}, not {', '.join(keys)}.",
            option="keys",
        )
