"""Hybrid searches of collections: the terms of a collection's texts are counted once, not for each
request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from weakref import WeakKeyDictionary

from retrieval import Engine
from retrieval.hybrid import BM25, Hybrid
from server.schemas.search import HybridOptions

__all__ = ["MAX_LANGUAGES", "Hybrids"]

MAX_LANGUAGES = 2
"""Languages in which a collection's terms are kept: each takes the memory of all its texts' terms."""


class Hybrids:
    """Makes `Hybrid` objects that share their `BM25`. Safe to share between threads.

    Counts belong to an engine: when it is replaced, by a reload for example, they go with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: WeakKeyDictionary[Engine, OrderedDict[str, BM25]] = WeakKeyDictionary()

    def of(
        self, engine: Engine, other: Engine | None, options: HybridOptions, *, keep: bool = True
    ) -> Hybrid:
        """A hybrid search of ``engine``, with ``other`` as its dense generator. ``keep``: counts of terms are
        written beside the documents.

        Raises:
            ConfigError: options that cannot work.
            MissingExtraError: the language needs a package that is not installed.
        """
        return Hybrid(
            engine,
            other,
            bm25=self._bm25(engine, options.language, keep) if options.bm25 else False,
            fuse=options.fuse,
            weights=options.weights,
            refine=options.refine,
            num_candidates=options.num_candidates,
        )

    def _bm25(self, engine: Engine, language: str, keep: bool) -> BM25:
        with self._lock:
            languages = self._known.setdefault(engine, OrderedDict())
            if language not in languages:
                languages[language] = BM25(language, keep=keep)
            languages.move_to_end(language)
            while len(languages) > MAX_LANGUAGES:
                languages.popitem(last=False)
            return languages[language]
