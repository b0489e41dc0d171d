"""Opens an index with its model, and answers one query, so that the first client waits for nothing."""

from __future__ import annotations

from pathlib import Path

from retrieval import Engine, GivenVectors, RuntimeConfig
from server.collections.models import Models

__all__ = ["Opener", "warm"]

WARM_UP_QUERY = "warm up"


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
    """The engine after it has answered queries of every kind that compiles kernels of its own, and a text
    where it has a model; closed, if that fails."""
    try:
        engine.warm_up(kernels=True)
        if not isinstance(engine.encoder, GivenVectors):
            engine.search(WARM_UP_QUERY)
    except BaseException:
        engine.close()
        raise
    return engine
