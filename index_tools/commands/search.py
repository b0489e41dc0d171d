"""``retrieval search``: the best documents for each query."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index_tools import options as opt
from index_tools.compiling import announced
from index_tools.given import queries_of
from index_tools.output import Output
from index_tools.passages import snippet

if TYPE_CHECKING:
    from retrieval.types import Hit, SearchResult

__all__ = ["hit_values", "search", "show_hits"]

NO_FIELDS = "none"
OPTIONS = frozenset({"recall_target", "budget_ms", "exact"})
"""Parameters of a search with an option of their own."""

Queries = Annotated[
    list[str] | None,
    typer.Argument(
        help="queries, each in quotes; - reads one a line from stdin", metavar="QUERY", show_default=False
    ),
]
Limit = Annotated[int, typer.Option("-k", "--k", help="hits for each query")]
Fields = Annotated[
    str | None,
    typer.Option(
        "--fields",
        help=f"what to show of a hit: title,text,metadata or {NO_FIELDS} (ids and scores)",
        show_default="all",
    ),
]
RecallTarget = Annotated[
    float | None,
    typer.Option(
        "--recall-target",
        help="share of the true best to find",
        show_default="the recipe's",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget-ms",
        help="milliseconds to stay within, as measured when the recipe was trained, whatever the recall",
        show_default="no limit",
    ),
]
Effort = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="how hard to look, instead of what was measured: nprobe=16, num_scored=1000, "
        "num_candidates=200, ef_search=100; may be repeated",
        metavar="NAME=VALUE",
    ),
]
Exact = Annotated[bool, typer.Option("--exact", help="score every document, whatever the recipe")]
Plan = Annotated[bool, typer.Option("--plan", help="say how the search went about it, and how long it took")]
SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="check every byte first, and search what is whole")
]


def search(
    context: typer.Context,
    index: opt.IndexPath,
    queries: Queries = None,
    vector: opt.Vector = None,
    k: Limit = 10,
    wanted: opt.Filter = None,
    fields: Fields = None,
    recall_target: RecallTarget = None,
    budget_ms: Budget = None,
    effort: Effort = None,
    exact: Exact = False,
    plan: Plan = False,
    skip_damaged: SkipDamaged = False,
    hybrid: opt.Hybrid = False,
    hybrid_dense: opt.HybridDense = None,
    fuse: opt.Fuse = None,
    stemmer: opt.Stemmer = None,
    encoder: opt.OtherEncoder = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    backend: opt.Backend = None,
    token_budget: opt.TokenBudget = None,
    threads: opt.Threads = None,
    as_json: opt.Json = False,
) -> None:
    """Search INDEX; with --json one line for each query."""
    output = Output.of(context, as_json)
    settings = opt.settings(
        device=device, dtype=dtype, backend=backend, token_budget=token_budget, threads=threads
    )
    shown = _fields(fields)

    from index_tools.hybrid import HybridOptions
    from retrieval import Engine, SearchConfig

    asked = opt.given(recall_target=recall_target, budget_ms=budget_ms, exact=exact or None)
    params = SearchConfig.of(**_effort(effort or (), list(SearchConfig.model_fields)), **asked)
    runtime = settings.runtime()
    combined = HybridOptions(hybrid, hybrid_dense, fuse, stemmer)
    with (
        Engine.open(index, encoder, runtime=runtime, skip_damaged=skip_damaged) as engine,
        combined.over(engine, runtime) as searcher,
    ):
        for problem in engine.damaged if skip_damaged else ():
            output.note(f"left out: {problem}")
        asked_for: dict[str, Any] = {"filter": wanted, "fields": shown, "params": params}
        texts = queries or []
        for name, query in _asked(texts, vector, engine.kind, is_hybrid=combined.is_hybrid):
            with announced(output):
                found = searcher.search(**query, k=k, **asked_for, explain="plan" if plan else None)
            _answer(output, name, found, alone=len(texts) == 1 and "-" not in texts)


def hit_values(hit: Hit) -> dict[str, Any]:
    """A hit for JSON: fields that were not asked for are absent."""
    values: dict[str, Any] = {"id": hit.id, "score": hit.score}
    values |= opt.given(title=hit.title, text=hit.text)
    if hit.metadata is not None:
        values["metadata"] = dict(hit.metadata)
    return values


def show_hits(output: Output, hits: Sequence[Hit]) -> None:
    """Rank, score, id and title; below them the beginning of the text and the metadata."""
    if not hits:
        output.show("no hits")
    for rank, hit in enumerate(hits, 1):
        title = f"  {snippet(hit.title, output.width)}" if hit.title and hit.title != hit.id else ""
        output.show(f"{rank:3d}  {hit.score:9.4f}  {hit.id}{title}")
        if hit.text:
            output.show(" " * 16 + snippet(hit.text, max(40, output.width - 17)))
        if hit.metadata:
            told = " · ".join(f"{name}={value}" for name, value in hit.metadata.items() if value is not None)
            output.show(" " * 16 + snippet(told, max(40, output.width - 17)))


def _answer(output: Output, query: str, result: SearchResult, alone: bool) -> None:
    def human() -> None:
        if not alone:
            output.show(f"query: {query}")
        show_hits(output, result.hits)
        if result.plan is not None:
            output.show(json.dumps(result.plan, indent=2))

    values: dict[str, Any] = {
        "query": query,
        "hits": [hit_values(hit) for hit in result.hits],
        "generation": result.generation,
        "timings_ms": dict(result.timings_ms),
    }
    if result.plan is not None:
        values["plan"] = dict(result.plan)
    if result.partial:
        values["partial"] = True
    output.data(values, human)


def _asked(
    texts: Sequence[str], file: str | None, kind: str, *, is_hybrid: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each query is called, and the arguments that ask it.

    Raises:
        ConfigError: texts and vectors that do not go together, or none of them.
    """
    if file is None and texts:
        yield from ((text, {"query": text}) for text in _each(texts))
        return
    from retrieval.errors import ConfigError

    if file is None:
        raise ConfigError("there is no query; give one in quotes, or its vectors with --vector FILE")
    if not is_hybrid:
        if texts:
            raise ConfigError("give the queries as texts or with --vector; both only with --hybrid")
        yield from ((one.name, {"query": one.vectors}) for one in queries_of(file, kind))
        return
    if file == "-" and "-" in texts:
        raise ConfigError("stdin has either the texts or their vectors; give the others otherwise")
    words, vectors = list(_each(texts)), [one.vectors for one in queries_of(file, kind)]
    if len(words) != len(vectors):
        raise ConfigError(f"there are {len(words)} texts, and vectors of {len(vectors)} queries in {file}")
    yield from ((text, {"query": text, "vectors": own}) for text, own in zip(words, vectors, strict=True))


def _each(queries: Sequence[str]) -> Iterator[str]:
    """The queries in order; a line of stdin is answered as it comes, so that a program can converse."""
    for query in queries:
        if query != "-":
            yield query
            continue
        for line in sys.stdin:
            if line.strip():
                yield line.rstrip("\r\n")


def _effort(given: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts by name, those that have no option of their own."""
    names = [name for name in known if name not in OPTIONS]
    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in names:
            from retrieval.errors import ConfigError

            raise ConfigError(f"--set {text!r}: write NAME=VALUE, with NAME one of {', '.join(names)}")
        values[name] = value
    return values


def _fields(given: str | None) -> list[str] | None:
    if given is None:
        return None
    names = [name.strip() for name in given.split(",") if name.strip()]
    return [] if names == [NO_FIELDS] else names
