"""One request's searches: encoded, searched, explained and rendered, each on a thread where it belongs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import Engine
from retrieval.encode.base import encode_queries
from retrieval.errors import DocumentNotFoundError
from retrieval.hybrid import Hybrid
from retrieval.types import Explanation, Hit, SearchResult
from server.answering.asking import Question, check_encodes, check_mode, codec_of, given_vectors, telling
from server.answering.cursors import MAX_LENGTH, Cursor, digest_of
from server.answering.placing import of_text, of_vector
from server.answering.rendering import explanation_value, hit_value, rendered
from server.schemas.search import ExplainRequest, RerankRequest, SearchRequest
from server.working.pool import Lane, Work

__all__ = ["Asker"]

Query = str | NDArray[Any]
Timings = dict[str, float]
Found = bytes | None
"""The answer, if nothing is left to be done for it."""


@dataclass(slots=True, eq=False)
class _Asked:
    """A question on its way to an answer."""

    question: Question
    hybrid: Hybrid | None = None
    query: Query = ""
    vectors: NDArray[Any] | None = None
    """Those that came with the question; of a hybrid search beside its text."""
    cursor: Cursor | None = None
    digest: str = ""
    k: int = 0
    timings: Timings = field(default_factory=dict)
    page: list[Hit] = field(default_factory=list)
    value: dict[str, Any] = field(default_factory=dict)

    @property
    def search(self) -> SearchRequest:
        return self.question.search


class Asker:
    """Puts questions to one engine, which is leased as long as ``work`` lasts.

    ``began`` is the ``time.perf_counter()`` at which the request came in; ``tell`` takes the milliseconds of
    each stage once the answer is there.
    """

    def __init__(
        self,
        engine: Engine,
        work: Work,
        began: float,
        max_limit: int,
        log: Any,
        tell: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._engine, self._work, self._began = engine, work, began
        self._max_limit, self._log, self._tell = max_limit, log, tell

    async def search(
        self, questions: Sequence[Question], hybrids: Sequence[Hybrid | None], *, is_batch: bool
    ) -> bytes:
        """`SearchResponse`, or `BatchResponse`. There is a `Hybrid` for each question that is one.

        Raises:
            ProblemError: 422, a question does not fit the collection.
        """
        asked = [_Asked(question, hybrid) for question, hybrid in zip(questions, hybrids, strict=True)]
        is_explained = any("tokens" in each.question.aspects for each in asked)
        last = None if is_explained else self._bytes
        found = await self._found(asked, lambda: self._searched(asked, is_batch, last))
        if found is None:
            found = await self._work.run(lambda: self._explained(asked, is_batch))
        return found

    async def rerank(self, request: RerankRequest) -> bytes:
        """`SearchResponse` for documents that the caller named."""
        query, encoded = await self._encoded(request.query)
        return await self._work.run(lambda: self._reranked(request, query, encoded))

    async def explain(self, request: ExplainRequest) -> bytes:
        """`ExplainResponse`.

        Raises:
            DocumentNotFoundError: one is not there.
        """
        _, encoded = await self._encoded(request.query)
        return await self._work.run(lambda: self._taken_apart(request, encoded))

    # -- stages -------------------------------------------------------------------------------

    async def _found(self, asked: Sequence[_Asked], search: Callable[[], Found]) -> Found:
        """What ``search`` finds, after stages that wait for models."""
        work = self._work
        is_plain = len(asked) == 1 and asked[0].question.is_plain
        if is_plain and asked[0].search.vector is not None:
            return await of_vector(self._engine, work, search)
        stages = self._prepared(asked)
        if not stages:
            return await work.run(search)
        if is_plain:
            return await of_text(self._engine, work, stages[0][0], search)
        for stage, lane in stages[:-1]:
            await work.run(stage, lane)
        return await work.run_after(*stages[-1], search)

    def _prepared(self, asked: Sequence[_Asked]) -> list[tuple[Callable[[], None], Lane]]:
        """Stages and their lanes: encode the texts, where others that wait for the model join; count terms
        for BM25 where that is due."""
        texts = [each for each in asked if each.hybrid is None and each.search.query is not None]
        hybrids = [each.hybrid for each in asked if each.hybrid is not None]

        def encode() -> None:
            for each in asked:  # before anything is spent on a model
                check_mode(each.question, self._engine)
            check_encodes(self._engine, texts[0].question.pointer)
            started = time.perf_counter()
            words = [each.search.query or "" for each in texts]
            vectors = encode_queries(self._engine.encoder, words)
            ms = _ms(started)
            for i, each in enumerate(texts):
                each.query, each.timings = vectors[i], {"encode": ms}

        def count_terms() -> None:
            for hybrid in hybrids:
                hybrid.warm_up()

        stages: list[tuple[Callable[[], None], Lane]] = [(encode, "encode")] if texts else []
        return [*stages, (count_terms, "load")] if hybrids else stages

    async def _encoded(self, text: str | None) -> tuple[Query | None, float]:
        """A text's vectors and the milliseconds that took; None for none."""
        if text is None:
            return None, 0.0

        def encode() -> tuple[Query, float]:
            check_encodes(self._engine, "")
            started = time.perf_counter()
            return encode_queries(self._engine.encoder, [text])[0], _ms(started)

        return await self._work.run(encode, "encode")

    def _searched(
        self,
        asked: Sequence[_Asked],
        is_batch: bool,
        last: Callable[[Sequence[_Asked], bool], bytes] | None,
    ) -> bytes | None:
        for each in asked:
            self._complete(each)
        for group in _alike(asked):
            for each, result in zip(group, self._results(group), strict=True):
                self._take(each, result)
        return None if last is None else last(asked, is_batch)

    def _complete(self, each: _Asked) -> None:
        """What is known of a question only with the engine."""
        search, at = each.search, each.question.pointer
        check_mode(each.question, self._engine)
        if search.query is None or search.vector is not None or search.vectors is not None:
            each.vectors = given_vectors(search, self._engine, at)
        if each.hybrid is not None:
            each.query = search.query or ""
            if each.vectors is None:
                check_encodes(self._engine, at)
        elif each.vectors is not None:
            each.query = each.vectors
        each.k = search.limit
        if search.cursor is not None:
            each.digest = self._digest(each)
            each.cursor = Cursor.read(search.cursor, each.digest, f"{at}/cursor")
            each.k = min(each.cursor.seen + search.limit, self._max_limit)

    def _results(self, group: Sequence[_Asked]) -> list[SearchResult]:
        """Questions that differ in their query alone are searched together."""
        first, queries = group[0], [each.query for each in group]
        options: dict[str, Any] = {
            "filter": first.search.filter,
            "fields": tuple(dict.fromkeys(first.search.fields)),
            "params": first.search.params,
            "explain": "plan" if "plan" in first.question.aspects else None,
        }
        with telling(first.question.pointer, config=None if first.search.params is None else "/params"):
            if first.hybrid is not None:
                words, own = [str(query) for query in queries], [each.vectors for each in group]
                vectors = None if first.vectors is None else own
                return first.hybrid.search_batch(words, first.k, vectors=vectors, **options)  # type: ignore[arg-type]
            return self._engine.search_batch(queries, first.k, **options)

    def _take(self, each: _Asked, result: SearchResult) -> None:
        """Keep the page that was asked for. Documents that came meanwhile may have moved it: then look
        further."""
        hits = self._scored(result)
        if each.cursor is not None:
            while (
                len(each.cursor.after(hits)) < each.search.limit and each.k <= len(result) < self._max_limit
            ):
                each.k = min(2 * each.k, self._max_limit)
                (result,) = self._results([each])
                hits = self._scored(result)
        page = hits if each.cursor is None else each.cursor.after(hits)
        each.page = page[: each.search.limit]
        each.timings = self._timings(result, each.timings)
        each.value = {"generation": result.generation, "partial": result.partial}
        each.value["next_cursor"] = self._next(each, hits)
        if result.plan is not None:
            each.value["plan"] = result.plan

    def _next(self, each: _Asked, hits: Sequence[Hit]) -> str | None:
        if len(each.page) < each.search.limit or each.hybrid is not None:
            return None
        end = each.page[-1]
        seen = hits.index(end) + 1
        if seen >= self._max_limit:
            return None
        cursor = Cursor(end.score, end.id, seen, each.digest or self._digest(each)).write()
        return cursor if len(cursor) <= MAX_LENGTH else None

    def _digest(self, each: _Asked) -> str:
        """Of all that decides the order of the hits; another codec may round scores otherwise."""
        search = each.search
        query = search.query or np.asarray(each.query).tobytes()
        params = None if search.params is None else search.params.model_dump()
        return digest_of([query, search.filter, params, codec_of(self._engine).codec])

    def _explained(self, asked: Sequence[_Asked], is_batch: bool) -> bytes:
        for each in asked:
            if "tokens" not in each.question.aspects:
                continue
            started = time.perf_counter()
            query = each.search.query or "" if each.vectors is None else each.vectors
            reasons = self._reasons(query, [hit.id for hit in each.page])
            each.value["hits"] = [
                hit_value(hit) | ({} if why is None else {"explanation": explanation_value(why)})
                for hit, why in zip(each.page, reasons, strict=True)
            ]
            each.timings["explain"] = _ms(started)
        return self._bytes(asked, is_batch)

    def _reasons(self, query: Query, ids: Sequence[str]) -> Sequence[Explanation | None]:
        """Explanations; None for a document that was deleted since it was found."""
        try:
            return self._engine.explain_batch(query, ids)
        except DocumentNotFoundError:
            if len(ids) == 1:
                return [None]
            return [self._reasons(query, [doc_id])[0] for doc_id in ids]

    def _reranked(self, request: RerankRequest, query: Query | None, encoded: float) -> bytes:
        vectors = given_vectors(request, self._engine, "") if query is None else query
        fields = tuple(dict.fromkeys(request.fields))
        with telling("/ids"):
            result = self._engine.rerank(vectors, request.ids, request.limit, fields=fields)
        hits = [hit_value(hit) for hit in self._scored(result)]
        timings = self._timings(result, {"encode": encoded} if query is not None else {})
        value = {"hits": hits, "generation": result.generation, "partial": result.partial}
        return self._told([(value | {"next_cursor": None}, timings)], is_batch=False)

    def _taken_apart(self, request: ExplainRequest, encoded: float) -> bytes:
        started = time.perf_counter()
        query = given_vectors(request, self._engine, "") if request.query is None else request.query
        generation = self._engine.located()[0].snapshot.generation
        with telling("/ids"):
            reasons = self._engine.explain_batch(query, request.ids)
        values = [{"id": why.id, **explanation_value(why)} for why in reasons]
        self._tell({"queue": 1000 * self._work.waited, "encode": encoded, "explain": _ms(started)})
        return rendered({"explanations": values, "generation": generation})

    # -- the answer ---------------------------------------------------------------------------

    def _scored(self, result: SearchResult) -> list[Hit]:
        """Hits whose score JSON can say."""
        scored = [hit for hit in result if math.isfinite(hit.score)]
        if len(scored) < len(result):
            self._log.warning("hits without a finite score left out", hits=len(result) - len(scored))
        return scored

    def _timings(self, result: SearchResult, own: Mapping[str, float]) -> Timings:
        # The engine has a total of its own; ours is from arrival to answer.
        return {stage: ms for stage, ms in {**result.timings_ms, **own}.items() if stage != "total"}

    def _bytes(self, asked: Sequence[_Asked], is_batch: bool) -> bytes:
        for each in asked:
            each.value.setdefault("hits", [hit_value(hit) for hit in each.page])
        return self._told([(each.value, each.timings) for each in asked], is_batch=is_batch)

    def _told(self, answers: Sequence[tuple[dict[str, Any], Timings]], *, is_batch: bool) -> bytes:
        queue, total = 1000 * self._work.waited, _ms(self._began)
        for value, timings in answers:
            whole = {"queue": queue, **timings, "total": total}
            value["timings_ms"] = {stage: round(ms, 3) for stage, ms in whole.items()}
        self._tell(answers[0][0]["timings_ms"])
        values = [{"hits": value["hits"], **value} for value, _ in answers]  # what matters comes first
        return rendered({"results": values} if is_batch else values[0])


def _alike(asked: Sequence[_Asked]) -> list[list[_Asked]]:
    """Questions in groups that can be searched together."""
    if len(asked) == 1:
        return [list(asked)]

    def key(each: _Asked) -> str:
        names = {"mode", "hybrid", "filter", "fields", "params"}
        options = each.search.model_dump(mode="json", include=names)
        is_given = each.hybrid is not None and each.vectors is not None
        return json.dumps([options, each.k, sorted(each.question.aspects), is_given], sort_keys=True)

    return [list(group) for _, group in groupby(sorted(asked, key=key), key)]


def _ms(began: float) -> float:
    return 1000 * (time.perf_counter() - began)
