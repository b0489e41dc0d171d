from __future__ import annotations

import gzip
import random
import re
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import ConfigError, DataError
from retrieval.evaluate.runs import Run, read_run, strictly_decreasing, trec_order, write_run


def by_nextafter(scores: list[float]) -> list[np.float32]:
    """The definition that `strictly_decreasing` computes without a loop."""
    made: list[np.float32] = []
    for score in scores:
        rounded = np.float32(score)
        made.append(min(rounded, np.nextafter(made[-1], np.float32(-np.inf))) if made else rounded)
    return made


@pytest.mark.parametrize("seed", range(20))
def test_strictly_decreasing_is_nextafter_applied_in_turn(seed: int) -> None:
    rng = random.Random(seed)
    values = [0.0, -0.0, 1e-45, -1e-45, 0.5, 0.5 + 1e-9, 1.0, -2.0, 12345.678, rng.random()]
    scores = sorted((rng.choice(values) for _ in range(200)), reverse=True)
    made = strictly_decreasing(scores)
    assert made.dtype == np.float32
    assert (np.diff(made.astype(np.float64)) < 0).all()
    np.testing.assert_array_equal(made, by_nextafter(scores))


def test_strictly_decreasing_changes_nothing_that_decreases_already() -> None:
    scores = np.array([3.5, 1.25, 0.0, -1e-3, -7.0], dtype=np.float32)
    np.testing.assert_array_equal(strictly_decreasing(scores), scores)
    assert strictly_decreasing([]).shape == (0,)


def test_strictly_decreasing_keeps_any_order_it_is_given() -> None:
    np.testing.assert_array_equal(strictly_decreasing([1.0, 2.0, 0.5]), by_nextafter([1.0, 2.0, 0.5]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39])
def test_scores_that_no_float32_holds_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match=re.escape(f"score {bad} is not")):
        strictly_decreasing([1.0, bad])


def test_no_room_below_the_lowest_float_is_refused() -> None:
    lowest = float(np.finfo(np.float32).min)
    with pytest.raises(DataError, match="no room"):
        strictly_decreasing([lowest, lowest])


def test_trec_order_is_float32_score_then_id_descending() -> None:
    ranking = [("a", 0.5), ("b", 0.5 + 1e-9), ("c", 2.0), ("B", 0.5)]
    assert [doc_id for doc_id, _ in trec_order(ranking)] == ["c", "b", "a", "B"]


def test_a_run_file_gives_back_the_same_run_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    run: Run = {}
    for query_id in ("q1", "ä", "3"):
        scores = np.sort(rng.standard_normal(300).astype(np.float32) * 10.0 ** rng.integers(-40, 30, 300))[
            ::-1
        ]
        made = strictly_decreasing([*scores, *([float(scores[-1])] * 5)])
        run[query_id] = [(f"d-{i}", float(score)) for i, score in enumerate(made)]
    write_run(tmp_path / "x.run", run, tag="mine")
    assert read_run(tmp_path / "x.run") == run
    first = (tmp_path / "x.run").read_text(encoding="utf-8").splitlines()[0].split(" ")
    assert [first[i] for i in (0, 1, 2, 3, 5)] == ["q1", "Q0", "d-0", "1", "mine"]
    assert len((tmp_path / "x.run").read_text(encoding="utf-8").splitlines()) == 3 * 305


def test_reading_sorts_by_score_whatever_the_rank_says(tmp_path: Path) -> None:
    lines = "q Q0 a 1 0.5 t\nq\tQ0\tb\t2\t0.75\tt\n\nq Q0 c 3 5e-1 t\n"
    with gzip.open(tmp_path / "x.run.gz", "wt") as file:
        file.write(lines)
    assert read_run(tmp_path / "x.run.gz") == {"q": [("b", 0.75), ("c", 0.5), ("a", 0.5)]}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("q Q0 d2 2 0.5", "5 columns"),
        ("q Q0 d2 2 high t", "score 'high'"),
        ("q Q0 d2 2 nan t", "score 'nan' is not finite"),
        ("q Q0 d2 2 1e99 t", "score '1e99'"),
        ("q Q0 d1 2 0.5 t", "document 'd1' comes a second time for query 'q'"),
    ],
)
def test_a_bad_run_line_is_named(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "bad.run"
    path.write_text(f"q Q0 d1 1 0.9 t\n{line}\n")
    with pytest.raises(DataError, match=told) as error:
        read_run(path)
    assert error.value.where == f"{path}:2"


def test_run_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty.run").write_text("\n")
    with pytest.raises(DataError, match="no run lines"):
        read_run(tmp_path / "empty.run")
    with pytest.raises(DataError, match=r"none\.run: there is no such file"):
        read_run(tmp_path / "none.run")
    with pytest.raises(ConfigError, match="cannot write"):
        write_run(tmp_path / "no" / "folder.run", {"q": [("a", 1.0)]})


@pytest.mark.parametrize(
    ("run", "tag", "told"),
    [
        ({"q": [("a b", 1.0)]}, "t", "document id 'a b'"),
        ({"q": [("a\u00a0b", 1.0)]}, "t", "document id"),
        ({"q 1": [("a", 1.0)]}, "t", "query id 'q 1'"),
        ({"q": [("", 1.0)]}, "t", "document id ''"),
        ({"q": [("a", 1.0)]}, "my tag", "tag 'my tag'"),
    ],
)
def test_white_space_is_refused_before_anything_is_written(
    tmp_path: Path, run: Run, tag: str, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        write_run(tmp_path / "x.run", run, tag)
    assert not (tmp_path / "x.run").exists()
