"""`pipelines.load` reads real files and writes to real servers."""

from __future__ import annotations

import gzip
import json
import zipfile

import pytest

from pipelines import load
from tests import processes
from tests.servers import REGION

CSV = "id,n,name\n1,10,one\n2,2.5,two\n1,11,uno\n3,NA,drei\n"


@pytest.fixture
def table(moto_endpoint, create_table):
    return create_table(moto_endpoint)


@pytest.fixture
def flags(table):
    return [
        f"--table_name={table.name}",
        f"--aws_region={REGION}",
        f"--aws_endpoint={table.endpoint}",
        "--partitioned_by=id",
        "--numbers=n",
        "--null=NA",
    ]


def written(name, contents, folder):
    path = folder / name
    path.write_text(contents, encoding="utf-8")
    return path


def test_rows_arrive_typed_and_the_later_of_one_key_wins(tmp_path, table, flags):
    counts = load.run([f"--input={written('a.csv', CSV, tmp_path)}", *flags])
    assert sorted(table.items(), key=lambda item: item["id"]["S"]) == [
        {"id": {"S": "1"}, "n": {"N": "11"}, "name": {"S": "uno"}},
        {"id": {"S": "2"}, "n": {"N": "2.5"}, "name": {"S": "two"}},
        {"id": {"S": "3"}, "n": {"NULL": True}, "name": {"S": "drei"}},
    ]
    assert (counts.read, counts.written, counts.superseded, counts.failed) == (4, 3, 1, 0)


def test_gzip_and_zip_files_are_read_as_their_contents(tmp_path, table, flags):
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("id,n\ngzip,1\n")
    with zipfile.ZipFile(tmp_path / "b.csv.zip", "w") as archive:
        archive.writestr("b.csv", "id,n\nzip,2\n")
    load.run([f"--input={tmp_path}/*.csv.*", *flags])
    assert {item["id"]["S"] for item in table.items()} == {"gzip", "zip"}


def test_an_empty_text_is_no_value_in_csv_alone(tmp_path, table, flags):
    flags = [each for each in flags if each != "--null=NA"]
    rows = written("a.csv", "id,n,e\ncsv,1,\n", tmp_path)
    lines = written("a.json", '{"id":"json","n":1,"e":""}\n', tmp_path)
    load.run([f"--input={rows}", f"--input={lines}", *flags])
    found = {item["id"]["S"]: item["e"] for item in table.items()}
    assert found == {"csv": {"NULL": True}, "json": {"S": ""}}


def test_derived_attribute_is_made_of_columns(tmp_path, table, flags):
    path = written("a.csv", "n,carrier,flight\n1,UA,1545\n", tmp_path)
    load.run([f"--input={path}", "--derive=id={carrier}-{flight}", *flags])
    assert table.items()[0]["id"] == {"S": "UA-1545"}


def test_bad_rows_go_to_the_dead_letters_and_their_neighbours_are_written(
    tmp_path, table, flags, capsys
):
    rows = "id,n\ngood,1\nbad number,many\n,2\nshort\nlast,3\n"
    letters = tmp_path / "failed.jsonl"
    argv = [f"--input={written('a.csv', rows, tmp_path)}", f"--dead_letters={letters}", *flags]
    assert load.main(argv) == 3, "a script must be told that not all rows arrived"
    assert {item["id"]["S"] for item in table.items()} == {"good", "last"}
    assert "5 read = 2 written + 0 superseded + 3 failed" in capsys.readouterr().out
    failed = [json.loads(line) for line in letters.read_text().splitlines()]
    assert len(failed) == 3
    messages = " ".join(each["message"] for each in failed)
    assert "column 'n' holds something else than a number" in messages
    assert "not as many cells as the header" in messages
    assert {each["code"] for each in failed} >= {"InvalidKey"}


def test_bad_row_without_dead_letters_ends_the_load_and_names_the_column(tmp_path, flags, capsys):
    path = written("a.csv", "id,n\na,many\n", tmp_path)
    assert load.main([f"--input={path}", *flags]) == 1
    assert "column 'n'" in capsys.readouterr().err


def test_what_the_command_has_to_say_about_the_key_is_told(tmp_path, flags, capsys):
    path = written("a.csv", "id,n\n1,2\n", tmp_path)
    assert load.main([f"--input={path}", *flags, "--types=id:N"]) == 1
    told = capsys.readouterr().err
    assert "id: the table's key has type S, and this is of type N; give a string." in told
    assert " Say it with --types=id:S; a column that --rename gives this name" in told
    assert load.main([f"--input={path}", *flags, "--delete"]) == 1
    told = capsys.readouterr().err
    assert told.endswith("(id). With --keys=id the other columns are left out.\n")


def test_missing_column_is_named(tmp_path, flags, capsys):
    path = written("a.csv", "id,m\na,1\n", tmp_path)
    assert load.main([f"--input={path}", *flags]) == 1
    assert "has no column n" in capsys.readouterr().err


def test_two_columns_of_one_name_are_refused_since_one_would_be_lost(tmp_path, flags, capsys):
    path = written("a.csv", "id,n,id\na,1,b\n", tmp_path)
    assert load.main([f"--input={path}", *flags]) == 1
    assert "more than one column id" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b'id,n\na,1\nb,2\nc,"3\nd,4', " is no CSV file in UTF-8 from line 4 on"),
        (b"id,n\na,1\nb,\xff\n", ", line 3, column 'n': the cell is not in UTF-8"),
        ("id,n\na,1\n".encode("utf-16"), " is no CSV file in UTF-8"),
        (b"", " is empty"),
    ],
    ids=["open quote", "Latin-1", "UTF-16", "empty"],
)
def test_a_file_that_is_no_csv_in_utf_8_is_named(tmp_path, flags, capsys, contents, reason):
    path = tmp_path / "a.csv"
    path.write_bytes(contents)
    assert load.main([f"--input={path}", *flags]) == 1
    assert f"The load failed. {path}{reason}" in capsys.readouterr().err


@pytest.mark.parametrize("template", ["{id", "{}", "{0}", "{id.name}"])
def test_a_template_that_no_row_could_fill_is_refused_before_anything_is_read(
    flags, capsys, template
):
    assert load.main(["--input=nowhere", f"--derive=x={template}", *flags]) == 1
    assert f"'derive' cannot be 'x={template}'" in capsys.readouterr().err


def test_missing_file_is_named(tmp_path, flags, capsys):
    assert load.main([f"--input={tmp_path}/nothing.csv", *flags]) == 1
    assert "nothing.csv" in capsys.readouterr().err


def test_a_folder_is_told_to_be_none_of_the_files(tmp_path, flags, capsys):
    assert load.main([f"--input={tmp_path}", *flags]) == 1
    assert f"It is a folder: name its files, as in {tmp_path}" in capsys.readouterr().err


def test_wrong_option_is_refused_before_anything_is_read(flags, capsys):
    assert load.main(["--input=nowhere", "--sink_batch_max_size=26", *flags]) == 1
    assert "sink_batch_max_size" in capsys.readouterr().err


def test_demo_loads_flights_and_shows_some():
    done = processes.run("-m", "pipelines.demo", "--rows=300")
    assert done.returncode == 0, done.stderr
    assert "300 read = 300 written + 0 superseded + 0 failed" in done.stdout
    assert "The table holds 300 items" in done.stdout
    assert "flight_id=UA1545" in done.stdout or "time_hour=2013-01-01" in done.stdout
