"""The best by tokens in one call: as by its steps, on every level, by any number of threads."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from bench.cases.token_best import CASES
from retrieval.kernels import host
from retrieval.kernels.helpers import together
from retrieval.kernels.token_best import cpu, reference

needs_one_call = pytest.mark.skipif(
    host.simd_level() != "avx512" or host.has_tiles(), reason="made for AVX-512 without tiles"
)


@pytest.fixture(params=CASES, ids=lambda case: case.label)
def asked(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    made: tuple[Any, ...] = request.param.make(np.random.default_rng(3), 0.05)
    return made


def check_same(got: cpu.Best, expected: cpu.Best) -> None:
    order, other = np.argsort(got.ordinals), np.argsort(expected.ordinals)
    np.testing.assert_array_equal(got.ordinals[order], expected.ordinals[other])
    np.testing.assert_allclose(got.scores[order], expected.scores[other], rtol=1e-6)
    assert (got.scanned, got.visited) == (expected.scanned, expected.visited)
    assert (got.ordinals.dtype, got.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("k", [1, 7, 60, 10**6])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_as_the_definition(asked: tuple[Any, ...], k: int, threads: int) -> None:
    *rest, _, slack = asked
    check_same(cpu.token_best(*rest, k, slack, threads), reference.token_best(*rest, k, slack))


@pytest.mark.parametrize("share", [1.0, 0.9, 0.4, 0.02, 0.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_of_those_that_are_accepted(asked: tuple[Any, ...], share: float, threads: int) -> None:
    *rest, k, slack = asked
    n = len(rest[2].starts) - 1
    accept = np.random.default_rng(9).random(n) < share
    got = cpu.token_best(*rest, k, slack, threads, accept)
    check_same(got, reference.token_best(*rest, k, slack, 1, accept))
    assert accept[got.ordinals].all() and len(got.ordinals) <= accept.sum()
    if share == 1:
        check_same(got, cpu.token_best(*rest, k, slack, threads))


def test_a_mask_that_does_not_fit_is_refused(asked: tuple[Any, ...]) -> None:
    *rest, k, slack = asked
    n = len(rest[2].starts) - 1
    for wrong in (np.ones(n - 1, bool), np.ones(n + 1, bool), np.ones(n, np.uint8)):
        with pytest.raises(ValueError, match="accept is"):
            cpu.token_best(*rest, k, slack, 1, wrong)


@needs_one_call
@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case.label)
def test_threads_and_steps_give_the_same_bits(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    *rest, _ = case.make(np.random.default_rng(5), 0.05)
    one = cpu._in_one_call(*rest, 1, None)
    assert one is not None
    shared = (cpu._in_one_call(*rest, 2, None) for _ in range(1000))
    in_time = list(islice((two for two in shared if two is not None), 20))  # a helper may be late
    assert len(in_time) == 20
    for two in in_time:
        np.testing.assert_array_equal(one.ordinals, two.ordinals)
        np.testing.assert_array_equal(one.scores, two.scores)
    monkeypatch.setattr(cpu, "_fits", lambda *_: False)
    steps = cpu.token_best(*rest, 1e-4)
    np.testing.assert_array_equal(one.ordinals, steps.ordinals)
    np.testing.assert_array_equal(one.scores, steps.scores)


@needs_one_call
@pytest.mark.parametrize("stage", range(cpu.STAGES))
def test_a_helper_that_is_late_costs_no_answer(stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who took a run of a stage and never finishes it: the steps are taken one by one."""
    given = CASES[0].make(np.random.default_rng(1), 0.05)
    expected = cpu.token_best(*given)
    kernel, told = cpu._kernel(), []

    class Late:
        DONE = kernel.DONE

        @staticmethod
        def run(is_asking: bool, *given: Any) -> int:
            (turns,) = (one for one in given if getattr(one, "shape", ()) == (cpu.STAGES, cpu.ROOM))
            turns[stage, 0] = 1  # the next run that is taken is not the first
            told.append(int(kernel.run(is_asking, *given)))
            return told[-1]

    monkeypatch.setattr(cpu, "_kernel", lambda: Late)
    check_same(cpu.token_best(*given), expected)
    assert told == [kernel.LATE]


def test_nobody_is_named(asked: tuple[Any, ...]) -> None:
    probe, query, segment, how, k, slack = asked
    bare = replace(segment, posting_starts=np.zeros_like(segment.posting_starts))
    if how.gathered:
        assert not len(cpu.token_best(probe, query, bare, how, k, slack).ordinals)
    check_same(
        cpu.token_best(probe, query, bare, how, k, slack),
        reference.token_best(probe, query, bare, how, k, slack),
    )


def test_who_gives_up_waits_until_the_helper_has_ended() -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(is_asking: bool) -> int:
        if is_asking:
            assert begun.wait(60)
            return 3
        begun.set()
        ended.set()
        return 1

    assert together(work, 2) == 3
    assert ended.is_set()
    assert together(lambda is_asking: 0 if is_asking else 1, 1) == 0


def test_what_does_not_fit_is_refused(asked: tuple[Any, ...]) -> None:
    probe, query, segment, how, k, slack = asked
    wrong = probe.copy()
    wrong[0, 0] = np.nan
    for args, told in [
        ((wrong, query, segment, how, k, slack), "NaN"),
        ((probe[:, :8], query, segment, how, k, slack), "query is"),
        ((probe, query[:, :8], segment, how, k, slack), "must be float32"),
        ((probe, query, segment, how, 0, slack), "k is 0"),
    ]:
        with pytest.raises(ValueError, match=told):
            cpu.token_best(*args)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_is_refused(asked: tuple[Any, ...], number: float) -> None:
    """Also where what the centroids are asked, which may be something else, is."""
    probe, query, segment, how, _, slack = asked
    wrong = query.copy()
    wrong[-1, -1] = number
    for k in (1, 10**6):
        with pytest.raises(ValueError, match="NaN or infinite"):
            cpu.token_best(probe, wrong, segment, how, k, slack)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_segment_without_documents(asked: tuple[Any, ...], threads: int) -> None:
    probe, query, segment, how, k, slack = asked
    nobody = replace(
        segment,
        starts=segment.starts[:1],
        posting_starts=np.zeros_like(segment.posting_starts),
        tokens=replace(segment.tokens, offsets=segment.tokens.offsets[:1]),
    )
    got = cpu.token_best(probe, query, nobody, how, k, slack, threads)
    check_same(got, reference.token_best(probe, query, nobody, how, k, slack))
    assert not len(got.ordinals)


def test_damage_is_named(asked: tuple[Any, ...]) -> None:
    probe, query, segment, how, k, slack = asked
    if how.gathered:
        postings = segment.postings.copy()
        postings[:] = 2**31
        with pytest.raises(ValueError, match="posting"):
            cpu.token_best(probe, query, replace(segment, postings=postings), how, k, slack)
    if how.by_centroids:
        named = np.full_like(segment.named, 2**16 - 1)
        with pytest.raises(ValueError, match="centroid"):
            cpu.token_best(probe, query, replace(segment, named=named), how, k, slack)


def test_what_a_segment_refuses(asked: tuple[Any, ...]) -> None:
    segment = asked[2]
    bare = segment.starts.copy()
    bare[1] = 0
    falling = segment.posting_starts.copy()
    falling[1] = falling[-1] + 1
    for changes, told in [
        ({"starts": segment.starts[:-1]}, "documents of tokens"),
        ({"starts": bare}, "no tokens"),
        ({"posting_starts": segment.posting_starts[:-1]}, "postings of"),
        ({"posting_starts": falling}, "must grow"),
        ({"named": segment.named[:-1]}, "end at"),
    ]:
        with pytest.raises(ValueError, match=told):
            replace(segment, **changes)
