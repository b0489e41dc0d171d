"""Records in memory: lines of JSON and Arrow streams, by the rules of files."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date

import pyarrow as pa
import pytest

from retrieval.corpus import ErrorPolicy, FieldNames, arrow_rows, line_rows, records_of
from retrieval.errors import DataError
from retrieval.types import Document

TABLE = pa.table(
    {
        "id": ["a", "b", "c"],
        "text": pa.array(["x", "y", "a text of more than twelve bytes"], pa.string_view()),
        "title": ["T", None, ""],
        "kind": pa.array(["p", None, "p"]).dictionary_encode(),
        "day": [date(2020, 1, 2), None, None],
        "tags": [["p", "q"], [], None],
        "pair": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2)),
        "place": [{"lat": 1.5}, None, {"lat": None}],
    }
)


def where(number: int) -> str:
    return f"/documents/{number}"


def stream(table: pa.Table, compression: str | None = None, batch_rows: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, batch_rows)
    return sink.getvalue().to_pybytes()


def read(content: bytes) -> list[Document]:
    rows = arrow_rows(content, FieldNames(), where)
    return [record.document for record in records_of(rows, FieldNames(), ErrorPolicy())]


def test_lines_follow_the_rules_of_files() -> None:
    lines = [b'\xef\xbb\xbf{"id": 1, "text": "x", "metadata": {"year": 1999}}\n', b"\n", b" \r\n"]
    lines += [b'{"id": "b"}\n', b"{", b'{"id": "c", "text": "y", "text": "z"}', b"\xff"]
    lines += [b'{"_id": "d", "text": "w"}']
    policy = ErrorPolicy("collect")
    records = list(records_of(line_rows(iter(lines), where), FieldNames(), policy))
    assert [(one.where, one.document) for one in records] == [
        ("/documents/0", Document("1", "x", metadata={"year": 1999})),
        ("/documents/5", Document("d", "w")),
    ]
    assert [(one.where, one.detail.partition(":")[0]) for one in policy.errors] == [
        ("/documents/1", "the text is missing"),
        ("/documents/2", "not valid JSON"),
        ("/documents/3", "not valid JSON"),
        ("/documents/4", "not UTF-8 at byte 1 of the line; convert the file to UTF-8"),
    ]
    with pytest.raises(DataError, match="/documents/1: the text is missing"):
        list(records_of(line_rows(lines, where), FieldNames(), ErrorPolicy()))


def test_an_arrow_stream_becomes_documents() -> None:
    first, second, third = read(stream(TABLE, batch_rows=2))
    place = {"kind": "p", "day": date(2020, 1, 2), "tags": ["p", "q"], "pair": [1, 2], "place": {"lat": 1.5}}
    assert first == Document("a", "x", "T", place)
    assert (second.title, second.metadata["tags"], second.metadata["kind"]) == ("", [], None)
    assert third.text == "a text of more than twelve bytes"
    places = [place for place, _ in arrow_rows(stream(TABLE, batch_rows=1), FieldNames(), where)]
    assert places == ["/documents/0", "/documents/1", "/documents/2"]
    assert read(stream(TABLE.slice(1))) == [second, third]
    assert read(stream(TABLE.slice(0, 0))) == []
    big = pa.table({"id": [f"d{i}" for i in range(1000)], "text": ["x"] * 1000})
    assert [one.id for one in read(stream(big))] == [f"d{i}" for i in range(1000)]


def test_bad_rows_are_reported_one_by_one() -> None:
    policy = ErrorPolicy("skip")
    content = stream(pa.table({"id": ["a", None, "c"], "text": ["x", "y", None]}))
    records = list(records_of(arrow_rows(content, FieldNames(), where), FieldNames(), policy))
    assert [one.document.id for one in records] == ["a"]
    assert [one.where for one in policy.errors] == ["/documents/1", "/documents/2"]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("columns", [["id", "text"], ["id", "text", "kind"]])
def test_compressed_buffers_are_refused(compression: str, columns: list[str]) -> None:
    with pytest.raises(DataError, match="its buffers are compressed"):
        read(stream(TABLE.select(columns), compression))


NULLS = pa.nulls(1 << 24)


def _only(**columns: pa.Array) -> Callable[[], pa.Table]:
    return lambda: pa.table({"id": ["a"], "text": ["x"], **columns})


def _many_rows_of_a_long_entry() -> pa.Table:
    entry = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int8()), ["x" * 100_000])
    return pa.table({"id": ["a"] * 10_000, "text": entry})


def _views_of_one_long_text() -> pa.Table:
    views, long = bytearray(), b"x" * 100_000
    for _ in range(10_000):
        views += len(long).to_bytes(4, "little") + long[:4] + bytes(8)
    buffers = [None, pa.py_buffer(bytes(views)), pa.py_buffer(long)]
    return pa.table({"id": ["a"] * 10_000, "text": pa.Array.from_buffers(pa.string_view(), 10_000, buffers)})


@pytest.mark.parametrize(
    "made",
    [
        _only(b=pa.FixedSizeListArray.from_arrays(NULLS, len(NULLS))),
        _only(b=pa.ListArray.from_arrays([0, len(NULLS)], NULLS)),
        _only(b=pa.StructArray.from_arrays([pa.ListArray.from_arrays([0, len(NULLS)], NULLS)], ["c"])),
        _many_rows_of_a_long_entry,
        _views_of_one_long_text,
    ],
)
def test_few_bytes_do_not_become_many_values(made: Callable[[], pa.Table]) -> None:
    content = stream(made())
    assert len(content) < 1 << 19
    with pytest.raises(DataError, match=f"it has more values than {len(content)} bytes can mean"):
        read(content)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (pa.table({"id": ["a"]}), "there is no text column 'text'"),
        (pa.table({"text": ["a"]}), "there is no id column"),
        (_only(b=[b"raw"])(), "the column 'b' has type binary, which metadata cannot hold"),
        (_only(b=pa.array([["x"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))))(), "cast or drop it"),
        (pa.table([["a"], ["x"], ["y"]], names=["id", "text", "text"]), "the column 'text' is there twice"),
    ],
)
def test_tables_that_cannot_be_read(table: pa.Table, told: str) -> None:
    with pytest.raises(DataError, match=r"^the Arrow stream: ") as error:
        read(stream(table))
    assert told in str(error.value)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 100, b'{"id": "a"}', stream(TABLE)[:-200]])
def test_bytes_that_are_no_stream(content: bytes) -> None:
    with pytest.raises(DataError, match="not a readable Arrow stream"):
        read(content)


def test_changed_bytes_give_documents_or_a_data_error() -> None:
    content, rng = stream(TABLE), random.Random(7)
    outcomes = set()
    for _ in range(3000):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 1, 2, 5])):
            changed[rng.randrange(len(changed))] = rng.choice([0, 127, 255, rng.randrange(256)])
        try:
            read(bytes(changed))
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
