"""What an index should answer, from a dict and from the definitions, without any index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import Document, Hit
from retrieval.filters import Condition, Filter, HasId
from tests.unit.filters.reference import accepts, values_of

EXACT = {"index": "exact"}
"""The recipe of an index that scores every stored vector."""

TOLERANCE = 2e-6
"""Scores are float32: how far two that are computed in different ways may lie apart."""


class Refused(Exception):
    """The documents may not be added."""


class UnknownField(Exception):
    """A filter names a field that no document ever had."""


class Untrainable(Exception):
    """There is too little to train on, or vectors of another kind."""


class Bytes:
    """int8, from its definition: 255 steps of each dimension from the least to the greatest value there
    was, and a byte stands for the middle of its step."""

    def __init__(self, sample: NDArray[Any]) -> None:
        self._low = sample.min(axis=0)
        self._span = sample.max(axis=0) - self._low

    def stored(self, values: NDArray[Any]) -> NDArray[Any]:
        """What is left of ``(n, d)`` float32 values."""
        shares = (values - self._low) / np.where(self._span > 0, self._span, np.float32(1))
        codes = np.floor(np.clip(shares, 0, 1) * np.float32(255))
        codes[:, self._span == 0] = 0
        middles = (codes + np.float32(0.5)) / np.float32(255)
        return middles * self._span + self._low


class Model:
    """The documents of an index, and their vectors as it stores them."""

    def __init__(self, encoder: Any, precision: str) -> None:
        self.encoder, self.precision = encoder, precision
        self.recipe: Mapping[str, Any] = EXACT
        """What the index is searched by, which changes no answer that all effort was put into."""
        self._bytes: Bytes | None = None
        self.documents: dict[str, Document] = {}
        self.vectors: dict[str, NDArray[Any]] = {}
        self.fields: set[str] = set()
        """Every field and member that any document ever had."""
        self.has_words = False
        """Whether ``word`` has ever been a string, so that it can be nothing else."""

    def copy(self) -> Model:
        """The same as it is now."""
        twin = Model(self.encoder, self.precision)
        twin.documents, twin.vectors = dict(self.documents), dict(self.vectors)
        twin.fields, twin.has_words = set(self.fields), self.has_words
        twin.recipe, twin._bytes = self.recipe, self._bytes
        return twin

    # -- changes ------------------------------------------------------------------------------

    def put(self, documents: Sequence[Document], *, replace: bool, skip: bool) -> tuple[int, int]:
        """Add or upsert; returns how many were taken and how many were replaced.

        Raises:
            Refused: one cannot be taken, and is not to be skipped; then none is.
        """
        kept: dict[str, Document] = {}
        for document in documents:
            if self._is_usable(document, kept, replace):
                kept[document.id] = document
            elif not skip:
                raise Refused
        replaced = len(kept.keys() & self.documents.keys())
        for document in documents:
            if document is kept.get(document.id) or (replace and self._is_usable(document, {}, replace)):
                self._observe(document.metadata)
        for doc_id, document in kept.items():
            self.documents[doc_id] = document
            self.vectors[doc_id] = self._stored(document)
        return len(kept), replaced

    def delete(self, ids: Sequence[str]) -> int:
        """Delete; returns how many there were."""
        there = set(ids) & self.documents.keys()
        for doc_id in there:
            del self.documents[doc_id], self.vectors[doc_id]
        return len(there)

    def convert(self, precision: str | None, recipe: Mapping[str, Any] | None, *, retrain: bool) -> bool:
        """Store all vectors otherwise and search by another recipe, now and from now on; None keeps.
        Gives whether anything was to be trained or stored anew.

        Raises:
            Untrainable: this cannot be done with the documents there are.
        """
        wanted = precision or self.precision, recipe or self.recipe
        self._check_trainable(*wanted)
        if not retrain and wanted == (self.precision, self.recipe):
            return False
        self._check_enough(*wanted)
        is_same, (self.precision, self.recipe) = wanted[0] == self.precision, wanted
        if is_same:  # bytes are not coded again
            return True
        if self.precision == "int8":
            self._bytes = Bytes(np.concatenate([v.astype(np.float32) for v in self.vectors.values()]))
        self.vectors = {doc_id: self._kept(values) for doc_id, values in self.vectors.items()}
        return True

    def _check_trainable(self, precision: str, recipe: Mapping[str, Any]) -> None:
        is_late = recipe["index"] == "tokens" or "muvera" in recipe.get("reduce", "")
        if recipe != EXACT and is_late != (self.encoder.kind == "late"):
            raise Untrainable

    def _check_enough(self, precision: str, recipe: Mapping[str, Any]) -> None:
        is_trained = recipe != EXACT or precision == "int8" != self.precision
        tokens = sum(map(len, self.vectors.values()))
        if is_trained and (
            len(self.documents) < recipe.get("nlist", 1) or tokens < recipe.get("ncentroids", 1)
        ):
            raise Untrainable

    def _is_usable(self, document: Document, kept: Mapping[str, Document], replace: bool) -> bool:
        if not document.id or not document.full_text:
            return False
        if not replace and (document.id in kept or document.id in self.documents):
            return False
        return not (self.has_words and isinstance(document.metadata.get("word"), int))

    def _observe(self, metadata: Mapping[str, Any]) -> None:
        for name, value in metadata.items():
            self.fields.add(name)
            if isinstance(value, Mapping):
                self.fields |= {f"{name}.{member}" for member in value}
            self.has_words |= name == "word" and isinstance(value, str)

    def _stored(self, document: Document) -> NDArray[Any]:
        return self._kept(self._prepared(self.encoder.encode_document([document.full_text])[0]))

    def _kept(self, values: NDArray[Any]) -> NDArray[Any]:
        """What storing leaves of a document's vectors."""
        if self.precision != "int8":
            return values.astype(self.precision)
        assert self._bytes is not None
        return self._bytes.stored(values.astype(np.float32))

    def _prepared(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        values = np.atleast_2d(vectors)
        if self.encoder.metric != "cosine":
            return values
        norms = np.linalg.norm(values, axis=1, keepdims=True).astype(np.float32)
        unit: NDArray[np.float32] = values / np.where(norms > 0, norms, np.float32(1))
        return unit

    # -- answers ------------------------------------------------------------------------------

    def accepted(self, given: Filter | None) -> list[str]:
        """Ids of the documents that a filter accepts.

        Raises:
            UnknownField: the filter names one.
        """
        if given is None:
            return list(self.documents)
        if not set(fields_of(given)) <= self.fields:
            raise UnknownField
        return [i for i, document in self.documents.items() if accepts(given, i, plain(document.metadata))]

    def score(self, query: str, doc_id: str) -> float:
        """The score of a document, in float64."""
        wanted = self._prepared(self.encoder.encode_query([query])[0]).astype(np.float64)
        values = self.vectors[doc_id].astype(np.float64)
        if self.encoder.metric == "l2":
            return -float(np.linalg.norm(wanted[0] - values[0]))
        if not len(values):
            return 0.0
        score = float((wanted @ values.T).max(axis=1).sum())
        return score / len(wanted) if self.encoder.metric == "meanmaxsim" else score

    def check_hits(
        self,
        query: str,
        k: int,
        given: Filter | None,
        hits: Sequence[Hit],
        bare: bool,
        *,
        are_best: bool = True,
    ) -> None:
        """Hold an answer against the scores of all accepted documents. One that little effort was put into
        (not ``are_best``) may hold any of them, but as many, in order and with their scores."""
        scores = {doc_id: self.score(query, doc_id) for doc_id in self.accepted(given)}
        found = {hit.id: hit.score for hit in hits}
        assert found.keys() <= scores.keys(), f"found {sorted(found.keys() - scores.keys())}, not accepted"
        assert len(hits) == len(found) == min(k, len(scores)), f"{len(hits)} hits of {len(scores)}, k={k}"
        assert list(hits) == sorted(hits, key=lambda hit: (-hit.score, hit.id)), "out of order"
        for hit in hits:
            assert near(hit.score, scores[hit.id]), f"{hit.id} scored {hit.score}, not {scores[hit.id]}"
            self._check_content(hit, bare)
        if are_best:
            for hit, best in zip(hits, sorted(scores.values(), reverse=True), strict=False):
                assert near(hit.score, best), f"{hit.id} scored {hit.score} where the best is {best}"
            self._check_ties(found, scores)

    def _check_ties(self, found: Mapping[str, float], scores: Mapping[str, float]) -> None:
        """Documents with equal vectors have equal scores, and the smaller id comes first."""
        groups: dict[bytes, list[str]] = {}
        for doc_id in sorted(scores):
            groups.setdefault(self.vectors[doc_id].astype(np.float64).tobytes(), []).append(doc_id)
        for ids in groups.values():
            assert len({found[doc_id] for doc_id in ids if doc_id in found}) <= 1, f"{ids} do not tie"
            there = [doc_id in found for doc_id in ids]
            assert there == sorted(there, reverse=True), f"of {ids} the later were taken: {there}"

    def _check_content(self, hit: Hit, bare: bool) -> None:
        document = self.documents[hit.id]
        if bare:
            assert (hit.title, hit.text, hit.metadata) == (None, None, None)
        else:
            assert (hit.title, hit.text) == (document.title, document.text), f"another text: {hit}"
            assert hit.metadata == plain(document.metadata), f"another metadata: {hit}"

    def facets(self, field: str, given: Filter | None, limit: int) -> list[tuple[Any, int]]:
        """The most frequent values of a field.

        Raises:
            UnknownField: no document ever had it, or one that the filter names.
        """
        accepted = self.accepted(given)
        if field not in self.fields:
            raise UnknownField
        counts = Counter(
            value
            for doc_id in accepted
            for value in set(values_of(plain(self.documents[doc_id].metadata), field))
        )
        return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]


def near(one: float, other: float) -> bool:
    """Whether two scores may be the same one."""
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))


def fields_of(given: Condition) -> Iterator[str]:
    """Every field that a filter names."""
    if isinstance(given, Filter):
        for part in (*given.must, *given.should, *given.must_not):
            yield from fields_of(part)
    elif not isinstance(given, HasId):
        yield given.field


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as an index gives it back: a field that is null is none."""
    return {
        name: plain(value) if isinstance(value, Mapping) else value
        for name, value in metadata.items()
        if value is not None
    }
