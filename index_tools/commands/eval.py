"""``retrieval eval``: how good are the answers on a BEIR collection?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from index_tools import options as opt
from index_tools.output import Output
from index_tools.reports import size

if TYPE_CHECKING:
    from retrieval.config import EncoderConfig
    from retrieval.evaluate import EvalResult

__all__ = ["evaluate"]

Collection = Annotated[
    Path, typer.Argument(help="BEIR folder: corpus.jsonl, queries.jsonl, qrels/", metavar="DIR")
]
Split = Annotated[str, typer.Option("--split", help="which judgements: qrels/SPLIT.tsv")]
KeptIndex = Annotated[
    Path | None,
    typer.Option(
        "--index", help="keep the index here, or use the one that is", show_default="a temporary one"
    ),
]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        help="a measure; may be repeated",
        show_default="nDCG@10, R@100, MAP, MRR@10",
        metavar="NAME",
    ),
]
Depth = Annotated[
    int | None, typer.Option("--depth", help="hits for each query", show_default="what the measures look at")
]
RunOut = Annotated[Path | None, typer.Option("--run-out", help="write the ranking as a TREC run file")]
ExistingRun = Annotated[
    Path | None,
    typer.Option("--run", help="measure this TREC run file instead: no index, no model", metavar="FILE"),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="only documents with this metadata; may be repeated", metavar="FIELD=VALUE"),
]


def evaluate(
    context: typer.Context,
    collection: Collection,
    encoder: opt.Encoder = None,
    kind: opt.Kind = "auto",
    revision: opt.Revision = None,
    truncate_dim: opt.TruncateDim = None,
    query_length: opt.QueryLength = None,
    document_length: opt.DocumentLength = None,
    language: opt.Language = None,
    projection: opt.Projection = "trained",
    precision: opt.Precision = None,
    pooling: opt.Pooling = None,
    preset: opt.Preset = None,
    changes: opt.Set = None,
    segment_documents: opt.SegmentDocuments = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    backend: opt.Backend = None,
    token_budget: opt.TokenBudget = None,
    threads: opt.Threads = None,
    split: Split = "test",
    index: KeptIndex = None,
    measures: Measures = None,
    depth: Depth = None,
    run_out: RunOut = None,
    run: ExistingRun = None,
    where: Where = None,
    hybrid: opt.Hybrid = False,
    hybrid_dense: opt.HybridDense = None,
    fuse: opt.Fuse = None,
    stemmer: opt.Stemmer = None,
    as_json: opt.Json = False,
) -> None:
    """Index the corpus of DIR, search its judged queries, measure the answers."""
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

    from index_tools.hybrid import HybridOptions
    from retrieval.config import EncoderConfig
    from retrieval.evaluate import DEFAULT_MEASURES, BeirDataset, evaluate_run, parse_where
    from retrieval.presets import recipe_of

    combined = HybridOptions(hybrid, hybrid_dense, fuse, stemmer)
    wanted = measures or DEFAULT_MEASURES
    if run is not None:
        _tell(output, evaluate_run(BeirDataset.open(collection, split), run, measures=wanted))
        return
    result = _indexed_and_searched(
        output,
        collection,
        EncoderConfig.of(name=settings.encoder, **model),
        split=split,
        measures=wanted,
        depth=depth,
        where=parse_where(where or ()),
        index_path=index,
        run_path=run_out,
        config=settings.index(recipe_of(preset, changes), pooling),
        runtime=settings.runtime(),
        through=combined.over,
    )
    _tell(output, replace(result, encoder=f"{result.encoder}{combined.added}"))


def _indexed_and_searched(
    output: Output, collection: Path, encoder: EncoderConfig, **asked: Any
) -> EvalResult:
    """What `evaluate_beir` finds with ``asked``, saying how far it is."""
    from retrieval.evaluate import evaluate_beir

    title = f"indexing {collection}"
    with output.progress(title) as reporter:
        return evaluate_beir(
            collection,
            encoder,
            build_progress=reporter.documents(title),
            query_progress=reporter.counts("searching", "queries"),
            **asked,
        )


def _tell(output: Output, result: EvalResult) -> None:
    output.data(result.to_json(), lambda: _show(output, result))


def _show(output: Output, result: EvalResult) -> None:
    queries = result.queries
    output.show(
        f"{result.dataset} ({result.split}), {result.encoder or 'run file'}: {queries['judged']:,} queries, "
        f"{queries['answered']:,} answered"
    )
    table = Table("measure", "mean", box=None, pad_edge=False)
    for name, value in result.measures.items():
        table.add_row(name, f"{value:.4f}")
    output.show(table, *_sizes(result), *_times(result))
    skipped = (result.index or {}).get("skipped")
    if skipped:
        output.note(f"{skipped:,} documents could not be used; the first: {_first_skipped(result)}")
    missing = result.judgements.get("documents_not_in_index")
    if missing:
        output.note(f"{missing:,} judged documents are not in the index; they count as not found")


def _first_skipped(result: EvalResult) -> str:
    samples = (result.index or {}).get("skipped_samples") or ["(not told)"]
    return str(samples[0])


def _sizes(result: EvalResult) -> list[str]:
    index = result.index
    if index is None:
        return []
    vectors = f"{index['tokens']:,} vectors of {index['dim']} x {index['precision']}"
    told = f"index: {index['documents']:,} documents, {vectors}, {size(index['bytes'])}"
    each = index["bytes_per_document"]
    return [told if each is None else f"{told} ({size(each)} a document)"]


def _times(result: EvalResult) -> list[str]:
    told = [
        f"{name.removesuffix('_seconds').replace('_', ' ')} {value:.1f} s"
        for name, value in result.times.items()
        if value is not None and name.endswith("_seconds")
    ]
    each = result.times.get("search_ms_per_query")
    if each is not None:
        told.append(f"search {each:.1f} ms a query")
    return [f"times: {', '.join(told)} ({result.threads} threads)"] if told else []
