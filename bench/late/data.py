"""What is searched: token vectors of real collections, and of a synthetic one; unit length, MaxSim.

``scifact``, ``vaswani``, ``cranfield``, ``debian-packages``, ``wordnet-usage`` or any BEIR folder
                  tokens by ``minilm-late`` (384 d), or fewer by PCA fitted on a sample of the document
                  tokens and scaled to unit length again; asked are judged queries
``synthetic:N``   N documents of 128 d by `bench.late.synthetic`

A ``document_length`` leaves the first so many tokens of each document, cut after PCA was fitted on all of
them: one map serves every length. Issues name scifact's 916 thousand tokens of 180 a document.

All engines get the same numbers. What this module makes is float16, which holds them exactly for
everyone: the truth is computed from it too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.late import synthetic
from bench.peers.late_base import Tokens
from retrieval.evaluate import BeirDataset
from retrieval.evaluate.beir import Qrels
from retrieval.types import FloatArray

__all__ = ["ENCODER", "LateData", "load"]

ENCODER = "minilm-late"
SAMPLE = 65_536
BLOCK = 65_536


@dataclass(frozen=True)
class LateData:
    """``key`` is another one for other vectors or queries, ``corpus`` for other vectors of documents. Without
    judgements ``qrels`` is empty; ``texts`` are those of the queries, empty where there are none."""

    name: str
    about: str
    corpus: str
    key: str
    documents: Tokens
    queries: Tokens
    document_ids: list[str]
    query_ids: list[str]
    qrels: Qrels
    texts: list[str]


def load(
    name: str,
    dim: int | None,
    n_queries: int,
    cache: Path,
    collections: Path,
    seed: int = 0,
    document_length: int | None = None,
) -> LateData:
    """The data of that name with vectors of ``dim``, and at most ``n_queries`` queries, chosen by the seed;
    of documents the first ``document_length`` tokens.

    Raises:
        ValueError: there is no such data.
    """
    family, _, rest = name.partition(":")
    if family == "synthetic":
        if not rest.isdecimal() or int(rest) < 1 or dim not in (None, synthetic.LAW.dim):
            raise ValueError(f"{name!r}: write synthetic:N, of {synthetic.LAW.dim} dimensions")
        return _synthetic(int(rest), n_queries, cache, document_length)
    folder = collections / name
    if not folder.is_dir():
        found = sorted(path.name for path in collections.glob("*/"))
        raise ValueError(f"there is no data {name!r}: give synthetic:N or one of {', '.join(found)}")
    return _collection(folder, dim, n_queries, cache, seed, document_length)


def _synthetic(n: int, n_queries: int, cache: Path, document_length: int | None) -> LateData:
    paths = synthetic.write(cache, n)
    file, lengths = _cut(paths["documents"], np.load(paths["documents-lengths"]), document_length)
    documents = Tokens(_mapped(file), _offsets(lengths))
    everything = Tokens(_mapped(paths["queries"]), _offsets(np.load(paths["queries-lengths"])))
    chosen = np.arange(min(n_queries, len(everything)))
    return LateData(
        name=f"synthetic:{n}" + _short(document_length),
        about=f"Zipf words of topics, spans as queries; {synthetic.LAW}" + _told(document_length),
        corpus=file.stem,
        key=_key(file, chosen),
        documents=documents,
        queries=_rows(everything, chosen),
        document_ids=[str(i) for i in range(n)],
        query_ids=[str(i) for i in chosen],
        qrels={},
        texts=[],
    )


def _collection(
    folder: Path, dim: int | None, n_queries: int, cache: Path, seed: int, document_length: int | None
) -> LateData:
    from bench.embeddings import text_ids, token_lengths, token_vectors

    files = {side: _file_of(token_vectors(folder, cache, side)) for side in ("documents", "queries")}
    whole = int(_mapped(files["documents"]).shape[1])
    if dim is not None and not 1 <= dim <= whole:
        raise ValueError(f"--dim {dim}: {ENCODER} gives {whole} dimensions")
    if dim not in (None, whole):
        files = _projected(files, dim, cache)
    lengths = {side: token_lengths(folder, cache, side) for side in files}
    files["documents"], lengths["documents"] = _cut(files["documents"], lengths["documents"], document_length)
    sides = {}
    for side, path in files.items():
        own = lengths[side]
        ids = [one for one, length in zip(text_ids(folder, side), own, strict=True) if length]
        sides[side] = Tokens(_mapped(path), _offsets(own[own > 0])), ids
    (documents, document_ids), (queries, query_ids) = sides["documents"], sides["queries"]
    judged = BeirDataset.open(folder)
    asked = [i for i, one in enumerate(query_ids) if one in judged.qrels]
    chosen = np.sort(np.random.default_rng(seed).permutation(np.array(asked))[:n_queries])
    names = [query_ids[i] for i in chosen]
    return LateData(
        name=f"{folder.name} {documents.dim} d" + _short(document_length),
        about=f"tokens of {folder.name} by {ENCODER}"
        + (f", PCA to {dim} d" if documents.dim < whole else "")
        + _told(document_length),
        corpus=files["documents"].stem,
        key=_key(files["documents"], chosen),
        documents=documents,
        queries=_rows(queries, chosen),
        document_ids=document_ids,
        query_ids=names,
        qrels={one: judged.qrels[one] for one in names},
        texts=[judged.queries[one] for one in names],
    )


def _projected(files: dict[str, Path], dim: int, cache: Path) -> dict[str, Path]:
    """Both sides by one map, fitted on document tokens; made once."""
    from retrieval.reduce import Pca

    paths = {side: cache / f"{path.stem}-pca{dim}.npy" for side, path in files.items()}
    if all(path.is_file() for path in paths.values()):
        return paths
    documents = _mapped(files["documents"])
    chosen = np.sort(np.random.default_rng(0).permutation(len(documents))[:SAMPLE])
    reducer = Pca.fit(np.asarray(documents[chosen], dtype=np.float32), dim)
    for side, path in files.items():
        values = _mapped(path)
        partial = paths[side].with_suffix(".partial")
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=(len(values), dim))
        for start in range(0, len(values), BLOCK):
            reduced = reducer.transform_documents(np.ascontiguousarray(values[start : start + BLOCK]))
            out[start : start + BLOCK] = _unit(reduced)
        out.flush()
        del out
        partial.replace(paths[side])
    return paths


def _cut(path: Path, lengths: NDArray[np.int64], longest: int | None) -> tuple[Path, NDArray[np.int64]]:
    """The file and the lengths of documents of at most ``longest`` tokens (None: of all); made once."""
    if longest is None:
        return path, lengths
    kept, to = np.minimum(lengths, longest), path.with_name(f"{path.stem}-first{longest}.npy")
    if not to.is_file():
        values, starts = _mapped(path), _offsets(lengths)
        partial = to.with_suffix(".partial")
        shape = int(kept.sum()), values.shape[1]
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=values.dtype, shape=shape)
        row = 0
        for start, length in zip(starts, kept, strict=False):
            out[row : row + length] = values[start : start + length]
            row += length
        out.flush()
        del out
        partial.replace(to)
    return to, kept


def _short(document_length: int | None) -> str:
    return "" if document_length is None else f" first {document_length}"


def _told(document_length: int | None) -> str:
    return "" if document_length is None else f", the first {document_length} of each document"


def _mapped(path: Path) -> NDArray[Any]:
    """Privately, so that libraries may be given it that insist on memory that can be written to."""
    mapped: NDArray[Any] = np.load(path, mmap_mode="c")
    return mapped


def _file_of(mapped: Any) -> Path:
    return Path(mapped.filename)


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _rows(texts: Tokens, chosen: NDArray[Any]) -> Tokens:
    parts = [texts[int(i)] for i in chosen]
    return Tokens(np.concatenate(parts), _offsets(np.array([len(part) for part in parts])))


def _key(documents: Path, queries: NDArray[Any]) -> str:
    digest = hashlib.sha256(np.asarray(queries, dtype=np.int64).tobytes()).hexdigest()[:8]
    return f"{documents.stem}-{digest}"


def _unit(values: FloatArray) -> FloatArray:
    scaled: FloatArray = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return scaled
