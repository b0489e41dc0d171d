from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from itertools import pairwise

import pytest

from server.http.problems import ProblemError
from server.working.model_thread import ModelThread
from server.working.pool import Disconnected, WorkPool

WAIT = 30


@contextmanager
def pool_of(threads: int):
    pool = WorkPool(threads)
    try:
        yield pool
    finally:
        pool.close()


def test_the_model_s_thread_is_free_until_somebody_wants_it():
    async def run() -> None:
        model, gate = ModelThread(), threading.Event()
        pool = WorkPool(1, model=model)
        async with pool.work() as work, pool.work() as other:
            assert work.has_free_model
            found = asyncio.create_task(other.run_after(gate.wait, "model", lambda: model.is_here))
            await until(lambda: pool.running("model") == 1)
            assert not work.has_free_model
            waiting = asyncio.create_task(asyncio.to_thread(model.run, lambda: 7))
            await until(lambda: model.is_wanted)
            gate.set()
            assert await found and await waiting == 7
            assert work.has_free_model
        pool.close()
        assert model.run(lambda: 8) == 8  # whoever made it closes it
        model.close()

    asyncio.run(run())


def test_without_a_model_there_is_no_thread_of_it():
    async def run() -> None:
        with pool_of(1) as pool:
            async with pool.work() as work:
                assert not work.has_free_model
                assert "model" not in pool.lanes

    asyncio.run(run())


class Client:
    """As much of a request as the pool looks at."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict:
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def until(condition) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.002)


def test_at_most_so_many_at_once_and_in_order():
    async def run() -> None:
        gate, order, at_once, most = threading.Event(), [], [], []

        def job(i: int) -> int:
            at_once.append(i)
            most.append(len(at_once))
            assert gate.wait(WAIT)
            order.append(i)
            at_once.remove(i)
            return i

        with pool_of(1) as pool:
            tasks = [asyncio.create_task(pool.run(lambda i=i: job(i))) for i in range(6)]
            await until(lambda: pool.waiting("search") == 5)
            assert pool.running("search") == 1
            gate.set()
            assert await asyncio.gather(*tasks) == order == list(range(6))
        assert max(most) == 1

    asyncio.run(run())


def test_a_deadline_answers_at_once_and_the_thread_counts_until_it_ends():
    async def run() -> None:
        gate, left = threading.Event(), []

        @contextmanager
        def lease():
            yield "engine"
            left.append(True)

        with pool_of(1) as pool:
            with pytest.raises(ProblemError, match="not done within 20 ms") as caught:
                async with pool.work(timeout_ms=20) as work:
                    assert work.enter(lease()) == "engine"
                    await work.run(lambda: gate.wait(WAIT))
            assert (caught.value.status, caught.value.code) == (504, "deadline_exceeded")
            assert pool.running("search") == 1 and not left  # what is leased is still in use
            with pytest.raises(ProblemError, match="not done"):
                await pool.run(lambda: "never begins", timeout_ms=20)
            assert pool.waiting("search") == 0
            gate.set()
            await until(lambda: pool.running("search") == 0)
            await until(lambda: left)
            assert await pool.run(lambda: "next") == "next"

    asyncio.run(run())


def test_whoever_leaves_the_queue_is_not_served():
    async def run() -> None:
        gate, done, client = threading.Event(), [], Client()
        with pool_of(1) as pool:
            first = asyncio.create_task(pool.run(lambda: gate.wait(WAIT)))
            await until(lambda: pool.running("search") == 1)
            gone = asyncio.create_task(pool.run(lambda: done.append("gone"), request=client))
            last = asyncio.create_task(pool.run(lambda: done.append("last")))
            await until(lambda: pool.waiting("search") == 2)
            client.gone.set()
            with pytest.raises(Disconnected):
                await gone
            assert pool.waiting("search") == 1
            gate.set()
            await asyncio.gather(first, last)
        assert done == ["last"]

    asyncio.run(run())


def test_nobody_who_stays_is_taken_for_gone():
    async def run() -> None:
        with pool_of(1) as pool:
            async with pool.work(request=Client(), timeout_ms=60_000) as work:
                assert await work.run(lambda: 1, "encode") == 1
                assert await work.run(lambda: 2) == 2
            await asyncio.sleep(0)
            assert len(asyncio.all_tasks()) == 1  # the watcher has gone too

    asyncio.run(run())


def test_errors_of_jobs_are_raised_and_free_the_thread():
    def fail() -> None:
        raise TimeoutError("of the job itself")

    async def run() -> None:
        with pool_of(1) as pool:
            for _ in range(3):
                with pytest.raises(TimeoutError, match="of the job itself"):
                    await pool.run(fail, timeout_ms=60_000)
            assert pool.running("search") == 0

    asyncio.run(run())


def test_waiting_for_models_takes_no_thread_from_searches():
    async def run() -> None:
        gate = threading.Event()
        with pool_of(1) as pool:

            async def encode() -> None:
                async with pool.work() as work:
                    await work.run(lambda: gate.wait(WAIT), "encode")

            tasks = [asyncio.create_task(encode()) for _ in range(4)]
            await until(lambda: pool.running("encode") == 4)
            assert await pool.run(lambda: "found") == "found"
            gate.set()
            await asyncio.gather(*tasks)

    asyncio.run(run())


def test_a_search_follows_its_encoding_on_the_same_thread_where_there_is_room():
    def name() -> str:
        return threading.current_thread().name.rpartition("_")[0]

    async def run() -> None:
        gate, begun = threading.Event(), threading.Event()
        with pool_of(1) as pool:
            async with pool.work() as work:
                assert await work.run_after(lambda: None, "encode", name) == "encode"
            blocking = asyncio.create_task(pool.run(lambda: gate.wait(WAIT)))
            await until(lambda: pool.running("search") == 1)

            async def second() -> str:
                async with pool.work() as work:
                    return await work.run_after(begun.set, "encode", name)

            waiting = asyncio.create_task(second())
            await until(lambda: begun.is_set() and pool.waiting("search") == 1)
            gate.set()
            assert await waiting == "search"
            assert await blocking
            assert pool.running("search") == pool.running("encode") == 0

    asyncio.run(run())


def test_a_job_may_raise_what_no_future_takes():
    async def run() -> None:
        with pool_of(1) as pool:
            async with asyncio.timeout(30):
                with pytest.raises(RuntimeError, match="StopIteration"):
                    await pool.run(lambda: next(iter(())))

    asyncio.run(run())


def test_what_is_run_here_takes_turns_with_the_loop():
    async def run() -> None:
        order: list[str] = []
        with pool_of(1) as pool:

            async def here(i: int) -> int:
                async with pool.work() as work:
                    return await work.run_here(lambda: order.append(f"job {i}") or i)

            tasks = [asyncio.create_task(here(i)) for i in range(3)]
            while len(order) < 5:
                await asyncio.sleep(0)
                order.append("loop")
            assert await asyncio.gather(*tasks) == [0, 1, 2]
        jobs = [at for at, one in enumerate(order) if one != "loop"]
        assert all(after - before > 1 for before, after in pairwise(jobs))
        assert threading.current_thread() is threading.main_thread()

    asyncio.run(run())
