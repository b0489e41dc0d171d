"""One search, from the request's values to the bytes of its answer; runs on a thread."""

from __future__ import annotations

import math
import time
from typing import Any

from retrieval import Engine
from retrieval.jsonable import json_value
from retrieval.types import Explanation, Hit, Token, TokenMatch
from server.schemas import HitExplanation, SearchHit, SearchRequest, SearchResponse, TextToken, TokenMatchItem

__all__ = ["answer"]


def answer(engine: Engine, request: SearchRequest, arrived: float, log: Any) -> bytes:
    """Search, explain if asked to, and render `SearchResponse` as JSON.

    ``arrived`` is the ``time.perf_counter()`` at which the request came in.
    """
    began = time.perf_counter()
    fields = tuple(dict.fromkeys(request.fields))
    result = engine.search(request.query, k=request.limit, filter=request.filter, fields=fields)
    # The engine has a total of its own; ours is from arrival to answer.
    stages = {stage: round(ms, 3) for stage, ms in result.timings_ms.items() if stage != "total"}
    timings = {"queue": _ms(arrived, began), **stages}
    scored = [hit for hit in result if math.isfinite(hit.score)]
    if len(scored) < len(result):
        log.warning("hits without a finite score left out", hits=len(result) - len(scored))
    hits = [_hit(hit) for hit in scored]
    if request.explain:
        began = time.perf_counter()
        reasons = engine.explain_batch(request.query, [hit.id for hit in hits])
        for hit, reason in zip(hits, reasons, strict=True):
            hit.explanation = _explanation(reason)
        timings["explain"] = _ms(began, time.perf_counter())
    timings["total"] = _ms(arrived, time.perf_counter())
    response = SearchResponse(hits=hits, generation=result.generation, timings_ms=timings)
    # What was not asked for is absent; a null inside metadata stays.
    return response.model_dump_json(exclude_unset=True).encode()


def _hit(hit: Hit) -> SearchHit:
    values: dict[str, Any] = {"id": hit.id, "score": hit.score}
    if hit.title is not None:
        values["title"] = hit.title
    if hit.text is not None:
        values["text"] = hit.text
    if hit.metadata is not None:
        values["metadata"] = json_value(hit.metadata)
    return SearchHit(**values)


def _explanation(explanation: Explanation) -> HitExplanation:
    return HitExplanation(
        text=explanation.text,
        score=explanation.score,
        scored_from=explanation.scored_from,
        matches=[_match(match) for match in explanation.matches],
    )


def _match(match: TokenMatch) -> TokenMatchItem:
    return TokenMatchItem(
        query_token=_token(match.query_token),
        document_token=_token(match.document_token) if match.document_token else None,
        document_position=match.document_position,
        similarity=match.similarity,
        contribution=match.contribution,
    )


def _token(token: Token) -> TextToken:
    return TextToken(text=token.text, start=token.start, end=token.end)


def _ms(began: float, ended: float) -> float:
    return round((ended - began) * 1000, 3)
