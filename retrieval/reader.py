"""An open index, to be asked: search, rerank, explain."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from retrieval.asked import FilterLike, SearchParams, filter_of, search_config
from retrieval.config import RuntimeConfig
from retrieval.contents import Contents, asked_ids
from retrieval.encode import Encoder, load_stored_encoder
from retrieval.encode.base import check_fingerprint, fingerprint_of, text_tokens
from retrieval.encode.documents import DocumentEncoder
from retrieval.errors import (
    QueryError,
)
from retrieval.queries import Query, check_k, query_vectors
from retrieval.search import (
    Place,
    Prepared,
    check_fields,
    execute,
    explain_document,
    fetch,
    fetch_document,
    rerank,
)
from retrieval.storage import Snapshot
from retrieval.types import Explanation, Ragged, SearchResult, Token
from retrieval.warming import search_in_every_way

__all__ = ["Reader"]


class Reader(Contents):
    """What can be asked of an index. Safe to share between threads; every search sees one commit
    as a whole. `Engine` adds what changes an index.

    ``path`` is the index's folder, ``kind`` says whether it holds one vector a text (``dense``)
    or one a token (``late``), ``dim`` how many numbers a vector has.
    """

    def __init__(
        self,
        root: Path,
        encoder: Encoder | None,
        runtime: RuntimeConfig | None,
        *,
        skip_damaged: bool = False,
    ) -> None:
        super().__init__(root, skip_damaged=skip_damaged)
        if encoder is not None:
            try:
                check_fingerprint(self._record.encoder_fingerprint, fingerprint_of(encoder))
            except BaseException:
                self._catalog.close()
                raise
        self._encoder, self._runtime = encoder, runtime
        chosen = runtime or RuntimeConfig.of()
        self._backend, self._threads = chosen.backend_of_kernels, chosen.query_threads
        self._loading = threading.Lock()
        self._prepared: Prepared | None = None

    def warm_up(self, *, kernels: bool = False) -> None:
        """Load the encoder now, so that the first query does not wait for it; with ``kernels`` also search in
        every way: compiled on a machine for the first time, the kernels take up to half a minute."""
        _ = self.encoder
        if kernels:
            search_in_every_way(self)

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use and checked against the index."""
        with self._loading:
            if self._encoder is None:
                stored, fingerprint = self._record.encoder, self._record.encoder_fingerprint
                self._encoder = load_stored_encoder(self.path, stored, fingerprint, self._runtime)
            return self._encoder

    def search(
        self,
        query: Query,
        k: int = 10,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
        params: SearchParams = None,
        explain: Literal["plan"] | None = None,
    ) -> SearchResult:
        """The best ``k`` documents that the filter accepts, score descending, ties by id ascending.

        ``query`` is a text, or its vectors ``(d,)`` or ``(n_tokens, d)``. ``fields`` picks from
        ``title``, ``text`` and ``metadata``; None is all, ``()`` only ids and scores. There are
        fewer hits than ``k`` only where fewer documents are accepted.

        An index that was trained (`RecipeConfig`) finds the best with the recall of its target;
        ``params`` (a `SearchConfig`, or its values by name) ask for another, or for ``exact``.
        ``explain="plan"`` puts into ``plan`` what was done.

        Raises:
            QueryError: an empty query, ``k`` below 1, vectors of the wrong shape, unknown field.
            FilterError: a filter that cannot be read or does not fit the fields.
            ConfigError: parameters that cannot work.
        """
        given = {"filter": filter, "fields": fields, "params": params, "explain": explain}
        return self.search_batch([query], k, **given)[0]  # type: ignore[arg-type]

    def search_batch(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        filter: FilterLike | None = None,
        fields: Collection[str] | None = None,
        params: SearchParams = None,
        explain: Literal["plan"] | None = None,
    ) -> list[SearchResult]:
        """`search` for many queries at once: they share the encoder's batches and the passes over
        the codes. ``timings_ms`` and ``plan`` are of the whole batch."""
        wanted, k, condition = check_fields(fields), check_k(k), filter_of(filter)
        effort = search_config(params)
        if explain not in (None, "plan"):
            raise QueryError(f'explain={explain!r}; there is "plan" (for one document: Engine.explain)')
        if isinstance(queries, str):
            raise QueryError("search_batch takes a list of queries; for one use search")
        if any(isinstance(query, str) for query in queries):
            self.warm_up()  # loading a model is not encoding
        started = time.perf_counter()
        vectors = self._query_vectors(queries)
        encoded = time.perf_counter()
        prepared = self._latest()
        snapshot = prepared.snapshot
        accept = prepared.filters.accepted(condition)
        filtered = time.perf_counter()
        done = execute(vectors, prepared, accept, k, effort, explain is not None)
        searched = time.perf_counter()
        hits = [fetch(scored, snapshot, wanted) for scored in done.results]
        fetched = time.perf_counter()
        timings = {
            "encode": encoded - started,
            "filter": filtered - encoded,
            **done.seconds,
            "search": searched - encoded,
            "fetch": fetched - searched,
            "total": fetched - started,
        }
        in_ms = {stage: 1000 * value for stage, value in timings.items()}
        partial = bool(snapshot.damaged)
        plan = {**done.plan, "stages_ms": in_ms} if explain else None
        return [SearchResult(each, snapshot.generation, in_ms, partial, plan) for each in hits]

    def rerank(
        self,
        query: Query,
        ids: Iterable[str],
        k: int | None = None,
        *,
        fields: Collection[str] | None = None,
    ) -> SearchResult:
        """Documents that the caller has found, by the score that an exact search gives them: the best ``k``
        (None: all), score descending, ties by id ascending.

        Ids that are not in the index are left out, one that comes twice counts once. ``query`` and
        ``fields`` are as for `search`.

        Raises:
            QueryError: as `search`; an id that no document can have.
        """
        wanted, k = check_fields(fields), None if k is None else check_k(k)
        asked = asked_ids(ids, "rerank")
        if isinstance(query, str):
            self.warm_up()
        started = time.perf_counter()
        vectors = self._query_vectors([query])
        encoded = time.perf_counter()
        prepared, places = self.located(asked)
        (scored,) = rerank(vectors, prepared, [places.values()], k)
        searched = time.perf_counter()
        hits = fetch(scored, prepared.snapshot, wanted)
        fetched = time.perf_counter()
        marks = {"encode": encoded - started, "search": searched - encoded, "fetch": fetched - searched}
        in_ms = {stage: 1000 * value for stage, value in {**marks, "total": fetched - started}.items()}
        return SearchResult(hits, prepared.snapshot.generation, in_ms, bool(prepared.snapshot.damaged))

    def explain(self, query: Query, doc_id: str) -> Explanation:
        """Take the score of one document for a query apart, token by token. The tokens of a query that is
        given as vectors have numbers.

        Where the index pools tokens, the document is encoded once more to tell which tokens a vector
        stands for; see `TokenMatch` for how they are named.

        Raises:
            DocumentNotFoundError: no such document.
            QueryError: an id that no document can have, or a query as of `search`.
        """
        return self.explain_batch(query, [doc_id])[0]

    def explain_batch(self, query: Query, doc_ids: Sequence[str]) -> list[Explanation]:
        """`explain` for several documents, as one commit has them; the query is encoded once."""
        vectors = self._query_vectors([query])
        text = query if isinstance(query, str) else ""
        if isinstance(query, str):
            query_tokens = text_tokens(self.encoder, query, len(vectors[0]), side="query")
        else:
            query_tokens = [Token(f"#{i}") for i in range(len(vectors[0]))]
        encoder = DocumentEncoder(self.encoder, self._catalog.pooling())
        snapshot, places = self._located_all(doc_ids)
        texts = [fetch_document(snapshot, *place).full_text for place in places]
        stored = [
            snapshot.codec.decode(snapshot.segments[segment].document_codes(ordinal))
            for segment, ordinal in places
        ]
        named = encoder.name_vectors(texts, stored)
        return [
            explain_document(text, vectors, query_tokens, names, snapshot, *place)
            for names, place in zip(named, places, strict=True)
        ]

    def located(self, ids: Sequence[str] = ()) -> tuple[Prepared, dict[str, Place]]:
        """The newest commit, to be searched (`retrieval.search`), and where in it those of ``ids`` are that
        it holds: for rooms that combine several searches of one commit, as `retrieval.hybrid` does."""
        snapshot, places = self._placed(ids)
        return self._prepared_of(snapshot), places

    # -- inside -------------------------------------------------------------------------------

    def _latest(self) -> Prepared:
        """The newest snapshot, to be searched. Two threads may prepare a new one at once: either serves."""
        return self._prepared_of(self._snapshots.latest())

    def _prepared_of(self, snapshot: Snapshot) -> Prepared:
        prepared = self._prepared
        if prepared is None or prepared.snapshot is not snapshot:
            self._prepared = prepared = Prepared(snapshot, self._backend, self._threads)
        return prepared

    def _query_vectors(self, queries: Sequence[Query]) -> Ragged:
        return query_vectors(queries, lambda: self.encoder, self.kind, self._record.dim)
