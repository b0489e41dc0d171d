from __future__ import annotations

import asyncio
import os
import threading
import time
from types import SimpleNamespace

import pytest

from retrieval import Engine
from server.answering import pace
from server.answering.pace import Paces
from server.answering.placing import PACES, of_vector
from server.working.pool import WorkPool


class Index(SimpleNamespace):
    """As much of an engine as is looked at."""

    __hash__ = object.__hash__


@pytest.fixture
def engine(tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(b"one")
    return Index(path=tmp_path)


def learn(paces: Paces, engine, times: int = pace.ENOUGH, *, here: bool = False) -> None:
    for _ in range(times):
        assert paces.watched(engine, lambda: 7, keeps_waiting=here) == 7


def work(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_short_ones_in_a_row_are_believed(engine):
    paces = Paces()
    assert not paces.is_short(engine)
    learn(paces, engine, pace.ENOUGH - 1)
    assert not paces.is_short(engine)
    learn(paces, engine, 1)
    assert paces.is_short(engine)
    paces.watched(engine, lambda: work(2 * pace.SHORT_SECONDS), keeps_waiting=False)
    assert not paces.is_short(engine)


def test_who_waits_on_a_thread_has_not_worked(engine):
    paces = Paces()
    learn(paces, engine, pace.ENOUGH - 1)
    paces.watched(engine, lambda: time.sleep(2 * pace.LONG_SECONDS), keeps_waiting=False)
    assert paces.is_short(engine)


def test_after_one_that_kept_others_waiting_there_is_a_pause(engine, monkeypatch):
    paces = Paces()
    learn(paces, engine)
    paces.watched(engine, lambda: time.sleep(2 * pace.LONG_SECONDS), keeps_waiting=True)
    assert not paces.is_short(engine)
    monkeypatch.setattr(pace, "PAUSE_SECONDS", 0.0)
    paces.watched(engine, lambda: time.sleep(2 * pace.LONG_SECONDS), keeps_waiting=True)
    assert paces.is_short(engine)


def test_one_whose_core_was_given_to_others_was_not_long(engine, monkeypatch):
    paces = Paces()
    learn(paces, engine)
    now = time.monotonic()
    monkeypatch.setattr(pace, "_waits", lambda: 7)
    monkeypatch.setattr(pace.time, "monotonic", iter([now, now + 1, now + 1]).__next__)
    paces.watched(engine, lambda: None, keeps_waiting=True)
    assert paces.is_short(engine)


def test_the_first_one_after_a_commit_has_a_thread(engine):
    paces = Paces()
    learn(paces, engine)
    (engine.path / "catalog.sqlite-wal").write_bytes(b"two")
    assert not paces.is_short(engine)
    learn(paces, engine, 1)
    assert paces.is_short(engine)
    os.utime(engine.path / "catalog.sqlite", (1, 1))
    assert not paces.is_short(engine)


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_commit_that_comes_while_one_waits_gives_it_a_thread(engine, is_changed):
    learn(PACES, engine)

    async def ask():
        pool = WorkPool(1)
        async with pool.work() as first, pool.work() as second:
            waiting = asyncio.create_task(of_vector(engine, second, threading.current_thread))
            await first.run_here(lambda: None)  # it has the place before the other one asks
            await asyncio.sleep(0)
            if is_changed:
                (engine.path / "catalog.sqlite-wal").write_bytes(b"two")
            found = await waiting
        pool.close()
        return found

    assert (asyncio.run(ask()) is threading.main_thread()) != is_changed


def test_short_searches_for_texts_that_come_alone_end_where_they_were_encoded(serve, indexes, encoders):
    seen: list[tuple[str, str]] = []

    class Seen(Engine):
        def search_batch(self, queries, k=10, **given):
            seen.append((threading.current_thread().name, "search"))
            return super().search_batch(queries, k, **given)

    class Named(type(encoders["dense"])):
        def encode_query(self, texts):
            seen.append((threading.current_thread().name, "encode"))
            return super().encode_query(texts)

    with (
        serve(given={**encoders, "dense": Named()}) as client,
        client.app.state.context.registry.lease("dense") as engine,
    ):
        engine.__class__ = Seen

        def ask(text: str, **body):
            seen.clear()
            found = client.post("/v1/collections/dense/search", json={"query": text, **body}).json()
            return found["hits"], [name.partition("_")[0] for name, _ in seen]

        for i in range(10 * pace.ENOUGH):  # the first ones may take long
            if ask(f"wing {i}")[1] == ["model", "model"]:
                break
        hits, threads = ask("wing")
        assert threads == ["model", "model"]
        assert ask("wing") == (hits, ["model"])  # its vectors are at hand
        assert ask("wing", filter={"year": {"gte": 0}}) == (hits, ["encode"])
        client.app.state.context.models.thread._jobs = 1  # somebody encodes
        assert ask("wing") == (hits, ["encode"])
