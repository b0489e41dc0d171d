"""The late-interaction benchmark: every engine that is installed, what is measured and what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.late import data as datasets
from bench.late import synthetic, truth
from bench.late.__main__ import app
from bench.late.measure import Built, Cost, Options, Point, build_all, measure
from bench.late.report import plot, point_table
from bench.memory import free_memory
from bench.peers import torch_builds
from bench.peers.exhaustive_maxsim import FastMaxsim, TorchMaxsim
from bench.peers.faiss_tokens import _votes
from bench.peers.late import late_engines
from bench.peers.late_base import LateBytes, LateEngine, Tokens, best, maxsim

LAW = replace(synthetic.LAW, dim=32, words=300, topics=20, topic_words=40, mean_length=20, queries=12)
MODULES = {
    "ours": "retrieval",
    "torch": "torch",
    "fast-maxsim": "fast_maxsim",
    "fast-plaid": "fast_plaid",
    "PyLate": "pylate",
    "xtr-warp": "xtr_warp",
    "muvera-python": "muvera",
    "fastembed": "fastembed",
    "faiss": "faiss",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> datasets.LateData:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "LAW", LAW)
        write = synthetic.write
        patch.setattr(synthetic, "write", lambda folder, n: write(folder, n, LAW))
        return datasets.load("synthetic:400", None, 12, tmp_path_factory.mktemp("cache"), Path())


@pytest.fixture(scope="module")
def answers(small: datasets.LateData) -> truth.Truth:
    return truth.exact(small.documents, small.queries)


class Brute:
    """An exact engine, spoilt as tests need it."""

    shared, copies = True, 1.0

    def __init__(self, name: str, wrong: int = 0) -> None:
        self.name, self.wrong, self.closed = name, wrong, False

    def build(self, documents: Tokens, folder: Path, threads: int) -> None:
        assert list(folder.iterdir()) == []
        self.documents = documents

    def settings(self, k: int) -> list[Any]:
        return [{"effort": 1}]

    def prepare(self, k: int, setting: Any) -> Any:
        vectors = np.asarray(self.documents.values, dtype=np.float32)
        starts = self.documents.offsets[:-1]

        def ask(query: Any) -> Any:
            return best(maxsim(vectors, starts, query), k)[self.wrong :]

        return ask

    def measure_bytes(self) -> LateBytes:
        return LateBytes(100, 200)

    def close(self) -> None:
        self.closed = True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", late_engines(), ids=lambda engine: engine.name)
def test_every_engine_finds_what_is_near(
    engine: LateEngine, small: datasets.LateData, answers: truth.Truth, tmp_path: Path
) -> None:
    module = next(module for start, module in MODULES.items() if engine.name.startswith(start))
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    try:
        engine.build(small.documents, tmp_path, 1)
    except ImportError as error:
        pytest.skip(str(error))
    size = engine.measure_bytes()
    assert size.resident > 0
    assert size.disk > 0
    recalls = []
    for setting in engine.settings(10):
        ask = engine.prepare(10, setting)
        found = [np.asarray(ask(small.queries[i])) for i in range(len(small.queries))]
        assert all(0 < len(ids) <= 10 and len(set(ids.tolist())) == len(ids) for ids in found)
        recalls.append(truth.recall(found, answers, 10))
    exhaustive = "exhaustive" in engine.name or "exact float" in engine.name
    assert max(recalls) == 1 if exhaustive else max(recalls) > 0.8
    engine.close()


@pytest.mark.parametrize("dim", [128, 384])
def test_exhaustive_peers_score_long_queries_right(dim: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 255, 60)
    values = rng.standard_normal((lengths.sum(), dim)).astype(np.float32)
    documents = Tokens(values, np.concatenate([[0], np.cumsum(lengths)]))
    query = rng.standard_normal((77, dim)).astype(np.float32)
    expected = best(maxsim(values, documents.offsets[:-1], query), 60)
    for engine in (TorchMaxsim(), FastMaxsim()):
        try:
            engine.build(documents, tmp_path, 1)
        except ImportError:
            continue
        assert engine.prepare(60, {})(query).tolist() == expected.tolist()


def test_a_build_for_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.13.0+cpu", "peer": "1.7.0.2110"}
    wanted = {"peer": ["numpy>=1", "torch==2.11.0", "torch-like<1"]}

    def version(name: str) -> str:
        try:
            return versions[name]
        except KeyError:
            raise metadata.PackageNotFoundError(name) from None

    def requires(name: str) -> list[str]:
        version(name)
        return wanted[name]

    monkeypatch.setattr(torch_builds, "version", version)
    monkeypatch.setattr(torch_builds, "requires", requires)
    with pytest.raises(
        ImportError, match=r"peer 1\.7\.0\.2110 is built for torch==2\.11\.0, here is 2\.13\.0"
    ):
        torch_builds.check_torch("peer")
    with pytest.raises(ImportError, match="absent is not installed"):
        torch_builds.check_torch("absent")
    for fits in ("torch>=2.6", "torch==2.13.0"):
        wanted["peer"] = [fits]
        torch_builds.check_torch("peer")


def test_tokens_vote_for_documents() -> None:
    similarities = np.array([[0.9, 0.8, 0.5], [0.7, 0.6, -np.inf], [0, 0, 0]], dtype=np.float32)
    owners = np.array([[4, 4, 2], [2, 9, 7], [1, 1, 1]])
    found = np.array([[True, True, True], [True, True, False], [False, False, False]])
    texts, estimates = _votes(similarities, owners, found)
    assert texts.tolist() == [2, 4, 9]
    np.testing.assert_allclose(estimates, [0.5 + 0.7, 0.9 + 0.6, 0.5 + 0.6], rtol=1e-6)


def test_what_cannot_be_built_is_skipped_by_name(
    small: datasets.LateData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Brute):
        def build(self, documents: Any, folder: Path, threads: int) -> None:
            raise RuntimeError("no such luck")

    greedy = Brute("greedy")
    greedy.copies = 1e9
    monkeypatch.setitem(sys.modules, "fast_maxsim", None)
    told: list[str] = []
    engines = [FastMaxsim(), Broken("broken"), greedy, Brute("brute")]
    built = build_all(engines, small.documents, tmp_path, 1, told.append)
    assert [one.engine.name for one in built] == ["brute"]
    assert told[0].startswith("skipped fast-maxsim, exhaustive float32: not available")
    assert told[1] == "skipped broken: RuntimeError: no such luck"
    assert "memory free" in told[2]
    assert built[0].bytes == LateBytes(100, 200)


def test_measuring_gives_recall_at_both_cutoffs_and_times_by_threads(
    small: datasets.LateData, answers: truth.Truth, tmp_path: Path
) -> None:
    spoilt = Brute("spoilt", wrong=2)
    spoilt.shared = False
    built = build_all([Brute("exact"), spoilt], small.documents, tmp_path, 1, lambda _: None)
    points = measure(built, small, answers, Options(20, (1, 2), 2, 0.01), lambda _: None)
    exact, other = points
    assert exact.recalls == {10: 1, 20: 1}
    assert set(exact.qps) == set(exact.cpu_ms) == {1, 2}
    assert exact.p50_ms is not None
    assert exact.p50_ms <= (exact.p95_ms or 0) <= (exact.p99_ms or 0)
    assert other.recalls == pytest.approx({10: 0.8, 20: 0.9}), "the two best are not found"
    assert set(other.qps) == {1}, "not asked from two threads at once"
    assert exact.ndcg is None


def test_settings_that_another_beats_are_not_timed(
    small: datasets.LateData, answers: truth.Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(engine: Any, setting: Any, *_: Any) -> Point:
        return Point(engine.name, 20, setting, setting["recalls"], None, setting["ms"])

    tried = [
        {"recalls": {10: 0.9, 20: 0.9}, "ms": 1.0},
        {"recalls": {10: 0.9, 20: 0.8}, "ms": 2.0},
        {"recalls": {10: 0.95, 20: 0.8}, "ms": 2.0},
        {"recalls": {10: 0.9, 20: 0.9}, "ms": 1.1},
    ]
    monkeypatch.setattr("bench.late.measure._look", look)
    monkeypatch.setattr(Brute, "settings", lambda self, k: tried)
    built = build_all([Brute("one")], small.documents, tmp_path, 1, lambda _: None)
    points = measure(built, small, answers, Options(20, (1,), 1, 0.001), lambda _: None)
    assert [1 in point.qps for point in points] == [True, False, True, True]


def test_an_index_that_was_kept_is_opened_again(small: datasets.LateData, tmp_path: Path) -> None:
    class Kept(Brute):
        def build(self, documents: Tokens, folder: Path, threads: int) -> None:
            super().build(documents, folder, threads)
            (folder / "index").write_text("built")

        def reopen(self, documents: Tokens, folder: Path) -> None:
            assert (folder / "index").read_text() == "built"
            self.documents = documents

    told: list[str] = []
    killed = tmp_path / "kept-1" / "files"
    killed.mkdir(parents=True)
    (killed / "half").touch()
    first, again = (
        build_all([Kept("kept (1)"), Brute("not kept")], small.documents, tmp_path, 1, told.append)
        for _ in range(2)
    )
    assert [line.split(":")[0] for line in told] == [
        *("built kept (1)", "built not kept"),
        *("opened kept (1)", "built not kept"),
    ]
    assert again[0].cost == first[0].cost, "that of the build"


ALONE = """
import sys
import time
import numpy as np
from bench.memory import Peak
big = np.ones(8 << 20)
del big
with Peak() as peak:
    before = peak.grown()
    more = np.ones(4 << 20)
    time.sleep(0.05)
    del more
    read = np.memmap(sys.argv[1], mode="r").sum()
print(before, peak.grown(), peak.anonymous())
"""


def test_peak_memory_is_that_since_the_beginning(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell")
    # In a process of its own: in this one other threads take and give back memory meanwhile.
    mapped = tmp_path / "mapped"
    mapped.write_bytes(bytes(64 << 20))
    command = [sys.executable, "-c", ALONE, str(mapped)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "None" in told:
        pytest.skip("this system does not start its peak anew")
    before, after, anonymous = map(int, told.split())
    assert before < 16 << 20
    assert 62 << 20 < after < 120 << 20, "the file is read when the array has gone"
    assert 30 << 20 < anonymous < 60 << 20
    assert (free_memory() or 0) > 0


@pytest.mark.filterwarnings("ignore")
def test_the_command_writes_every_figure(tmp_path: Path) -> None:
    arguments = ["--data", "synthetic:150", "--queries", "6", "--cache", str(tmp_path / "cache")]
    timing = ["--rounds", "1", "--seconds", "0.01", "--threads", "1", "--k", "20", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*arguments, *timing, "--only", "torch", "--only", "ours exact float32"])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "synthetic-150.json").read_text())
    assert report["data"]["documents"] == 150
    assert report["data"]["dim"] == 128
    assert {engine["name"] for engine in report["engines"]} == {
        "ours exact float32",
        "torch MaxSim, exhaustive float32",
    }
    for point in report["points"]:
        assert point["recalls"] == {"10": 1, "20": 1}
        assert set(point["qps"]) == {"1"}
    if find_spec("matplotlib") is not None:
        assert {path.name for path in tmp_path.glob("*.png")} == {
            "synthetic-150-recall10.png",
            "synthetic-150-recall20.png",
        }
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".npy"] * 6


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    cache = ["--cache", str(tmp_path), "--collections", str(tmp_path)]
    for arguments in (["--data", "nothing"], ["--only", "nothing"], ["--threads", "0"]):
        done = CliRunner().invoke(app, ["--data", "synthetic:20", *cache, *arguments])
        assert done.exit_code == 2, done.output


def test_the_table_shows_what_was_timed(small: datasets.LateData) -> None:
    timed = Point("a", 100, {"nprobe": 4}, {10: 0.5, 100: 0.25}, None, 1, {1: 7.0}, {1: 2.0}, 1.0, 2.0, 3.0)
    looked = Point("b", 100, {}, {10: 1.0, 100: 1.0}, None, 1)
    table = point_table([timed, looked], small, 3.5, "")
    assert table.row_count == 1
    assert "3.5 ms more" in str(table.title)
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells == ["a", "nprobe=4", "0.500", "0.250", "-", "1.00", "2.00", "3.00", "2.00", "7.0"]


@pytest.mark.filterwarnings("ignore")
def test_plots_are_pictures(small: datasets.LateData, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cost = Cost(1, 1, None, None)
    built = [Built(Brute(name), LateBytes(100, 200), cost) for name in ("ours a", "b")]
    points = [
        Point(name, 100, {}, {10: 0.9, 100: 0.8}, None, 1, {1: 5.0}, {1: 2.0}, 1.0, 2.0, 3.0)
        for name in ("ours a", "b")
    ]
    paths = plot(built, points, small, tmp_path)
    assert [path.name for path in paths] == ["synthetic-400-recall10.png", "synthetic-400-recall100.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
