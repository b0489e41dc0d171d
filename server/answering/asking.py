"""Whether a question can be answered: by this server's limits, and by the collection it is put to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from retrieval import Engine, GivenVectors
from retrieval.errors import ConfigError, FilterError, QueryError
from retrieval.types import FloatArray
from server.http.problems import ProblemError, invalid_request
from server.schemas.search import ExplainRequest, RerankRequest, SearchRequest
from server.schemas.vectors import UnfitVectors, number_of, vector_of, vectors_of
from server.settings import ServerSettings

__all__ = [
    "Finding",
    "Question",
    "check_encodes",
    "check_explain",
    "check_other",
    "check_query",
    "check_search",
    "codec_of",
    "given_vectors",
    "telling",
]

PLAIN_LIMIT = 100
AnyQuery = SearchRequest | RerankRequest | ExplainRequest
Finding = tuple[str, str]
"""A JSON pointer and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Question:
    """A search, and where it stands in the body (``/searches/3``; empty: it is the body)."""

    search: SearchRequest
    pointer: str = ""

    @property
    def aspects(self) -> frozenset[str]:
        """What is to be explained."""
        asked = self.search.explain
        if isinstance(asked, bool):
            return frozenset({"tokens"}) if asked else frozenset()
        return frozenset([asked] if isinstance(asked, str) else asked)

    @property
    def is_plain(self) -> bool:
        """Whether it takes as long as others to the same collection, once it is encoded: one vector or text,
        and the nearest few of all."""
        search = self.search
        return (
            search.vectors is None
            and search.filter is None
            and search.params is None
            and search.cursor is None
            and search.explain is False
            and search.limit <= PLAIN_LIMIT
            and not self.is_hybrid
        )

    @property
    def is_hybrid(self) -> bool:
        """Whether several generators are asked."""
        return self.search.mode == "hybrid"


def check_search(question: Question, settings: ServerSettings) -> Iterator[Finding]:
    """What is wrong with a search, whatever collection it is put to."""
    search, at = question.search, question.pointer
    yield from check_query(search, settings, at, beside=question.is_hybrid)
    if search.limit > settings.max_limit:
        yield f"{at}/limit", f"{search.limit} hits; the most is {settings.max_limit}"
    elif "tokens" in question.aspects and search.limit > settings.max_explained:
        yield f"{at}/limit", f"{search.limit} hits; the most is {settings.max_explained} with 'explain'"
    if not question.is_hybrid:
        if search.hybrid is not None:
            yield f"{at}/hybrid", "is for the mode hybrid; set 'mode' to 'hybrid'"
        return
    if search.query is None:
        yield f"{at}/query", "a hybrid search takes a text, which BM25 reads too"
    if search.cursor is not None:
        yield f"{at}/cursor", "a hybrid search has no pages: its scores are of one set of candidates"
    if search.hybrid is not None and search.hybrid.num_candidates > settings.max_limit:
        told = f"{search.hybrid.num_candidates} candidates; the most is {settings.max_limit}"
        yield f"{at}/hybrid/num_candidates", told


def check_query(
    asked: AnyQuery, settings: ServerSettings, at: str, *, beside: bool = False
) -> Iterator[Finding]:
    """Whether there is exactly one form of the query, within the limits; ``beside``: or vectors with the
    text."""
    given = [name for name in ("query", "vector", "vectors") if getattr(asked, name) is not None]
    if len(given) != 1 and not (beside and len(given) == 2 and given[0] == "query"):
        told = f"there is {' and '.join(given)}" if given else "there is none of them"
        place = given[1] if given else "query"
        yield f"{at}/{place}", f"give exactly one of 'query', 'vector' and 'vectors'; {told}"
    yield from _check_text(asked.query, settings, at)
    if asked.vectors is not None and (n := number_of(asked.vectors)) > settings.max_query_tokens:
        yield f"{at}/vectors", f"{n} vectors; the most is {settings.max_query_tokens}"


def check_explain(asked: ExplainRequest, settings: ServerSettings) -> Iterator[Finding]:
    """What is wrong with a request for explanations."""
    yield from check_query(asked, settings, "")
    if len(asked.ids) > settings.max_explained:
        yield "/ids", f"{len(asked.ids)} documents; the most is {settings.max_explained}"


def _check_text(text: str | None, settings: ServerSettings, at: str) -> Iterator[Finding]:
    if text is not None and len(text) > settings.max_query_chars:
        yield f"{at}/query", f"{len(text)} characters; the most is {settings.max_query_chars}"


def check_encodes(engine: Engine, at: str) -> None:
    """Refuse a text where there is no model to encode it with.

    Raises:
        ProblemError: 422.
    """
    if isinstance(engine.encoder, GivenVectors):
        wanted = "vector" if engine.kind == "dense" else "vectors"
        told = f"the collection holds given vectors and has no model; give the query's as '{wanted}'"
        raise invalid_request([(f"{at}/query", told)])


def check_other(engine: Engine, at: str) -> None:
    """Refuse a second collection of a hybrid search that has no model: vectors come for the first one alone.

    Raises:
        ProblemError: 422.
    """
    if isinstance(engine.encoder, GivenVectors):
        told = "this collection holds given vectors and has no model; search it by itself, with its vectors"
        raise invalid_request([(f"{at}/hybrid/dense", told)])


def given_vectors(asked: AnyQuery, engine: Engine, at: str) -> FloatArray:
    """The query's vectors as they were sent, as an array that fits the engine.

    Raises:
        ProblemError: 422, they do not fit.
    """
    name = "vectors" if asked.vector is None else "vector"
    wanted = "vector" if engine.kind == "dense" else "vectors"
    if name != wanted:
        told = f"the collection is {engine.kind}; give the query as '{wanted}'"
        raise invalid_request([(f"{at}/{name}", told)])
    dim = codec_of(engine).dim
    try:
        return vectors_of(asked.vectors, dim) if asked.vector is None else vector_of(asked.vector, dim)
    except UnfitVectors as error:
        raise invalid_request([(f"{at}/{name}{error.pointer}", error.told)]) from None


def check_mode(question: Question, engine: Engine) -> None:
    """Refuse a mode that the collection does not have.

    Raises:
        ProblemError: 422.
    """
    mode = question.search.mode
    if mode in (None, "hybrid", engine.kind):
        return
    told = f"the collection is {engine.kind}, not {mode}; leave 'mode' out to search it as it is"
    if mode == "muvera" and engine.kind == "late":
        if "muvera" in codec_of(engine).config.get("recipe", {}).get("reduce", ""):
            return
        told = "the collection is not found by muvera vectors; compact it with the preset muvera first"
    raise invalid_request([(f"{question.pointer}/mode", told)])


def codec_of(engine: Engine) -> Any:
    """The codec generation of the newest commit: dimension, and what was trained."""
    return engine.located()[0].snapshot.record


@contextmanager
def telling(at: str, *, config: str | None = None) -> Iterator[None]:
    """Say where in the body that is which the engine refuses; ``config`` is where its settings come from,
    None if they do not come from the body: then a bad one is not the client's fault."""
    try:
        yield
    except FilterError as error:
        raise _refused(error.code, str(error), f"{at}/filter") from None
    except QueryError as error:
        raise _refused(error.code, str(error), at) from None
    except ConfigError as error:
        if config is None:
            raise
        raise invalid_request([(at + config, str(error))]) from None


def _refused(code: str, told: str, pointer: str) -> ProblemError:
    return ProblemError(422, code, told, errors=[{"pointer": pointer, "detail": told}])


def refuse(findings: Sequence[Finding]) -> None:
    """Raise if anything was found.

    Raises:
        ProblemError: 422 with everything.
    """
    if findings:
        raise invalid_request(findings)
