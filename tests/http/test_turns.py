"""Who writes to a collection waits for a turn: requests without a thread, tasks on theirs."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from server.documents.turns import LineBlocked, Turns
from server.documents.writers import LONGEST_WAIT, Writers
from server.http.problems import ProblemError
from server.tasks.record import TaskProgress
from server.working.pool import Disconnected

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
    turns, order = Turns(9), []

    async def request(name: str) -> None:
        async with turns.of_request("a"):
            order.append(name)
            await asyncio.sleep(0)

    def task() -> None:
        with turns.of_task("a", "t1", carry_on):
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
    turns = Turns(9)

    async def wait() -> None:
        async with turns.of_request("a"):
            raise AssertionError("the turn is another's")

    async def run() -> None:
        with turns.of_task("a", "t1", carry_on):
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

    turns = Turns(9)
    with turns.of_task("a", "t1", carry_on):
        with pytest.raises(Stop), turns.of_task("a", "t2", stop):
            raise AssertionError("the turn is another's")
        assert turns.waiting("a") == 1


class Client:
    """A request whose body has been read."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


def test_only_so_many_requests_wait_and_they_know_for_which_task():
    turns = Turns(2)

    async def write() -> str | None:
        async with turns.of_request("a") as waited_for:
            return waited_for

    async def run() -> None:
        with turns.of_task("a", "t1", carry_on):
            waiting = [asyncio.create_task(write()) for _ in range(2)]
            await asyncio.sleep(0)
            for refused in (write(), asyncio.to_thread(turns.check_room, "a")):
                with pytest.raises(LineBlocked) as caught:
                    await refused
                assert (caught.value.waiting, caught.value.task) == (2, "t1")
            turns.check_room("b")
            with pytest.raises(Stop), turns.of_task("a", "t2", stop):  # tasks have places of their own
                raise AssertionError("the turn is another's")
        assert await asyncio.gather(*waiting) == ["t1", "t1"]
        assert await write() is None

    def stop() -> None:
        raise Stop

    asyncio.run(run())


def test_whose_client_goes_leaves_the_line_but_not_once_it_has_the_turn():
    turns, staying, going = Turns(9), Client(), Client()

    async def write(client: Client) -> bool:
        async with turns.of_request("a", client):  # type: ignore[arg-type]
            client.gone.set()
            await asyncio.sleep(0.01)
            return True

    async def run() -> None:
        with turns.of_task("a", "t1", carry_on):
            waiting = [asyncio.create_task(write(client)) for client in (going, staying)]
            await asyncio.sleep(0)
            going.gone.set()
            async with asyncio.timeout(SECONDS):
                with pytest.raises(Disconnected):
                    await waiting[0]
            assert turns.waiting("a") == 2
        assert await waiting[1]

    asyncio.run(run())
    assert turns.waiting("a") == 0


def began(turns: Turns, task: str, order: list[str], error: Exception | None = None) -> threading.Thread:
    """A task that has the turn for a moment, on a thread of its own."""

    def run() -> None:
        with suppress(Stop), turns.of_task("a", task, carry_on, lambda failed: str(failed) != "for good"):
            order.append(task)
            if error is not None:
                raise error

    thread = threading.Thread(target=run)
    thread.start()
    return thread


async def write(turns: Turns, name: str, order: list[str]) -> str | None:
    async with asyncio.timeout(SECONDS), turns.of_request("a") as waited_for:
        order.append(name)
        return waited_for


def test_an_accepted_task_keeps_its_place_until_it_begins():
    turns, order = Turns(9), []

    async def run() -> None:
        turns.keep("a", "t1")
        first = asyncio.create_task(write(turns, "first", order))
        await asyncio.sleep(0)
        turns.keep("a", "t2")
        second = asyncio.create_task(write(turns, "second", order))
        await asyncio.sleep(0)
        await asyncio.to_thread(began(turns, "compact", order).join)  # of no kept place: it waits for none
        await asyncio.to_thread(began(turns, "t1", order).join)
        assert await first == "t1"
        await asyncio.sleep(0.01)
        assert order == ["compact", "t1", "first"]
        await asyncio.to_thread(began(turns, "t2", order).join)
        assert await second == "t2"

    asyncio.run(run())
    assert order == ["compact", "t1", "first", "t2", "second"] and turns.waiting("a") == 0


def test_a_task_that_begins_earlier_than_it_was_accepted_waits_for_none_that_cannot_begin():
    turns, order = Turns(9), []
    turns.keep("a", "t1")
    turns.keep("a", "t2")
    for task in ("t2", "t1"):
        began(turns, task, order).join(SECONDS)
    assert order == ["t2", "t1"] and turns.waiting("a") == 0


def test_a_place_that_is_forgotten_is_waited_for_no_longer():
    turns, order = Turns(9), []

    async def run() -> None:
        turns.keep("a", "t1")
        waiting = asyncio.create_task(write(turns, "first", order))
        await asyncio.sleep(0)
        turns.forget("a", "t1")
        turns.forget("a", "t1")
        assert await waiting == "t1"

    asyncio.run(run())
    assert turns.waiting("a") == 0


@pytest.mark.parametrize("comes_again", [True, False])
def test_who_waits_for_a_task_that_is_tried_again_later_is_refused(comes_again):
    turns, order = Turns(9), []

    async def run() -> None:
        turns.keep("a", "t1")
        waiting = asyncio.create_task(write(turns, "first", order))
        await asyncio.sleep(0)
        error = Stop("somebody writes" if comes_again else "for good")
        await asyncio.to_thread(began(turns, "t1", order, error).join)
        if comes_again:
            for refused in (waiting, write(turns, "second", order)):
                with pytest.raises(LineBlocked, match="somebody writes") as caught:
                    await refused
                assert caught.value.task == "t1"
            await asyncio.to_thread(began(turns, "t1", order).join)
            assert await write(turns, "third", order) is None
        else:
            await asyncio.sleep(0.01)
            assert not waiting.done()  # until somebody says that it has ended
            turns.forget("a", "t1")
            assert await waiting == "t1"

    asyncio.run(run())
    assert order == (["t1", "t1", "third"] if comes_again else ["t1", "first"])
    assert turns.waiting("a") == 0


@pytest.mark.parametrize(("eta", "seconds"), [(None, "1"), (12.1, "13"), (500.0, "60")])
def test_who_is_refused_is_told_for_how_long_the_task_writes(eta, seconds):
    running = SimpleNamespace(progress=TaskProgress(eta_seconds=eta))
    tasks = SimpleNamespace(get={"t1": running}.__getitem__)
    writers = Writers(None, tasks, None, 1)  # type: ignore[arg-type]

    async def wait() -> None:
        async with writers.turns.of_request("a"):
            pass

    async def run() -> None:
        with writers.turns.of_task("a", "t1", carry_on):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            with pytest.raises(ProblemError, match="for the task t1, and") as caught:
                writers.check_room("a")
        await waiting
        assert caught.value.headers == {"Retry-After": seconds} and caught.value.members == {"task": "t1"}

    asyncio.run(run())


def test_who_is_refused_is_told_why_the_task_could_not_write():
    tasks = SimpleNamespace(get=lambda _: SimpleNamespace(progress=TaskProgress()))
    writers = Writers(None, tasks, None, 9)  # type: ignore[arg-type]
    writers.turns.keep("a", "t1")
    began(writers.turns, "t1", [], Stop("another process writes")).join(SECONDS)
    with pytest.raises(ProblemError, match=r"t1 was accepted .*another process writes") as caught:
        writers.check_room("a")
    assert (caught.value.status, caught.value.members) == (503, {"task": "t1"})


@pytest.mark.parametrize("has_client", [False, True])
def test_nobody_waits_longer_than_it_may(has_client):
    turns = Turns(9, seconds=0.02)

    async def run() -> None:
        client = Client() if has_client else None
        with turns.of_task("a", "t1", carry_on):
            with pytest.raises(LineBlocked) as caught:
                async with turns.of_request("a", client):  # type: ignore[arg-type]
                    raise AssertionError("the turn is another's")
            assert (caught.value.task, caught.value.waited) == ("t1", 0.02)
            assert turns.waiting("a") == 1 and turns.first_task("a") == "t1"
        async with turns.of_request("a", client) as waited_for:  # type: ignore[arg-type]
            assert waited_for is None and turns.first_task("a") is None

    asyncio.run(run())


@pytest.mark.parametrize(("eta", "is_told"), [(None, False), (LONGEST_WAIT, False), (45.2, True)])
def test_who_would_wait_too_long_is_told_at_once(eta, is_told):
    tasks = SimpleNamespace(get=lambda _: SimpleNamespace(progress=TaskProgress(eta_seconds=eta)))
    writers = Writers(None, tasks, None, 9)  # type: ignore[arg-type]
    with writers.turns.of_task("a", "t1", carry_on):
        if not is_told:
            writers.check_room("a")
            return
        for refused in (writers.in_turn("a", lambda *_: None), asyncio.to_thread(writers.check_room, "a")):
            with pytest.raises(ProblemError, match="would wait for the task t1 longer than 20 s") as caught:
                asyncio.run(refused)  # type: ignore[arg-type]
            assert caught.value.headers == {"Retry-After": "46"} and caught.value.members == {"task": "t1"}
            assert (caught.value.status, caught.value.code) == (503, "collection_busy")
