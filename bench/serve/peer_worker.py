"""Another engine, asked from a process of its own: ``PYTHON -m bench.serve.peer_worker NAME VECTORS FOLDER``.

Imports nothing of this project, so that PYTHON may be one where only that engine is installed. VECTORS is
an .npy file of documents ``(n, d)``. Each line of standard input is a question, each of standard output
its answer, both JSON; the first answer comes without a question, when everything is built.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 1000
PATIENCE_SECONDS = 60.0
NAME = "bench"
QUIET = {
    "ANONYMIZED_TELEMETRY": "False",
    "CHROMA_ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "LANCEDB_TELEMETRY_DISABLED": "1",
    "QDRANT__TELEMETRY_DISABLED": "true",
}
"""Nothing is told to anybody."""


class Qdrant:
    """The local mode of its client: in memory, every vector compared."""

    package = "qdrant-client"

    def build(self, vectors: Any, folder: Path) -> None:  # noqa: ARG002
        """Everything in one collection."""
        from qdrant_client import QdrantClient, models

        shape = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
        self._client = QdrantClient(":memory:")
        self._client.create_collection(NAME, vectors_config=shape)
        for first in range(0, len(vectors), BATCH):
            some = vectors[first : first + BATCH]
            numbers = list(range(first, first + len(some)))
            self._client.upsert(NAME, models.Batch(ids=numbers, vectors=some.tolist()))

    def ask(self, query: Any, k: int) -> list[int]:
        """Numbers of the nearest."""
        found = self._client.query_points(NAME, query=query, limit=k, with_payload=False)
        return [int(point.id) for point in found.points]


class LanceFlat:
    """A table without an index: every vector is compared."""

    package = "lancedb"

    def build(self, vectors: Any, folder: Path) -> None:
        """One table."""
        import lancedb
        import pyarrow as pa

        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        rows = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        table = pa.table({"id": np.arange(len(vectors)), "vector": rows})
        self._table = lancedb.connect(str(folder / "lance")).create_table(NAME, table)

    def ask(self, query: Any, k: int) -> list[int]:
        """Numbers of the nearest."""
        asked = self._table.search(query).distance_type("cosine").select(["id", "_distance"]).limit(k)
        found: list[int] = asked.to_arrow()["id"].to_pylist()
        return found


class LanceHnsw(LanceFlat):
    """Graphs over bytes inside inverted lists, as its documents propose for recall; found ones rescored."""

    def build(self, vectors: Any, folder: Path) -> None:
        """One table with an index."""
        super().build(vectors, folder)
        from lancedb.index import HnswSq

        self._table.create_index("vector", config=HnswSq(distance_type="cosine"))

    def ask(self, query: Any, k: int) -> list[int]:
        """Numbers of the nearest, with its defaults and exact distances of three times as many."""
        asked = (
            self._table.search(query)
            .distance_type("cosine")
            .refine_factor(3)
            .select(["id", "_distance"])
            .limit(k)
        )
        found: list[int] = asked.to_arrow()["id"].to_pylist()
        return found


class Chroma:
    """Its own server (``chroma run``), its HNSW with its defaults, asked over HTTP by whoever measures."""

    package = "chromadb"

    def build(self, vectors: Any, folder: Path) -> None:
        """Start the server and fill a collection."""
        import chromadb
        from chromadb.config import Settings

        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        command = shutil.which("chroma", path=str(Path(sys.executable).parent)) or "chroma"
        where = ["--host", "127.0.0.1", "--port", str(port), "--path", str(folder / "chroma")]
        self._process = subprocess.Popen(
            [command, "run", *where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        atexit.register(self._stop)
        _wait_for(f"http://127.0.0.1:{port}/api/v2/heartbeat", self._process)
        quiet = Settings(anonymized_telemetry=False)
        client = chromadb.HttpClient(host="127.0.0.1", port=port, settings=quiet)
        made = client.create_collection(NAME, configuration={"hnsw": {"space": "cosine"}})
        for first in range(0, len(vectors), BATCH):
            some = vectors[first : first + BATCH]
            made.add(ids=[str(first + i) for i in range(len(some))], embeddings=some)
        path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{made.id}/query"
        self.facts = {"url": f"http://127.0.0.1:{port}{path}", "pid": self._process.pid}

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)


ENGINES: dict[str, type[Any]] = {
    "qdrant": Qdrant,
    "lancedb": LanceFlat,
    "lancedb-hnsw": LanceHnsw,
    "chroma": Chroma,
}


def main(name: str, vectors_file: str, folder: str) -> None:
    """Build, then answer until the input ends."""
    os.environ |= QUIET
    # Libraries may print; the answers have a way of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    engine = ENGINES[name]()
    vectors = np.load(vectors_file)
    started = time.perf_counter()
    try:
        engine.build(vectors, Path(folder))
    except ImportError as error:
        tell({"missing": str(error)})
        return
    facts = {"seconds": time.perf_counter() - started, "version": version(engine.package), "pid": os.getpid()}
    del vectors
    tell(facts | getattr(engine, "facts", {}))
    queries: list[Any] = []
    for line in sys.stdin:
        asked = json.loads(line)
        if "queries" in asked:
            queries = list(np.load(asked["queries"]))
            tell({"ids": [engine.ask(query, asked["k"]) for query in queries]} if asked["answer"] else {})
        else:
            tell(_timed(engine, queries, **asked))


def _timed(engine: Any, queries: list[Any], k: int, threads: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of all answers of so many threads, each of which asks again at once."""
    end = time.perf_counter() + seconds

    def ask(number: int) -> list[float]:
        times, turn = [], number * len(queries) // threads
        while (began := time.perf_counter()) < end:
            engine.ask(queries[turn % len(queries)], k)
            times.append(1000 * (time.perf_counter() - began))
            turn += 1
        return times

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        found = [ms for times in pool.map(ask, range(threads)) for ms in times]
    return {"ms": found, "seconds": time.perf_counter() - started}


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nobody answers at {url}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
