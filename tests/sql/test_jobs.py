"""SQL jobs: files and made rows in, DynamoDB and the terminal out."""

from __future__ import annotations

import gzip
import io
import json
import sys

import fastavro
import pyarrow as pa
import pytest
from apache_beam.utils.timestamp import Timestamp
from pyarrow import parquet

from beam_dynamodb.ddl import parse_table
from beam_dynamodb.testing import FakeDynamoDB, FakeServer
from pipelines import sql, sql_datagen
from pipelines.sql_script import parse_script
from pipelines.sql_settings import beam_flags
from tests.processes import press_ctrl_c, running

SINK = """
CREATE TABLE users (
  id BIGINT, name STRING, price DECIMAL(10, 2), PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'dynamodb', 'table-name' = 'users', 'aws.region' = 'us-east-2');
"""


@pytest.fixture
def db():
    found = FakeDynamoDB()
    found.create_table("users", {"id": "N"})
    return found


@pytest.fixture
def endpoint(db):
    with FakeServer(db) as server:
        yield f"--set=aws.endpoint={server.endpoint}"


def items(db):
    return {int(item["id"]["N"]): item for item in db.items("users")}


def source(path, form, columns="id BIGINT, name STRING, price DOUBLE", options=""):
    return (
        f"CREATE TABLE src ({columns}) WITH ('connector' = 'filesystem', 'path' = '{path}', "
        f"'format' = '{form}'{options});"
    )


def parquet_file(path):
    table = pa.table({"id": [1, 2], "name": ["a", "b"], "price": [1.5, 2.25], "more": [0, 0]})
    parquet.write_table(table, path)


def avro_file(path):
    fields = [("id", "long"), ("name", "string"), ("price", "double")]
    schema = {
        "type": "record",
        "name": "r",
        "fields": [{"name": name, "type": kind} for name, kind in fields],
    }
    rows = [{"id": 1, "name": "a", "price": 1.5}, {"id": 2, "name": "b", "price": 2.25}]
    with open(path, "wb") as file:
        fastavro.writer(file, schema, rows)


def csv_file(path):
    path.write_text("1,a,1.5\n2,b,2.25\n", encoding="utf-8")


def json_file(path):
    with gzip.open(path, "wt") as file:
        file.write('{"id":1,"name":"a","price":1.5}\n{"id":2,"name":"b","price":2.25,"x":1}\n')


@pytest.mark.parametrize(
    ("form", "name", "make"),
    [
        ("csv", "a.csv", csv_file),
        ("json", "a.jsonl.gz", json_file),
        ("parquet", "a.parquet", parquet_file),
        ("avro", "a.avro", avro_file),
    ],
)
def test_files_of_each_format_become_items(form, name, make, files, db, endpoint, job, capsys):
    make(files / name)
    script = (
        source(files, form)
        + SINK
        + "INSERT INTO users SELECT id, UPPER(name), price * 2 FROM src WHERE id > 0;"
    )
    assert job(script, endpoint) == 0, capsys.readouterr().err
    assert items(db)[2] == {"id": {"N": "2"}, "name": {"S": "B"}, "price": {"N": "4.5"}}
    assert len(items(db)) == 2
    assert "2 written, 0 superseded" in capsys.readouterr().out


def test_bad_rows_go_to_the_dead_letters_with_their_place(
    files, tmp_path, db, endpoint, job, capsys
):
    (files / "a.csv").write_text("1,a,1\nx,b,2\n3,c\n4,many,4\n5,5,5\n6,6,1e30\n", encoding="utf-8")
    script = (
        source(files / "a.csv", "csv")
        + SINK
        + "INSERT INTO users SELECT id, CAST(CAST(CASE name WHEN 'a' THEN '1' ELSE name END "
        "AS INT) AS STRING), price FROM src;"
    )
    letters = tmp_path / "dead.jsonl"
    assert job(script, endpoint, f"--dead_letters={letters}") == 3, capsys.readouterr().err
    assert sorted(items(db)) == [1, 5]
    found = [json.loads(line) for line in letters.read_text().splitlines()]
    messages = sorted(each["message"] for each in found)
    assert len(messages) == 4
    for line, reason in (
        (2, "column id: BIGINT is declared, but the text is no integer."),
        (3, "the row has not as many cells as the header: 2 instead of 3."),
        (4, "an expression of the query fails: Conversion Error"),
    ):
        assert any(f"a.csv, line {line}" in each and reason in each for each in messages), messages
    assert any("price: DECIMAL(10, 2) is declared" in each for each in messages)
    assert "2 written, 0 superseded, 0 ignored, 4 failed" in capsys.readouterr().out


def test_bad_row_without_dead_letters_fails_the_job(files, db, endpoint, job, capsys):
    (files / "a.csv").write_text("1,a,1\nx,b,2\n", encoding="utf-8")
    script = source(files, "csv") + SINK + "INSERT INTO users SELECT id, name, price FROM src;"
    assert job(script, endpoint) == 1
    error = capsys.readouterr().err
    assert "a.csv, line 2, column id: BIGINT is declared" in error
    assert "Traceback" not in error.partition("The SQL job failed.")[2]


def test_json_may_need_all_its_fields_as_in_flink(files, db, endpoint, job, capsys):
    (files / "a.jsonl").write_text('{"id":1,"name":"a","price":1}\n{"id":2}\n', encoding="utf-8")
    insert = SINK + "INSERT INTO users SELECT id, name, price FROM src;"
    assert job(source(files, "json") + insert, endpoint) == 0
    assert items(db)[2]["name"] == {"NULL": True}
    strict = source(files, "json", options=", 'json.fail-on-missing-field' = 'true'")
    assert job(strict + insert, endpoint) == 1
    assert "a.jsonl, line 2, column name: the field is missing" in capsys.readouterr().err


def test_parse_errors_may_be_ignored_as_in_flink(files, db, endpoint, job):
    (files / "a.csv").write_text("1;a;1\n2;b;x\n3;c\n4;NULL;4;\n5;e;5;5\n", encoding="utf-8")
    options = (
        ", 'csv.ignore-parse-errors' = 'true', 'csv.field-delimiter' = ';'"
        ", 'csv.null-literal' = 'NULL'"
    )
    script = source(files, "csv", options=options) + SINK
    assert job(script + "INSERT INTO users SELECT * FROM src;", endpoint) == 0
    assert sorted(items(db)) == [1, 2, 3, 4]
    assert items(db)[3] == {"id": {"N": "3"}, "name": {"S": "c"}, "price": {"NULL": True}}
    assert items(db)[4]["name"] == {"NULL": True}
    assert items(db)[2] == {"id": {"N": "2"}, "name": {"S": "b"}, "price": {"NULL": True}}


@pytest.mark.parametrize(
    ("form", "name", "make"),
    [("json", "b.jsonl.gz", json_file), ("parquet", "b.parquet", parquet_file)],
)
def test_a_file_that_cannot_be_read_is_no_parse_error_to_ignore(
    form, name, make, files, tmp_path, db, endpoint, job, capsys
):
    make(files / name)
    broken = files / f"a{name[1:]}"
    broken.write_bytes((files / name).read_bytes()[:-10])
    script = source(files, form, options=f", '{form}.ignore-parse-errors' = 'true'") + SINK
    script += "INSERT INTO users SELECT id, name, price FROM src;"
    assert job(script, endpoint) == 1
    assert f"{broken} is " in capsys.readouterr().err
    letters = tmp_path / "dead.jsonl"
    assert job(script, endpoint, f"--dead_letters={letters}") == 3
    (line,) = letters.read_text().splitlines()
    assert json.loads(line)["code"] == "UnreadableFile"
    assert sorted(items(db)) == [1, 2]


PRINTED = "CREATE TABLE out ({}) WITH ('connector' = 'print');"


def test_json_as_in_flink_unknown_fields_of_rows_and_other_values_as_text(files, job, capsys):
    (files / "a.jsonl").write_text(
        '{"r":{"x":1,"new":2},"l":[{"x":3,"new":4}],"s":true,"m":{"k":false},'
        '"o":{"é": [1, 1.50, null, 0.12345678901234567]}}\n',
        encoding="utf-8",
    )
    columns = "r ROW<x INT>, l ARRAY<ROW<x INT>>, s STRING, m MAP<STRING, STRING>, o STRING"
    script = (
        source(files, "json", columns, ", 'json.timestamp-format.standard' = 'ISO-8601'")
        + PRINTED.format("x INT, y INT, s STRING, t STRING, o STRING")
        + "INSERT INTO out SELECT r.x, l[1].x, s, m['k'], o FROM src;"
    )
    assert job(script) == 0, capsys.readouterr().err
    shown = '+I[1, 3, true, false, {"é":[1,1.5,null,0.12345678901234566]}]'
    assert shown in capsys.readouterr().out


def test_ignored_parse_errors_of_json_make_null_of_the_part_at_fault(files, job, capsys):
    (files / "a.jsonl").write_text(
        '{"id":1,"r":{"x":"no","y":2},"l":[1,"no"]}\nnone\n{"id":"no","r":3}\n', encoding="utf-8"
    )
    columns = "id INT, r ROW<x INT, y INT>, l ARRAY<INT>"
    script = (
        source(files, "json", columns, ", 'json.ignore-parse-errors' = 'true'")
        + PRINTED.format("id INT, x INT, y INT, l ARRAY<INT>")
        + "INSERT INTO out SELECT id, r.x, r.y, l FROM src;"
    )
    assert job(script) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "+I[1, null, 2, [1, null]]" in printed
    assert "+I[null, null, null, null]" in printed


def test_times_of_avro_are_local_or_instants_as_declared(files, job, capsys):
    moment = {"type": "long", "logicalType": "timestamp-millis"}
    many = {"type": "array", "items": moment}
    fields = [("a", moment), ("b", moment), ("c", many)]
    schema = {"type": "record", "name": "r"} | {
        "fields": [{"name": name, "type": kind} for name, kind in fields]
    }
    with open(files / "a.avro", "wb") as file:
        fastavro.writer(file, schema, [{"a": 1500, "b": 1500, "c": [0]}])
    columns = "a TIMESTAMP(3), b TIMESTAMP_LTZ(3), c ARRAY<TIMESTAMP(3)>"
    script = source(files, "avro", columns) + PRINTED.format(columns)
    assert job(script + "INSERT INTO out SELECT * FROM src;") == 0, capsys.readouterr().err
    shown = "+I[1970-01-01T00:00:01.500, 1970-01-01T00:00:01.500Z, [1970-01-01T00:00]]"
    assert shown in capsys.readouterr().out


def test_times_are_printed_as_in_flink(job, capsys):
    script = PRINTED.format("t TIMESTAMP(3), l TIMESTAMP_LTZ(3), c TIME, d DATE") + (
        "INSERT INTO out SELECT TIMESTAMP '2024-01-02 03:04:00', TO_TIMESTAMP_LTZ(1500, 3),"
        " TIME '03:04:05', DATE '2024-01-02';"
    )
    assert job(script) == 0, capsys.readouterr().err
    shown = "+I[2024-01-02T03:04, 1970-01-01T00:00:01.500Z, 03:04:05, 2024-01-02]"
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("path", ["file://{}", "file:{}", "{}/", "_files/../_files"])
def test_a_folder_gives_all_its_files_but_no_hidden_ones(path, tmp_path, monkeypatch, job, capsys):
    folder = tmp_path / "_files"
    for number, name in enumerate(
        ["a.csv", "2024/b.csv", ".a.csv.crc", "_SUCCESS", "2024/_c.csv", "_tmp/d.csv", ".x/y/e.csv"]
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{number}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    script = source(path.format(folder), "csv", "id INT") + PRINTED.format("id INT")
    assert job(script + "INSERT INTO out SELECT id FROM src;") == 0, capsys.readouterr().err
    printed = [each for each in capsys.readouterr().out.splitlines() if "+I" in each]
    assert sorted(printed) == ["+I[0]", "+I[1]"]


def test_a_folder_with_hidden_files_alone_is_one_without_files(files, job, capsys):
    (files / "_SUCCESS").write_text("1\n", encoding="utf-8")
    script = source(files, "csv", "id INT") + PRINTED.format("id INT")
    assert job(script + "INSERT INTO out SELECT id FROM src;") == 1
    assert f"No file matches {files}/**." in capsys.readouterr().err


def test_a_row_that_is_no_unicode_is_a_bad_row_alone(files, tmp_path, job, capsys):
    (files / "a.jsonl").write_text('{"s":"a"}\n{"s":"\\ud800"}\n{"s":"b"}\n', encoding="utf-8")
    script = source(files, "json", "s STRING") + PRINTED.format("s STRING")
    letters = tmp_path / "dead.jsonl"
    code = job(script + "INSERT INTO out SELECT s FROM src;", f"--dead_letters={letters}")
    assert code == 3, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "+I[a]" in printed
    assert "+I[b]" in printed
    assert len(letters.read_text().splitlines()) == 1


def test_upserts_and_deletes_by_a_column_that_says_which(files, db, endpoint, job, capsys):
    (files / "a.csv").write_text(
        "op,id,name\n+I,1,a\n+I,2,b\n-U,1,a\n+U,1,c\n-D,2,\n+I,3,x\n", encoding="utf-8"
    )
    script = (
        source(files, "csv", "op STRING, id BIGINT, name STRING", ", 'csv.header' = 'true'")
        + """CREATE TABLE users (
          op STRING, id BIGINT, name STRING, PRIMARY KEY (id) NOT ENFORCED
        ) WITH ('connector' = 'dynamodb', 'table-name' = 'users', 'aws.region' = 'us-east-2',
          'change-kind' = 'op');
        INSERT INTO users SELECT op, id, name FROM src;"""
    )
    assert job(script, endpoint) == 0, capsys.readouterr().err
    assert items(db) == {
        1: {"id": {"N": "1"}, "name": {"S": "c"}},
        3: {"id": {"N": "3"}, "name": {"S": "x"}},
    }
    assert "1 ignored" in capsys.readouterr().out


def test_made_rows_are_the_same_for_the_same_seed(job, capsys):
    script = """
    CREATE TABLE src (
      id BIGINT, n INT, d DECIMAL(5, 2), f DOUBLE, s STRING, b BOOLEAN, t TIMESTAMP(3),
      day DATE, a ARRAY<INT>, m MAP<STRING, INT>, r ROW<x INT, y STRING>
    ) WITH ('connector' = 'datagen', 'number-of-rows' = '20', 'seed' = '7',
      'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '5',
      'fields.n.min' = '3', 'fields.n.max' = '4', 'fields.d.max' = '9.99',
      'fields.s.length' = '4', 'fields.t.max-past' = '1 d', 'fields.b.null-rate' = '1');
    CREATE TABLE out (id BIGINT, n INT, d DECIMAL(5, 2), s STRING, b BOOLEAN, t TIMESTAMP(3))
    WITH ('connector' = 'print', 'print-identifier' = 'rows');
    INSERT INTO out SELECT id, n, d, s, b, t FROM src;"""
    assert job(script) == 0, capsys.readouterr().err
    first = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rows> ")]
    assert job(script) == 0
    again = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rows> ")]
    assert first == again
    assert len(first) == 5, "the sequence ends first"
    cells = first[0].removeprefix("rows> +I[").removesuffix("]").split(", ")
    assert cells[0] == "1"
    assert cells[1] in ("3", "4")
    assert 0 <= float(cells[2]) <= 9.99
    assert len(cells[3]) == 4
    assert cells[4] == "null"
    assert cells[5].startswith(("2023-12-31T", "2024-01-01T"))


def test_a_table_without_end_has_the_same_rows_for_the_same_seed_whenever_it_begins():
    ddl = "CREATE TABLE t (n INT) WITH ('connector' = 'datagen', 'seed' = '7')"
    fields = sql_datagen.DataGen(parse_table(ddl))._fields

    def rows(started):
        make = sql_datagen._MakeOfSecond(fields, 7, 2, started)
        return [list(make.process(Timestamp(started + second))) for second in range(3)]

    assert rows(5.25) == rows(1e9 + 0.5)
    assert len({row["n"] for second in rows(5.25) for row in second}) == 6


def test_statement_set_reads_its_source_once_and_fills_both_sinks(db, endpoint, job, capsys):
    script = (
        "SET 'pipeline.name' = 'two sinks'; SET 'table.exec.mini-batch.enabled' = 'true';"
        "CREATE TABLE src (id BIGINT, twice AS id * 2) WITH ('connector' = 'datagen', "
        "'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '3');"
        + SINK
        + """CREATE TABLE out (a BIGINT, b BIGINT) WITH ('connector' = 'print');
        EXECUTE STATEMENT SET BEGIN
        INSERT INTO users (id, name) SELECT id, CAST(twice AS STRING) FROM src;
        INSERT INTO out SELECT id, twice FROM src;
        END;"""
    )
    assert job(script, endpoint) == 0, capsys.readouterr().err
    captured = capsys.readouterr()
    assert "+I[3, 6]" in captured.out
    assert "SET 'table.exec.mini-batch.enabled' means nothing here" in captured.err
    assert items(db)[3] == {"id": {"N": "3"}, "name": {"S": "6"}, "price": {"NULL": True}}


def test_several_inserts_may_fill_one_table(db, endpoint, job, capsys):
    script = SINK + "".join(f"INSERT INTO users VALUES ({n}, 'a', {n});" for n in range(1, 6))
    assert job(script, endpoint) == 0, capsys.readouterr().err
    assert sorted(items(db)) == [1, 2, 3, 4, 5]


def test_check_runs_nothing(db, endpoint, job, capsys):
    assert job(SINK + "INSERT INTO users VALUES (1, 'a', 1);", endpoint, "--check") == 0
    assert "The script is right: 1 tables, 1 INSERTs." in capsys.readouterr().out
    assert items(db) == {}


def test_a_script_comes_from_standard_input(db, endpoint, monkeypatch):
    script = SINK + "INSERT INTO users VALUES (1, 'a', 1)"
    monkeypatch.setattr(sys, "stdin", io.StringIO(script))
    assert sql.main(["-", endpoint]) == 0
    assert sorted(items(db)) == [1]


MADE = "CREATE TABLE src ({}) WITH ('connector' = 'datagen', {});"
FILES = "CREATE TABLE src (id BIGINT) WITH ('connector' = 'filesystem', 'path' = '/x', {});"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("INSERT INTO nowhere VALUES (1)", "Cannot find table 'nowhere'"),
        (SINK + SINK, "Table 'users' already exists"),
        (SINK + "INSERT INTO users VALUES (1)", "Different number of columns"),
        (SINK + "INSERT OVERWRITE users VALUES (1)", "SupportsOverwrite"),
        (SINK + "DELETE FROM users", "declare the option 'change-kind'"),
        (SINK + "BEGIN STATEMENT SET; INSERT INTO users VALUES (1, 'a', 1);", "has no END"),
        (SINK + "INSERT INTO users PARTITION (nme='x') SELECT 1, 2", "target column 'nme'"),
        (SINK + "INSERT INTO users PARTITION (id='x') SELECT 'a', 2", "PARTITION: id: BIGINT"),
        (SINK + "INSERT INTO users SELECT id, name, price FROM users", "only be used as a sink"),
        (FILES.format("'format' = 'xml'"), "Unknown format 'xml'"),
        (FILES.format("'frmat' = 'csv'"), "Missing required options are:\n\nformat"),
        (FILES.format("'format' = 'csv', 'csv.delim' = ';'"), "Unsupported option 'csv.delim'"),
        (
            FILES.format("'format' = 'csv'").replace(") WITH", ") PARTITIONED BY (id) WITH"),
            "PARTITIONED BY is not supported for files",
        ),
        (
            FILES.format("'format' = 'json', 'json.timestamp-format.standard' = 'ISO'"),
            "it must be SQL or ISO-8601",
        ),
        ("CREATE TABLE t (a INT) WITH ('connector' = 'kafka')", "identifier 'kafka'"),
        ("CREATE TABLE t (a INT) WITH ('connector' = 'datagen', 'fields.b.min' = '1')", "fields.b"),
        (SINK + "INSERT INTO users (id, id) SELECT 1, 2", "'id' is assigned more than once"),
        (SINK + "INSERT INTO users SELECT 1 /*+ OPTIONS('a'='b') */", "Hints are not supported"),
        (MADE.format("a BOOLEAN", "'fields.a.kind' = 'sequence'"), "counts no values of type BOO"),
        (MADE.format("a ARRAY<TIME>", "'seed' = '1'"), "makes no values of type ARRAY<TIME"),
        ("SELECT 1", "has nowhere to go"),
        ("-- nothing", "holds no CREATE TABLE"),
        (SINK.replace("'us-east-2'", "'us-east-2', 'change-kind' = 'op'"), "one of the columns"),
    ],
)
def test_a_wrong_script_is_refused_before_anything_is_run(script, message, job, capsys):
    assert job(script) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("The SQL job failed. ")
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("'execution.runtime-mode' = 'stream'", "it must be one of streaming, batch, automatic"),
        ("'parallelism.default' = 'SECRET'", "it must be a whole number"),
        ("'beam.direct_running_mode' = 'SECRET'", "it must be one of in_memory, multi_threading"),
        ("'beam.transform_name_mapping' = 'SECRET'", "what Beam's flag --transform_name_mapping"),
        ("'beam.streaming' = 'SECRET'", "it must be true or false"),
        ("'beam.runer' = 'SECRET'", "Unknown setting 'beam.runer'. Did you mean 'beam.runner'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name_and_place(setting, message, job, capsys):
    assert job(f"{SINK}\n  SET {setting};") == 1
    error = capsys.readouterr().err
    assert message in error
    assert setting.partition(" ")[0] in error
    assert "(line 6, column 7)" in error
    assert "SECRET" not in error


@pytest.mark.parametrize(
    ("setting", "flags"),
    [
        ("'execution.runtime-mode' = 'STREAMING'", ["--streaming"]),
        ("'execution.runtime-mode' = 'Automatic'", []),
        ("'parallelism.default' = '4'", ["--parallelism=4"]),
        ("parallelism.default = 4", ["--parallelism=4"]),
        ("'pipeline.name' = 'My job'", ["--job_name=My job"]),
        ("'beam.streaming' = 'true'", ["--streaming"]),
        ("'beam.streaming' = 'false'", []),
        ("'beam.experiments' = 'a'", ["--experiments=a"]),
        ("'beam.of_a_job_server' = 'a'", ["--of_a_job_server=a"]),
        ("'table.local-time-zone' = 'UTC'", []),
    ],
)
def test_settings_are_flags_of_beam(setting, flags):
    assert beam_flags(parse_script(f"SET {setting};").settings) == flags


def test_a_secret_cannot_be_a_flag(job, capsys):
    for key in ("basic.secretkey", "role.provider.basic.accesskeyid"):
        assert job(SINK, f"--set=aws.credentials.{key}=hush") == 1
        error = capsys.readouterr().err
        assert "holds a secret" in error
        assert "hush" not in error


def test_an_unknown_flag_names_the_nearest(job, capsys):
    assert job(SINK, "--dead_letter=x") == 1
    assert "Did you mean '--dead_letters'?" in capsys.readouterr().err


def test_a_table_without_end_is_a_stream_until_ctrl_c(tmp_path):
    script = """CREATE TABLE src (n INT) WITH ('connector' = 'datagen', 'rows-per-second' = '3');
    CREATE TABLE out (n INT) WITH ('connector' = 'print', 'print-identifier' = 'row');
    INSERT INTO out SELECT n FROM src;"""
    (tmp_path / "job.sql").write_text(script, encoding="utf-8")
    with running("-m", "pipelines.sql", str(tmp_path / "job.sql")) as job:
        lines = [job.stdout.readline() for _ in range(4)]
        errors = press_ctrl_c(job)
    assert all(line.startswith("row> +I[") for line in lines), lines
    assert job.returncode == 130, errors
    assert "Stopped. What was written stays written." in errors
