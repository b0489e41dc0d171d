"""``retrieval add``: more documents into an index that exists."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from index_tools import options as opt
from index_tools.output import Output
from index_tools.reports import show_build_report
from index_tools.upkeep import keep_up

__all__ = ["add"]

Upsert = Annotated[
    bool, typer.Option("--upsert", help="a document takes the place of the one that has its id")
]


def add(
    context: typer.Context,
    index: opt.IndexPath,
    source: opt.SourcePath,
    encoder: opt.OtherEncoder = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    backend: opt.Backend = None,
    token_budget: opt.TokenBudget = None,
    threads: opt.Threads = None,
    source_format: opt.Format = "auto",
    id_field: opt.IdField = None,
    title_field: opt.TitleField = None,
    text_field: opt.TextField = None,
    vectors: opt.VectorFile = None,
    lengths: opt.Lengths = None,
    on_error: opt.OnError = "stop",
    upsert: Upsert = False,
    as_json: opt.Json = False,
) -> None:
    """Add the documents of SOURCE to INDEX, in one commit."""
    output = Output.of(context, as_json)
    settings = opt.settings(
        device=device, dtype=dtype, backend=backend, token_budget=token_budget, threads=threads
    )
    fields: dict[str, Any] = opt.given(id_field=id_field, title_field=title_field, text_field=text_field)

    from retrieval import Engine, GivenVectors, open_corpus
    from retrieval.corpus.policy import ErrorPolicy

    policy = ErrorPolicy(on_error)
    title = f"adding to {index}"
    with Engine.open(index, encoder, runtime=settings.runtime()) as engine:
        own = vectors or isinstance(engine.encoder, GivenVectors)
        reading = {"format": source_format, "vectors": own, "lengths": lengths, **fields}
        corpus = open_corpus(source, policy=policy, **reading)
        put = engine.upsert if upsert else engine.add
        with output.progress(title) as reporter:
            report = put(corpus, policy=policy, progress=reporter.documents(title))
        show_build_report(output, index, report)
        keep_up(engine, output)
