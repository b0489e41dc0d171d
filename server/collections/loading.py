"""Opens an index with its model, and answers one query, so that the first client waits for nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retrieval import Engine, RuntimeConfig
from server.collections.models import Models

__all__ = ["Opener", "warm"]

WARM_UP_QUERY = "warm up"
QUERY_TOKENS = (1, 8, 40)
"""One token, a block of the kernel, and more than a block: each is compiled apart."""
MANY = 8
"""Queries in a batch, which are scored together."""


class Opener:
    """Opens collections."""

    def __init__(self, runtime: RuntimeConfig, models: Models) -> None:
        self._runtime, self._models = runtime, models

    def open(self, name: str, path: Path) -> Engine:
        """An engine that has answered one query, with whatever model its index was built with.

        Raises:
            RetrievalError: the index cannot be opened, or its model cannot be loaded.
        """
        return self._open(name, path, asked=False)

    def open_asked(self, name: str, path: Path) -> Engine:
        """The same because a request says so: only with a model that a request may name, or one that is
        loaded already.

        Raises:
            ProblemError: 422 unknown_model.
            RetrievalError: the index cannot be opened, or its model cannot be loaded.
        """
        return self._open(name, path, asked=True)

    def _open(self, name: str, path: Path, *, asked: bool) -> Engine:
        encoder = self._models.for_collection(name, path, asked=asked)
        return warm(Engine.open(path, encoder=encoder, runtime=self._runtime))


def warm(engine: Engine) -> Engine:
    """The engine after it has answered queries of every kind that compiles kernels of its own; closed, if
    that fails."""
    try:
        engine.warm_up()
        found = engine.search(WARM_UP_QUERY, k=10)
        some = {"must": [{"has_id": [hit.id for hit in found[: len(found) // 2 + 1]]}]}
        for tokens in QUERY_TOKENS if engine.kind == "late" else (1,):
            vectors = np.full((tokens, engine.dim), engine.dim**-0.5, dtype=np.float32)
            for params in (None, {"exact": True}):
                engine.search(vectors, k=10, params=params)
                engine.search(vectors, k=10, params=params, filter=some)
                engine.search_batch([vectors] * MANY, k=10, params=params)
    except BaseException:
        engine.close()
        raise
    return engine
