"""Pending documents: the face of a segment over batches that keep coming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.corpus import FieldTypes
from retrieval.quantize import FloatCodec
from retrieval.storage.births import birth_keys
from retrieval.storage.pending import PendingBuffer, PendingReader, pending_batch
from retrieval.storage.records import PendingBatch
from retrieval.types import Document, Ragged, Record

DIM = 3
Batch = list[tuple[Document, int]]
"""Documents with their numbers of tokens."""

metadatas = st.fixed_dictionaries(
    {}, optional={"n": st.sampled_from([1, 2, 0.5]), "word": st.sampled_from(["a", "b"]), "blank": st.none()}
)


@st.composite
def batches(draw: st.DrawFn) -> list[Batch]:
    made = draw(
        st.lists(st.lists(st.tuples(metadatas, st.integers(0, 3)), min_size=1, max_size=4), max_size=5)
    )
    return [
        [(Document(f"{i}-{j}", f"text {j}", f"title {i}", m), n) for j, (m, n) in enumerate(one)]
        for i, one in enumerate(made)
    ]


def types_of(given: Sequence[Batch]) -> FieldTypes:
    types = FieldTypes()
    for document, _ in (item for one in given for item in one):
        types.observe(Record(document, ""))
    return types


def vectors_of(one: Batch, seed: int) -> Ragged:
    rng = np.random.default_rng(seed)
    return Ragged.from_list([rng.standard_normal((n, DIM)).astype(np.float32) for _, n in one], DIM)


def row(given: Sequence[Batch], i: int, codec: FloatCodec) -> PendingBatch:
    documents = [document for document, _ in given[i]]
    first = sum(map(len, given[:i]))
    known = types_of(given[: i + 1]).types  # what the index knows when the batch comes
    made = pending_batch(9, first, 10 + i, documents, known, vectors_of(given[i], i), codec)
    return PendingBatch.from_row(made.as_row())


def check(reader: PendingReader, given: Sequence[Batch], codec: FloatCodec) -> None:
    """The reader shows these batches and nothing else."""
    documents = [document for one in given for document, _ in one]
    assert reader.n_documents == len(reader.documents) == len(documents)
    assert reader.documents.ids() == [document.id for document in documents]
    assert reader.documents.id_column().to_pylist() == [document.id for document in documents]
    births = np.array([(9, i) for i in range(len(documents))], dtype=np.int64).reshape(-1, 2)
    np.testing.assert_array_equal(reader.births, birth_keys(births))
    values = [vectors_of(one, i)[j] for i, one in enumerate(given) for j in range(len(one))]
    for ordinal, (document, vectors) in enumerate(zip(documents, values, strict=True)):
        np.testing.assert_array_equal(reader.document_codes(ordinal), codec.encode(vectors))
        found = reader.documents.document(ordinal)
        present = {name: value for name, value in document.metadata.items() if value is not None}
        assert found == replace(document, metadata=present)
    norms = [float(np.linalg.norm(row)) for row in np.concatenate([np.zeros((1, DIM)), *values])]
    assert reader.max_norm == pytest.approx(max(norms), rel=2e-3)
    check_columns(reader, given, documents)


def check_columns(reader: PendingReader, given: Sequence[Batch], documents: list[Document]) -> None:
    fields = types_of(given).types
    chosen = np.arange(len(documents))[::2]
    table = reader.documents.rows(chosen, fields)
    for name, kind in fields.items():
        expected: list[Any] = [document.metadata.get(name) for document in documents]
        column = reader.documents.column(name)
        assert column is not None and column.type == kind and column.to_pylist() == expected
        assert table.column(f"metadata.{name}").type == kind
        assert table.column(f"metadata.{name}").to_pylist() == expected[::2]
    assert reader.documents.column("never") is None


@given(batches(), st.sampled_from(["float32", "float16"]))
def test_a_reader_is_of_its_moment(given: list[Batch], precision: Any) -> None:
    """Every reader ever made still shows what had come when it was made."""
    codec, readers = FloatCodec(precision), []
    buffer = PendingBuffer(9, codec, DIM)
    readers.append(buffer.reader({}))
    for i in range(len(given)):
        buffer.append(row(given, i, codec))
        assert buffer.generation == 10 + i
        readers.append(buffer.reader(types_of(given[: i + 1]).types))
    for n, reader in enumerate(readers):
        check(reader, given[:n], codec)


def test_an_old_batch_shows_the_wider_type_of_today() -> None:
    given = [[(Document("a", "x", metadata={"n": 1}), 1)], [(Document("b", "y", metadata={"n": 0.5}), 1)]]
    codec = FloatCodec("float32")
    buffer = PendingBuffer(9, codec, DIM)
    buffer.append(row(given, 0, codec))
    narrow = buffer.reader(types_of(given[:1]).types).documents.column("n")
    wide = buffer.reader(types_of(given).types).documents.column("n")
    assert narrow is not None and str(narrow.type) == "int64"
    assert wide is not None and str(wide.type) == "double" and wide.to_pylist() == [1.0]


@pytest.mark.parametrize("ordinal", [-1, 1, 100])
def test_no_document_beyond_those_there_are(ordinal: int) -> None:
    codec = FloatCodec("float32")
    buffer = PendingBuffer(9, codec, DIM)
    buffer.append(row([[(Document("a", "x"), 1)]], 0, codec))
    reader = buffer.reader({})
    buffer.append(replace(row([[(Document("a", "x"), 1)]], 0, codec), first=1))
    with pytest.raises(IndexError):
        reader.documents.text(ordinal)
