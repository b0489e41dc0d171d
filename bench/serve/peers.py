"""What a user would otherwise run: other engines with the same vectors, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench.serve.load import Load, Times, closed_loop
from bench.serve.measure import Options
from bench.serve.peer_worker import ENGINES
from bench.serve.process import Memory, memory_of
from bench.serve.wire import Connection, post
from retrieval.types import FloatArray

__all__ = ["PYTHON", "Peer", "PeerMissing", "exact_scores", "known", "peer_rounds", "recall_of", "start_all"]

ROUNDING = 1e-5
STOP_SECONDS = 60.0


class PeerMissing(Exception):
    """It is not installed."""


@dataclass
class Peer:
    """Another engine that is built. ``loads`` are its rounds by the number of those that ask at once;
    ``is_http`` says whether it is a server, else it is called in its own process."""

    name: str
    version: str
    build_s: float
    pid: int
    is_http: bool
    process: subprocess.Popen[str]
    sent: list[bytes] = field(default_factory=list)
    address: tuple[str, int] = ("", 0)
    ids: list[list[int]] = field(default_factory=list)
    recall: float = 0.0
    loads: dict[int, list[Load]] = field(default_factory=dict)
    memory: Memory = field(default_factory=lambda: Memory(None, None))

    def tell(self, question: dict[str, Any]) -> dict[str, Any]:
        """Its process's answer."""
        assert self.process.stdin is not None  # it was asked for
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return _answer(self.name, self.process)


@contextmanager
def peer(name: str, python: Path, vectors: Path, queries: Path, folder: Path, k: int) -> Iterator[Peer]:
    """One of `bench.serve.peer_worker`, built from the .npy file of vectors, and asked every query once.

    Raises:
        PeerMissing: it is not installed there.
        RuntimeError: it failed.
    """
    folder.mkdir()
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    command = [str(python), "-m", "bench.serve.peer_worker", name, str(vectors), str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    )
    try:
        facts = _answer(name, process)
        if "missing" in facts:
            raise PeerMissing(f"{name}: {facts['missing']}")
        made = Peer(name, facts["version"], facts["seconds"], facts["pid"], "url" in facts, process)
        if made.is_http:
            _prepare_http(made, facts["url"], np.load(queries), k)
        else:
            made.ids = made.tell({"queries": str(queries), "k": k, "answer": True})["ids"]
        yield made
    finally:
        assert process.stdin is not None and process.stdout is not None  # both were asked for
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def peer_rounds(peers: Sequence[Peer], options: Options) -> None:
    """Time all of them in turns, and look at their memory afterwards."""
    for _ in range(options.rounds):
        for n in options.concurrency:
            for one in peers:
                one.loads.setdefault(n, []).append(_load(one, n, options))
    for one in peers:
        one.memory = memory_of(one.pid)


def exact_scores(vectors: FloatArray, queries: FloatArray) -> FloatArray:
    """Cosines by brute force, ``(n_queries, n)``."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    asked = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
    scores: FloatArray = asked @ units.T
    return scores


def recall_of(ids: Sequence[Sequence[int]], scores: FloatArray, k: int) -> float:
    """How many of the best ``k`` were found, on average; a document as good as the k-th best counts."""
    shares = []
    for found, row in zip(ids, scores, strict=True):
        wanted = min(k, len(row))
        least = np.partition(row, -wanted)[-wanted] - ROUNDING
        shares.append(sum(row[i] >= least for i in set(found[:k])) / wanted)
    return float(np.mean(shares))


def known(names: str) -> list[str]:
    """The peers of a list by commas; ``all`` and ``none`` are words for lists.

    Raises:
        ValueError: there is no such peer.
    """
    chosen = {"all": list(ENGINES), "none": []}.get(names, [part.strip() for part in names.split(",")])
    for name in chosen:
        if name not in ENGINES:
            raise ValueError(f"there is no peer {name!r}; choose from {', '.join(ENGINES)}, all, none")
    return chosen


def start_all(
    names: Sequence[str], python: Path, files: tuple[Path, Path], folder: Path, k: int, stack: ExitStack
) -> tuple[list[Peer], list[str]]:
    """Those that are there, until the stack is left; and why others are not. ``files``: vectors, queries."""
    made, skipped = [], []
    for name in names:
        try:
            made.append(stack.enter_context(peer(name, python, *files, folder / name, k)))
        except (PeerMissing, RuntimeError) as error:
            skipped.append(f"skipped {error}; it may be installed for another Python: --peer-python")
    return made, skipped


def _prepare_http(made: Peer, url: str, queries: FloatArray, k: int) -> None:
    parts = urlsplit(url)
    made.address = (str(parts.hostname), int(parts.port or 80))
    made.sent = [
        post(url, {"query_embeddings": [query.tolist()], "n_results": k, "include": ["distances"]})
        for query in queries
    ]
    connection = Connection(made.address)
    try:
        for request in made.sent:
            status, body = connection.ask(request)
            if status != 200:
                raise RuntimeError(f"{made.name} answered {status}: {body[:200]!r}")
            made.ids.append([int(i) for i in json.loads(body)["ids"][0]])
    finally:
        connection.close()


def _load(one: Peer, n: int, options: Options) -> Load:
    if one.is_http:
        return closed_loop(one.address, one.sent, n, options.seconds)
    told = one.tell({"k": options.k, "threads": n, "seconds": options.seconds})
    none: Times = np.empty(0)
    return Load(told["seconds"], 0.0, np.array(told["ms"]), none, {200: len(told["ms"])}, none)


def _answer(name: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None  # it was asked for
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{name}: its process ended with {process.wait(STOP_SECONDS)}")
    answer: dict[str, Any] = json.loads(line)
    return answer


PYTHON = Path(sys.executable)
