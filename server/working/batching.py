"""Queries of several requests, encoded together; and those that were asked before, not at all.

Nobody waits for others to come: whoever finds the model free has all encoded that waits for it. Under load
batches grow by themselves.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retrieval import Encoder
from retrieval.encode.base import ConfiguredEncoder, EncodeProgress, TokenizingEncoder, Vectors, as_ragged
from retrieval.types import FloatArray
from server.working.model_thread import ModelThread, on_one_core

__all__ = ["BATCH_SIZES", "BatchingEncoder", "EncoderCounts", "estimated_tokens"]

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Upper bounds of the classes in which batches are counted; there is one more for larger ones."""
LARGE = 256
"""So many texts at once come from no search; they neither wait in line nor fill the cache."""
CHARACTERS_PER_TOKEN = 4
SPECIAL_TOKENS = 2


def estimated_tokens(text: str) -> int:
    """About how many tokens a model sees in a text, without asking its tokenizer."""
    return len(text) // CHARACTERS_PER_TOKEN + SPECIAL_TOKENS


@dataclass(frozen=True, slots=True)
class EncoderCounts:
    """What happened so far. ``batches`` counts batches by class of size (`BATCH_SIZES`), ``texts`` what was
    in them; ``hits`` and ``misses`` are texts whose vectors were, or were not, at hand."""

    hits: int
    misses: int
    texts: int
    batches: tuple[int, ...]


@dataclass(slots=True, eq=False)
class _Job:
    """A text, and once it is ``done`` its vectors ``(n_tokens, d)`` or why there are none."""

    text: str
    done: bool = False
    vectors: FloatArray | None = None
    error: BaseException | None = None

    @property
    def tokens(self) -> int:
        """About how many the model will see: what it costs in a batch, without asking a tokenizer."""
        return estimated_tokens(self.text)

    def end(self, vectors: FloatArray | None, error: BaseException | None = None) -> None:
        self.vectors, self.error, self.done = vectors, error, True


@dataclass(slots=True)
class _Counting:
    hits: int = 0
    misses: int = 0
    texts: int = 0
    batches: list[int] = field(default_factory=lambda: [0] * (len(BATCH_SIZES) + 1))


class BatchingEncoder:
    """Another encoder, whose ``encode_query`` many threads may call at once.

    Texts that wait while the model is busy are encoded together, as many as fit into ``batch_tokens``
    (padded, as estimated from their characters); the vectors of the last ``cached_texts`` different ones are
    kept. A text that cannot be encoded fails alone. Everything else is the inner encoder's: this one is a
    `ConfiguredEncoder` or a `TokenizingEncoder` exactly where that one is.

    Queries are encoded on ``thread``, if one is given, documents on their caller's (`model_thread` says why).
    Whoever calls on that thread waits for nobody, and nobody joins.
    """

    def __init__(
        self,
        inner: Encoder,
        *,
        cached_texts: int = 1024,
        batch_tokens: int = 4096,
        thread: ModelThread | None = None,
    ) -> None:
        self.inner = inner
        self._thread = thread
        self.kind, self.metric, self.dim = inner.kind, inner.metric, inner.dim
        self._cached_texts, self._batch_tokens = cached_texts, batch_tokens
        self._changed = threading.Condition()
        self._busy = False
        self._cache: OrderedDict[str, FloatArray] = OrderedDict()
        self._waiting: OrderedDict[str, _Job] = OrderedDict()
        self._encoding: dict[str, _Job] = {}
        self._counted = _Counting()
        # Protocols that are checked at run time look for attributes: there may be none that the inner one
        # lacks.
        if isinstance(inner, ConfiguredEncoder):
            self.config = inner.config
        if isinstance(inner, TokenizingEncoder):
            self.query_tokens, self.document_tokens = inner.query_tokens, inner.document_tokens

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # while it is being copied there is none yet
            raise AttributeError(name)
        return getattr(self.inner, name)

    def fingerprint(self) -> Mapping[str, Any]:
        """That of the inner encoder: its vectors are not changed."""
        return self.inner.fingerprint()

    def encode_document(self, texts: Sequence[str], **options: Any) -> Vectors:
        """Vectors of documents, by the inner encoder as it is."""
        return on_one_core(lambda: self.inner.encode_document(texts, **options))

    def encode_query(self, texts: Sequence[str], *, progress: EncodeProgress | None = None) -> Vectors:
        """Vectors of queries, in their order: ``(n, d)`` of the caller's own for a dense encoder, else a list
        of arrays ``(n_tokens, d)`` that cannot be written to.

        Raises:
            EncoderError: a text's vectors cannot be used; whatever the inner encoder raises.
        """
        if len(texts) > LARGE:
            return on_one_core(lambda: self.inner.encode_query(texts))
        is_here = self._thread is not None and self._thread.is_here
        jobs = self._enter(texts, joins=not is_here)
        if is_here:
            self._encode_here([job for job in jobs if not job.done])
        else:
            self._wait(jobs)
        found = [_vectors(job) for job in jobs]
        if progress is not None:
            progress(len(texts))
        if self.kind == "late":
            return found
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)

    @property
    def counts(self) -> EncoderCounts:
        """What happened so far."""
        with self._changed:
            now = self._counted
            return EncoderCounts(now.hits, now.misses, now.texts, tuple(now.batches))

    def _enter(self, texts: Sequence[str], *, joins: bool) -> list[_Job]:
        """A job for each text: one that is done, or a new one; with ``joins`` it waits for the model, or is
        one for which others wait too."""
        jobs = []
        with self._changed:
            for text in texts:
                if text in self._cache:
                    self._cache.move_to_end(text)
                    self._counted.hits += 1
                    jobs.append(_Job(text, True, self._cache[text]))
                    continue
                self._counted.misses += 1
                if not joins:
                    jobs.append(_Job(text))
                    continue
                known = self._encoding.get(text) or self._waiting.get(text)
                jobs.append(known or self._waiting.setdefault(text, _Job(text)))
        return jobs

    def _wait(self, jobs: Sequence[_Job]) -> None:
        """Until they are done; whoever finds the model free does the work, also that of others."""
        while True:
            with self._changed:
                while self._busy and not all(job.done for job in jobs):
                    self._changed.wait()
                if all(job.done for job in jobs):
                    return
                self._busy, batch = True, self._next_batch()
            try:
                self._encode(batch)
            finally:
                with self._changed:
                    self._finish(batch)

    def _encode_here(self, batch: Sequence[_Job]) -> None:
        """Encode them on this thread, which is the model's: who waits for the model waits for it too."""
        if not batch:
            return
        with self._changed:
            self._count(batch)
        self._encode(batch)
        with self._changed:
            self._keep(batch)

    def _next_batch(self) -> list[_Job]:
        """The one that has waited longest, and of the others those of like length, while there is room."""
        first = next(iter(self._waiting.values()))
        others = [job for job in self._waiting.values() if job is not first]
        batch, longest = [first], first.tokens
        for job in sorted(others, key=lambda job: abs(job.tokens - first.tokens)):
            longest = max(longest, job.tokens)
            if (len(batch) + 1) * longest > self._batch_tokens:
                break
            batch.append(job)
        for job in batch:
            del self._waiting[job.text]
            self._encoding[job.text] = job
        self._count(batch)
        return batch

    def _count(self, batch: Sequence[_Job]) -> None:
        self._counted.texts += len(batch)
        self._counted.batches[bisect_left(BATCH_SIZES, len(batch))] += 1

    def _encode(self, batch: Sequence[_Job]) -> None:
        """End every job of a batch. Where it fails, each text is tried alone: only the one at fault may
        fail."""
        try:
            for job, vectors in zip(batch, self._encoded([job.text for job in batch]), strict=True):
                job.end(vectors)
        except Exception as error:  # noqa: BLE001 - it is raised where the text came from
            for job in batch:
                if len(batch) == 1:
                    job.end(None, error)
                else:
                    self._encode([job])

    def _encoded(self, texts: Sequence[str]) -> list[FloatArray]:
        """Copies, so that a cached text keeps no whole batch alive; nobody can write to them."""
        ragged = as_ragged(self._by_the_model(texts), self.inner, len(texts))
        arrays = [ragged[i].copy() for i in range(len(ragged))]
        for array in arrays:
            array.setflags(write=False)
        return arrays

    def _by_the_model(self, texts: Sequence[str]) -> Vectors:
        if self._thread is None:
            return self.inner.encode_query(texts)
        return self._thread.run(lambda: self.inner.encode_query(texts))

    def _finish(self, batch: Sequence[_Job]) -> None:
        self._busy = False
        for job in batch:
            del self._encoding[job.text]
            if not job.done:  # the thread was stopped in the midst of it; who waits must not wait for ever
                job.end(None, RuntimeError("encoding was interrupted"))
        self._keep(batch)
        self._changed.notify_all()

    def _keep(self, batch: Sequence[_Job]) -> None:
        """Remember their vectors in place of the oldest."""
        for job in batch:
            if job.vectors is not None and self._cached_texts:
                self._cache[job.text] = job.vectors
        while len(self._cache) > self._cached_texts:
            self._cache.popitem(last=False)


def _vectors(job: _Job) -> FloatArray:
    if job.error is not None:
        raise job.error
    assert job.vectors is not None  # it is done
    return job.vectors
