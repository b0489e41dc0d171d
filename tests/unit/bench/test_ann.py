"""The benchmark of engines: its data, what it counts, and every engine that is installed."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.ann import data as datasets
from bench.ann.__main__ import app
from bench.ann.measure import Built, Options, Point, build_all, measure, recall
from bench.ann.report import cheapest, plot, rivals
from bench.peers import all_engines
from bench.peers.base import Bytes, Engine, grid, lists_for, rescored
from bench.peers.faiss import Factory
from bench.peers.graphs import Hnswlib
from retrieval.errors import RetrievalError

MODULES = {
    "faiss": "faiss",
    "hnswlib": "hnswlib",
    "usearch": "usearch",
    "ScaNN": "scann",
    "SVS": "svs",
    "rabitqlib": "rabitqlib",
    "kannolo": "kannolo",
    "turbovec": "turbovec",
    "ours": "retrieval",
}


@pytest.fixture(scope="module")
def small() -> datasets.Data:
    return datasets.synthetic(2500, 40, dim=64, seed=3)


class Brute:
    """An exact engine, slowed and spoilt as tests need it."""

    shared = True

    def __init__(self, name: str, wrong: int = 0) -> None:
        self.name, self.wrong = name, wrong

    def build(self, vectors: Any, threads: int) -> None:
        self.vectors = vectors

    def settings(self, k: int) -> list[Any]:
        return grid(effort=(1, 2, 3))

    def prepare(self, k: int, setting: Any) -> Any:
        def ask(query: Any) -> Any:
            found = np.argsort(-(self.vectors @ query), kind="stable")[:k]
            found[len(found) - self.wrong :] = -1
            return found

        return ask

    def measure_bytes(self, scratch: Path) -> Bytes:
        return Bytes(1, self.vectors.nbytes, self.vectors.nbytes)


def test_synthetic_data_is_seeded_unit_and_clustered() -> None:
    one, again = datasets.synthetic(3000, 10, dim=48, seed=1), datasets.synthetic(3000, 10, dim=48, seed=1)
    np.testing.assert_array_equal(one.vectors, again.vectors)
    np.testing.assert_array_equal(one.queries, again.queries)
    assert not np.array_equal(one.vectors, datasets.synthetic(3000, 10, dim=48, seed=2).vectors)
    np.testing.assert_allclose(np.linalg.norm(one.vectors, axis=1), 1, atol=1e-6)
    spectrum = np.linalg.eigvalsh(np.cov(one.vectors.T))[::-1]
    assert spectrum[0] > 5 * spectrum[-1], "the spectrum decays"
    assert np.abs(one.vectors.std(axis=0)).max() < 3 / np.sqrt(48), "no coordinate is special"


@pytest.mark.parametrize("block", [7, 100, 10_000])
def test_exact_scores_are_those_of_a_full_sort(
    small: datasets.Data, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(datasets, "BLOCK", block)
    few = datasets.Data("", small.vectors[:301], small.queries, "")
    expected = -np.sort(-(few.queries @ few.vectors.T), axis=1)
    np.testing.assert_allclose(datasets.exact_scores(few, 33), expected[:, :33], atol=1e-6)
    assert datasets.exact_scores(few, 1000).shape == (40, 301)


def test_unknown_data_is_refused(tmp_path: Path) -> None:
    for name in ("minilm", "synthetics:5", "minilm-tokens:queries"):
        with pytest.raises(ValueError, match="there is no data"):
            datasets.load(name, None, 10, tmp_path, tmp_path)


def test_recall_counts_scores_not_numbers() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.5, 0], [0, 1]], dtype=np.float32)
    query = np.array([[1, 0]], dtype=np.float32)
    exact = np.array([[1, 1]], dtype=np.float32)

    def of(*ids: int) -> float:
        return recall([np.array(ids)], exact, vectors, query)

    assert of(0, 1) == of(1, 0) == 1
    assert of(0, 0) == 0.5, "a vector twice counts once"
    assert of(0, 2) == of(0, -1) == of(0, 99) == of(0) == 0.5
    assert of(2, 3) == of() == 0
    assert recall([np.array([1])], exact[:, :1], vectors, query) == 1, "one of two equal vectors is as good"


def test_lists_and_grid() -> None:
    assert [lists_for(n) for n in (0, 1, 38, 39, 100, 200_000, 1_000_000)] == [1, 1, 1, 1, 2, 1024, 2048]
    assert grid(a=(1, 2), b=(3,)) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
    assert grid() == [{}]


def test_rescored_gives_the_best_in_order() -> None:
    vectors = np.eye(4, dtype=np.float32)
    query = np.array([0.1, 0.4, 0.3, 0.2], dtype=np.float32)
    assert rescored(vectors, query, np.array([0, 1, 3]), 2).tolist() == [1, 3]
    assert rescored(vectors, query, np.array([0, 3]), 5).tolist() == [3, 0]


def test_what_cannot_be_built_is_skipped_by_name(
    small: datasets.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Brute):
        def build(self, vectors: Any, threads: int) -> None:
            raise RetrievalError("no such luck")

    monkeypatch.setitem(sys.modules, "hnswlib", None)
    told: list[str] = []
    built = build_all([Hnswlib(), Broken("broken"), Brute("brute")], small, 1, told.append)
    assert [one.engine.name for one in built] == ["brute"]
    assert told[0].startswith("skipped hnswlib M16: not installed")
    assert told[1] == "skipped broken: RetrievalError: no such luck"


def test_too_little_memory_skips(small: datasets.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.ann.measure.free_memory", lambda: small.vectors.nbytes)
    told: list[str] = []
    assert build_all([Brute("brute")], small, 1, told.append) == []
    assert "memory free" in told[0]


def test_measuring_gives_recall_and_times_by_threads(small: datasets.Data) -> None:
    alone = Brute("alone", wrong=1)
    alone.shared = False
    built = build_all([Brute("exact"), alone], small, 1, lambda _: None)
    points = measure(built, small, Options((10, 33), (1, 2), 2, 0.01), lambda _: None)
    exact = [point for point in points if point.engine == "exact"]
    assert [point.k for point in exact] == [10, 33], "more effort than what finds everything is not tried"
    assert [point.recall for point in exact] == [1, 1]
    assert all(set(point.qps) == {1, 2} == set(point.cpu_ms) for point in exact)
    assert all(point.p50_ms is not None and point.p50_ms <= (point.p99_ms or 0) for point in exact)
    spoilt = [point for point in points if point.engine == "alone"]
    assert len(spoilt) == 6
    assert [point.recall for point in spoilt] == pytest.approx(3 * [0.9] + 3 * [32 / 33])
    assert all(set(point.qps) <= {1} for point in spoilt), "not asked from two threads at once"


def _point(engine: str, recall: float, cpu: float, k: int = 10) -> Point:
    return Point(engine, k, {}, recall, cpu, {1: 1000 / cpu}, {1: cpu}, cpu, cpu)


def test_cheapest_is_a_measured_point_that_reaches_the_recall() -> None:
    dominated = Point("a", 10, {}, 0.99, 0.01)
    points = [_point("a", 0.9, 1), _point("a", 0.96, 3), _point("a", 0.97, 2), _point("b", 1, 0.1), dominated]
    assert cheapest(points, "a", 10, 0.90) is points[0]
    assert cheapest(points, "a", 10, 0.95) is points[2]
    assert cheapest(points, "a", 10, 0.99) is None, "it was not timed"
    assert cheapest(points, "a", 100, 0.90) is None


def test_rivals_hold_no_fewer_bytes() -> None:
    sizes = {"ours x": 500, "small": 499, "large": 500, "ours y": 900}
    built = [Built(Brute(name), Bytes(1, size, size), 1, 1) for name, size in sizes.items()]
    points = [_point("ours x", 0.95, 2), _point("small", 0.95, 1), _point("large", 0.95, 6)]
    points.append(_point("ours y", 0.95, 0.5))
    assert rivals(built, points, "ours x", 10, 0.95) == 3
    assert rivals(built, points, "ours y", 10, 0.95) is None
    assert rivals(built, points, "ours x", 10, 0.99) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", all_engines(), ids=lambda engine: engine.name)
def test_every_engine_finds_what_is_near(engine: Engine, small: datasets.Data, tmp_path: Path) -> None:
    module = next(module for start, module in MODULES.items() if engine.name.startswith(start))
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    if module == "retrieval" and "leanvec" in engine.name:
        small = datasets.synthetic(2500, 40, dim=256, seed=3)  # it asks for 192 dimensions
    engine.build(small.vectors, 1)
    size = engine.measure_bytes(tmp_path)
    assert 0 < size.codes <= size.held
    assert size.disk > 0
    for k in (10, 100):
        exact = datasets.exact_scores(small, k)
        best = 0.0
        for setting in engine.settings(k)[-3:]:
            ask = engine.prepare(k, setting)
            found = [np.asarray(ask(query)) for query in small.queries]
            assert all(len(ids) == k for ids in found)
            best = max(best, recall(found, exact, small.vectors, small.queries))
        alone = not any(word in engine.name for word in ("refine", "rescoring", "rerank"))
        coarse = alone and any(codes in engine.name for codes in ("1 bit", "2 bits"))
        assert best > (0.45 if coarse else 0.75)


def test_factory_reads_its_knobs(small: datasets.Data) -> None:
    pytest.importorskip("faiss")
    engine = Factory("x", "IVF{nlist},PQ{half}x4fs,Refine(SQ8)", "nprobe", (1, 4, 16))
    engine.build(small.vectors, 1)
    assert {setting["nprobe"] for setting in engine.settings(10)} == {2, 4, 8, 12, 16, 24, 32, 48}
    assert {setting["refine"] for setting in engine.settings(100)} == {1, 4}
    exact = datasets.exact_scores(small, 10)
    recalls = []
    for setting in ({"nprobe": 1, "refine": 1}, {"nprobe": 48, "refine": 16}):
        ask = engine.prepare(10, setting)
        recalls.append(recall([ask(query) for query in small.queries], exact, small.vectors, small.queries))
    assert recalls[1] > 0.95 > recalls[0]


def test_the_command_writes_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    arguments = ["--data", "synthetic:600", "--queries", "20", "--engine", "faiss flat"]
    timing = ["--rounds", "1", "--seconds", "0.01", "--threads", "1", "--k", "5"]
    done = CliRunner().invoke(app, [*arguments, *timing, "--engine", "ours flat", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "synthetic-600.json").read_text())
    assert report["data"]["vectors"] == [600, 384]
    assert {"cpu", "cpus"} <= set(report["machine"])
    exact = next(point for point in report["points"] if point["engine"] == "faiss flat")
    assert exact["recall"] == 1
    assert set(exact["qps"]) == {"1"}
    names = {engine["name"] for engine in report["engines"]}
    assert {"faiss flat SQ8", "ours flat 1 bit, int8 refine"} <= names
    assert not any("ivf" in name.lower() for name in names)


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for arguments in (["--data", "nothing"], ["--engine", "faiss", "--engine", "nothing"], ["--k", "0"]):
        done = CliRunner().invoke(app, ["--data", "synthetic:100", *arguments])
        assert done.exit_code == 2, done.output


@pytest.mark.filterwarnings("ignore")
def test_plots_are_pictures(small: datasets.Data, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    built = [
        Built(Brute(name), Bytes(10, size, size), 1, 1)
        for name, size in {"ours a": 10**6, "b": 10**5}.items()
    ]
    points = [_point("ours a", 0.9, 1), _point("ours a", 0.97, 2), _point("b", 0.96, 3)]
    paths = plot(built, points, small, tmp_path)
    assert [path.name for path in paths] == ["synthetic-2500-k10.png"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
