"""Doors that clients of other services already speak: OpenAI's embeddings, Cohere's and Jina's rerank."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from fastapi import Request, Response

from retrieval import Encoder, EncoderConfig
from retrieval.encode.base import encode_documents, encode_queries
from retrieval.reduce.matryoshka import Matryoshka
from retrieval.scoring import score_texts
from retrieval.types import FloatArray
from server.context import AppContext, Context
from server.http.media import JSON
from server.http.openapi import problems
from server.http.problems import CLIENT_GONE, ProblemError, invalid_request
from server.http.routing import api, make_router
from server.schemas.compat import (
    EmbeddingsRequest,
    EmbeddingsResponse,
    RerankTextsRequest,
    RerankTextsResponse,
)
from server.settings import ServerSettings
from server.working.batching import estimated_tokens
from server.working.pool import Disconnected, Work

__all__ = ["router"]

router = make_router("/v1", "compatible")

CHUNK = 32
"""Texts between two looks at the clock and at the client; the model itself takes fewer at once."""


@router.post(
    "/embeddings",
    summary="Vectors of texts (OpenAI's form)",
    response_model=EmbeddingsResponse,
    responses=problems(422, 504),
)
@api("read", gate=True, changes=False)
async def embeddings(body: EmbeddingsRequest, request: Request, context: Context) -> Response:
    """For each text the vector that a search or an index would use; of a late-interaction model a list of
    vectors, one a token."""
    _check_inputs(body, context.settings)

    async def answer(work: Work) -> bytes:
        encoder = await _model(body.model, work, context)
        _check_dimensions(body.dimensions, encoder)
        arrays: list[FloatArray] = []
        for texts in _chunks(body.input):
            arrays += await work.run(_encoding(encoder, texts, body.input_type), "encode")
        return await work.run(lambda: _embedded(body, arrays, encoder))

    return await _answered(answer, request, context)


@router.post(
    "/rerank",
    summary="Order texts by a query (Cohere's and Jina's form)",
    response_model=RerankTextsResponse,
    responses=problems(422, 504),
)
@api("read", gate=True, changes=False)
async def rerank(body: RerankTextsRequest, request: Request, context: Context) -> Response:
    """Texts that are in no collection, best first. Scores are those of an exact search; to order documents of
    a collection, ask that collection."""
    _check_rerank(body, context.settings)
    texts = [document.text for document in body.documents]

    async def answer(work: Work) -> bytes:
        encoder = await _model(body.model, work, context)
        scores: list[float] = []
        for some in _chunks(texts):
            scores += await work.run(_scoring(encoder, body.query, some), "encode")
        return _reranked(body, texts, scores)

    return await _answered(answer, request, context)


async def _answered(answer: Callable[[Work], Any], request: Request, context: AppContext) -> Response:
    """Until it is done, the time is over, or the client has gone."""
    try:
        async with context.pool.work(timeout_ms=context.settings.timeout_ms, request=request) as work:
            content = await answer(work)
    except Disconnected:
        return Response(status_code=CLIENT_GONE)
    return Response(content, media_type=JSON)


async def _model(name: str, work: Work, context: AppContext) -> Encoder:
    """The model of that name, loaded now if it is not yet.

    Raises:
        ProblemError: 422 unknown_model.
    """

    def asked() -> tuple[EncoderConfig, Encoder | None]:
        try:
            config = context.models.config(name)
        except ProblemError as error:
            error.errors = [{"pointer": "/model", "detail": error.detail}]
            raise
        return config, context.models.loaded(config)

    config, encoder = await work.run(asked, "encode")
    if encoder is not None:
        return encoder
    # Seconds, in which others want those threads for models that are there.
    async with context.admin_pool.work() as loading:
        return await loading.run(lambda: context.models.encoder(config), "encode")


def _encoding(
    encoder: Encoder, texts: Sequence[str], side: Literal["query", "document"]
) -> Callable[[], list[FloatArray]]:
    def encode() -> list[FloatArray]:
        ragged = (encode_queries if side == "query" else encode_documents)(encoder, texts)
        return [ragged[i] for i in range(len(ragged))]

    return encode


def _scoring(encoder: Encoder, query: str, texts: Sequence[str]) -> Callable[[], list[float]]:
    return lambda: score_texts(encoder, query, texts)


def _numbers(vector: FloatArray) -> Any:
    return vector.tolist()


def _embedded(body: EmbeddingsRequest, arrays: Sequence[FloatArray], encoder: Encoder) -> bytes:
    write: Callable[[FloatArray], Any] = _base64 if body.encoding_format == "base64" else _numbers
    if encoder.kind == "late":
        shown = [[write(vector) for vector in array] for array in arrays]
        tokens = sum(map(len, arrays))
    else:
        shown = [write(vector) for vector in _shortened(np.concatenate(arrays), body.dimensions)]
        tokens = sum(map(estimated_tokens, body.input))
    data = [{"object": "embedding", "index": i, "embedding": value} for i, value in enumerate(shown)]
    value = {"object": "list", "data": data, "model": body.model, "usage": _usage(tokens)}
    return json.dumps(value, allow_nan=False).encode()


def _shortened(vectors: FloatArray, dimensions: int | None) -> FloatArray:
    """``(n, d)`` to ``(n, dimensions)``, of length 1 where they were."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    return Matryoshka.fit(vectors, dimensions).transform_documents(vectors)


def _base64(vector: FloatArray) -> str:
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()


def _reranked(body: RerankTextsRequest, texts: Sequence[str], scores: Sequence[float]) -> bytes:
    best = sorted(range(len(texts)), key=lambda i: -scores[i])[: body.top_n]
    results: list[dict[str, Any]] = [{"index": i, "relevance_score": scores[i]} for i in best]
    if body.return_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    usage = _usage(estimated_tokens(body.query) + sum(map(estimated_tokens, texts)))
    return json.dumps({"model": body.model, "results": results, "usage": usage}).encode()


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(texts), CHUNK):
        yield texts[first : first + CHUNK]


def _check_inputs(body: EmbeddingsRequest, settings: ServerSettings) -> None:
    """Hold the limits of texts, and of queries where they are some.

    Raises:
        ProblemError: 422 invalid_request.
    """
    found = []
    if len(body.input) > settings.max_documents:
        found.append(("/input", f"{len(body.input)} texts; the most is {settings.max_documents}"))
    if body.input_type == "query":
        most = settings.max_query_chars
        for i, text in enumerate(body.input):
            if len(text) > most:
                found.append((f"/input/{i}", f"{len(text)} characters; the most of a query is {most}"))
    if found:
        raise invalid_request(found)


def _check_dimensions(dimensions: int | None, encoder: Encoder) -> None:
    if dimensions is None or dimensions == encoder.dim:
        return
    if encoder.kind == "late":
        told = f"a late-interaction model's vectors cannot be shortened; they have {encoder.dim} dimensions"
        raise invalid_request([("/dimensions", told)])
    if dimensions > encoder.dim:
        told = f"{dimensions} dimensions; the model has {encoder.dim}"
        raise invalid_request([("/dimensions", told)])


def _check_rerank(body: RerankTextsRequest, settings: ServerSettings) -> None:
    found = []
    if len(body.query) > settings.max_query_chars:
        found.append(("/query", f"{len(body.query)} characters; the most is {settings.max_query_chars}"))
    if len(body.documents) > settings.max_documents:
        found.append(("/documents", f"{len(body.documents)} texts; the most is {settings.max_documents}"))
    if found:
        raise invalid_request(found)
