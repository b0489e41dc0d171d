"""Opens an index with its model; collections with the same `EncoderConfig` share one model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retrieval import Encoder, EncoderConfig, Engine, RuntimeConfig, load_encoder
from retrieval.errors import ConfigError

__all__ = ["Opener"]

WARM_UP_QUERY = "warm up"


class Opener:
    """Opens collections one after the other.

    ``given`` holds encoder objects by collection name; they win over the one that the index names.
    """

    def __init__(self, runtime: RuntimeConfig, given: Mapping[str, Encoder]) -> None:
        self._runtime = runtime
        self._given = given
        self._loaded: dict[EncoderConfig, Encoder] = {}

    def open(self, name: str, path: Path) -> Engine:
        """An engine that has answered one query, so that the first client waits for nothing.

        Raises:
            RetrievalError: the index cannot be opened, or its model cannot be loaded.
        """
        encoder = self._given[name] if name in self._given else self._encoder_of(name, path)
        engine = Engine.open(path, encoder=encoder, runtime=self._runtime)
        try:
            engine.warm_up()
            engine.search(WARM_UP_QUERY, k=1)
        except BaseException:
            engine.close()
            raise
        return engine

    def _encoder_of(self, name: str, path: Path) -> Encoder:
        with Engine.open(path, runtime=self._runtime) as engine:
            stored = engine.inspect().encoder
        if stored is None:
            raise ConfigError(
                f"collection '{name}' was built with an encoder class of its builder's own; "
                f"give that encoder: create_app(encoders={{'{name}': ...}})"
            )
        config = EncoderConfig.of(**stored)
        if config not in self._loaded:
            self._loaded[config] = load_encoder(config, self._runtime)
        return self._loaded[config]
