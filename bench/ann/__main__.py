"""How fast, how small and how good: ours and other engines on the same embeddings.

    python -m bench.ann --data minilm-tokens --n 200000 --threads 1,2 --rounds 3 --output DIR
    python -m bench.ann --data synthetic:1000000 --engine ours --engine "faiss IVF" --engine ScaNN

Every engine is built from the same vectors in this one process; each has its search parameters swept,
and the settings worth timing are timed in turns, one query at a time. Recall is against brute force in
float32. An engine that is not installed is skipped by name: ``pip install 'retrieval-engine[bench]'``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.ann import data as datasets
from bench.ann.measure import Options, build_all, measure
from bench.ann.report import build_table, cheapest_table, plot, to_json, write_json
from bench.embeddings import DEFAULT_CACHE, DEFAULT_COLLECTIONS
from bench.machine import describe_machine, summarise_machine
from bench.peers import all_engines
from bench.peers.base import Engine

WIDTH = 190
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[
        str, typer.Option(help="minilm-tokens[:documents], minilm:COLLECTION, synthetic:N")
    ] = "minilm-tokens",
    n: Annotated[int | None, typer.Option(min=1, help="vectors at most")] = None,
    queries: Annotated[int, typer.Option(min=1, help="queries at most")] = 1000,
    engine: Annotated[list[str] | None, typer.Option(help="part of names; repeatable; default: all")] = None,
    k: Annotated[str, typer.Option(help="neighbours asked for, by commas")] = "10,100",
    threads: Annotated[str, typer.Option(help="threads that ask at once, by commas")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, help="times that every point is timed")] = 3,
    seconds: Annotated[float, typer.Option(help="what a point may take in a round")] = 0.5,
    build_threads: Annotated[int, typer.Option(min=1, help="threads that build")] = 1,
    output: Annotated[Path | None, typer.Option(help="folder for JSON and plots")] = None,
    cache: Annotated[Path, typer.Option(help="folder that keeps embeddings")] = DEFAULT_CACHE,
    collections: Annotated[Path, typer.Option(help="folder of BEIR collections")] = DEFAULT_COLLECTIONS,
) -> None:
    """Compare engines on one set of vectors."""
    console = Console(width=WIDTH)
    try:
        chosen = datasets.load(data, n, queries, cache, collections)
        options = Options(_numbers(k), _numbers(threads), rounds, seconds, build_threads)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    told: list[str] = []

    def tell(text: str) -> None:
        if text.startswith("skipped"):
            told.append(text)
        console.print(text, markup=False, highlight=False)

    tell(f"{chosen.name}: {chosen.about}; {len(chosen.vectors):,} vectors, {len(chosen.queries):,} queries")
    built = build_all(_select(all_engines(), engine or []), chosen, build_threads, tell)
    if not built:
        console.print("no engine could be built")
        raise typer.Exit(1)
    points = measure(built, chosen, options, tell)
    machine = describe_machine()
    caption = summarise_machine(machine)
    console.print(build_table(built, len(chosen.vectors), caption))
    for one in options.ks:
        console.print(cheapest_table(built, points, one, len(chosen.vectors), caption))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        report = to_json(chosen, built, points, machine, told)
        write_json(report, output / f"{chosen.name.replace(':', '-')}.json")
        try:
            plot(built, points, chosen, output)
        except ImportError as error:
            tell(f"skipped plots: {error}; pip install 'retrieval-engine[bench]'")


def _select(engines: list[Engine], wanted: list[str]) -> list[Engine]:
    parts = [part.lower() for part in wanted]
    for part in parts:
        if not any(part in one.name.lower() for one in engines):
            raise typer.BadParameter(f"{part!r} names none of: {'; '.join(one.name for one in engines)}")
    return [one for one in engines if not parts or any(part in one.name.lower() for part in parts)]


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise ValueError(f"{text!r}: give whole numbers from 1, by commas")
    return numbers


if __name__ == "__main__":
    app()
