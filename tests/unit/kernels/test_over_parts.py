"""Parts of one request on several threads: the same answer, in order."""

from __future__ import annotations

import multiprocessing
import threading

import numpy as np
import pytest

from retrieval.kernels.blocks import over_parts
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
    assert len(seen) == max(1, min(threads, n // 32))
    assert len(seen) == 1 or min(seen) >= 31


def test_parts_run_on_other_threads_and_their_errors_come_back() -> None:
    names = set()

    def work(some: IntArray) -> IntArray:
        names.add(threading.get_ident())
        if 99 in some:
            raise ValueError("in a part")
        return some

    over_parts(work, np.arange(64), 2)
    assert len(names) == 2
    with pytest.raises(ValueError, match="in a part"):
        over_parts(work, np.arange(100), 2)


def _child() -> None:
    assert over_parts(lambda some: some, np.arange(100), 2).tolist() == list(range(100))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    over_parts(lambda some: some, np.arange(100), 2)
    child = multiprocessing.get_context("fork").Process(target=_child)
    child.start()
    child.join(60)
    assert child.exitcode == 0
