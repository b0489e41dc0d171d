from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.corpus import FieldTypes, open_corpus
from retrieval.types import Document

BASE = {"id": ["a", "b"], "text": ["x", "y"]}


@pytest.fixture
def parquet(tmp_path):
    def written(name: str = "d.parquet", table: pa.Table | None = None, **columns):
        path = tmp_path / name
        pq.write_table(pa.table({**BASE, **columns}) if table is None else table, path)
        return path

    return written


def test_keeps_types(parquet) -> None:
    path = parquet(
        title=["T", None],
        year=pa.array([1999, None], pa.int16()),
        share=pa.array([0.5, None], pa.float32()),
        ok=[True, None],
        kind=pa.array(["k", None]).dictionary_encode(),
        at=pa.array([1_600_000_000_123_456_789, None], pa.timestamp("ns")),
        utc=pa.array([datetime(2020, 1, 2, tzinfo=UTC), None], pa.timestamp("ms", tz="UTC")),
        day=[date(2020, 1, 2), None],
        tags=pa.array([["p", "q"], None], pa.large_list(pa.large_string())),
        place=[{"lat": 1.5, "name": "n"}, None],
        metadata=[{"lang": "en"}, {"lang": None}],
        nothing=pa.nulls(2),
    )
    first, second = open_corpus(path)
    assert (first.where, second.where) == ("d.parquet:1", "d.parquet:2")
    assert first.document == Document(
        "a",
        "x",
        "T",
        {
            "year": 1999,
            "share": 0.5,
            "ok": True,
            "kind": "k",
            "at": datetime(2020, 9, 13, 12, 26, 40, 123456),
            "utc": datetime(2020, 1, 2, tzinfo=UTC),
            "day": date(2020, 1, 2),
            "tags": ["p", "q"],
            "place": {"lat": 1.5, "name": "n"},
            "nothing": None,
            "lang": "en",
        },
    )
    assert second.document.title == ""
    assert set(second.document.metadata.values()) == {None}
    types = FieldTypes()
    types.observe(first)
    assert types.types == {
        "year": pa.int64(),
        "share": pa.float64(),
        "ok": pa.bool_(),
        "kind": pa.string(),
        "at": pa.timestamp("us"),
        "utc": pa.timestamp("us", tz="UTC"),
        "day": pa.date32(),
        "tags": pa.list_(pa.string()),
        "place": pa.struct([("lat", pa.float64()), ("name", pa.string())]),
        "nothing": pa.null(),
        "lang": pa.string(),
    }


def test_integer_ids_and_field_options(parquet, documents) -> None:
    table = pa.table({"pmid": pa.array([1, 2], pa.uint64()), "abstract": ["x", "y"], "id": ["m", "n"]})
    read = documents(parquet(table=table), id_field="pmid", text_field="abstract")
    assert read == [Document("1", "x", "", {"id": "m"}), Document("2", "y", "", {"id": "n"})]


BAD_COLUMNS = {
    "id": (["a", None], "an id must be a string or an integer, not null"),
    "text": (["x", None], "the text must be a string, not null"),
    "title": ([None, 5], "the title must be a string, not int (5)"),
}


@pytest.mark.parametrize("name", BAD_COLUMNS)
def test_a_bad_row_is_named(name, parquet, refused) -> None:
    column, message = BAD_COLUMNS[name]
    assert refused(parquet(**{name: column}), f"d.parquet:2: {message}") == ["a"]


def test_a_row_that_python_cannot_hold_is_named(parquet, refused) -> None:
    rows = 600
    bad = pa.array([b"fine"] * 300 + [b"\xff"] + [b"fine"] * (rows - 301), pa.binary())
    strings = pa.Array.from_buffers(pa.string(), rows, bad.buffers())
    table = pa.table({"id": list(map(str, range(rows))), "text": ["t"] * rows, "name": strings})
    message = (
        "d.parquet:301: a value cannot be read (UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff "
        "in position 0: invalid start byte)"
    )
    ids = refused(parquet(table=table), message)
    assert ids == [str(i) for i in range(rows) if i != 300]


UNSUITABLE = {
    "binary": pa.array([b"1", b"2"]),
    "decimal128(3, 1)": pa.array([1, 2], pa.decimal128(3, 1)),
    "time64[us]": pa.array([1, 2], pa.time64("us")),
    "duration[s]": pa.array([1, 2], pa.duration("s")),
}


@pytest.mark.parametrize("kind", UNSUITABLE)
def test_a_type_that_metadata_cannot_hold_is_named(kind, parquet, fatal) -> None:
    told = f"has type {kind}, which metadata cannot hold; cast or drop it"
    assert fatal(parquet(price=UNSUITABLE[kind])) == f"d.parquet: the column 'price' {told}"
    nested = pa.StructArray.from_arrays([UNSUITABLE[kind]], ["in"])
    assert fatal(parquet(price=nested)) == f"d.parquet: the column 'price.in' {told}"


def test_missing_and_doubled_columns(parquet, fatal) -> None:
    assert fatal(parquet(table=pa.table({"text": ["x"]}))) == (
        "d.parquet: there is no id column '_id' or 'id' among 'text'; name it with --id-field (id_field=)"
    )
    doubled = pa.Table.from_arrays([pa.array(["a"])] * 3, ["id", "text", "text"])
    assert fatal(parquet(table=doubled)) == "d.parquet: the column 'text' is there twice"


def test_not_parquet_and_cut_off(parquet, write, fatal) -> None:
    assert fatal(write("e.parquet", b"")).startswith("e.parquet: not a readable Parquet file (")
    assert fatal(write("e.parquet", b"words" * 99)).startswith("e.parquet: not a readable Parquet file (")
    whole = parquet().read_bytes()
    assert fatal(write("e.parquet", whole[:-20])).startswith("e.parquet: not a readable Parquet file (")


def test_damaged_pages(parquet, write, fatal) -> None:
    data = bytearray(parquet().read_bytes())
    data[4:60] = b"\xff" * 56
    assert fatal(write("e.parquet", bytes(data))).startswith("e.parquet: the Parquet data is damaged (")


def test_memory_stays_with_a_few_batches(tmp_path) -> None:
    path = tmp_path / "big.parquet"
    rows = 20_000
    table = pa.table(
        {"id": list(map(str, range(rows))), "text": [f"{i} " + "word " * 500 for i in range(rows)]}
    )
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False, compression="zstd")
    size = table.nbytes
    del table
    before, peak = pa.total_allocated_bytes(), 0
    for _ in open_corpus(path):
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert size > 40 << 20
    assert peak < 12 << 20
