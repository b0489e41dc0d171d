"""Who writes to a collection waits for a turn: requests without a thread, tasks on theirs."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from server.documents.turns import Turns

SECONDS = 30


class Stop(Exception):
    """A task that shall stop."""


def until(condition) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def carry_on() -> None:
    """A task that nobody stops."""


def test_requests_and_tasks_come_in_the_order_in_which_they_asked():
    turns, order = Turns(), []

    async def request(name: str) -> None:
        async with turns.of_request("a"):
            order.append(name)
            await asyncio.sleep(0)

    def task() -> None:
        with turns.of_task("a", carry_on):
            order.append("task")

    async def run() -> None:
        thread = threading.Thread(target=task)
        async with turns.of_request("a"):
            first = asyncio.create_task(request("first"))
            await asyncio.sleep(0)
            thread.start()
            await asyncio.to_thread(until, lambda: turns.waiting("a") == 3)
            last = asyncio.create_task(request("last"))
            async with asyncio.timeout(SECONDS), turns.of_request("b"):
                pass  # of another collection: at once
            assert order == []
        await asyncio.gather(first, last)
        thread.join()

    asyncio.run(run())
    assert order == ["first", "task", "last"] and turns.waiting("a") == 0


def test_whoever_gives_up_leaves_the_line():
    turns = Turns()

    async def wait() -> None:
        async with turns.of_request("a"):
            raise AssertionError("the turn is another's")

    async def run() -> None:
        with turns.of_task("a", carry_on):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert turns.waiting("a") == 1

    asyncio.run(run())
    assert turns.waiting("a") == 0


def test_a_task_that_waits_can_be_stopped():
    def stop() -> None:
        raise Stop

    turns = Turns()
    with turns.of_task("a", carry_on):
        with pytest.raises(Stop), turns.of_task("a", stop):
            raise AssertionError("the turn is another's")
        assert turns.waiting("a") == 1
