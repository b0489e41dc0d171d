"""``retrieval add``: more documents into an index that exists."""

from __future__ import annotations

import typer

from index_tools import options as opt
from index_tools.output import Output
from index_tools.reports import show_build_report

__all__ = ["add"]


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
    on_error: opt.OnError = "stop",
    as_json: opt.Json = False,
) -> None:
    """Add the documents of SOURCE to INDEX."""
    output = Output.of(context, as_json)
    settings = opt.settings(
        device=device, dtype=dtype, backend=backend, token_budget=token_budget, threads=threads
    )
    fields = opt.given(id_field=id_field, title_field=title_field, text_field=text_field)

    from retrieval import Engine, open_corpus
    from retrieval.corpus.policy import ErrorPolicy

    policy = ErrorPolicy(on_error)
    corpus = open_corpus(source, policy=policy, format=source_format, **fields)
    title = f"adding to {index}"
    with (
        Engine.open(index, encoder, runtime=settings.runtime()) as engine,
        output.progress(title) as reporter,
    ):
        report = engine.add(corpus, policy=policy, progress=reporter.documents(title))
    show_build_report(output, index, report)
