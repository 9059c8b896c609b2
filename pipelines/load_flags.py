"""The flags of `pipelines.load`: what is read, how rows are made of it, how it is loaded."""

from __future__ import annotations

import argparse
import math
from typing import Any

from beam_dynamodb import OptionError
from beam_dynamodb.replay import beam_path
from pipelines.columns import names
from pipelines.flags import add_sink_flags

__all__ = ["keys_of", "load_parser", "reading"]


def load_parser(program: str) -> argparse.ArgumentParser:
    """What reads the flags of a load, those of its sink included.

    Args:
        program: What the command is called.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description="Loads files into a DynamoDB table. Flags of Beam follow the others.",
        allow_abbrev=False,
    )
    _add_source_flags(parser.add_argument_group("what is read"))
    _add_column_flags(parser.add_argument_group("how rows are made"))
    _add_load_flags(parser.add_argument_group("how it is loaded"))
    add_sink_flags(parser)
    return parser


def _add_source_flags(group: Any) -> None:
    group.add_argument(
        "--input",
        required=True,
        action="append",
        help="Files: a path or a pattern, such as s3://bucket/*.parquet. Repeatable.",
    )
    group.add_argument(
        "--format",
        default="auto",
        help="csv, json (lines, or an export of DynamoDB), dynamodb-json, parquet or avro. "
        "Default: as each file's name says.",
    )
    group.add_argument("--encoding", default="utf-8", help="Of CSV and JSON files. Default: utf-8.")
    group.add_argument("--delimiter", help="Between the cells of CSV. Default: a comma.")
    group.add_argument("--rows", type=_count, help="Load only so many rows of each file.")


def _add_column_flags(group: Any) -> None:
    group.add_argument(
        "--types",
        default="",
        metavar="COLUMN:TYPE,…",
        help="DynamoDB's types of columns, such as user_id:N,tags:SS. Of CSV others are text.",
    )
    group.add_argument(
        "--numbers", default="", metavar="NAMES", help="Columns that hold numbers: a,b."
    )
    group.add_argument(
        "--rename", default="", metavar="COLUMN:ATTRIBUTE,…", help="Attributes' names: id:user_id."
    )
    group.add_argument("--drop", default="", metavar="NAMES", help="Columns to leave out: a,b.")
    group.add_argument(
        "--null", help="The text that stands for no value. Default: of CSV an empty cell."
    )
    group.add_argument(
        "--set_separator", default=";", help="Between the members of a set. Default: a semicolon."
    )
    group.add_argument(
        "--derive",
        action="append",
        default=[],
        metavar="NAME=TEMPLATE",
        help="An attribute made of columns, such as flight_id={carrier}{flight}. Repeatable.",
    )
    group.add_argument(
        "--change_kind", metavar="NAME", help="The attribute that says +I, +U, -U or -D."
    )
    group.add_argument(
        "--order_by", metavar="NAME", help="The attribute that is greatest in a key's latest row."
    )


def _add_load_flags(group: Any) -> None:
    group.add_argument(
        "--keys",
        type=names,
        default=[],
        metavar="NAMES",
        help="The table's key attributes, the partition key first: a,b. As --primary_key.",
    )
    group.add_argument(
        "--delete",
        action="store_true",
        help="Delete the items whose keys the files hold, instead of writing rows.",
    )
    group.add_argument(
        "--create_table",
        nargs="?",
        const="on-demand",
        metavar="on-demand|provisioned:READ,WRITE",
        help="Create the table first if there is none, with --keys. Default: on-demand.",
    )
    group.add_argument(
        "--dead_letters",
        type=beam_path,
        metavar="PATH",
        help="Put rows that cannot be read or written into this new file, as JSON lines, and go "
        "on. Without it the first such row ends the load.",
    )
    group.add_argument(
        "--report", type=beam_path, metavar="PATH", help="Write a page with plots of the run."
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="Write nothing; say what would be written, what it would cost and what would fail.",
    )
    group.add_argument(
        "--price_per_million",
        type=_amount,
        metavar="PRICE",
        help="For --dry_run: what a million write units cost.",
    )
    group.add_argument(
        "--write_capacity",
        type=_amount,
        metavar="UNITS",
        help="For --dry_run: write units a second. Default: what the table has, if it says.",
    )


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _amount(text: str) -> float:
    amount = float(text)
    if not 0 <= amount < math.inf:
        raise argparse.ArgumentTypeError("must be a number that is not below 0")
    return amount


def _columns(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "types": arguments.types,
        "numbers": arguments.numbers,
        "rename": arguments.rename,
        "drop": arguments.drop,
        "null": arguments.null,
        "separator": arguments.set_separator,
        "derive": arguments.derive,
    }


def reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the files are read, be it by the load or to look at the first rows."""
    return {
        "format": arguments.format,
        "columns": _columns(arguments),
        "csv_null": "",
        "encoding": arguments.encoding,
        "delimiter": arguments.delimiter,
    }


def keys_of(arguments: argparse.Namespace) -> list[str]:
    """The table's key attributes.

    Raises:
        OptionError: They are told twice, and differ.
    """
    if arguments.keys and arguments.primary_key and arguments.keys != arguments.primary_key:
        raise OptionError(
            "'--keys' and '--primary_key' are the same; give one of them.", option="keys"
        )
    keys: list[str] = arguments.keys or arguments.primary_key
    return keys
