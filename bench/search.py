"""How fast is exact search, and how far from what this machine can do?

    python -m bench.search [--documents 100000] [--json OUT]

Random vectors of the shapes of real ones, through the engine's own read path (candidates, merge,
refine) on a mapped index. Beside it, interleaved in the same process: the same product by torch,
and the limits measured in the same run: a float32 matrix product that fits the cache, and the rate
at which memory is read. Results are checked against torch before anything is timed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from bench.machine import describe_machine
from retrieval import Document, Engine, IndexConfig
from retrieval.types import FloatArray

ROUNDS = 7


class Random:
    """Unit vectors that look at the text's number alone: ``lengths`` tokens each."""

    def __init__(self, kind: str, dim: int, lengths: range) -> None:
        self.kind, self.dim, self.lengths = kind, dim, lengths
        self.metric = "dot" if kind == "dense" else "maxsim"

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "random", "kind": self.kind, "dim": self.dim}

    def encode_document(self, texts: Sequence[str]) -> Any:
        vectors = [self._vectors(int(text), self.lengths) for text in texts]
        return np.concatenate(vectors) if self.kind == "dense" else vectors

    def encode_query(self, texts: Sequence[str]) -> Any:
        n = 1 if self.kind == "dense" else 32
        vectors = [self._vectors(int(text), range(n, n + 1)) for text in texts]
        return np.concatenate(vectors) if self.kind == "dense" else vectors

    def _vectors(self, seed: int, lengths: range) -> FloatArray:
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((rng.integers(lengths.start, lengths.stop), self.dim), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def timed(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each call, taken in turns so that a slow moment hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def limits() -> dict[str, Callable[[], object]]:
    """Calls whose rate bounds ours: 2 GFLOP of float32, and 256 MB read."""
    a = np.ones((1024, 1024), dtype=np.float32)
    memory = np.ones(64 << 20, dtype=np.float32)
    return {"gemm": lambda: a @ a, "read": memory.sum}


def bench(kind: str, documents: int, dim: int, lengths: range) -> dict[str, Any]:
    """One shape: build, check, time."""
    encoder = Random(kind, dim, lengths)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        corpus = (Document(f"{i:08d}", str(i)) for i in range(documents))
        config = IndexConfig.of(precision="float32", segment_documents=16384)
        Engine.build(path, corpus, encoder, config=config)
        with Engine.open(path, encoder) as engine:
            return measure(engine, encoder, documents)


def measure(engine: Engine, encoder: Random, documents: int) -> dict[str, Any]:
    vectors = [encoder.encode_document([str(i)]) for i in range(documents)]
    offsets = np.cumsum([0, *(len(v[0]) if encoder.kind == "late" else 1 for v in vectors)])
    values = torch.from_numpy(np.concatenate([v[0] if encoder.kind == "late" else v for v in vectors]))
    query = np.asarray(encoder.encode_query([str(10**9)])[0])
    queries = torch.from_numpy(np.atleast_2d(query))

    def peer() -> list[int]:
        products = queries @ values.T
        best = (
            torch.segment_reduce(products.T.contiguous(), "max", offsets=torch.from_numpy(offsets))
            if encoder.kind == "late"
            else products.T
        )
        return [int(i) for i in best.sum(dim=1).topk(10).indices]

    assert [int(hit.id) for hit in engine.search(query, k=10, fields=())] == peer(), (
        "wrong results are not timed"
    )
    seconds = timed({"ours": lambda: engine.search(query, k=10, fields=()), "torch": peer, **limits()})
    work = 2 * len(values) * len(queries) * encoder.dim
    floor = max(work / (2 * 1024**3 / seconds["gemm"]), values.nbytes / ((256 << 20) / seconds["read"]))
    return {
        "kind": encoder.kind,
        "documents": documents,
        "tokens": len(values),
        "dim": encoder.dim,
        "query_tokens": len(queries),
        "ms": 1000 * seconds["ours"],
        "torch_ms": 1000 * seconds["torch"],
        "limit_ms": 1000 * floor,
        "of_limit": floor / seconds["ours"],
        "torch_over_ours": seconds["torch"] / seconds["ours"],
    }


def main(documents: int = 100_000, json_out: Annotated[Path | None, typer.Option("--json")] = None) -> None:
    """Measure dense and late exact search."""
    machine = describe_machine()
    rows = [
        bench("dense", documents, 384, range(1, 2)),
        bench("late", max(documents // 25, 1), 128, range(40, 200)),
    ]
    table = Table(title="exact search of one query, k = 10, median ms")
    for name in ("kind", "documents", "tokens", "ms", "torch ms", "limit ms", "of limit", "torch / ours"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = [
            f"{row[name]:.2f}" for name in ("ms", "torch_ms", "limit_ms", "of_limit", "torch_over_ours")
        ]
        table.add_row(row["kind"], str(row["documents"]), str(row["tokens"]), *numbers)
    console = Console()
    console.print(table)
    console.print(machine)
    if json_out is not None:
        json_out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
