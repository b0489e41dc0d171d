"""What does every codec cost in quality, at which bytes?

    python -m bench.codecs [COLLECTION...] [--encoder minilm] [--json OUT]

Documents of each collection are encoded once (`bench.embeddings`), normalised, and coded; each judged
query is ranked (a) by the codes alone, and (b) with ten candidates a hit looked up by the codes and
scored again from int8 vectors: 100 for nDCG@10, 1,000 for R@100. Losses are against exact float32 scores
of the same vectors. No index, no early stop: what is lost here, no search can find again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.embeddings import DEFAULT_CACHE, DEFAULT_COLLECTIONS, document_vectors, query_vectors
from bench.machine import describe_machine, summarise_machine
from retrieval.config import RecipeConfig
from retrieval.evaluate.beir import BeirDataset
from retrieval.evaluate.measures import measure
from retrieval.index.ivf import UNCENTRED
from retrieval.kernels.topk import topk
from retrieval.quantize import Int8Codec, fit_codec
from retrieval.reduce import fit_reducer
from retrieval.types import FloatArray

__all__ = ["CANDIDATES", "RECIPES", "Coded", "Collection", "evaluate", "score"]

MEASURES = ("nDCG@10", "R@100")
CANDIDATES = 10
"""Candidates a hit that are scored again."""

RECIPES: dict[str, dict[str, Any]] = {
    "float16": {"codec": "float16"},
    "int8": {"codec": "int8"},
    "bits 8": {"codec": "bits", "bits": 8},
    "bits 4": {"codec": "bits", "bits": 4},
    "bits 2": {"codec": "bits", "bits": 2},
    "bits 1": {"codec": "bits", "bits": 1},
    "sign": {"codec": "sign"},
    "pq d/2 x 4": {"codec": "pq", "m": 2, "nbits": 4},
    "opq d/2 x 4": {"codec": "opq", "m": 2, "nbits": 4},
    "pq d/4 x 4": {"codec": "pq", "m": 4, "nbits": 4},
    "opq d/4 x 4": {"codec": "opq", "m": 4, "nbits": 4},
    "pq d/8 x 8": {"codec": "pq", "m": 8, "nbits": 8},
    "opq d/8 x 8": {"codec": "opq", "m": 8, "nbits": 8},
    "leanvec d/2 + int8": {"reduce": "leanvec:2", "codec": "int8"},
    "leanvec d/2 + bits 4": {"reduce": "leanvec:2", "codec": "bits", "bits": 4},
    "leanvec d/2 + bits 2": {"reduce": "leanvec:2", "codec": "bits", "bits": 2},
    "leanvec d/2 + bits 1": {"reduce": "leanvec:2", "codec": "bits", "bits": 1},
    "leanvec d/4 + bits 4": {"reduce": "leanvec:4", "codec": "bits", "bits": 4},
    "matryoshka d/2 + bits 2": {"reduce": "matryoshka:2", "codec": "bits", "bits": 2},
}
"""By name: a recipe's settings; ``m`` and the numbers in ``reduce`` divide the dimension. LeanVec knows no
queries here: it is PCA."""


@dataclass(frozen=True)
class Collection:
    """Unit vectors and judgements."""

    name: str
    documents: FloatArray
    ids: list[str]
    queries: FloatArray
    dataset: BeirDataset

    @classmethod
    def open(cls, folder: Path, cache: Path, encoder: str) -> Collection:
        """The judged queries of the test split, and all documents."""
        dataset = BeirDataset.open(folder)
        documents, ids = document_vectors(folder, cache, encoder)
        vectors, asked = query_vectors(folder, cache, encoder)
        place = {query_id: i for i, query_id in enumerate(asked)}
        rows = [place[query_id] for query_id in dataset.queries]
        return cls(folder.name, _unit(documents), ids, _unit(vectors[rows]), dataset)


@dataclass(frozen=True)
class Coded:
    """Estimates ``(n_queries, n)`` by codes, and the bytes of one."""

    scores: FloatArray
    bytes: float


def score(recipe: dict[str, Any], documents: FloatArray, queries: FloatArray) -> Coded:
    """Train, code and score as a flat index does: less the mean of the documents, which is added back."""
    dim = documents.shape[1]
    settings = dict(recipe)
    if "m" in settings:
        settings["m"] = max(1, dim // settings["m"])
    if "reduce" in settings:
        name, _, part = settings["reduce"].partition(":")
        settings["reduce"] = f"{name}:{max(1, dim // int(part))}"
    config = RecipeConfig.of(**settings)
    reducer = fit_reducer(config.reduce, documents, None, config.seed)
    if reducer is not None:
        documents, queries = reducer.transform_documents(documents), reducer.transform_queries(queries)
    mean = documents.mean(axis=0) * (config.codec not in UNCENTRED)
    codec = fit_codec(config.codec, documents - mean, config.model_dump(), config.seed)
    codes = codec.encode(documents - mean)
    return Coded(codec.scores(queries, codes) + (queries @ mean)[:, None], codes.nbytes / len(codes))


def evaluate(collection: Collection, estimates: FloatArray, rescored: FloatArray) -> dict[str, Any]:
    """Measures by ``estimates`` alone, and of the best of them by ``rescored``; both ``(n_queries, n)``."""
    found: dict[str, Any] = {}
    for name in MEASURES:
        k = int(name.partition("@")[2])
        found[name] = {
            "codes": _measure(collection, estimates, estimates, k, k, name),
            "refined": _measure(collection, estimates, rescored, CANDIDATES * k, k, name),
        }
    return found


def _measure(
    collection: Collection, estimates: FloatArray, final: FloatArray, candidates: int, k: int, name: str
) -> float:
    run = {}
    for i, query_id in enumerate(collection.dataset.queries):
        pool = np.sort(topk(estimates[i], candidates)[1])  # equal scores stay in the order of ordinals
        best = pool[topk(final[i, pool], k)[1]]
        # By rank: measures order by score as float32 alone, and codes have many ties.
        run[query_id] = [(collection.ids[ordinal], float(-rank)) for rank, ordinal in enumerate(best)]
    return measure(collection.dataset.qrels, run, [name]).mean[name]


def _bench(collection: Collection) -> list[dict[str, Any]]:
    documents, queries = collection.documents, collection.queries
    exact = queries @ documents.T
    int8 = Int8Codec.fit(documents)
    rescored = int8.scores(queries, int8.encode(documents))
    rows = []
    for name, recipe in {"float32": None, **RECIPES}.items():
        coded = (
            Coded(exact, documents.itemsize * documents.shape[1])
            if recipe is None
            else score(recipe, documents, queries)
        )
        found = evaluate(collection, coded.scores, exact if recipe is None else rescored)
        rows.append({"collection": collection.name, "codec": name, "bytes": coded.bytes, **found})
    for row in rows:
        for one in MEASURES:
            truth = rows[0][one]["codes"]
            row[one]["loss"] = {how: 100 * (1 - row[one][how] / truth) for how in ("codes", "refined")}
    return rows


def _table(name: str, rows: Sequence[dict[str, Any]], caption: str) -> Table:
    table = Table(
        title=f"{name}: by codes alone, and refined from int8 (10 candidates a hit)", caption=caption
    )
    table.add_column("codec")
    table.add_column("bytes", justify="right")
    for one in MEASURES:
        for how in ("codes", "loss %", "refined", "loss %"):
            table.add_column(f"{one} {how}" if how != "loss %" else how, justify="right")
    for row in sorted(rows, key=lambda row: -row["bytes"]):
        cells = [row["codec"], f"{row['bytes']:.0f}"]
        for one in MEASURES:
            for how in ("codes", "refined"):
                cells += [f"{row[one][how]:.4f}", f"{row[one]['loss'][how]:+.2f}"]
        table.add_row(*cells)
    return table


def _unit(values: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.ascontiguousarray(values / np.maximum(lengths, 1e-12), dtype=np.float32)


def main(
    collections: Annotated[list[str] | None, typer.Argument(metavar="COLLECTION...")] = None,
    encoder: str = "minilm",
    folder: Annotated[Path, typer.Option(help="where the collections are")] = DEFAULT_COLLECTIONS,
    cache: Annotated[Path, typer.Option(help="folder that keeps embeddings")] = DEFAULT_CACHE,
    json_out: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Code, rank, measure."""
    console = Console(width=140)
    machine = describe_machine()
    rows = []
    for name in collections or ["scifact", "cranfield", "vaswani"]:
        found = _bench(Collection.open(folder / name, cache, encoder))
        console.print(_table(f"{name}, {encoder}", found, summarise_machine(machine)))
        rows += found
    if json_out is not None:
        json_out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
