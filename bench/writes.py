"""How fast are durable writes, and does a search notice them?

    python -m bench.writes [--documents 100000] [--folder DIR] [--json OUT]

Documents with vectors of 384 numbers made from a seed (encoding costs next to nothing), so that
what is measured is the index: adds one by one and in batches, each durable when it returns; the
delete of 1,000 documents; searches while another thread writes. Beside the adds, in turns: the
limit, a plain write of as many bytes with an fsync.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.machine import describe_machine
from retrieval import Document, Engine, RuntimeConfig
from retrieval.types import FloatArray

DIM = 384
Row = tuple[str, str]


class Seeded:
    """Unit vectors from the text's hash: the cheapest encoder with vectors of a real one's shape."""

    kind, metric, dim = "dense", "dot", DIM

    def fingerprint(self) -> dict[str, Any]:
        return {"name": "bench-seeded", "dim": DIM}

    def encode_document(self, texts: Sequence[str]) -> FloatArray:
        rows = [np.random.default_rng(int(t)).standard_normal(DIM, dtype=np.float32) for t in texts]
        values = np.stack(rows)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    encode_query = encode_document


def documents(first: int, n: int) -> list[Document]:
    return [Document(f"{i:09d}", str(i), metadata={"year": 1900 + i % 120}) for i in range(first, first + n)]


def rate(call: Callable[[int], None], rounds: int) -> float:
    """Calls a second, and the numbers of the calls go up."""
    started = time.perf_counter()
    for i in range(rounds):
        call(i)
    return rounds / (time.perf_counter() - started)


def plain_fsync(path: Path, size: int) -> Callable[[int], None]:
    """Append ``size`` bytes and make them durable: no commit can be faster."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)

    def call(i: int) -> None:
        os.pwrite(descriptor, bytes(size), i * size)
        os.fsync(descriptor)

    return call


def adds(engine: Engine, folder: Path, first: int) -> list[Row]:
    """One by one and in batches, in turns with the limit."""
    rows = []
    for size, rounds in ((1, 200), (10, 100), (100, 40), (1000, 8)):
        start = first + size * 1_000_000
        ours = rate(lambda i, s=start, n=size: engine.add(documents(s + i * n, n)) and None, rounds)
        limit = rate(plain_fsync(folder / f"plain-{size}", size * DIM * 4), rounds)
        told = f"{ours * size:,.0f} documents/s, {1000 / ours:.2f} ms each"
        rows.append((f"durable adds of {size}", f"{told} ({ours / limit:.2f} of write+fsync)"))
    return rows


def percentiles(engine: Engine, stop: Callable[[], bool]) -> tuple[str, int]:
    seconds = []
    queries = np.random.default_rng(0).standard_normal((64, DIM), dtype=np.float32)
    while not stop():
        started = time.perf_counter()
        engine.search(queries[len(seconds) % 64], k=10, fields=())
        seconds.append(time.perf_counter() - started)
    p50, p95, p99 = (1000 * np.percentile(seconds, p) for p in (50, 95, 99))
    return f"p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f} ms", len(seconds)


def searches(engine: Engine, seconds: float) -> list[Row]:
    """Latency without writes, then while a thread adds, replaces and deletes as fast as it can."""
    until = time.perf_counter() + seconds
    quiet, n = percentiles(engine, lambda: time.perf_counter() > until)
    rows, written, done = [(f"search, nobody writes ({n})", quiet)], [0], threading.Event()

    def write() -> None:
        while not done.is_set():
            first = 900_000_000 + written[0] // 2
            engine.upsert(documents(first, 10))
            engine.delete([f"{first:09d}"])
            written[0] += 10

    writer = threading.Thread(target=write)
    until = time.perf_counter() + seconds
    writer.start()
    busy, n = percentiles(engine, lambda: time.perf_counter() > until)
    done.set()
    writer.join()
    told = f"{busy}, meanwhile {written[0] / seconds:,.0f} documents/s upserted"
    return [*rows, (f"search, one thread writes ({n})", told)]


def measure(folder: Path, n: int) -> list[Row]:
    encoder = Seeded()
    started = time.perf_counter()
    Engine.build(folder / "index", documents(0, n), encoder)
    rows = [(f"build of {n:,}", f"{time.perf_counter() - started:.1f} s, vectors made on the way")]
    with Engine.open(folder / "index", encoder, runtime=RuntimeConfig.of(maintenance="background")) as engine:
        rows += adds(engine, folder, n)
        started = time.perf_counter()
        deleted = engine.delete([f"{i:09d}" for i in range(0, n, max(n // 1000, 1))][:1000])
        rows.append((f"delete of {deleted:,} ids", f"{1000 * (time.perf_counter() - started):.0f} ms"))
        started = time.perf_counter()
        engine.search(np.ones(DIM, np.float32))
        rows.append(("first search after it", f"{1000 * (time.perf_counter() - started):.0f} ms"))
        started = time.perf_counter()
        deleted = engine.delete(filter={"year": 1950})
        rows.append((f"delete by filter ({deleted:,})", f"{1000 * (time.perf_counter() - started):.0f} ms"))
        rows += searches(engine, 10.0)
        started = time.perf_counter()
        engine.compact()
        rows.append(("compact", f"{time.perf_counter() - started:.1f} s"))
        if not engine.verify().ok:
            raise SystemExit("the index is damaged: no figure counts")
    started = time.perf_counter()
    with Engine.open(folder / "index", encoder) as engine:
        engine.search(np.ones(DIM, np.float32))
    rows.append(("open and search", f"{1000 * (time.perf_counter() - started):.0f} ms"))
    return rows


def main(
    documents: int = 100_000,
    folder: Path | None = None,
    json_out: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Measure writes to an index of so many documents, in a temporary folder inside FOLDER."""
    machine = describe_machine()
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        rows = measure(Path(inside), documents)
    table = Table(title=f"writes, {documents:,} documents of {DIM} float32")
    table.add_column("what")
    table.add_column("measured")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(machine)
    if json_out is not None:
        json_out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
