from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from retrieval import EncoderConfig
from retrieval.encode.base import ConfiguredEncoder, TokenizingEncoder, encode_queries
from retrieval.errors import EncoderError
from server.working.batching import LARGE, BatchingEncoder
from server.working.model_thread import ModelThread
from tests.encoders import HashingDense, HashingLate

WAIT = 30


class Recording(HashingDense):
    """Notes every batch and waits until the gate opens. Fails for batches with 'bad', gives NaN for 'nan'."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def encode_query(self, texts):
        self.batches.append(list(texts))
        self.entered.set()
        assert self.gate.wait(WAIT), "nobody opened the gate"
        if any("bad" in text for text in texts):
            raise EncoderError("one clear sentence")
        vectors = self.encode_document(texts)
        vectors[[i for i, text in enumerate(texts) if "nan" in text]] = np.nan
        return vectors


def waiting(encoder: BatchingEncoder) -> int:
    return len(encoder._waiting)


def until(condition) -> None:
    changed = threading.Event()
    for _ in range(WAIT * 200):
        if condition():
            return
        changed.wait(0.005)
    raise AssertionError("it never came")


def gathered(inner: Recording, texts: list[str], **options):
    """Encode ``texts``, each by a thread of its own, all of which wait while the model is busy."""
    encoder = BatchingEncoder(inner, **options)
    inner.gate.clear()
    with ThreadPoolExecutor(len(texts) + 1) as threads:
        first = threads.submit(encoder.encode_query, ["first"])
        assert inner.entered.wait(WAIT)
        futures = [threads.submit(encoder.encode_query, [text]) for text in texts]
        until(lambda: waiting(encoder) == len(set(texts)))
        inner.gate.set()
        first.result(WAIT)
        return encoder, futures


def test_what_waits_is_encoded_together():
    inner, texts = Recording(), [f"query {i}" for i in range(9)]
    encoder, futures = gathered(inner, texts)
    for text, future in zip(texts, futures, strict=True):
        np.testing.assert_array_equal(future.result(), inner.encode_document([text]))
    assert inner.batches[0] == ["first"] and sorted(inner.batches[1]) == texts and len(inner.batches) == 2
    counts = encoder.counts
    assert (counts.hits, counts.misses, counts.texts) == (0, 10, 10)
    assert sum(counts.batches) == 2 and counts.batches[0] == counts.batches[4] == 1


def test_on_the_model_s_thread_nobody_is_waited_for():
    inner, thread = Recording(), ModelThread()
    encoder = BatchingEncoder(inner, thread=thread)
    try:
        with ThreadPoolExecutor(2) as threads:
            encoder._busy = True  # somebody has a batch that waits for the thread
            waits = threads.submit(encoder.encode_query, ["same"])
            until(lambda: waiting(encoder) == 1)
            alone = thread.executor.submit(encoder.encode_query, ["same"]).result(WAIT)
            assert (
                thread.executor.submit(encoder.encode_query, ["same"]).result(WAIT).tobytes()
                == alone.tobytes()
            )
            assert inner.batches == [["same"]] and not waits.done()
            with encoder._changed:
                encoder._busy = False
                encoder._changed.notify_all()
            assert waits.result(WAIT).tobytes() == alone.tobytes()
        with pytest.raises(EncoderError):
            thread.executor.submit(encoder.encode_query, ["bad one"]).result(WAIT)
        assert encoder.counts.hits == 1
    finally:
        thread.close()


def test_batches_stay_within_the_budget_and_nobody_is_forgotten():
    inner = Recording()
    texts = [f"{i} " + "x" * length for i, length in enumerate([8, 400, 12, 390, 10, 8, 4000, 9])]
    _, futures = gathered(inner, texts, batch_tokens=250)
    for future in futures:
        future.result(WAIT)
    sizes = [(len(batch), max(len(text) // 4 + 2 for text in batch)) for batch in inner.batches]
    assert all(n * longest <= 250 or n == 1 for n, longest in sizes)
    assert len(inner.batches) < len(texts)  # some came together all the same
    assert sorted(text for batch in inner.batches[1:] for text in batch) == sorted(texts)


def test_the_same_text_is_encoded_once():
    inner = Recording()
    _, futures = gathered(inner, ["same"] * 6)
    assert len({future.result(WAIT).tobytes() for future in futures}) == 1
    assert inner.batches[1:] == [["same"]]


@pytest.mark.parametrize("culprit", ["bad one", "nan one"])
def test_an_error_hits_only_the_text_that_causes_it(culprit):
    inner, texts = Recording(), ["good", culprit, "fine"]
    encoder, (good, bad, fine) = gathered(inner, texts)
    np.testing.assert_array_equal(good.result(WAIT), inner.encode_document(["good"]))
    np.testing.assert_array_equal(fine.result(WAIT), inner.encode_document(["fine"]))
    with pytest.raises(EncoderError):
        bad.result(WAIT)
    with pytest.raises(EncoderError):  # an error is not remembered as an answer
        encoder.encode_query([culprit])
    encoder.encode_query(["good"])
    assert inner.batches[-1] == [culprit]


def test_a_thread_that_is_stopped_in_the_model_wedges_nobody():
    class Stopped(HashingDense):
        def encode_query(self, texts):
            if "stop" in texts:
                raise KeyboardInterrupt
            return self.encode_document(texts)

    encoder = BatchingEncoder(Stopped())
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_query(["stop"])
    assert encoder.encode_query(["go on"]).shape == (1, 32)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_query(["stop"])


def test_the_cache_forgets_what_was_used_longest_ago():
    inner = Recording()
    encoder = BatchingEncoder(inner, cached_texts=2)
    for text in ["a", "b", "a", "c", "a", "b"]:
        np.testing.assert_array_equal(encoder.encode_query([text]), inner.encode_document([text]))
    assert inner.batches == [["a"], ["b"], ["c"], ["b"]]
    assert (encoder.counts.hits, encoder.counts.misses) == (2, 4)


def test_without_a_cache_nothing_is_kept():
    inner = Recording()
    encoder = BatchingEncoder(inner, cached_texts=0)
    for _ in range(3):
        encoder.encode_query(["a"])
    assert inner.batches == [["a"]] * 3


@pytest.mark.parametrize("inner", [HashingDense(), HashingLate()], ids=["dense", "late"])
def test_nobody_can_change_what_others_get(inner):
    encoder = BatchingEncoder(inner)
    before = encode_queries(inner, ["heat shield", "wing"])
    vectors = encoder.encode_query(["heat shield", "wing"])
    if inner.kind == "dense":
        vectors[:] = 0
    else:
        with pytest.raises(ValueError, match="read-only"):
            vectors[0][:] = 0
    after = encode_queries(encoder, ["heat shield", "wing"])
    np.testing.assert_array_equal(after.values, before.values)
    np.testing.assert_array_equal(after.offsets, before.offsets)


def test_many_texts_at_once_go_straight_to_the_model():
    inner, texts = Recording(), [f"span {i}" for i in range(LARGE + 1)]
    encoder = BatchingEncoder(inner)
    np.testing.assert_array_equal(encoder.encode_query(texts), inner.encode_document(texts))
    assert inner.batches == [texts] and encoder.counts.misses == 0


def test_it_is_what_the_inner_encoder_is():
    class Configured(HashingDense):
        config = EncoderConfig(name="minilm")

        def encode_query(self, texts, *, progress=None):
            return self.encode_document(texts)

    dense, late = BatchingEncoder(HashingDense()), BatchingEncoder(HashingLate())
    configured = BatchingEncoder(Configured())
    assert [isinstance(each, TokenizingEncoder) for each in (dense, late, configured)] == [False, True, False]
    assert [isinstance(each, ConfiguredEncoder) for each in (dense, late, configured)] == [False, False, True]
    assert configured.config is Configured.config
    assert late.query_tokens("a wing")[1].text == "wing"
    assert dense.fingerprint() == HashingDense().fingerprint()
    with pytest.raises(AttributeError):
        _ = dense.nothing_of_this_name


def test_under_load_every_answer_is_that_of_its_text():
    inner, texts = HashingLate(), [f"word{i} of {i % 7}" for i in range(60)]
    encoder = BatchingEncoder(inner, cached_texts=10, batch_tokens=64)
    with ThreadPoolExecutor(12) as threads:
        for text, found in zip(
            texts * 3, threads.map(lambda t: encoder.encode_query([t, "also"]), texts * 3), strict=True
        ):
            for mine, expected in zip(found, inner.encode_document([text, "also"]), strict=True):
                np.testing.assert_array_equal(mine, expected)
