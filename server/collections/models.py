"""The models that this server has: which ones a request may name, and each loaded once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from retrieval import Encoder, EncoderConfig, GivenVectors, RuntimeConfig, inspect_index, load_encoder
from retrieval.encode import DenseEncoder, LateEncoder, is_local, resolve_config
from retrieval.errors import ConfigError, EncoderError, MissingExtraError
from retrieval.types import EncoderKind
from server.collections.refusals import refusal
from server.http.problems import ProblemError
from server.settings import ServerSettings
from server.working.batching import BatchingEncoder
from server.working.model_thread import ModelThread, on_one_core

__all__ = ["Known", "Models"]


@dataclass(frozen=True, slots=True)
class Known:
    """A model that requests may name. ``dim`` is known once it has been loaded."""

    name: str
    kind: EncoderKind
    dim: int | None


class Models:
    """The setting ``models``, and encoders that are shared by all that use them. Any thread may call.

    ``given`` are encoder objects by collection name; they win over the one that the index names. Models of
    the list stay loaded; others (of the same checkpoints with other settings, or of indexes that were
    there at the start) as long as something uses them. ``thread`` is where they encode queries.
    """

    def __init__(
        self, settings: ServerSettings, runtime: RuntimeConfig, given: Mapping[str, Encoder] | None = None
    ) -> None:
        self._settings, self._runtime = settings, runtime
        self.thread = ModelThread()
        self._listed = dict(settings.models)
        self._given = {name: self._batching(encoder) for name, encoder in (given or {}).items()}
        self._loading = threading.Lock()
        self._kept: dict[EncoderConfig, BatchingEncoder] = {}
        self._loaded: WeakValueDictionary[EncoderConfig, BatchingEncoder] = WeakValueDictionary()
        self._resolved = lru_cache(maxsize=256)(lambda config: resolve_config(config, self._runtime))

    def known(self) -> list[str]:
        """Names that requests may use: of the list, what is built in or a folder here."""
        return [each.name for each in self.described()]

    def described(self) -> list[Known]:
        """What requests may name, in the order of the list; what cannot be loaded is left out."""
        found = []
        for name in self._listed:
            config = self._listed_config(name)
            if config is None:
                continue
            loaded = self._loaded.get(config)
            kind: EncoderKind = "dense" if config.kind == "dense" else "late"
            found.append(Known(name, kind, None if loaded is None else loaded.dim))
        return found

    def config(self, asked: str | Mapping[str, Any]) -> EncoderConfig:
        """The whole configuration of a model that a request names, alone or (``name``) with settings.

        Raises:
            ProblemError: 422 unknown_model, 422 bad_config.
        """
        given = {"name": asked} if isinstance(asked, str) else dict(asked)
        name = given.pop("name", None)
        listed = self._listed.get(name) if isinstance(name, str) else None
        pointer = "/encoder" if isinstance(asked, str) else "/encoder/name"
        if listed is None or not is_local(listed.name):
            raise self._unknown(name, pointer)
        try:
            return self._resolved(listed.replace(**given))
        except ConfigError as error:
            raise refusal(error, "/encoder", given) from None
        except MissingExtraError as error:  # a server without it does not have this model
            raise self._unknown(name, pointer, f": {error}") from None
        except EncoderError as error:
            raise refusal(error, "/encoder") from None

    def encoder(self, config: EncoderConfig) -> BatchingEncoder:
        """The model of a configuration, loaded if it is not yet. Blocks for seconds then.

        Raises:
            EncoderError, MissingExtraError: it cannot be loaded.
        """
        found = self.loaded(config)
        if found is not None:
            return found
        config = self._whole(config)
        with self._loading:
            found = self._loaded.get(config)
            if found is None:
                encoder = load_encoder(config, self._runtime)
                if isinstance(encoder, DenseEncoder | LateEncoder):
                    on_one_core(encoder.trace_queries)
                found = self._batching(encoder)
                self._loaded[config] = found
                if config in map(self._listed_config, self._listed):
                    self._kept[config] = found
        return found

    def loaded(self, config: EncoderConfig) -> BatchingEncoder | None:
        """The model of a configuration if it is there; None: `encoder` would load it."""
        return self._loaded.get(self._whole(config))

    def for_collection(self, name: str, path: Path, *, asked: bool = False) -> Encoder:
        """The encoder of the index at ``path``, which is to be the collection ``name``.

        ``asked``: a request wants it, not whoever started the server; then nothing is loaded but what a
        request may name, or what is there already.

        Raises:
            ConfigError: it was built with a class of the builder's own, and that was not given.
            ProblemError: 422 unknown_model.
            RetrievalError: of the index, or its model cannot be loaded.
        """
        if name in self._given:
            return self._given[name]
        info = inspect_index(path)
        given, stored = GivenVectors.of(info.fingerprint), info.encoder
        if given is not None:
            return given
        if stored is None:
            raise ConfigError(
                f"collection '{name}' was built with an encoder class of its builder's own; "
                f"give that encoder: create_app(encoders={{'{name}': ...}})"
            )
        config = EncoderConfig.of(**stored)
        if asked and config not in self._loaded and self.name_of(stored) is None:
            raise self._unknown(Path(config.name).name, None)
        return self.encoder(config)

    def name_of(self, stored: Mapping[str, Any] | None) -> str | None:
        """What requests call the model of an index (`IndexInfo.encoder`); None: they have no name for it."""
        if stored is None:
            return None
        config = EncoderConfig.of(**stored)
        there = {name: self._listed_config(name) for name in self._listed}
        same = [name for name, listed in there.items() if listed == config]
        alike = [
            name
            for name, listed in there.items()
            if listed is not None and (listed.name, listed.kind) == (config.name, config.kind)
        ]
        return next(iter(same + alike), None)

    def all(self) -> list[BatchingEncoder]:
        """Every encoder that is loaded, given ones included."""
        return [*self._given.values(), *self._loaded.values()]

    def close(self) -> None:
        """End the thread on which queries are encoded. Blocks until what it does is done."""
        self.thread.close()

    def _whole(self, config: EncoderConfig) -> EncoderConfig:
        return self._resolved(config) if is_local(config.name) else config

    def _listed_config(self, name: str) -> EncoderConfig | None:
        """None: it cannot be loaded, or not without fetching it."""
        try:
            return self.config(name)
        except ProblemError:
            return None

    def _batching(self, encoder: Encoder) -> BatchingEncoder:
        return BatchingEncoder(
            encoder,
            cached_texts=self._settings.query_cache,
            batch_tokens=self._settings.encode_batch_tokens,
            thread=self.thread,
        )

    def _unknown(self, name: object, pointer: str | None, why: str = "") -> ProblemError:
        known = ", ".join(f"'{each}'" for each in self._listed if is_local(self._listed[each].name))
        told = f"this server has no model {name!r}{why}; it has {known or 'none'} (setting 'models')"
        errors = [{"pointer": pointer, "detail": told}] if pointer is not None else []
        return ProblemError(422, "unknown_model", told, errors=errors)
