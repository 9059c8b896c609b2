"""The parameters of the templates: each declared once, those of the sink in `SinkOptions`.

Flags of the pipelines, options of the classic template and the metadata that Dataflow's console
shows are derived from here. A parameter's name is the seed's key in snake_case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beam_dynamodb.credentials_options import PROVIDERS
from beam_dynamodb.options import GOOGLE_SECRET, Option, SinkOptions, keyword_of
from pipelines.columns import TYPES
from pipelines.formats import FORMATS

__all__ = [
    "BIGQUERY",
    "CLASSIC",
    "CLASSIC_STAGED",
    "FILES",
    "PUBSUB",
    "TEMPLATES",
    "Parameter",
    "Template",
]

DEAD_LETTERS = "dead-letters"
"""The format of a replay: dead letters, as a sink of this package wrote them."""

_NAMES = "[^,]+(,[^,]+)*"
_BOOLEAN = "true|True|TRUE|false|False|FALSE"
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_GCS_FILES = "gs://[^,]+(,gs://[^,]+)*"
_ROLE = "arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+"
_BATCH_SIZE = "[1-9]|1[0-9]|2[0-5]"
_TABLE = (
    "[A-Za-z0-9_.-]{3,255}|arn:[a-z0-9-]+:dynamodb:[a-z0-9-]+:[0-9]*:table/[A-Za-z0-9_.-]{3,255}"
)
_URL = rf"https?://([^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:({_PORT}))?(/[^\s?#]*)?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a template.

    Attributes:
        name: Its name, also the name of the pipeline's flag.
        label: What the console calls it.
        help_text: What it means, in a sentence or two.
        group: The heading under which the console shows it.
        pattern: A regular expression (of RE2) for the whole value; empty for any.
        kind: One of Dataflow's `ParameterType`s.
        default: What holds where it is not given; empty where nothing does.
        required: Whether a launch cannot be without it.
        choices: The values it may have; empty for others.
        static: Whether the graph's shape depends on it, so that a classic template must know it
            when it is staged.
    """

    name: str
    label: str
    help_text: str
    group: str
    pattern: str = ""
    kind: str = "TEXT"
    default: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    static: bool = False

    def metadata(self) -> dict[str, Any]:
        """It as JSON of Dataflow's `ParameterMetadata`."""
        found: dict[str, Any] = {
            "name": self.name,
            "label": self.label,
            "helpText": self.help_text,
            "groupName": self.group,
            "isOptional": not self.required,
            "paramType": self.kind,
        }
        if self.pattern:
            found["regexes"] = [f"^({self.pattern})$"]
        if self.choices:
            found["enumOptions"] = [{"value": each, "label": each} for each in self.choices]
        if self.default:
            found["defaultValue"] = self.default
        return found


@dataclass(frozen=True, slots=True)
class Template:
    """What there is to say of a template as a whole.

    Attributes:
        name: What the console calls it.
        description: What it does.
        parameters: Its parameters, in the order of the console.
        streaming: Whether its jobs have no end.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    streaming: bool = False

    def metadata(self) -> dict[str, Any]:
        """It as JSON of Dataflow's `TemplateMetadata`."""
        found: dict[str, Any] = {"name": self.name, "description": self.description}
        if self.streaming:
            found |= {
                "streaming": True,
                "supportsAtLeastOnce": True,
                "supportsExactlyOnce": True,
                "defaultStreamingMode": "EXACTLY_ONCE",
            }
        return found | {"parameters": [each.metadata() for each in self.parameters]}


# --- of the sink's options -----------------------------------------------------------------


_KINDS: Mapping[str, tuple[str, str]] = {
    "Boolean": ("BOOLEAN", _BOOLEAN),
    # As many digits as the type has; the launcher and the sink know the greatest value.
    "Integer": ("NUMBER", "[1-9][0-9]{0,9}"),
    "Long": ("NUMBER", "[1-9][0-9]{0,18}"),
}
_EXTERNAL_ID = "[A-Za-z0-9_+=,.@:/-]{2,1000}[A-Za-z0-9_+=,.@:/-]{0,224}"
"""RE2 takes no repetition of more than 1000."""

_PATTERNS: Mapping[str, str] = {
    "table-name": _TABLE,
    "aws.region": "[a-z0-9]+(-[a-z0-9]+)*",
    "aws.endpoint": _URL,
    "aws.credentials.role.arn": _ROLE,
    "aws.credentials.role.sessionName": "[A-Za-z0-9_+=,.@-]{2,64}",
    "aws.credentials.role.externalId": _EXTERNAL_ID,
    "aws.credentials.role.stsEndpoint": _URL,
    "aws.credentials.basic.accesskeyid.googleSecret": GOOGLE_SECRET,
    "aws.credentials.basic.secretkey.googleSecret": GOOGLE_SECRET,
    "sink.batch.max-size": _BATCH_SIZE,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "aws.credentials.provider": PROVIDERS,
    "aws.credentials.role.provider": PROVIDERS,
}
_SPELLED = {
    **{each: each.upper() for each in ("arn", "aws", "http", "id", "sts")},
    **{each: each.capitalize() for each in ("google", "pub", "sub")},
}


def _of_option(option: Option[object], name: str = "", key: str = "") -> Parameter:
    kind, pattern = _KINDS.get(option.type_name, ("TEXT", ""))
    choices = _CHOICES.get(option.key, ())
    default = str(option.default or "")
    if isinstance(option.default, bool):
        default = str(option.default).lower()
    return Parameter(
        name=name or option.keyword,
        label=_label(name or option.keyword),
        help_text=option.description + (f" The option {key or option.key} of the sink."),
        group=option.group,
        pattern=_PATTERNS.get(option.key, pattern),
        kind="ENUM" if choices else kind,
        default=default,
        required=option.required,
        choices=choices,
    )


def _label(name: str) -> str:
    words = name.replace("accesskeyid", "access_key_id").replace("secretkey", "secret_key")
    text = " ".join(_SPELLED.get(word, word) for word in words.split("_"))
    return text[0].upper() + text[1:]


def _of_options() -> tuple[Parameter, ...]:
    told = [each for each in SinkOptions.declared() if not each.secret and each.key != "connector"]
    return tuple(map(_of_option, told))


def _of_nested_role() -> tuple[Parameter, ...]:
    """What the credentials of `aws.credentials.role.provider` need on Google Cloud.

    Deeper levels have no place in the console; a pipeline takes them as flags.
    """
    path = "aws.credentials."
    nested = [
        each
        for each in SinkOptions.declared()
        if each.key.endswith(("googleSecret", "googleAudience", "role.arn"))
    ]
    return tuple(
        _of_option(each, keyword_of(key), key)
        for each in nested
        for key in [each.key.replace(path, f"{path}role.provider.", 1)]
    )


# --- those of the transform, and of all templates ------------------------------------------

_KEYS = (
    Parameter(
        name="partitioned_by",
        label="Attributes to deduplicate by",
        help_text="Names with commas between them, best those of the table's key. Of the rows of "
        "one identity in a batch only the latest is written.",
        group="Keys",
        pattern=_NAMES,
        static=True,
    ),
    Parameter(
        name="primary_key",
        label="Table's key attributes",
        help_text="The partition key, and after a comma the sort key. Found out with "
        "DescribeTable where it is not given.",
        group="Keys",
        pattern="[^,]+(,[^,]+)?",
        static=True,
    ),
    Parameter(
        name="order_by",
        label="Attribute that orders",
        help_text="The attribute that is greatest in the latest row of a key; without it, the "
        "event timestamp. Needs partitioned_by.",
        group="Keys",
        static=True,
    ),
    Parameter(
        name="change_kind",
        label="Attribute with the change kind",
        help_text="The attribute that says +I, +U, -U or -D (or INSERT, UPDATE_AFTER, "
        "UPDATE_BEFORE, DELETE) of each row. It is not written.",
        group="Keys",
        static=True,
    ),
)

_UDF = (
    Parameter(
        name="python_udf",
        label="Python file with a function for each row",
        help_text="Its function gets each row as a dict, and returns the row to write, None to "
        "leave it out, or a list of rows.",
        group="Rows",
        pattern=r"gs://[^/]+/.+\.py",
        kind="GCS_READ_FILE",
    ),
    Parameter(
        name="python_udf_function",
        label="Name of the Python function",
        help_text="The function of python_udf to call.",
        group="Rows",
        pattern="[A-Za-z_][A-Za-z0-9_]*",
        default="process",
    ),
)

_LETTERS = (
    Parameter(
        name="dead_letters",
        label="Where rows go that can't be written",
        help_text="A new file in Cloud Storage for lines of JSON (of a stream, one for each bundle "
        "beside this name), or a Pub/Sub topic (projects/…/topics/…) for one message each. Without "
        "it the first such row fails the job.",
        group="Dead letters",
        pattern="gs://[^/]+/.+|projects/[^/]+/topics/[^/]+",
    ),
)

_LETTERS_IN_FILES = (
    Parameter(
        name="dead_letters",
        label="Where rows go that can't be written",
        help_text="A file in Cloud Storage for lines of JSON; each bundle of rows makes one of "
        "its own beside this name. Without it the first such row fails the job.",
        group="Dead letters",
        pattern="gs://[^/]+/.+",
        kind="GCS_WRITE_FILE",
    ),
)

_ONLY_RETRIABLE = Parameter(
    name="only_retriable",
    label="Replay only what may succeed now",
    help_text=f"With the format {DEAD_LETTERS}: leave out what would fail in the same way again.",
    group="Dead letters",
    pattern=_BOOLEAN,
    kind="BOOLEAN",
    default="false",
)

_COLUMNS = (
    Parameter(
        name="types",
        label="Types of columns",
        help_text=f"Such as user_id:N,tags:SS, with the types {', '.join(TYPES)}. Other columns "
        "keep the type that the input gives them, which in CSV is text.",
        group="Rows",
        pattern=f"[^,]+:({'|'.join(TYPES)})(,[^,]+:({'|'.join(TYPES)}))*",
    ),
    Parameter(
        name="rename",
        label="New names of columns",
        help_text="Such as column:attribute,other:another.",
        group="Rows",
        pattern="[^,]+:[^:,]+(,[^,]+:[^:,]+)*",
    ),
    Parameter(
        name="drop",
        label="Columns to leave out",
        help_text="Names with commas between them.",
        group="Rows",
        pattern=_NAMES,
    ),
    Parameter(
        name="derive",
        label="Attribute made of columns",
        help_text="Such as flight_id={carrier}{flight}.",
        group="Rows",
        pattern="[^=]+=.+",
    ),
    Parameter(
        name="null",
        label="Text of a missing value",
        help_text="The text that stands for no value, such as NA; it is written as NULL. "
        "Where it is not given, an empty cell of a CSV file is.",
        group="Rows",
    ),
    Parameter(
        name="separator",
        label="Separator of a set's members",
        help_text="What stands between the members of a set in one cell.",
        group="Rows",
        default=";",
    ),
)


def _format(*more: str) -> Parameter:
    replays = f" {DEAD_LETTERS} replays dead letters." if more else ""
    return Parameter(
        name="format",
        label="Format of the files",
        help_text=f"auto goes by each file's name.{replays}",
        group="Source",
        kind="ENUM",
        default="auto",
        choices=("auto", *FORMATS, *more),
    )


_FILES = (
    Parameter(
        name="input",
        label="Files to read",
        help_text="Paths or patterns in Cloud Storage, with commas between them. They may be "
        "compressed: gzip, bzip2, xz, zstd, zip.",
        group="Source",
        pattern=_GCS_FILES,
        kind="GCS_READ_FILE",
        required=True,
    ),
)
_TEXT_FILES = (
    Parameter(
        name="encoding",
        label="Encoding of text",
        help_text="Of CSV and JSON files, such as utf-8 or latin-1.",
        group="Source",
        pattern="[A-Za-z0-9_.:-]+",
        default="utf-8",
    ),
    Parameter(
        name="delimiter",
        label="Delimiter of CSV",
        help_text="What stands between the cells of CSV files; tab for a tabulator. A comma where "
        "it is not given, in .tsv files a tabulator.",
        group="Source",
        pattern="tab|.",
    ),
    Parameter(
        name="in_order",
        label="Read the files in order",
        help_text="Whether one worker reads the files one after the other, in the order of their "
        "paths, so that of two rows of one key the later stays later.",
        group="Source",
        pattern=_BOOLEAN,
        kind="BOOLEAN",
        default="false",
        static=True,
    ),
)

_MESSAGES = (
    Parameter(
        name="input_subscription",
        label="Pub/Sub subscription",
        help_text="The subscription to read, projects/…/subscriptions/…. Either it or input_topic.",
        group="Source",
        pattern="projects/[^/]+/subscriptions/[^/]+",
        kind="PUBSUB_SUBSCRIPTION",
    ),
    Parameter(
        name="input_topic",
        label="Pub/Sub topic",
        help_text="The topic to read by a subscription of the job's own, projects/…/topics/…: "
        "what is published while no job runs is not read.",
        group="Source",
        pattern="projects/[^/]+/topics/[^/]+",
        kind="PUBSUB_TOPIC",
    ),
    Parameter(
        name="format",
        label="Format of the messages",
        help_text=f"json: an object a message. {DEAD_LETTERS}: replays dead letters.",
        group="Source",
        kind="ENUM",
        default="json",
        choices=("json", DEAD_LETTERS),
    ),
    Parameter(
        name="delete_flag",
        label="Attribute that marks a deletion",
        help_text="Where this attribute of a message is true, the item of its key is deleted. It "
        "is not written.",
        group="Keys",
    ),
    Parameter(
        name="timestamp_attribute",
        label="Pub/Sub attribute with the event time",
        help_text="Milliseconds since 1970 or RFC 3339; without it the time of publishing holds.",
        group="Source",
    ),
    Parameter(
        name="id_attribute",
        label="Pub/Sub attribute that identifies a message",
        help_text="Dataflow drops messages that repeat its value within ten minutes.",
        group="Source",
    ),
)

_QUERY = (
    Parameter(
        name="query",
        label="BigQuery query",
        help_text="The query in standard SQL whose rows are written. Either it or input_table.",
        group="Source",
    ),
    Parameter(
        name="input_table",
        label="BigQuery table",
        help_text="The table whose rows are written, project:dataset.table.",
        group="Source",
        pattern=r"[a-z0-9.:-]+[:.][A-Za-z0-9_]+\.[^.:\s]+",
        kind="BIGQUERY_TABLE",
    ),
    Parameter(
        name="row_restriction",
        label="Condition on the table's rows",
        help_text="With input_table: a condition in SQL, such as age > 20.",
        group="Source",
    ),
    Parameter(
        name="selected_fields",
        label="Columns of the table",
        help_text="With input_table: names with commas between them; without it all.",
        group="Source",
        pattern=_NAMES,
    ),
)

_WRITING = (*_UDF, *_KEYS, *_of_options(), *_of_nested_role())

FILES = Template(
    name="Files in Cloud Storage to Amazon DynamoDB",
    description="Writes the rows of CSV, JSON, Avro or Parquet files, of exports of DynamoDB, or "
    "of dead letters, to a table of DynamoDB. The latest row of a key wins.",
    parameters=(
        *_FILES, _format(DEAD_LETTERS), *_TEXT_FILES, *_COLUMNS, *_WRITING, *_LETTERS,
        _ONLY_RETRIABLE,
    ),
)  # fmt: skip
PUBSUB = Template(
    name="Pub/Sub to Amazon DynamoDB",
    description="Writes Pub/Sub messages of JSON, puts and deletes, to a table of DynamoDB. The "
    "latest message of a key wins.",
    parameters=(*_MESSAGES, *_COLUMNS, *_WRITING, *_LETTERS, _ONLY_RETRIABLE),
    streaming=True,
)
BIGQUERY = Template(
    name="BigQuery to Amazon DynamoDB",
    description="Writes the rows of a BigQuery table or query to a table of DynamoDB.",
    parameters=(*_QUERY, *_WRITING, *_LETTERS),
)
_CLASSIC = (*_FILES, _format(), *_TEXT_FILES, *_COLUMNS, *_WRITING, *_LETTERS_IN_FILES)

CLASSIC = Template(
    name="Files in Cloud Storage to Amazon DynamoDB",
    description="Writes the rows of CSV, JSON, Avro or Parquet files, or of exports of DynamoDB, "
    "to a table of DynamoDB.",
    parameters=tuple(each for each in _CLASSIC if not each.static),
)
CLASSIC_STAGED = tuple(each for each in _CLASSIC if each.static)
"""What the classic template must know when it is staged; no launch can change it."""

TEMPLATES: Mapping[str, Template] = {"files": FILES, "pubsub": PUBSUB, "bigquery": BIGQUERY}
"""The Flex templates, by the names of their folders."""


def _check() -> None:
    for template in (*TEMPLATES.values(), CLASSIC):
        names = [each.name for each in template.parameters]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{template.name} declares twice: {', '.join(sorted(twice))}")
        for each in template.parameters:
            re.compile(each.pattern)


_check()
