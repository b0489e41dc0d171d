"""Ask a collection."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from retrieval import Engine
from retrieval.hybrid import Hybrid
from server.answering import MAX_LANGUAGES, Asker, Hybrids, Question, check_explain, check_query, check_search
from server.answering.asking import check_other, refuse, telling
from server.context import AppContext, Context
from server.http.media import JSON
from server.http.openapi import problems
from server.http.problems import CLIENT_GONE
from server.http.routing import api, make_router
from server.schemas.search import (
    BatchRequest,
    BatchResponse,
    ExplainRequest,
    ExplainResponse,
    HybridOptions,
    RerankRequest,
    SearchRequest,
    SearchResponse,
)
from server.working.pool import Disconnected, Work

__all__ = ["router"]

router = make_router("/v1/collections", "search")
PROBLEMS = problems(400, 404, 413, 415, 422, 503, 504)
BATCHED_LIMITS = 10
"""A batch may ask for so many times the hits of one search."""
HYBRIDS = Hybrids()
"""What it keeps belongs to engines, so several applications in one process share nothing by it."""

Ask = Callable[[Asker, Work, Engine], Awaitable[bytes]]


@router.post(
    "/{collection}/search",
    summary="Search a collection",
    response_model=SearchResponse,
    responses=PROBLEMS,
)
@api("read", gate=True, direct=True)
async def search(collection: str, body: SearchRequest, request: Request, context: Context) -> Response:
    """The best documents for a query, best first; with 'explain', which tokens matched."""
    questions = [Question(body)]
    refuse(list(check_search(questions[0], context.settings)))

    async def ask(asker: Asker, work: Work, engine: Engine) -> bytes:
        return await asker.search(questions, _hybrids(questions, work, engine, request), is_batch=False)

    return await _answer(collection, request, context, body.timeout_ms, ask)


@router.post(
    "/{collection}/search/batch",
    summary="Search a collection for several queries",
    response_model=BatchResponse,
    responses=PROBLEMS,
)
@api("read", gate=True)
async def search_batch(collection: str, body: BatchRequest, request: Request, context: Context) -> Response:
    """An answer for each query; those that differ in nothing else are searched together. An error in one is
    the whole request's."""
    settings = context.settings
    if len(body.searches) > settings.max_searches:
        refuse([("/searches", f"{len(body.searches)} searches; the most is {settings.max_searches}")])
    questions = [Question(each, f"/searches/{i}") for i, each in enumerate(body.searches)]
    refuse([found for each in questions for found in check_search(each, settings)])
    hits = sum(each.search.limit for each in questions)
    if hits > BATCHED_LIMITS * settings.max_limit:
        told = f"{hits} hits in all; the most is {BATCHED_LIMITS * settings.max_limit}"
        refuse([("/searches", told)])
    explained = sum(each.search.limit for each in questions if "tokens" in each.aspects)
    if explained > settings.max_explained:
        told = f"{explained} hits in all to explain; the most is {settings.max_explained}"
        refuse([("/searches", told)])
    languages = {(each.search.hybrid or HybridOptions()).language for each in questions if each.is_hybrid}
    if len(languages) > MAX_LANGUAGES:
        told = f"{len(languages)} languages for BM25; the most is {MAX_LANGUAGES}, since each reads all texts"
        refuse([("/searches", told)])
    times = [
        each for each in (body.timeout_ms, *(one.timeout_ms for one in body.searches)) if each is not None
    ]

    async def ask(asker: Asker, work: Work, engine: Engine) -> bytes:
        return await asker.search(questions, _hybrids(questions, work, engine, request), is_batch=True)

    return await _answer(collection, request, context, min(times, default=None), ask)


@router.post(
    "/{collection}/explain",
    summary="Explain scores",
    response_model=ExplainResponse,
    responses=PROBLEMS,
)
@api("read", gate=True)
async def explain(collection: str, body: ExplainRequest, request: Request, context: Context) -> Response:
    """Why these documents have the scores that they have for a query."""
    refuse(list(check_explain(body, context.settings)))

    async def ask(asker: Asker, _work: Work, _engine: Engine) -> bytes:
        return await asker.explain(body)

    return await _answer(collection, request, context, None, ask)


@router.post(
    "/{collection}/rerank",
    summary="Score documents that you found",
    response_model=SearchResponse,
    responses=PROBLEMS,
)
@api("read", gate=True)
async def rerank(collection: str, body: RerankRequest, request: Request, context: Context) -> Response:
    """The documents in the order of an exact search; ids that are not there are left out."""
    most, found = context.settings.max_limit, list(check_query(body, context.settings, ""))
    if len(body.ids) > most:
        found.append(("/ids", f"{len(body.ids)} documents; the most is {most}"))
    refuse(found)

    async def ask(asker: Asker, _work: Work, _engine: Engine) -> bytes:
        return await asker.rerank(body)

    return await _answer(collection, request, context, None, ask)


async def _answer(
    collection: str, request: Request, context: AppContext, timeout_ms: float | None, ask: Ask
) -> Response:
    """Lease the collection and ask it, until the time is over or the client has gone."""
    began: float = getattr(request.state, "began", None) or time.perf_counter()
    settings, own = context.settings, context.registry.resolve(collection)
    # An alias may lead elsewhere since the key was looked at.
    request.state.principal.require("read", own, called=collection)
    limit = settings.timeout_ms if timeout_ms is None else min(timeout_ms, settings.timeout_ms)
    try:
        async with context.pool.work(timeout_ms=limit, request=request) as work:
            engine = work.enter(context.registry.lease(own))
            asker = Asker(
                engine,
                work,
                began,
                settings.max_limit,
                context.log,
                lambda timings: context.metrics.stages(own, timings),
            )
            with context.registry.excusing(own, engine):
                content = await ask(asker, work, engine)
    except Disconnected:
        return Response(status_code=CLIENT_GONE)
    return Response(content, media_type=JSON)


def _hybrids(questions: list[Question], work: Work, engine: Engine, request: Request) -> list[Hybrid | None]:
    """A hybrid search for each question that is one; the other collection is leased too.

    Raises:
        ProblemError: 403 or 404 for the other collection, 422 for options that cannot work.
    """
    context: AppContext = request.app.state.context
    found: list[Hybrid | None] = []
    for each in questions:
        if not each.is_hybrid:
            found.append(None)
            continue
        options, other = each.search.hybrid or HybridOptions(), None
        if options.dense is not None:
            name = context.registry.true_name(options.dense)
            # Before it is known whether there is one: that alone may not be told.
            request.state.principal.require("read", name, called=options.dense)
            other = work.enter(context.registry.lease(name))
            check_other(other, each.pointer)
        with telling(each.pointer, config="/hybrid"):
            found.append(HYBRIDS.of(engine, other, options, keep=not context.settings.read_only))
    return found
