"""How fast, how small and how good is late interaction: ours and other engines on the same token vectors.

    python -m bench.late --data scifact --dim 128 --document-length 180 --queries 200 --out DIR
    python -m bench.late --data synthetic:200000 --queries 100 --only "ours tokens" --keep DIR

Every engine is built from the same vectors in this one process; each has its search parameters swept,
and the settings worth timing are timed in turns, one query at a time. Recall is against exact MaxSim in
float32. Encoding a query costs every engine the same and is told apart. An engine that is not installed
is skipped by name: ``pip install 'retrieval-engine[bench]'``; pyproject.toml says which cannot be there.
With ``--keep`` indexes stay in a folder, where the next run on the same data finds those that can be opened
again: whoever changes an engine removes its folder there.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.ann.report import write_json
from bench.embeddings import DEFAULT_CACHE, DEFAULT_COLLECTIONS
from bench.late import data as datasets
from bench.late.measure import Options, build_all, encode_ms, measure
from bench.late.report import build_table, file_stem, plot, point_table, to_json
from bench.late.truth import kept
from bench.machine import describe_machine, summarise_machine
from bench.peers.late import late_engines
from bench.peers.late_base import LateEngine
from bench.peers.ours_late import OursLate

WIDTH = 190
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[str, typer.Option(help="a BEIR collection, or synthetic:N")] = "scifact",
    dim: Annotated[int | None, typer.Option(min=1, help="dimensions, by PCA; default: all")] = None,
    document_length: Annotated[
        int | None, typer.Option(min=1, help="tokens of a document at most, cut after PCA; default: all")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="queries at most")] = 200,
    only: Annotated[list[str] | None, typer.Option(help="a name or part of names; repeatable")] = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="documents asked for")] = 100,
    threads: Annotated[str, typer.Option(help="threads that ask at once, by commas")] = "1,2",
    query_threads: Annotated[str, typer.Option(help="threads that share a query of ours, by commas")] = "1",
    rounds: Annotated[int, typer.Option(min=1, help="times that every point is timed")] = 3,
    seconds: Annotated[float, typer.Option(help="what a point may take in a round")] = 2.0,
    build_threads: Annotated[int, typer.Option(min=1, help="threads that build")] = 1,
    keep: Annotated[Path | None, typer.Option(help="folder that keeps built indexes")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for JSON and plots")] = None,
    cache: Annotated[Path, typer.Option(help="folder that keeps embeddings")] = DEFAULT_CACHE,
    collections: Annotated[Path, typer.Option(help="folder of BEIR collections")] = DEFAULT_COLLECTIONS,
) -> None:
    """Compare engines on one collection of token vectors."""
    # Rust's thread pool asks once, when it is first used: an engine may not work on more than one.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    console = Console(width=WIDTH)
    chosen = _select(late_engines(), only or [])
    try:
        given = datasets.load(data, dim, queries, cache, collections, document_length=document_length)
        options = Options(k, _numbers(threads), rounds, seconds, build_threads)
        sharing = _numbers(query_threads)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    for one in chosen:
        if isinstance(one, OursLate):
            one.query_threads = sharing
    told: list[str] = []

    def tell(text: str) -> None:
        if text.startswith("skipped"):
            told.append(text)
        console.print(text, markup=False, highlight=False)

    tell(
        f"{given.name}: {given.about}; {len(given.documents):,} documents, {given.documents.count:,} tokens, "
        f"{len(given.queries):,} queries of {given.queries.count / len(given.queries):.1f} tokens"
    )
    truth, encoding = kept(given, cache), encode_ms(given.texts, datasets.ENCODER)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        place = Path(folder) if keep is None else keep / given.corpus
        built = build_all(chosen, given.documents, place, build_threads, tell)
        if not built:
            console.print("no engine could be built")
            raise typer.Exit(1)
        points = measure(built, given, truth, options, tell)
        for one in built:
            one.engine.close()
    machine = describe_machine()
    caption = summarise_machine(machine)
    console.print(build_table(built, given, caption))
    console.print(point_table(points, given, encoding, caption))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        report = to_json(given, built, points, machine, told, encoding)
        write_json(report, out / f"{file_stem(given)}.json")
        try:
            plot(built, points, given, out)
        except ImportError as error:
            tell(f"skipped plots: {error}; pip install 'retrieval-engine[bench]'")


def _select(engines: list[LateEngine], wanted: list[str]) -> list[LateEngine]:
    chosen = []
    for part in [part.lower() for part in wanted]:
        some = [one for one in engines if one.name.lower() == part]
        some = some or [one for one in engines if part in one.name.lower()]
        if not some:
            raise typer.BadParameter(f"{part!r} names none of: {'; '.join(one.name for one in engines)}")
        chosen += some
    return [one for one in engines if not wanted or one in chosen]


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise ValueError(f"{text!r}: give whole numbers from 1, by commas")
    return numbers


if __name__ == "__main__":
    app()
