"""Random documents, written in each format, come back as they were."""

from __future__ import annotations

import csv
import json
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.corpus import FieldTypes, metadata_columns, open_corpus
from retrieval.types import Document, Record

NAMES = ("lang", "year", "größe", "a b", 'q"uote', "text ")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = {
    "bool": st.booleans(),
    "int64": INT64,
    "float64": FLOAT,
    "string": TEXT,
    "date32": st.dates(),
    "timestamp[us]": st.datetimes(),
    "timestamp[us, tz=UTC]": st.datetimes(timezones=st.just(UTC)),
}


def typed_values(kind) -> st.SearchStrategy:
    """Values of a field type, null among them at the top."""
    return st.none() | solid_values(kind)


def solid_values(kind) -> st.SearchStrategy:
    if isinstance(kind, str):
        return SCALARS[kind]
    if "list" in kind:
        return st.lists(typed_values(kind["list"]), max_size=3)
    return st.fixed_dictionaries({name: typed_values(inner) for name, inner in kind["struct"].items()})


def kinds(scalars) -> st.SearchStrategy:
    return st.recursive(
        st.sampled_from(scalars),
        lambda inner: (
            st.builds(lambda kind: {"list": kind}, inner)
            | st.builds(
                lambda fields: {"struct": fields}, st.dictionaries(TEXT, inner, min_size=1, max_size=3)
            )
        ),
        max_leaves=4,
    )


@st.composite
def corpora(draw, scalars=tuple(SCALARS), nested=True) -> list[Document]:
    """Up to eight documents that share fields with types."""
    each = kinds(scalars) if nested else st.sampled_from(scalars)
    fields = draw(st.dictionaries(st.sampled_from(NAMES), each, max_size=4))
    rows = draw(st.integers(0, 8))
    texts = TEXT.filter(lambda text: text.strip())
    return [
        Document(
            f"{draw(st.text('abzé世 .-', max_size=8))}-{i}",
            draw(texts),
            draw(TEXT),
            {name: draw(typed_values(kind)) for name, kind in fields.items()},
        )
        for i in range(rows)
    ]


def read_back(name: str, write) -> list[Document]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return [record.document for record in open_corpus(path)]


@settings(max_examples=60)
@given(corpora(scalars=("bool", "int64", "float64", "string")), st.booleans(), st.booleans())
def test_jsonl(documents, ascii_only, in_metadata) -> None:
    def write(path: Path) -> None:
        rows = [
            {"_id": d.id, "title": d.title, "text": d.text}
            | ({"metadata": dict(d.metadata)} if in_metadata else d.metadata)
            for d in documents
        ]
        path.write_bytes("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode())

    assert read_back("d.jsonl", write) == documents


@settings(max_examples=60)
@given(corpora(scalars=("string",), nested=False), st.sampled_from(["d.csv", "d.tsv"]))
def test_csv(documents, name) -> None:
    names = list(documents[0].metadata) if documents else []

    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, delimiter="\t" if name == "d.tsv" else ",", quoting=csv.QUOTE_ALL)
            rows.writerow(["id", "title", "text", *names])
            rows.writerows([d.id, d.title, d.text, *d.metadata.values()] for d in documents)

    expected = [
        Document(d.id, d.text, d.title, {k: v or None for k, v in d.metadata.items()}) for d in documents
    ]
    assert read_back(name, write) == expected


def typed(documents: list[Document]) -> FieldTypes:
    types = FieldTypes()
    for i, document in enumerate(documents):
        types.observe(Record(document, f"d:{i}"))
    return types


def normal(value):
    """Equal, and of the same type, all the way down."""
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    return (type(value), value)


@settings(max_examples=60)
@given(corpora())
def test_parquet(documents) -> None:
    base = {
        "id": pa.array([d.id for d in documents], pa.string()),
        "title": pa.array([d.title for d in documents], pa.string()),
        "text": pa.array([d.text for d in documents], pa.string()),
    }
    columns = metadata_columns(documents, typed(documents).types)
    empty = any(pa.types.is_struct(column.type) and not column.type.num_fields for column in columns.values())
    assert not empty
    back = read_back("d.parquet", lambda path: pq.write_table(pa.table(base | columns), path))
    assert back == documents
    assert [normal(dict(d.metadata)) for d in back] == [normal(dict(d.metadata)) for d in documents]


@settings(max_examples=100)
@given(corpora())
def test_columns_hold_the_metadata(documents) -> None:
    types = typed(documents)
    columns = metadata_columns(documents, FieldTypes.from_json(types.to_json()).types)
    for column in columns.values():
        column.validate(full=True)
    for i, document in enumerate(documents):
        row = {name: column[i].as_py() for name, column in columns.items()}
        assert row == document.metadata


def test_dates_are_not_time_stamps() -> None:
    documents = [Document("a", "t", "", {"day": date(2020, 1, 2), "at": datetime(2020, 1, 2)})]
    assert typed(documents).types == {"day": pa.date32(), "at": pa.timestamp("us")}
