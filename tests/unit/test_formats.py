"""What `pipelines.formats` and `pipelines.columns` read, and what they refuse and how."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from datetime import date, datetime, timezone
from decimal import Decimal

import fastavro
import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from beam_dynamodb import Delete, OptionError, Put, RowError
from beam_dynamodb.times import ExactTime
from pipelines.columns import Columns
from pipelines.compressed import UnreadableFileError, parts
from pipelines.formats import (
    BadRecord,
    Record,
    Text,
    format_of,
    records,
)


def read(contents: bytes, name: str, **settings: object):
    return list(records(io.BytesIO(contents), name, Text(**settings)))


def values(contents: bytes, name: str, **settings: object):
    return [each.values for each in read(contents, name, **settings)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/a.csv", "csv"),
        ("a.CSV.GZ", "csv"),
        ("gs://b/x.y/part.jsonl.zst", "json"),
        ("data/abc.json.gz", "json"),
        ("a.parquet", "parquet"),
        ("a.snappy.parquet", "parquet"),
        ("a.avro", "avro"),
        ("a.gz", None),
        ("a", None),
    ],
)
def test_format_is_told_by_the_name(path, expected):
    assert format_of(path) == expected


def zipped(contents: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.jsonl", contents)
    return file.getvalue()


def zstd(contents: bytes) -> bytes:
    """Two frames, as zstd makes of what is appended."""
    half = contents.index(b"\n", len(contents) // 2) + 1
    frames = zstandard.ZstdCompressor()
    return frames.compress(contents[:half]) + frames.compress(contents[half:])


def unpacked(path: str, contents: bytes):
    (part,) = parts(path, io.BytesIO(contents))
    return part.open()


COMPRESSED = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
    "zip": zipped,
}
LINES = b"".join(b'{"n":%d}\n' % n for n in range(50_000))


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_compressed_files_are_read_whole(suffix):
    binary = unpacked(f"a.jsonl.{suffix}", COMPRESSED[suffix](LINES))
    assert [each.values["n"] for each in records(binary, "json")] == list(range(50_000))


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("contents", ["cut off", "not compressed"])
def test_compressed_files_that_are_cut_off_or_plain_are_refused(suffix, contents):
    whole = COMPRESSED[suffix](LINES)
    broken = whole[: len(whole) // 2] if contents == "cut off" else LINES
    with pytest.raises(UnreadableFileError, match="compressed|zstd"):
        list(records(unpacked(f"a.jsonl.{suffix}", broken), "json"))


def archive_of(*names: str, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else f'{{"n":"{name}"}}\n')
    return file.getvalue()


def test_a_zip_gives_all_its_files_but_none_that_a_system_put_there():
    hidden = ["__MACOSX/._b.jsonl", ".DS_Store", "x/.b.jsonl"]
    contents = archive_of("x/", "x/b.jsonl", *hidden, "a.jsonl")
    found = parts("s3://b/a.zip", io.BytesIO(contents))
    assert [each.name for each in found] == ["s3://b/a.zip/x/b.jsonl", "s3://b/a.zip/a.jsonl"]
    rows = [record.values for each in found for record in records(each.open(), "json")]
    assert rows == [{"n": "x/b.jsonl"}, {"n": "a.jsonl"}]


def test_a_compressed_file_in_a_zip_is_unpacked():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jsonl.gz", gzip.compress(b'{"n":1}\n'))
    assert list(records(unpacked("a.zip", file.getvalue()), "json")) == [Record(1, {"n": 1})]


def test_a_zip_without_files_is_refused():
    for names in ([], ["x/"], [".DS_Store"]):
        with pytest.raises(UnreadableFileError, match="is a zip that holds no file"):
            parts("a.zip", io.BytesIO(archive_of(*names)))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (4, 70, "cannot be unpacked.*version 7"),
        (6, 1, "cannot be unpacked.*password"),
        (8, 99, "cannot be unpacked.*compression"),
    ],
)
def test_a_zip_that_cannot_be_unpacked_is_a_fault_of_the_file(offset, value, reason):
    contents = bytearray(archive_of("a.jsonl", how=zipfile.ZIP_STORED))
    contents[offset] = value
    contents[contents.index(b"PK\1\2") + offset + 2] = value
    with pytest.raises(UnreadableFileError, match=reason):
        unpacked("a.zip", bytes(contents))


# --- CSV -----------------------------------------------------------------------------------


def test_csv_numbers_count_lines_even_where_a_cell_holds_line_breaks():
    text = b'\xef\xbb\xbfid,text\r\n1,"a\nb\nc"\n\n2,"say ""x"""\n'
    assert read(text, "csv") == [
        Record(2, {"id": "1", "text": "a\nb\nc"}),
        Record(6, {"id": "2", "text": 'say "x"'}),
    ]


def test_csv_in_another_encoding_and_with_another_delimiter():
    text = "id;naïve\n1;é\n".encode("latin-1")
    assert values(text, "csv", encoding="latin-1", delimiter=";") == [{"id": "1", "naïve": "é"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_byte_order_mark_is_no_part_of_a_name(encoding):
    text = '\ufeff"id",n\n1,\ufeff\n'.encode(encoding)
    assert values(text, "csv", encoding=encoding) == [{"id": "1", "n": "\ufeff"}]


def test_delimiters_at_the_end_of_all_lines_are_no_columns():
    found = read(b"\n\r\nid,n, ,\n1,2,,\n3,4\n5,6, \n7,8,,9\n7,8,,,\n", "csv")
    good = [(4, "1", "2"), (5, "3", "4"), (6, "5", "6")]
    assert found[:3] == [Record(number, {"id": one, "n": two}) for number, one, two in good]
    counts = [each.fault.partition(": ")[2] for each in found[3:]]
    assert counts == ["4 instead of 2", "5 instead of 2"]


def test_csv_without_a_line_of_names():
    assert values(b"1,a\n2,b\n", "csv", header=["id", "n"]) == [
        {"id": "1", "n": "a"},
        {"id": "2", "n": "b"},
    ]
    assert values(b"", "csv", header=["id"]) == []


def test_a_bad_row_of_csv_harms_none_of_its_neighbours():
    good, bad, short, long = read(b"id,n\n1,a\n2,\xe9\n3\n4,5,6\n", "csv")
    assert good == Record(2, {"id": "1", "n": "a"})
    assert (bad.number, bad.path, bad.fault) == (3, "n", "the cell is not in UTF-8")
    assert short.fault == "the row has not as many cells as the header: 1 instead of 2"
    assert (long.number, long.content) == (5, "4,5,6")
    (bad,) = read(b"id;n\n4;5;6\n", "csv", delimiter=";")
    assert bad.content == "4;5;6"


@pytest.mark.parametrize(
    "line", ['1,"5\'10" tall"', '1,"a" ', '"say "x"",2', '"a ""b" c",2', '"a"b,"c"']
)
@pytest.mark.parametrize(("delimiter", "end"), [(",", "\n"), ("|", "\r\n")])
def test_a_quote_out_of_place_makes_one_bad_row_where_its_line_is_all_of_it(line, delimiter, end):
    text = end.join(["a,b", "1,2", line, '"3","4"', ""]).replace(",", delimiter)
    before, bad, after = read(text.encode(), "csv", delimiter=delimiter)
    assert before == Record(2, {"a": "1", "b": "2"})
    assert (bad.number, bad.content) == (3, line.replace(",", delimiter))
    assert bad.fault.startswith("the row is no CSV: ")
    assert after == Record(4, {"a": "3", "b": "4"})


def test_rows_may_be_short_where_that_is_allowed_and_end_with_a_delimiter_where_none_names_them():
    text = b"1,2,3\n1\n1,2,3,\n1,2,3, \n1,2,3,4\n1,2,3,,\n"
    found = read(text, "csv", header=["a", "b", "c"], short_rows=True)
    whole = {"a": "1", "b": "2", "c": "3"}
    assert [each.values for each in found[:4]] == [whole, {"a": "1"}, whole, whole]
    assert [each.fault.split(": ")[1] for each in found[4:]] == ["4 instead of 3", "5 instead of 3"]
    short = read(b"a,b\n1\n1,2,\n", "csv")
    assert [type(each) for each in short] == [BadRecord, BadRecord]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty"),
        (b"\n,,\n1,2,3\n", "is empty"),
        (b"a,b,a\n1,2,3\n", "more than one column a"),
        ("a,b\n1,2\n".encode("utf-16"), "another encoding"),
        (b'a,b\n1,"2\n', "no CSV file in UTF-8 from line 2 on"),
        (b'a,b\n1,2\n2,"x\n3,4\n5,"y"\n', "no CSV file in UTF-8 from line 3 on"),
        (b'a,b\n1,"say "x" and\n3,4\n', "no CSV file in UTF-8 from line 2 on"),
        (b'a,b\n"a"b,2\n3,4\n', "no CSV file in UTF-8 from line 2 on"),
        (b'"a"b,c\n1,2\n', "no CSV file in UTF-8 after line 1"),
    ],
)
def test_what_is_no_csv_file_is_refused(text, reason):
    with pytest.raises(UnreadableFileError, match=reason):
        read(text, "csv")


# --- JSON ----------------------------------------------------------------------------------


def test_json_numbers_keep_all_their_digits():
    line = (
        b'{"a":12345678901234567890123456789012345678,"b":0.12345678901234567890,"c":1e3,"d":1.5}'
    )
    (found,) = values(line, "json")
    assert found == {
        "a": 12345678901234567890123456789012345678,
        "b": Decimal("0.12345678901234567890"),
        "c": Decimal("1E+3"),
        "d": 1.5,
    }


def test_a_bad_line_of_json_harms_none_of_its_neighbours():
    text = b'{"a":1}\n{"a":\n\n[1]\n{"a":NaN}\n{"a":"\xff"}\n{"a":2}'
    found = read(text, "json")
    assert [each.number for each in found] == [1, 2, 4, 5, 6, 7]
    assert [type(each) for each in found] == [Record, *[BadRecord] * 4, Record]
    assert [each.fault for each in found[1:5]] == [
        "the line is no JSON: Expecting value at column 6",
        "the line is no JSON object but a list",
        "the line holds NaN, which is no JSON",
        "the line is not in UTF-8 after byte 6",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'[{"a":1},\n{"a":2}]', "a JSON list, not one JSON object on each line"),
        ('{"a":1}'.encode("utf-16"), "UTF-16"),
        (b"PAR1....", "no JSON file"),
    ],
)
def test_what_is_no_json_file_is_refused(text, reason):
    with pytest.raises(UnreadableFileError, match=reason):
        read(text, "json")


@pytest.mark.parametrize("name", ["json", "dynamodb-json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_without_lines_has_no_rows_as_exports_have_of_small_tables(name, encoding):
    assert read(b"", name, encoding=encoding) == []
    assert read("\n\n".encode(encoding), name, encoding=encoding) == []


def test_full_export_of_dynamodb_gives_its_items():
    text = b'{"Item":{"id":{"S":"a"},"tags":{"SS":["x"]}}}\n{"Item":{"id":{"S":"b"}}}\n'
    assert values(text, "json") == [
        Put({"id": {"S": "a"}, "tags": {"SS": ["x"]}}),
        Put({"id": {"S": "b"}}),
    ]


def test_incremental_export_of_dynamodb_gives_puts_and_deletes():
    text = (
        b'{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":{"id":{"S":"a"}},'
        b'"NewImage":{"id":{"S":"a"},"n":{"N":"2"}}}\n'
        b'{"Metadata":{"WriteTimestampMicros":{"N":"2"}},"Keys":{"id":{"S":"b"}},'
        b'"OldImage":{"id":{"S":"b"},"n":{"N":"2"}}}\n'
    )
    expected = [Put({"id": {"S": "a"}, "n": {"N": "2"}}), Delete({"id": {"S": "b"}})]
    assert values(text, "json") == values(text, "dynamodb-json") == expected


def test_a_line_of_another_kind_in_an_export_is_bad():
    good, bad = read(b'{"Item":{"id":{"S":"a"}}}\n{"id":"b"}\n', "json")
    assert isinstance(good, Record)
    assert "none of an export of DynamoDB" in bad.fault


def test_a_bad_first_line_of_an_export_harms_no_other():
    bad, good = read(b'"1"}}}\n{"Item":{"id":{"N":"2"}}}\n', "json")
    assert isinstance(bad, BadRecord)
    assert good == Record(2, Put({"id": {"N": "2"}}))


def test_rows_with_an_attribute_item_are_no_export():
    assert values(b'{"Item":{"name":"x"}}\n', "json") == [{"Item": {"name": "x"}}]


def test_json_in_another_encoding():
    text = '{"name":"é"}\n{"name":"ß"}'.encode("latin-1")
    assert values(text, "json", encoding="latin-1") == [{"name": "é"}, {"name": "ß"}]
    with pytest.raises(UnreadableFileError, match="is not in ascii"):
        values(text, "json", encoding="ascii")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_json_end_at_line_feeds_alone_in_every_encoding(encoding, end):
    name = "a\u2028b\x85c".encode(encoding, "ignore").decode(encoding)
    text = end.join([f'{{"name":"{name}"}}', "", '{"name":', '{"name":"z"}'])
    first, bad, last = read(text.encode(encoding), "json", encoding=encoding)
    assert (first, last) == (Record(1, {"name": name}), Record(4, {"name": "z"}))
    assert bad.number == 3


# --- Parquet and Avro ----------------------------------------------------------------------

MOMENT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=timezone.utc)


def parquet_file(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def test_parquet_keeps_types():
    nanos = 1_700_000_000_123_456_789
    table = pa.table(
        {
            "id": [1, 2],
            "price": [Decimal("1.50"), None],
            "at": pa.array([MOMENT, MOMENT], pa.timestamp("ms", "UTC")),
            "micro": pa.array([nanos // 1000 * 1000] * 2, pa.timestamp("ns", "UTC")),
            "nano": pa.array([nanos, nanos], pa.timestamp("ns")),
            "day": [date(2024, 5, 6)] * 2,
            "raw": [b"\x00", b"\xff"],
            "ids": [[1, 2], []],
            "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
            "inner": [{"x": True}, {"x": None}],
        }
    )
    first, second = values(parquet_file(table), "parquet")
    assert first == {
        "id": 1,
        "price": Decimal("1.50"),
        "at": MOMENT.replace(microsecond=123000),
        "micro": datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=timezone.utc),
        "nano": "2023-11-14T22:13:20.123456789",
        "day": date(2024, 5, 6),
        "raw": b"\x00",
        "ids": [1, 2],
        "map": {"a": 1},
        "inner": {"x": True},
    }
    assert (second["price"], second["ids"], second["map"]) == (None, [], {})


@pytest.mark.parametrize(
    ("kind", "bad_map", "fault"),
    [
        (pa.string(), [("SECRET", 1), ("SECRET", 2)], "a map holds a key twice"),
        (pa.list_(pa.string()), [(["SECRET"], 1)], "a map's key is a list, a map or a struct"),
    ],
)
def test_a_map_of_parquet_that_python_has_not_is_a_bad_row(kind, bad_map, fault):
    maps = pa.array([[], bad_map, None], pa.map_(kind, pa.int8()))
    first, bad, last = read(parquet_file(pa.table({"id": [1, 2, 3], "m": maps})), "parquet")
    assert (first.values["m"], last.values["m"]) == ({}, None)
    assert (bad.number, bad.path) == (2, "m")
    assert bad.fault == f"the value cannot be read: {fault}"


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_times_of_parquet_in_nanoseconds_are_texts_only_where_python_has_no_such_time(zone):
    nanos = [1_700_000_000_123_456_789, 1_700_000_000_000_000_000, -1_000, -1, None]
    table = pa.table({"at": pa.array(nanos, pa.timestamp("ns", zone))})
    found = [each["at"] for each in values(parquet_file(table), "parquet")]
    shown = "Z" if zone else ""
    assert found[0] == f"2023-11-14T22:13:20.123456789{shown}"
    assert found[3] == f"1969-12-31T23:59:59.999999999{shown}"
    assert found[4] is None
    moments = [(1_700_000_000, 0), (-1, 999_999)]
    for made, (seconds, micros) in zip(found[1:3], moments, strict=True):
        expected = datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=micros)
        assert made == (expected if zone else expected.replace(tzinfo=None))
    # So the sink can order by such a column, whatever its rows hold.
    assert [type(each) for each in found[:4]] == [ExactTime, datetime, datetime, ExactTime]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.date32()])
def test_a_time_of_parquet_that_python_has_not_is_a_bad_row_and_harms_no_other(kind):
    far = pa.array([0, 10**7 if kind == pa.date32() else 10**15, 0], pa.int64())
    far = far.cast(pa.int32()) if kind == pa.date32() else far
    table = pa.table({"id": [1, 2, 3], "at": far.cast(kind)})
    first, bad, last = read(parquet_file(table), "parquet")
    assert (first.number, first.values["id"]) == (1, 1)
    assert (last.number, last.values["id"]) == (3, 3)
    assert (bad.number, bad.path, bad.content) == (2, "at", "{'id': 2}")
    assert bad.fault.startswith("the value cannot be read: ")


def test_times_of_parquet_in_int96_keep_their_year():
    moments = [datetime(9999, 12, 31), datetime(1, 1, 1), datetime(2024, 1, 2, 3, 4, 5, 6), None]
    sink = io.BytesIO()
    table = pa.table({"at": pa.array(moments, pa.timestamp("us"))})
    parquet.write_table(table, sink, use_deprecated_int96_timestamps=True)
    assert [each["at"] for each in values(sink.getvalue(), "parquet")] == moments


def test_half_written_parquet_is_refused():
    whole = parquet_file(pa.table({"id": list(range(1000))}))
    for length in (0, 4, len(whole) // 2, len(whole) - 1):
        with pytest.raises(UnreadableFileError, match="no complete Parquet file"):
            read(whole[:length], "parquet")


def test_parquet_with_two_columns_of_one_name_is_refused_since_one_would_be_lost():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
    with pytest.raises(UnreadableFileError, match="has more than one column id"):
        read(parquet_file(table), "parquet")


AVRO = fastavro.parse_schema(
    {
        "type": "record",
        "name": "user",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {
                "name": "price",
                "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
            },
        ],
    }
)


def avro_file(count: int, **moments: object) -> bytes:
    sink = io.BytesIO()
    times = [moments.get(f"at_{n}", MOMENT) for n in range(count)]
    rows = [{"id": n, "at": at, "price": Decimal("1.50")} for n, at in enumerate(times)]
    fastavro.writer(sink, AVRO, rows, sync_interval=200)
    return sink.getvalue()


def test_avro_keeps_types():
    found = values(avro_file(3), "avro")
    assert found[2] == {"id": 2, "at": MOMENT, "price": Decimal("1.50")}


@pytest.mark.parametrize("pack", [bytes, zstandard.compress])
def test_a_time_of_avro_that_python_has_not_is_a_bad_row_and_harms_no_other(pack):
    contents = pack(avro_file(100, at_1=10**18, at_99=-(10**18)))
    (part,) = parts("a.avro.zst" if pack is not bytes else "a.avro", io.BytesIO(contents))
    found = list(records(part.open(), "avro"))
    assert [each.number for each in found] == list(range(1, 101))
    bad = [each for each in found if isinstance(each, BadRecord)]
    assert [each.number for each in bad] == [2, 100]
    assert bad[0].content == "{'id': 1, 'at': 1000000000000000000, 'price': b'\\x00\\x96'}"
    assert bad[0].fault.startswith("the value cannot be read: ")
    assert found[2].values == {"id": 2, "at": MOMENT, "price": Decimal("1.50")}


def test_avro_that_is_cut_off_gives_what_is_whole_and_says_where_it_ends():
    whole = avro_file(100)
    found = []
    with pytest.raises(UnreadableFileError, match="no complete Avro file after record"):
        found.extend(records(io.BytesIO(whole[: len(whole) // 2]), "avro"))
    with pytest.raises(UnreadableFileError, match="no complete Avro file"):
        read(b"", "avro")


# --- columns -------------------------------------------------------------------------------


def test_types_make_dynamodbs_types_of_text():
    columns = Columns.parse(
        types="n:N,b:B,t:BOOL,l:L,m:M,ss:SS,ns:NS,bs:BS,j:SS", null="NA", separator="|"
    )
    row = columns.row(
        {
            "s": "007", "n": "1.50", "b": "AAE=", "t": "True", "l": '[1, "x"]', "m": '{"a": 1.5}',
            "ss": "x|y", "ns": "1|2.5", "bs": "AAE=", "j": '["p|q"]', "none": "NA",
        }
    )  # fmt: skip
    assert row == {
        "s": "007", "n": Decimal("1.50"), "b": b"\0\1", "t": True, "l": [1, "x"],
        "m": {"a": Decimal("1.5")}, "ss": {"x", "y"}, "ns": {1, Decimal("2.5")}, "bs": {b"\0\1"},
        "j": {"p|q"}, "none": None,
    }  # fmt: skip


def test_types_of_other_formats_are_converted():
    columns = Columns.parse(types="s:S,n:N,ss:SS,m:M")
    row = columns.row({"s": 5, "n": "7", "ss": ["a", "b"], "m": {"x": 1}, "other": 1.5})
    assert row == {"s": "5", "n": 7, "ss": {"a", "b"}, "m": {"x": 1}, "other": 1.5}


def test_names_change_and_columns_go():
    columns = Columns.parse(
        rename="user:user_id", drop="secret", derive="key={user}#{n}", types="n:N"
    )
    row = columns.row({"user": "u", "n": "1", "secret": "x"})
    assert row == {"user_id": "u", "n": 1, "key": "u#1"}
    assert columns.needed == {"user", "secret", "n"}


@pytest.mark.parametrize(
    ("settings", "cells", "column"),
    [
        ({"rename": "carrier:flight"}, {"carrier": "UA", "flight": "1"}, "flight"),
        ({"derive": "id={n}"}, {"id": "1", "n": "2"}, "id"),
    ],
)
def test_a_row_whose_column_would_be_lost_is_refused(settings, cells, column):
    with pytest.raises(RowError, match=f"column '{column}' is there already") as refused:
        Columns.parse(**settings).row(cells)
    assert refused.value.path == column


@pytest.mark.parametrize(
    ("template", "cells", "reason"),
    [
        ("{a}{b}", {"a": "x"}, "column 'b' is missing, of which 'id' is made"),
        ("{a}{b}", {"a": "x", "b": None}, "column 'b' has no value, of which 'id' is made"),
        ("{a}{b}", {"a": "x", "b": "NA"}, "column 'b' has no value, of which 'id' is made"),
        ("{a}{b:05d}", {"a": "x", "b": "7"}, "column 'b' is not what 'id' is made of: Unknown"),
        ("{b:d}", {"b": [1]}, "column 'b' is not what 'id' is made of: unsupported"),
    ],
)
def test_a_row_of_which_an_attribute_cannot_be_made_is_bad(template, cells, reason):
    with pytest.raises(RowError, match=reason) as refused:
        Columns.parse(derive=f"id={template}", null="NA").row(cells)
    assert refused.value.path == "b"


def test_an_empty_cell_is_text_of_which_an_attribute_may_be_made():
    columns = Columns.parse(derive="id={a}{b:>3}", null="")
    assert columns.row({"a": "x", "b": ""}) == {"a": "x", "b": None, "id": "x   "}


def test_names_may_change_places_and_take_that_of_what_is_dropped():
    swapped = Columns.parse(rename="a:b,b:a").row({"a": 1, "b": 2})
    assert swapped == {"b": 1, "a": 2}
    taken = Columns.parse(rename="a:b", drop="b,c", derive="c={b}{c}").row({"a": 1, "b": 2, "c": 3})
    assert taken == {"b": 1, "c": "23"}
    assert Columns.parse(rename="a:b").row({"b": 2}) == {"b": 2}, "a row of JSON may lack a"


@pytest.mark.parametrize("name", ["json", "dynamodb-json"])
@pytest.mark.parametrize("levels", [98, 99, 400, 2_000, 100_000])
def test_a_line_that_is_nested_too_deeply_is_a_bad_record(name, levels):
    deep = b'{"a":{"L":' + b"[" * (levels - 1) + b"1.5" + b"]" * (levels - 1) + b"}}"
    contents = b'{"Item":%b}\n{"Item":{"a":{"N":"1"}}}\n' % deep
    found, good = read(contents, name)
    assert isinstance(good, Record)
    if levels < 99:
        assert isinstance(found, Record)
    else:
        assert (found.number, found.fault) == (1, "it is nested too deeply")


def test_a_line_of_many_flat_values_is_a_record():
    [row] = values(b'{"a":[%b]}\n' % b",".join([b"[]", b"{}"] * 500), "json")
    assert row == {"a": [[], {}] * 500}


@pytest.mark.parametrize(
    ("types", "value", "path", "reason"),
    [
        ("c:N", "many", "c", "something else than a number"),
        ("c:N", "1_000", "c", "something else than a number"),
        ("c:N", "１２", "c", "something else than a number"),  # noqa: RUF001 - full-width digits
        ("c:N", "NaN", "c", "number that DynamoDB has"),
        ("c:BOOL", "yes", "c", "true or false"),
        ("c:B", "?", "c", "base64"),
        ("c:L", "{}", "c", "a list"),
        ("c:M", "{", "c", "an object"),
        ("c:L", "[" * 100_000, "c", "nested too deeply"),
        ("c:SS", "[" * 100_000, "c", "nested too deeply"),
        ("c:L", "[" * 101 + "]" * 101, "c", "nested too deeply"),
        ("c:M", '{"a":' * 101 + "1" + "}" * 101, "c", "nested too deeply"),
        ("c:NS", "1;x", "c[1]", "something else than a number"),
        ("c:SS", "[]", "c", "empty set.*; give null instead"),
        ("c:S", {"x": 1}, "c", "which S can't hold"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_path(types, value, path, reason):
    with pytest.raises(RowError, match=reason) as refused:
        Columns.parse(types=types).row({"c": value})
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"types": "user_id"}, "'types' must have the form"),
        ({"types": "a:N,a:S"}, "names 'a' twice"),
        ({"types": "a:NUMBER"}, "the type 'NUMBER'"),
        ({"rename": "a:c,b:c"}, "the attribute 'c' twice"),
        ({"rename": "a:c", "derive": "c={b}"}, "the attribute 'c' twice"),
        ({"derive": ["c={a}", "c={b}"]}, "the attribute 'c' twice"),
        ({"rename": "a"}, "'rename' must have the form"),
        ({"derive": "x"}, "'derive' must have the form"),
        ({"derive": "x={0}"}, "'derive' cannot be"),
        ({"derive": "x={a!x}"}, "'derive' cannot be.*no conversion is named x"),
        ({"derive": "x={a:{b}}"}, "'derive' cannot be.*another column"),
    ],
)
def test_settings_of_another_form_are_refused(settings, reason):
    with pytest.raises(OptionError, match=reason):
        Columns.parse(**settings)
