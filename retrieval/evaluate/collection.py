"""From a BEIR folder and an encoder to measures: build (or reuse) the index, then evaluate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval.build import BuildReport
from retrieval.config import EncoderConfig, IndexConfig, RecipeConfig, RuntimeConfig
from retrieval.corpus import ErrorPolicy, open_corpus
from retrieval.encode import Encoder, load_encoder
from retrieval.engine import Engine
from retrieval.errors import ConfigError, DocumentNotFoundError, IndexNotFoundError, IndexUnfinishedError
from retrieval.evaluate.beir import BeirDataset
from retrieval.evaluate.harness import QueryProgress, SearchEngine, evaluate
from retrieval.evaluate.measures import DEFAULT_MEASURES, Measure, load_backend, parse_measures
from retrieval.evaluate.result import EvalResult
from retrieval.evaluate.where import FilteredCorpus, Predicate
from retrieval.types import ProgressCallback

__all__ = ["evaluate_beir"]


def evaluate_beir(
    folder: str | Path,
    encoder: Encoder | EncoderConfig | str,
    *,
    split: str = "test",
    measures: Iterable[str | Measure] = DEFAULT_MEASURES,
    depth: int | None = None,
    ignore_same_id: bool | None = None,
    where: Predicate | None = None,
    index_path: str | Path | None = None,
    run_path: str | Path | None = None,
    config: IndexConfig | None = None,
    runtime: RuntimeConfig | None = None,
    policy: ErrorPolicy | None = None,
    through: Callable[[Engine], AbstractContextManager[SearchEngine]] = nullcontext,
    build_progress: ProgressCallback | None = None,
    query_progress: QueryProgress | None = None,
) -> EvalResult:
    """Index the corpus of a collection, search its judged queries, measure.

    ``index_path``: where the index stays; a complete index there is used as it is, an unfinished
    build is continued. None builds in a temporary folder and removes it. ``where`` keeps only
    part of the corpus (`parse_where`); judged documents left out are counted, and still expected
    by the measures. ``through`` makes of the engine what answers the queries, a `Hybrid` for instance;
    without it that is the engine. ``policy`` by default skips documents that cannot be used (an empty text,
    say) and counts them.

    Raises:
        ConfigError: an unknown split or measure, or an index with another precision, pooling or recipe.
        DataError: the collection cannot be read.
        EncoderMismatchError: the index at ``index_path`` was built with another encoder.
        MissingExtraError: the extra ``eval`` is not installed.
    """
    measures = parse_measures(measures)
    load_backend()
    dataset = BeirDataset.open(folder, split, ignore_same_id=ignore_same_id)
    _ = dataset.corpus_path  # a missing corpus is told before a model is loaded
    known = encoder if isinstance(encoder, Encoder) else load_encoder(encoder, runtime)
    policy = policy or ErrorPolicy("skip")
    with _folder(index_path) as path:
        report = _build_if_needed(path, dataset, known, where, config, policy, build_progress)
        with Engine.open(path, known, runtime=runtime) as engine:
            _check_stored(engine, config)
            with through(engine) as answering:
                result = evaluate(
                    answering,
                    dataset,
                    measures=measures,
                    depth=depth,
                    run_path=run_path,
                    progress=query_progress,
                )
            missing = _count_missing(engine, dataset)
            if missing == result.judgements["documents"]:
                raise ConfigError(
                    f"the index holds none of the {missing} judged documents of {folder}: "
                    "it is of another corpus, or the filter matches nothing"
                )
    return replace(
        result,
        judgements={**result.judgements, "documents_not_in_index": missing},
        index={**(result.index or {}), **_describe_build(report)},
        times={**_build_times(report), **result.times},
    )


@contextmanager
def _folder(index_path: str | Path | None) -> Iterator[Path]:
    if index_path is not None:
        yield Path(index_path)
        return
    with tempfile.TemporaryDirectory(prefix="retrieval-eval-") as folder:
        yield Path(folder) / "index"


def _build_if_needed(
    path: Path,
    dataset: BeirDataset,
    encoder: Encoder,
    where: Predicate | None,
    config: IndexConfig | None,
    policy: ErrorPolicy,
    progress: ProgressCallback | None,
) -> BuildReport | None:
    """Build the index, or finish its build; None when a complete one is there."""
    try:
        Engine.open(path, encoder).close()
        return None
    except IndexNotFoundError:
        resume = False
    except IndexUnfinishedError:
        resume = True
    corpus = open_corpus(dataset.corpus_path, policy=policy)
    source = corpus if where is None else FilteredCorpus(corpus, where)
    return Engine.build(path, source, encoder, config=config, resume=resume, policy=policy, progress=progress)


def _check_stored(engine: Engine, config: IndexConfig | None) -> None:
    """An index that was there already must be what was asked for."""
    if config is None:
        return
    found = engine.inspect()
    recipe = found.recipe
    if config.recipe != (RecipeConfig() if recipe is None else RecipeConfig.of(**recipe)):
        raise ConfigError(
            f"the index at {engine.path} was made by another recipe; choose another folder for this one"
        )
    asked = config.resolve(engine.kind)
    for name, wanted, there in (
        ("precision", asked.precision, found.precision),
        ("pooling", asked.pooling, found.pooling),
    ):
        if wanted != there:
            raise ConfigError(
                f"the index at {engine.path} has {name} {there}, not {wanted}; choose another folder for it"
            )


def _count_missing(engine: Engine, dataset: BeirDataset) -> int:
    """Judged documents that are not in the index."""
    missing = 0
    for doc_id in {doc_id for judged in dataset.qrels.values() for doc_id in judged}:
        try:
            engine.get(doc_id)
        except DocumentNotFoundError:
            missing += 1
    return missing


def _describe_build(report: BuildReport | None) -> dict[str, Any]:
    if report is None:
        return {"reused": True}
    return {
        "reused": False,
        "skipped": report.skipped,
        "skipped_samples": list(report.skipped_samples),
        "resumed_documents": report.resumed_documents,
    }


def _build_times(report: BuildReport | None) -> dict[str, float]:
    if report is None:
        return {}
    return {"build_seconds": report.seconds, "document_encode_seconds": report.encode_seconds}
