"""What the service adds to the engine, how much it answers, and what others do on the same vectors.

    python -m bench.serve --data debian-packages --preset fast --json OUT
    python -m bench.serve --data scifact --kind late --preset tokens --peers none
    python -m bench.serve --index FOLDER --data debian-packages --peers all --peer-python OTHER/bin/python
    python -m bench.serve --data cranfield --kind late --preset tokens --parts added --seconds 2 --peers none

``python -m server`` runs as a process of its own, on a free port of this machine, without a cache of queries,
so that each text is encoded. First every answer is compared with the engine's: no speed is told otherwise.
A peer that is not installed is skipped by name: ``pip install 'retrieval-engine[bench]'``, or give the Python
of an environment of their own by ``--peer-python``. Engine and server have the same environment: set
``OPENBLAS_NUM_THREADS=1`` where its threads, which wait busily, would take the processors from both.

Where a machine is quiet only for a minute, run the parts one by one, with fewer seconds and rounds: ``added``
has three blocks for each form of hits, ``closed`` one for each number of clients, ``open`` those and one for
each share of the peak. An index is built once; ``--parts none --peers none`` does only that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.console import Console

from bench.ann.report import write_json
from bench.embeddings import DEFAULT_CACHE, DEFAULT_COLLECTIONS
from bench.machine import describe_machine, summarise_machine
from bench.serve import measure, peers, report
from bench.serve.data import Questions, build, questions, stored_vectors
from bench.serve.load import Load, closed_loop
from bench.serve.measure import FORMS, Form, Options
from bench.serve.process import Memory, Server, memory_of, serving
from retrieval import Engine, RuntimeConfig
from retrieval.errors import RetrievalError
from retrieval.types import EncoderKind

WIDTH = 200
PARTS = "added,closed,open"
IDS = {form.query: form for form in FORMS if not form.fields}
Tell = Callable[[Any], None]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[str, typer.Option(help="a BEIR collection: queries, and documents")] = "debian-packages",
    index: Annotated[Path | None, typer.Option(help="an index that is there, instead of a built one")] = None,
    kind: Annotated[str, typer.Option(help="dense or late, of an index to be built")] = "dense",
    preset: Annotated[str, typer.Option(help="its recipe")] = "exact",
    queries: Annotated[int, typer.Option(min=1, help="queries at most")] = 500,
    k: Annotated[int, typer.Option(min=1, max=1000, help="hits asked for")] = 10,
    concurrency: Annotated[str, typer.Option(help="how many ask at once, by commas")] = "1,8,32",
    seconds: Annotated[float, typer.Option(min=0.01, help="what a block of a round takes")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="times that everything is timed")] = 3,
    parts: Annotated[str, typer.Option(help="added, closed, open by commas; all; none")] = "all",
    form: Annotated[str, typer.Option("--forms", help="vector, packed, text by commas")] = "vector,text",
    peer: Annotated[
        str, typer.Option("--peers", help="chroma, qdrant, lancedb, lancedb-hnsw by commas; all; none")
    ] = "all",
    peer_python: Annotated[Path, typer.Option(help="the Python where they are installed")] = peers.PYTHON,
    json_out: Annotated[Path | None, typer.Option("--json", help="file for every figure")] = None,
    cache: Annotated[Path, typer.Option(help="folder that keeps embeddings and indexes")] = DEFAULT_CACHE,
    collections: Annotated[Path, typer.Option(help="folder of BEIR collections")] = DEFAULT_COLLECTIONS,
) -> None:
    """Measure the service on one collection."""
    console = Console(width=WIDTH)
    machine = describe_machine()
    folder = collections / data
    found: dict[str, Any] = {"machine": machine, "data": data}
    try:
        if kind not in ("dense", "late"):
            raise ValueError(f"--kind {kind!r}: there are dense and late")
        options = Options(k, _numbers(concurrency), seconds, rounds)
        wanted = _chosen("--parts", PARTS if parts == "all" else parts.removeprefix("none"), PARTS)
        forms = [IDS[name] for name in _chosen("--forms", form, "vector,packed,text")]  # type: ignore[index]
        names = peers.known(peer)
        where = index or build(folder, cast(EncoderKind, kind), preset, cache)
        with ExitStack() as stack:
            # As the server does, so that what is compared differs in nothing else.
            engine = stack.enter_context(Engine.open(where, runtime=RuntimeConfig.of(trace_queries=True)))
            engine.warm_up()
            asked = questions(folder, engine, queries)
            server = stack.enter_context(serving(where))
            caption = summarise_machine(machine)
            _measure(engine, server, asked, options, (wanted, forms), found, console, caption)
            if names:
                scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                found |= _compare(
                    engine, server, asked, options, (names, peer_python), scratch, stack, console
                )
                if found.get("peers"):
                    console.print(report.peer_table(found["peers"], k, caption))
    except (ValueError, RetrievalError) as error:
        raise typer.BadParameter(str(error)) from None
    if json_out is not None:
        write_json(found, json_out)
    if any(row["failed"] for name in ("closed", "open") for row in found.get(name, ())):
        console.print("requests failed: see the column")
        raise typer.Exit(1)


def _measure(
    engine: Engine,
    server: Server,
    asked: Questions,
    options: Options,
    wanted: tuple[list[str], list[Form]],
    found: dict[str, Any],
    console: Console,
    caption: str,
) -> None:
    """Our service alone: these parts of it, with these forms of a question."""
    parts, forms = wanted
    info = engine.inspect()
    found |= {"index": {"kind": engine.kind, "documents": info.documents, "dim": info.dim}}
    found |= {"options": asdict(options), "queries": len(asked.texts)}
    about = (
        f"{engine.kind}, {info.documents:,} documents of {info.dim} dimensions, {len(asked.texts)} queries"
    )
    console.print(f"{found['data']}: {about}", highlight=False)
    idle = memory_of(server.pid)
    measure.check(engine, server, asked, options.k)
    if "added" in parts:
        chosen = [one for one in FORMS if one.query in {form.query for form in forms}]
        found["overhead"] = [
            report.overhead_row(one) for one in measure.overheads(engine, server, asked, options, chosen)
        ]
        console.print(report.overhead_table(found["overhead"], caption))
    sent = {form: measure.requests(server, asked, form, options.k) for form in forms}
    closed = measure.closed(server, sent, options) if {"closed", "open"} & set(parts) else []
    if closed:
        found["closed"] = [report.flow_row(flow) for flow in closed]
        title = "closed loop: each client waits for its answer"
        console.print(report.flow_table(found["closed"], title, caption))
    if "open" in parts:
        peaks = {form: max(flow.qps for flow in closed if flow.form == form) for form in sent}
        opened = measure.opened(server, sent, peaks, options)
        found["open"] = [report.flow_row(flow, peaks[flow.form]) for flow in opened]
        title = "open loop: by chance, at shares of the peak; a time begins when the request was due"
        console.print(report.flow_table(found["open"], title, caption))
        console.print(report.overload_line(found["open"]), highlight=False)
    memory = {"ready": idle, "after the load": memory_of(server.pid)}
    found["memory"] = {name: asdict(one) for name, one in memory.items()}
    console.print(report.memory_table(memory, caption))


def _compare(
    engine: Engine,
    server: Server,
    asked: Questions,
    options: Options,
    wanted: tuple[list[str], Path],
    scratch: Path,
    stack: ExitStack,
    console: Console,
) -> dict[str, Any]:
    """Ours and others in turns."""
    if engine.kind != "dense":
        told = "skipped peers: they are asked for one vector a document"
        console.print(told)
        return {"skipped": [told]}
    ids, vectors = stored_vectors(engine)
    asked_vectors = np.stack(asked.vectors)
    files = scratch / "vectors.npy", scratch / "queries.npy"
    np.save(files[0], vectors.values)
    np.save(files[1], asked_vectors)
    made, skipped = peers.start_all(wanted[0], wanted[1], files, scratch, options.k, stack)
    for line in skipped:
        console.print(line, highlight=False)
    scores = peers.exact_scores(vectors.values, asked_vectors)
    for one in made:
        one.recall = peers.recall_of(one.ids, scores, options.k)
    place = {doc_id: i for i, doc_id in enumerate(ids)}
    hits = [
        [place[hit.id] for hit in engine.search(vector, options.k, fields=())] for vector in asked.vectors
    ]
    recall = peers.recall_of(hits, scores, options.k)
    sent = measure.requests(server, asked, IDS["vector"], options.k)
    ours: dict[str, dict[int, list[Load]]] = {"HTTP": {}, "in process": {}}
    once = Options(options.k, options.concurrency, options.seconds, 1)
    for _ in range(options.rounds):
        for n in options.concurrency:
            load = closed_loop(server.address, sent, n, options.seconds)
            ours["HTTP"].setdefault(n, []).append(load)
            load = measure.engine_load(engine, asked, n, once)
            ours["in process"].setdefault(n, []).append(load)
        peers.peer_rounds(made, once)
    memory = {"HTTP": memory_of(server.pid), "in process": Memory(None, None)}
    rows = [report.peer_row("ours", how, recall, flows, memory[how], None) for how, flows in ours.items()]
    return {"peers": rows + report.peer_rows(made), "skipped": skipped}


def _chosen(option: str, text: str, known: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known.split(","):
            raise ValueError(f"{option} {name!r}: there are {known}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise ValueError(f"{text!r}: give whole numbers from 1, by commas")
    return numbers


if __name__ == "__main__":
    app()
