"""Vectors of real collections, encoded once and kept: .npy files in a folder outside the repository.

A file's name tells collection, encoder and side; the digest in it is of the encoder's fingerprint
and of the input files' sizes and names, so that another model or corpus never meets old vectors.
Files are written beside their name and renamed, mapped when read, and never pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.corpus import ErrorPolicy, open_corpus
from retrieval.encode import load_encoder
from retrieval.evaluate.beir import load_queries
from retrieval.types import Document, FloatArray

__all__ = [
    "DEFAULT_CACHE",
    "DEFAULT_COLLECTIONS",
    "document_vectors",
    "query_vectors",
    "text_ids",
    "token_lengths",
    "token_vectors",
]

DEFAULT_CACHE = Path(os.environ.get("RETRIEVAL_BENCH_CACHE", Path(tempfile.gettempdir()) / "retrieval-bench"))
DEFAULT_COLLECTIONS = Path(
    os.environ.get("RETRIEVAL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")
)
CHUNK = 1024


def document_vectors(
    folder: Path, cache_folder: Path, encoder: str = "minilm"
) -> tuple[FloatArray, list[str]]:
    """``(n, d)`` vectors of a collection's documents, mapped, and their ids."""
    path = _place(folder, cache_folder, encoder, "documents")
    ids = text_ids(folder, "documents")
    if not path.is_file():
        chunks = _chunks(_texts(folder, "documents"))
        _save_chunks(path, (np.asarray(_encoder(encoder).encode_document(some)) for some in chunks))
    return np.load(path, mmap_mode="r"), ids


def query_vectors(folder: Path, cache_folder: Path, encoder: str = "minilm") -> tuple[FloatArray, list[str]]:
    """``(m, d)`` vectors of all the collection's queries, judged or not, and their ids."""
    path = _place(folder, cache_folder, encoder, "queries")
    if not path.is_file():
        chunks = _chunks(_texts(folder, "queries"))
        _save_chunks(path, (np.asarray(_encoder(encoder).encode_query(some)) for some in chunks))
    return np.load(path, mmap_mode="r"), text_ids(folder, "queries")


def token_vectors(folder: Path, cache_folder: Path, side: str, encoder: str = "minilm-late") -> FloatArray:
    """``(n_tokens, d)`` vectors of all tokens of the documents or of the queries, in order, mapped."""
    path = _place(folder, cache_folder, encoder, f"{side}-tokens")
    if not path.is_file():
        model = _encoder(encoder)
        encode = model.encode_document if side == "documents" else model.encode_query
        _save_chunks(path, (encode(some).values for some in _chunks(_texts(folder, side))))
    return np.load(path, mmap_mode="r")


def token_lengths(
    folder: Path, cache_folder: Path, side: str, encoder: str = "minilm-late"
) -> NDArray[np.int64]:
    """How many rows of `token_vectors` belong to each document or query, in order: ``(n,)``.

    Raises:
        ValueError: the encoder names another number of tokens than there are vectors.
    """
    path = _place(folder, cache_folder, encoder, f"{side}-lengths")
    if not path.is_file():
        model = _encoder(encoder)
        tokens = model.document_tokens if side == "documents" else model.query_tokens
        lengths = np.array([len(tokens(text)) for text in _texts(folder, side)], dtype=np.int64)
        expected = len(token_vectors(folder, cache_folder, side, encoder))
        if lengths.sum() != expected:
            raise ValueError(
                f"{encoder} names {lengths.sum()} tokens of {folder.name}'s {side}, "
                f"but gave {expected} vectors"
            )
        _save_chunks(path, iter([lengths]))
    return np.asarray(np.load(path))


def text_ids(folder: Path, side: str) -> list[str]:
    """Ids of the documents or of the queries, in the order of their vectors."""
    if side == "documents":
        return [document.id for document in _documents(folder)]
    return list(load_queries(_file(folder, "queries")))


def _texts(folder: Path, side: str) -> Iterator[str]:
    if side == "documents":
        return (document.full_text for document in _documents(folder))
    return iter(load_queries(_file(folder, "queries")).values())


def _save_chunks(path: Path, chunks: Iterator[NDArray[Any]]) -> None:
    """Rows to one .npy file. They wait in a raw file, because the header names their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        raw, whole = Path(scratch) / "raw", Path(scratch) / "whole.npy"
        rows, shape, dtype = 0, (), np.dtype(np.float32)
        with raw.open("wb") as file:
            for chunk in chunks:
                rows, shape, dtype = rows + len(chunk), chunk.shape[1:], chunk.dtype
                file.write(np.ascontiguousarray(chunk).data)
        if not rows:
            raise ValueError(f"there is nothing to keep in {path.name}")
        target = np.lib.format.open_memmap(whole, mode="w+", dtype=dtype, shape=(rows, *shape))
        target[:] = np.memmap(raw, dtype=dtype, mode="r", shape=(rows, *shape))
        target.flush()
        del target
        whole.replace(path)


@cache
def _encoder(name: str) -> Any:
    return load_encoder(name)


def _place(folder: Path, cache_folder: Path, encoder: str, side: str) -> Path:
    facts: list[Any] = [dict(_encoder(encoder).fingerprint())]
    for stem in ("corpus", "queries"):
        facts.append([stem, _file(folder, stem).stat().st_size])
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return cache_folder / f"{folder.name}-{encoder}-{side}-{digest}.npy"


def _file(folder: Path, stem: str) -> Path:
    found = [folder / f"{stem}.jsonl{ending}" for ending in ("", ".gz")]
    return next((path for path in found if path.is_file()), found[0])


def _documents(folder: Path) -> Iterator[Document]:
    """As an evaluation indexes them: what has no text is left out."""
    for record in open_corpus(folder, policy=ErrorPolicy("skip")):
        if record.document.full_text:
            yield record.document


def _chunks(texts: Iterator[str]) -> Iterator[Sequence[str]]:
    while some := list(islice(texts, CHUNK)):
        yield some
