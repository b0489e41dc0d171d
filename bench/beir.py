"""Quality, sizes and times over many collections and encoders.

    python -m bench.beir DATA/scifact DATA/cranfield --encoder minilm --encoder minilm-late
    python -m bench.beir DATA/xquad --split test_en --where lang=en --json xquad.json

Prints a table and, with --json, writes every figure with the machine it was measured on. What
cannot be evaluated is told on stderr and left out; the exit code is then 1.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.machine import describe_machine, summarise_machine
from retrieval import (
    BuildProgress,
    EncoderConfig,
    Engine,
    Hybrid,
    IndexConfig,
    RetrievalError,
    RuntimeConfig,
    load_encoder,
)
from retrieval.encode import ConfiguredEncoder
from retrieval.evaluate import (
    DEFAULT_MEASURES,
    Predicate,
    SearchEngine,
    evaluate_beir,
    parse_measures,
    parse_where,
)

TABLE_WIDTH = 180
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
errors = Console(stderr=True)


@app.command()
def main(
    folders: Annotated[list[Path], typer.Argument(help="BEIR collections", metavar="DIR...")],
    encoder: Annotated[list[str], typer.Option(help="built-in name, folder or hub name; repeatable")],
    split: Annotated[str, typer.Option(help="qrels/SPLIT.tsv")] = "test",
    measure: Annotated[list[str] | None, typer.Option(help="like nDCG@10; repeatable")] = None,
    where: Annotated[list[str] | None, typer.Option(help="only documents with FIELD=VALUE")] = None,
    query_length: Annotated[int | None, typer.Option(help="token limit of a query (late)")] = None,
    document_length: Annotated[int | None, typer.Option(help="token limit of a document")] = None,
    precision: Annotated[str, typer.Option(help="auto, float32 or float16")] = "auto",
    dtype: Annotated[str, typer.Option(help="arithmetic of the model: float32, bfloat16")] = "float32",
    json_path: Annotated[Path | None, typer.Option("--json", help="write all figures here")] = None,
    index_root: Annotated[Path | None, typer.Option(help="keep built indexes in this folder")] = None,
    hybrid: Annotated[bool, typer.Option(help="each encoder also fused with BM25 over the texts")] = False,
) -> None:
    """Evaluate every encoder on every collection."""
    try:
        measures = [one.name for one in parse_measures(measure or DEFAULT_MEASURES)]
        limits = {"query_length": query_length, "document_length": document_length}
        encoders = [EncoderConfig.of(name=name, **limits) for name in encoder]
        task = Task(
            split, measures, tuple(where or ()), parse_where(where or ()),
            IndexConfig.of(precision=precision), RuntimeConfig.of(dtype=dtype), index_root, hybrid,
        )  # fmt: skip
    except RetrievalError as error:
        errors.print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    results, failures = evaluate_all(folders, encoders, task)
    machine = describe_machine()
    if results:
        # A file or a pipe has no width: rich would squeeze the table into 80 columns.
        output = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
        output.print(make_table(results, measures, summarise_machine(machine)))
    if json_path is not None:
        report = {"machine": machine, "results": results, "failures": failures}
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if failures:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Task:
    """What is the same for every collection and encoder of one call."""

    split: str
    measures: list[str]
    conditions: tuple[str, ...]
    where: Predicate | None
    index: IndexConfig
    runtime: RuntimeConfig
    index_root: Path | None
    hybrid: bool = False


def evaluate_all(
    folders: list[Path], encoders: list[EncoderConfig], task: Task
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Results, and what could not be evaluated and why. A model is loaded once."""
    results: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for config in encoders:
        try:
            encoder = load_encoder(config, task.runtime)
        except RetrievalError as error:
            _tell_failure(failures, "every collection", config.name, error)
            continue
        for folder in folders:
            try:
                results += evaluate_one(folder, encoder, task)
            except RetrievalError as error:
                _tell_failure(failures, folder.name, config.name, error)
    return results, failures


def evaluate_one(folder: Path, encoder: ConfiguredEncoder, task: Task) -> list[dict[str, Any]]:
    """The figures of one encoder on one collection, with the settings that gave them; and fused with BM25,
    where that is asked for."""
    ways: dict[str, Callable[[Engine], AbstractContextManager[SearchEngine]]] = {"": nullcontext}
    if task.hybrid:
        ways[" + BM25"] = lambda engine: nullcontext(Hybrid(engine))
    results = []
    with tempfile.TemporaryDirectory(prefix="retrieval-bench-") as scratch:
        root = task.index_root or Path(scratch)
        kept = root / index_name(folder, encoder, task.index, task.conditions)
        for added, through in ways.items():
            with Bars(f"{folder.name} {encoder.config.name}{added}") as bars:
                result = evaluate_beir(
                    folder, encoder, split=task.split, measures=task.measures, where=task.where,
                    index_path=kept, config=task.index, through=through,
                    build_progress=bars.built, query_progress=bars.searched,
                )  # fmt: skip
            settings = {"encoder_config": encoder.config.model_dump(), "where": list(task.conditions)}
            results.append({**result.to_json(), "encoder": f"{result.encoder}{added}", **settings})
    return results


def index_name(folder: Path, encoder: ConfiguredEncoder, config: IndexConfig, where: Iterable[str]) -> str:
    """A folder name that differs whenever the index would: corpus, encoder, precision, filter."""
    parts = [str(folder.resolve()), dict(encoder.fingerprint()), config.model_dump(), sorted(where)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{folder.resolve().name}-{encoder.config.name}").strip("-")
    return f"{readable[-60:]}-{digest}"


def make_table(results: list[dict[str, Any]], names: list[str], caption: str) -> Table:
    """A row per collection and encoder: measures, sizes, times."""
    table = Table(caption=caption)
    for column in ("collection", "split", "encoder"):
        table.add_column(column)
    numbers = [*names, "documents", "skipped", "bytes/doc", "build s", "encode ms/query", "search ms/query"]
    for column in numbers:
        table.add_column(column, justify="right")
    for result in results:
        index, times, n_queries = result["index"], result["times"], result["queries"]["judged"]
        encode = times["query_encode_seconds"]
        table.add_row(
            result["dataset"],
            result["split"],
            result["encoder"],
            *(f"{result['measures'][name]:.4f}" for name in names),
            f"{index['documents']:,}",
            str(index.get("skipped", "-")),
            f"{index['bytes_per_document']:,.0f}",
            f"{times['build_seconds']:.1f}" if "build_seconds" in times else "reused",
            "-" if encode is None else f"{1000 * encode / n_queries:.2f}",
            f"{times['search_ms_per_query']:.2f}",
        )
    return table


def _tell_failure(failures: list[dict[str, str]], dataset: str, encoder: str, error: Exception) -> None:
    failures.append({"dataset": dataset, "encoder": encoder, "error": str(error)})
    errors.print(f"skipped {dataset} with {encoder}: {error}", markup=False, soft_wrap=True)


class Bars:
    """One bar for building, one for searching, on stderr and only on a terminal."""

    def __init__(self, title: str) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
        self._title = title
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def built(self, state: BuildProgress) -> None:
        self._update("build", state.fraction)

    def searched(self, done: int, total: int) -> None:
        self._update("search", done / total)

    def _update(self, stage: str, fraction: float | None) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(f"{self._title}: {stage}", total=1.0)
        self._progress.update(self._tasks[stage], completed=fraction or 0.0)


if __name__ == "__main__":
    app()
