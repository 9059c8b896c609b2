"""The tables of a SQL job beside DynamoDB's: `filesystem` and `datagen` to read, `print` to write.

The options are those of Flink's connectors of the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beam_dynamodb.ddl import Table
from pipelines.sql_datagen import DataGen
from pipelines.sql_files import ReadFiles
from pipelines.sql_options import refuse_option
from pipelines.sql_print import Print

__all__ = ["CONNECTORS", "check_table"]

CONNECTORS: dict[str, Callable[[Table], Any]] = {
    "filesystem": ReadFiles,
    "datagen": DataGen,
    "print": Print,
}
"""The connectors beside `dynamodb`."""


def check_table(table: Table) -> None:
    """Checks the options of a table that is not DynamoDB's.

    Raises:
        SqlError: One is unknown, missing or not allowed; it points at the option.
    """
    name = table.options.get("connector")
    if name is None:
        table.name.fail(
            "Table options do not contain an option key 'connector' for discovering a connector"
        )
    if name not in CONNECTORS:
        refuse_option(
            table, "connector",
            f"Could not find any factory for identifier '{name}'. Available factory identifiers "
            f"are: {', '.join(sorted([*CONNECTORS, 'dynamodb']))}",
        )  # fmt: skip
    CONNECTORS[name](table)
