"""Parts and turns of one request on several threads: the same answer, in order."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest

from retrieval.kernels import helpers
from retrieval.kernels.gather import cpu
from retrieval.kernels.helpers import over_parts, over_turns
from retrieval.kernels.turns import finish, take
from retrieval.types import IntArray


@pytest.mark.parametrize("n", [0, 1, 31, 32, 63, 64, 65, 1000])
@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_parts_make_the_whole_in_order(n: int, threads: int) -> None:
    ordinals = np.random.default_rng(n).permutation(n)
    seen: list[int] = []

    def work(some: IntArray) -> IntArray:
        seen.append(len(some))
        return 3 * some

    assert (over_parts(work, ordinals, threads) == 3 * ordinals).all()
    assert sum(seen) == n
    assert len(seen) == (1 if min(threads, n // 32) < 2 else min(2 * threads, n // 32))
    assert len(seen) == 1 or min(seen) >= 31


def test_parts_run_on_other_threads_and_their_errors_come_back() -> None:
    names, both, asking = set(), threading.Barrier(2, timeout=60), threading.get_ident()

    def work(some: IntArray) -> IntArray:
        names.add(threading.get_ident())
        both.wait()
        if len(some) == 40 and threading.get_ident() != asking:
            raise ValueError("in a part")
        return some

    over_parts(work, np.arange(64), 2)
    assert len(names) == 2
    with pytest.raises(ValueError, match="in a part"):
        over_parts(work, np.arange(80), 2, least=40)


def _take_all(turns: IntArray, n: int, taken: list[Any], wait: Any) -> None:
    first, stop = take(turns, n)
    count = 0
    while first < n:
        taken.append((threading.get_ident(), first, stop))
        wait()
        count += stop - first
        first, stop = take(turns, n)
    finish(turns, count)


@pytest.mark.parametrize(("n", "threads"), [(0, 2), (31, 2), (64, 1), (64, 2), (1000, 3)])
def test_turns_take_every_piece_once(n: int, threads: int) -> None:
    taken: list[Any] = []
    over_turns(lambda turns: _take_all(turns, n, taken, lambda: None), n, threads)
    runs = sorted((first, stop) for _, first, stop in taken)
    assert [i for first, stop in runs for i in range(first, stop)] == list(range(n))


def test_turns_are_taken_by_two_threads_and_waited_for() -> None:
    taken: list[Any] = []
    both = threading.Barrier(2, timeout=60)
    over_turns(lambda turns: _take_all(turns, 2, taken, both.wait), 2, 2, 1)
    assert len({thread for thread, *_ in taken}) == 2


def test_an_error_of_a_helper_comes_back() -> None:
    asking, both = threading.get_ident(), threading.Barrier(2, timeout=60)

    def work(turns: IntArray) -> None:
        take(turns, 2)
        both.wait()
        if threading.get_ident() != asking:
            raise MemoryError("no room for a run")
        finish(turns, 1)

    with pytest.raises(MemoryError, match="no room"):
        over_turns(work, 2, 2, 1)


def test_a_helper_that_is_busy_is_not_waited_for() -> None:
    begun, enough = threading.Event(), threading.Event()

    def hold(turns: IntArray) -> None:
        if threading.get_ident() != asking:
            begun.set()
            enough.wait(60)
        else:
            begun.wait(60)
        _take_all(turns, 2, [], lambda: None)

    asking = threading.get_ident()
    over_turns(hold, 2, 2, 1)  # the helper is held, and all is done
    taken: list[Any] = []
    over_turns(lambda turns: _take_all(turns, 64, taken, lambda: None), 64, 2)
    assert {thread for thread, *_ in taken} == {asking}
    enough.set()


@pytest.mark.parametrize("n", [1, 9, 300])
def test_postings_gathered_by_several_are_the_same(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "SHARED", 1)
    rng = np.random.default_rng(n)
    lists = [np.flatnonzero(rng.random(n) < 0.9).astype(np.uint32) for _ in range(20)]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    probes = rng.integers(0, len(lists), (10, 4))
    scores = -np.sort(-rng.random((10, 4), np.float32), axis=1)
    given = probes, scores, offsets, np.concatenate(lists), n, rng.random(n) < 0.8, scores[:, -1].copy()
    one, two = cpu.gather(*given), cpu.gather(*given, threads=2)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_where_no_thread_can_be_started_one_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(helpers, "_queues", [])
    monkeypatch.setattr(threading.Thread, "start", refused)
    taken: list[Any] = []
    assert over_parts(lambda some: some, np.arange(100), 3).tolist() == list(range(100))
    over_turns(lambda turns: _take_all(turns, 64, taken, lambda: None), 64, 2)
    assert {thread for thread, *_ in taken} == {threading.get_ident()}
    assert not helpers._queues


def _child() -> None:
    assert over_parts(lambda some: some, np.arange(100), 2).tolist() == list(range(100))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    over_parts(lambda some: some, np.arange(100), 2)
    child = multiprocessing.get_context("fork").Process(target=_child)
    child.start()
    child.join(60)
    assert child.exitcode == 0
