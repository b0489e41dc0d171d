"""``retrieval build``: documents in, a new index out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from index_tools import options as opt
from index_tools.compiling import compiling_shown
from index_tools.failures import Interrupted
from index_tools.given import check_options, encoder_for
from index_tools.output import Output
from index_tools.queries import read_queries
from index_tools.reports import show_build_report

if TYPE_CHECKING:
    from retrieval import Encoder, GivenVectors
    from retrieval.config import EncoderConfig
    from retrieval.corpus import Corpus

__all__ = ["build"]

Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="go on with a build that was interrupted: encoded documents are kept, training begins again",
    ),
]


def build(
    context: typer.Context,
    source: opt.SourcePath,
    index: opt.IndexPath,
    encoder: opt.Encoder = None,
    kind: opt.Kind = "auto",
    metric: opt.Metric = None,
    revision: opt.Revision = None,
    truncate_dim: opt.TruncateDim = None,
    query_length: opt.QueryLength = None,
    document_length: opt.DocumentLength = None,
    language: opt.Language = None,
    projection: opt.Projection = "trained",
    precision: opt.Precision = None,
    pooling: opt.Pooling = None,
    segment_documents: opt.SegmentDocuments = None,
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
    preset: opt.Preset = None,
    changes: opt.Set = None,
    queries: opt.Queries = None,
    force: opt.Force = False,
    codec: opt.CodecFile = None,
    on_error: opt.OnError = "stop",
    resume: Resume = False,
    as_json: opt.Json = False,
) -> None:
    """Build an index of SOURCE in the new folder INDEX."""
    output = Output.of(context, as_json)
    settings = opt.settings(
        encoder=encoder,
        precision=precision,
        segment_documents=segment_documents,
        device=device,
        dtype=dtype,
        backend=backend,
        token_budget=token_budget,
        threads=threads,
    )
    model = opt.given(
        kind=kind,
        revision=revision,
        truncate_dim=truncate_dim,
        query_length=query_length,
        document_length=document_length,
        language=language,
        projection=projection,
    )
    fields: dict[str, Any] = opt.given(id_field=id_field, title_field=title_field, text_field=text_field)

    from retrieval import open_corpus, recipe_of
    from retrieval.config import EncoderConfig
    from retrieval.corpus.policy import ErrorPolicy

    reading = {"format": source_format, **fields}
    known: EncoderConfig | GivenVectors
    if check_options(settings.encoder, vectors=vectors, lengths=lengths, metric=metric):
        reading |= {"vectors": vectors or True, "lengths": lengths}
        known = encoder_for(source, kind, metric, **reading)
    else:
        known = EncoderConfig.of(name=settings.encoder, **model)
    config = settings.index(recipe_of(preset, changes), pooling)
    asked = None if queries is None else read_queries(queries)
    policy = ErrorPolicy(on_error)
    _build(
        output,
        index,
        open_corpus(source, policy=policy, **reading),
        known,
        config=config,
        runtime=settings.runtime(),
        resume=resume,
        policy=policy,
        queries=asked,
        force=force,
        codec=opt.read_codec(codec),
    )


def _build(
    output: Output, index: Path, corpus: Corpus, encoder: EncoderConfig | Encoder, **asked: Any
) -> None:
    """Build it with ``asked`` (as `Engine.build` takes it), say how far it is, and report.

    Raises:
        Interrupted: by Ctrl-C.
    """
    from retrieval import Engine

    title = f"building {index}"
    try:
        with output.progress(title) as reporter, compiling_shown(reporter):
            report = Engine.build(
                index,
                corpus,
                encoder,
                progress=reporter.documents(title),
                training_progress=reporter.stages("training"),
                **asked,
            )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; resume with --resume (the same command and options)") from None
    show_build_report(output, index, report)
