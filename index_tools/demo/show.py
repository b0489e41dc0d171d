"""Make the corpus, build both indexes, ask both the same questions, say how to go on."""

from __future__ import annotations

import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.text import Text

from index_tools.commands.search import hit_values
from index_tools.demo.corpus import (
    MAX_CHARACTERS,
    MIN_CHARACTERS,
    MIN_CHARACTERS_OF_METHODS,
    kept,
    write_corpus,
)
from index_tools.demo.docstrings import library_docstrings
from index_tools.output import Output, printable
from index_tools.passages import Passage, best_passage, marked, matched_words, strongest
from retrieval import Engine, Explanation, Hit, open_corpus
from retrieval.config import EncoderConfig, IndexConfig, RuntimeConfig
from retrieval.errors import IndexNotFoundError, IndexUnfinishedError

__all__ = ["ENCODERS", "QUESTIONS", "run_demo"]

ENCODERS: Mapping[str, EncoderConfig] = {
    "stdlib-dense": EncoderConfig.of(name="minilm"),
    "stdlib-late": EncoderConfig.of(name="minilm-late"),
}
"""Index folder -> encoder."""

QUESTIONS = (
    "how do I compress a stream of bytes",
    "run a shell command and capture what it prints",
    "parse a date written as text",
    "wait for several threads to finish",
    "find all files that match a pattern",
)
SEGMENT_DOCUMENTS = 1024  # small, so that an interrupted build has something to go on from
SCORES = {
    "dense": "one vector a docstring; a score is a cosine, 1 at most",
    "late": "one vector a token; a score adds up the best match of each token of the question, and the "
    "words that matched best are marked",
}
"""What the numbers beside the hits are, by the kind of an index."""
HITS = 3
MARGIN = 5
MARKED_WORDS = 4


def run_demo(
    folder: Path,
    output: Output,
    runtime: RuntimeConfig,
    *,
    library: Path | None = None,
    encoders: Mapping[str, EncoderConfig] = ENCODERS,
    questions: Sequence[str] = QUESTIONS,
) -> None:
    """Do all of it; what a former run completed is used again.

    ``library`` is the folder of Python sources (default: the running Python's standard library).
    """
    corpus = folder / "corpus.jsonl"
    _make_corpus(corpus, library or Path(sysconfig.get_path("stdlib")), output)
    for name, encoder in encoders.items():
        _build(folder / name, corpus, encoder, runtime, output)
    answers: dict[str, dict[str, Any]] = {name: {} for name in encoders}
    with ExitStack() as opened:
        engines = {
            name: opened.enter_context(Engine.open(folder / name, runtime=runtime)) for name in encoders
        }
        if not output.as_json:
            output.show("", *(f"{name}: {SCORES[engine.kind]}" for name, engine in engines.items()))
        for engine in engines.values():
            engine.search(questions[0], 1)  # loads the model and the pages: the times shown are a search's
        for question in questions:
            for name, engine in engines.items():
                answers[name][question] = _ask(engine, name, question, output)
    values = {"corpus": str(corpus), "indexes": [str(folder / name) for name in encoders], "answers": answers}
    output.data(values, lambda: _say_how_to_go_on(folder, list(encoders), output))


def _make_corpus(corpus: Path, library: Path, output: Output) -> None:
    if corpus.is_file():
        output.note(f"corpus: {corpus} is there already")
        return
    count = write_corpus(kept(library_docstrings(library)), corpus)
    output.note(
        f"corpus: {count:,} docstrings of the Python standard library in {corpus} (public names; at least "
        f"{MIN_CHARACTERS} characters, methods {MIN_CHARACTERS_OF_METHODS}; cut after {MAX_CHARACTERS})"
    )


def _build(index: Path, corpus: Path, encoder: EncoderConfig, runtime: RuntimeConfig, output: Output) -> None:
    unfinished = False
    try:
        with Engine.open(index, runtime=runtime) as engine:
            output.note(f"{index}: {len(engine):,} documents, complete from a former run")
            return
    except IndexNotFoundError:
        pass
    except IndexUnfinishedError:
        unfinished = True
    title = f"building {index}"
    with output.progress(title) as reporter:
        report = Engine.build(
            index,
            open_corpus(corpus),
            encoder,
            config=IndexConfig.of(segment_documents=SEGMENT_DOCUMENTS),
            runtime=runtime,
            resume=unfinished,
            progress=reporter.documents(title),
        )
    counts = f"{report.documents:,} documents, {report.tokens:,} vectors"
    output.note(f"{index}: {counts} in {report.seconds:.0f} s")


def _ask(engine: Engine, name: str, question: str, output: Output) -> list[dict[str, Any]]:
    start = time.perf_counter()
    result = engine.search(question, HITS)
    milliseconds = (time.perf_counter() - start) * 1000
    late = engine.kind == "late"
    found = [hit.id for hit in result]
    reasons: list[Explanation | None] = (
        list(engine.explain_batch(question, found)) if late else [None] * len(found)
    )
    answers = list(zip(result, reasons, strict=True))
    if not output.as_json:
        output.show("", Text.assemble((question, "bold"), (f"   {name}, {milliseconds:.0f} ms", "dim")))
        for rank, (hit, explanation) in enumerate(answers, 1):
            output.show(f"{rank:3d}  {hit.score:8.4f}  {hit.id}")
            output.show(_passage(hit, explanation, output))
    return [_values(hit, explanation) for hit, explanation in answers]


def _passage(hit: Hit, explanation: Explanation | None, output: Output) -> Text:
    """The part of the text that answers best, its matched words marked where they are known."""
    width = max(40, min(output.width, 110) - MARGIN)
    text = " ".join(printable(hit.text or "").split())
    passage = best_passage(text, (), width) if explanation is None else _matched(explanation, width)
    words = marked(passage.text, strongest(passage.spans, MARKED_WORDS), terminal=output.on_terminal)
    return Text.assemble(" " * MARGIN, "…" * passage.before, words, "…" * passage.after)


def _matched(explanation: Explanation, width: int) -> Passage:
    # Blanks for line ends, character for character: the spans still fit.
    text = "".join(" " if character.isspace() else character for character in printable(explanation.text))
    return best_passage(text, matched_words(text, explanation.matches), width)


def _values(hit: Hit, explanation: Explanation | None) -> dict[str, Any]:
    values = hit_values(hit)
    if explanation is not None:
        words = matched_words(explanation.text, explanation.matches)
        values["matched"] = [explanation.text[word.start : word.end] for word in words]
    return values


def _say_how_to_go_on(folder: Path, names: Sequence[str], output: Output) -> None:
    last = folder / names[-1]
    program = _program()
    output.show(
        "",
        "Ask it yourself:       " + f'{program} search {last} "how do I ..."',
        "See why a hit matched: " + f'{program} explain {last} lzma.compress "how do I compress bytes"',
        "Serve both over HTTP:  " + f"{program} serve --data-dir {folder}",
        "                       then open http://127.0.0.1:8080/ui (the API: /docs)",
    )


def _program() -> str:
    """How this program was called, so that the printed commands work as they are."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "retrieval" and called.exists() else "retrieval"
