"""Whether an index keeps its promises: the recall target on queries it has never seen, and filters of any
selectivity that are always filled.

    python -m bench.recall --data minilm-tokens --n 100000
    python -m bench.recall --data synthetic:200000 --preset accurate --set nlist=1024

The engine is built as a user builds it who brings vectors, with a recipe; its recall curve comes from its own
pseudo-queries (`retrieval.training.queries.shifted_documents`). It is asked the queries of the data, and its
hits are compared with those of its own exact search.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.ann import data as datasets
from bench.embeddings import DEFAULT_CACHE, DEFAULT_COLLECTIONS
from bench.machine import describe_machine, summarise_machine
from retrieval import Document, Engine, GivenVectors, IndexConfig, RuntimeConfig, SearchResult
from retrieval.presets import recipe_of
from retrieval.types import FloatArray

TARGETS = (0.9, 0.95, 0.99)
SELECTIVITIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.9)
KS = (10, 100)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[
        str, typer.Option(help="minilm-tokens[:documents], minilm:COLLECTION, synthetic:N")
    ] = "minilm-tokens",
    n: Annotated[int | None, typer.Option(min=1000, help="vectors at most")] = 100_000,
    queries: Annotated[int, typer.Option(min=1, help="queries")] = 200,
    preset: Annotated[str, typer.Option(help="recipe")] = "fast",
    changes: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE of the recipe")] = None,
    precision: Annotated[str, typer.Option(help="stored vectors")] = "float16",
    cache: Annotated[Path, typer.Option(help="folder that keeps embeddings")] = DEFAULT_CACHE,
    collections: Annotated[Path, typer.Option(help="folder of BEIR collections")] = DEFAULT_COLLECTIONS,
) -> None:
    """Build, ask, compare."""
    console = Console(width=120)
    chosen = datasets.load(data, n, queries, cache, collections)
    console.print(f"{chosen.name}: {chosen.about}", markup=False, highlight=False)
    recipe = recipe_of(preset, changes)
    config = IndexConfig.of(precision=precision, recipe=recipe, segment_documents=1_000_000)
    caption = summarise_machine(describe_machine())
    manual = RuntimeConfig.of(maintenance="manual")
    with tempfile.TemporaryDirectory() as folder:
        given = GivenVectors(chosen.vectors.shape[1], metric="dot", model=chosen.name)
        report = Engine.build(folder + "/i", _documents(chosen.vectors), given, config=config)
        console.print(f"built in {report.seconds:.1f} s, trained in {report.training.seconds:.1f} s")  # type: ignore[union-attr]
        with Engine.open(folder + "/i", runtime=manual) as engine:
            asked = list(chosen.queries)
            console.print(_targets(engine, asked, caption))
            console.print(_filters(engine, asked, caption))


def _documents(vectors: FloatArray) -> Iterator[Document]:
    share = np.random.default_rng(1).permutation(len(vectors)) / len(vectors)
    for i, vector in enumerate(vectors):
        yield Document(str(i), "", metadata={"share": float(share[i])}, vectors=vector)


def _targets(engine: Engine, queries: Sequence[FloatArray], caption: str) -> Table:
    table = Table(title="recall target on queries never seen", caption=caption)
    for name in ("k", "target", "recall", "codes scanned", "vectors read", "ms p50", "exact ms p50"):
        table.add_column(name, justify="right")
    for k in KS:
        truth, exact_ms = _ask(engine, queries, k, params={"exact": True})
        for target in TARGETS:
            found, ms = _ask(engine, queries, k, params={"recall_target": target})
            plans = [
                engine.search(q, k, params={"recall_target": target}, fields=(), explain="plan").plan or {}
                for q in queries[:50]
            ]
            counts = [np.mean([plan[name] for plan in plans]) for name in ("codes_scanned", "vectors_read")]
            recall = _recall(found, truth)
            table.add_row(
                str(k), f"{target}", f"{recall:.4f}", *(f"{c:,.0f}" for c in counts), _p50(ms), _p50(exact_ms)
            )
    return table


def _filters(engine: Engine, queries: Sequence[FloatArray], caption: str) -> Table:
    table = Table(title="filters, at the recipe's recall target", caption=caption)
    for name in ("k", "selectivity", "fewest hits", "recall", "how", "ms p50", "exact ms p50"):
        table.add_column(name, justify="right")
    for k in KS:
        for selectivity in SELECTIVITIES:
            wanted = {"share": {"lt": selectivity}}
            truth, exact_ms = _ask(engine, queries, k, params={"exact": True}, filter=wanted)
            found, ms = _ask(engine, queries, k, filter=wanted)
            plan = engine.search(queries[0], k, filter=wanted, fields=(), explain="plan").plan or {}
            fewest = min(len(hits) for hits in found)
            assert fewest == min(k, plan["accepted"]), f"{fewest} hits of {plan['accepted']} accepted"
            how = ", ".join(plan["segments"])
            row = [
                f"{selectivity}",
                f"{fewest}",
                f"{_recall(found, truth):.4f}",
                how,
                _p50(ms),
                _p50(exact_ms),
            ]
            table.add_row(str(k), *row)
    return table


def _ask(
    engine: Engine, queries: Sequence[FloatArray], k: int, **options: Any
) -> tuple[list[SearchResult], list[float]]:
    results, times = [], []
    for query in queries:
        started = time.perf_counter()
        results.append(engine.search(query, k, fields=(), **options))
        times.append(1000 * (time.perf_counter() - started))
    return results, times


def _recall(found: Sequence[SearchResult], truth: Sequence[SearchResult]) -> float:
    shares = [
        len({hit.id for hit in mine} & {hit.id for hit in best}) / max(len(best), 1)
        for mine, best in zip(found, truth, strict=True)
    ]
    return float(np.mean(shares))


def _p50(times: Sequence[float]) -> str:
    return f"{np.median(times):.2f}"


if __name__ == "__main__":
    app()
