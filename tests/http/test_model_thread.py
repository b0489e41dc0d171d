"""How many cores an encoding of queries takes."""

from __future__ import annotations

import pytest
import torch

from server.working import model_thread
from server.working.model_thread import BUSY, ModelThread, on_one_core


class Clock:
    """In the place of ``time``: what it tells of the loop."""

    def __init__(self) -> None:
        self.now, self.worked, self.has_ended = 100.0, 0.0, False

    def pthread_getcpuclockid(self, _thread: int) -> int:
        return 7

    def monotonic(self) -> float:
        return self.now

    def clock_gettime(self, clock: int) -> float:
        assert clock == 7
        if self.has_ended:
            raise OSError
        return self.worked

    def pass_by(self, seconds: float, share: float) -> None:
        self.now += seconds
        self.worked += share * seconds


@pytest.fixture
def cores(monkeypatch):
    """As many as a machine of eight has, as torch is told; a number for each thread is torch's own."""
    told = {"n": 8}
    monkeypatch.setattr(model_thread, "_cores", [])
    monkeypatch.setattr(torch, "get_num_threads", lambda: told["n"])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: told.update(n=n))
    return told


def test_one_core_is_left_to_a_busy_loop(cores, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(model_thread, "time", clock)
    thread, taken = ModelThread(), []
    try:
        for seconds, share in [(1, 0.1), (1, 2 * BUSY), (0.001, 0.0), (1, 0.0), (1, 2 * BUSY)]:
            clock.pass_by(seconds, share)
            taken.append(thread.run(lambda: cores["n"]))
        clock.has_ended = True
        clock.pass_by(1, 1.0)
        taken.append(thread.run(lambda: cores["n"]))
    finally:
        thread.close()
    assert taken == [8, 7, 7, 8, 7, 8]  # too soon to tell: as before
    assert on_one_core(lambda: cores["n"]) == 1


def test_a_job_of_the_thread_runs_at_once(cores):
    thread = ModelThread()
    try:
        assert not (thread.is_here or thread.is_wanted)

        def within() -> tuple[bool, bool, int]:
            return thread.is_here, thread.is_wanted, thread.run(lambda: cores["n"])

        assert thread.run(within) == (True, True, 8)
        assert thread.executor.submit(within).result() == (True, False, 8)
        assert not thread.is_wanted
    finally:
        thread.close()


def test_where_no_thread_s_work_is_told_all_cores_are_taken(cores, monkeypatch):
    monkeypatch.delattr(model_thread.time, "pthread_getcpuclockid", raising=False)
    thread = ModelThread()
    try:
        assert thread.run(lambda: cores["n"]) == 8
    finally:
        thread.close()
