"""Text to vectors: built-in encoders, checkpoints of sentence-transformers, or a caller's own class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.config import EncoderConfig, RuntimeConfig
from retrieval.encode.base import (
    ConfiguredEncoder,
    Encoder,
    TokenizingEncoder,
    as_ragged,
    check_fingerprint,
    encode_documents,
    encode_queries,
    fingerprint_of,
)
from retrieval.encode.builtin import BUILTINS, Builtin
from retrieval.encode.checkpoint import Checkpoint
from retrieval.encode.dense import DenseEncoder
from retrieval.encode.given import GIVEN, GivenVectors
from retrieval.encode.hub import is_folder, resolve_folder
from retrieval.encode.late import LateEncoder
from retrieval.encode.runtime import check_backend, spin_briefly
from retrieval.errors import EncoderError

__all__ = [
    "GIVEN",
    "ConfiguredEncoder",
    "DenseEncoder",
    "Encoder",
    "GivenVectors",
    "LateEncoder",
    "TokenizingEncoder",
    "as_ragged",
    "check_fingerprint",
    "encode_documents",
    "encode_queries",
    "is_local",
    "load_encoder",
    "load_stored_encoder",
    "resolve_config",
]


def is_local(name: str) -> bool:
    """Whether an encoder of this name is built in or a folder here, so that to load it fetches nothing."""
    return name in BUILTINS or is_folder(name)


def resolve_config(config: EncoderConfig, runtime: RuntimeConfig | None = None) -> EncoderConfig:
    """The configuration that the encoder of `load_encoder` would have: with its kind and, of a folder, the
    absolute path. Of a hub name that is not here, the checkpoint is downloaded.

    Raises:
        EncoderError, MissingExtraError: as `load_encoder`.
    """
    return _resolved(config, runtime or RuntimeConfig.of())[0]


def load_encoder(
    name_or_config: str | EncoderConfig, runtime: RuntimeConfig | None = None
) -> ConfiguredEncoder:
    """Load an encoder by built-in name, checkpoint folder or hub name.

    A built-in name wins over a folder of that name (write ``./minilm`` for the folder). The
    encoder's ``config`` holds the kind that was found and, for a folder, its absolute path, so
    that loading it again gives the same encoder.

    Raises:
        EncoderError: not found, not an encoder, or an option that does not fit it.
        UntrainedProjectionError: used for late interaction without a trained projection.
        MissingExtraError: a package that the encoder needs is not installed.
    """
    config = EncoderConfig.of(name=name_or_config) if isinstance(name_or_config, str) else name_or_config
    if config.name == GIVEN:
        raise EncoderError(
            f"{GIVEN!r} is no model: an index of given vectors opens without an encoder being named, and is "
            "made with --encoder given, in Python with GivenVectors(dim)"
        )
    runtime = runtime or RuntimeConfig.of()
    check_backend(runtime)
    config, checkpoint, builtin = _resolved(config, runtime)
    encoder: DenseEncoder | LateEncoder
    if config.kind == "dense":
        encoder = DenseEncoder(config, checkpoint, runtime)
    else:
        encoder = LateEncoder(config, checkpoint, runtime, builtin.skiplist if builtin else None)
    if runtime.trace_queries:
        encoder.trace_queries()
    return encoder


def _resolved(
    config: EncoderConfig, runtime: RuntimeConfig
) -> tuple[EncoderConfig, Checkpoint, Builtin | None]:
    spin_briefly()
    builtin = BUILTINS.get(config.name)
    if builtin is not None:
        config = builtin.configure(config)
        folder = builtin.folder(config.name)
    else:
        folder = resolve_folder(config, runtime, tuple(BUILTINS))
        if is_folder(config.name):
            config = config.replace(name=str(folder))
    checkpoint = Checkpoint.read(folder)
    checkpoint.check_weights(runtime.backend)
    if config.kind == "auto":
        config = config.replace(kind=checkpoint.kind)
    return config, checkpoint, builtin


def load_stored_encoder(
    root: Path,
    stored: Mapping[str, Any] | None,
    fingerprint: Mapping[str, Any],
    runtime: RuntimeConfig | None = None,
) -> Encoder:
    """The encoder that the index at ``root`` was built with, from what it stored of it.

    Raises:
        EncoderError: it was an encoder class of the builder's own, or cannot be loaded.
        EncoderMismatchError: what is found is another one.
    """
    if stored is None:
        if (given := GivenVectors.of(fingerprint)) is not None:
            return given
        raise EncoderError(
            f"the index at {root} was built with an encoder class of its own "
            f"({fingerprint}); open it with Engine.open(path, encoder=...)"
        )
    loaded = load_encoder(EncoderConfig.of(**stored), runtime)
    check_fingerprint(fingerprint, fingerprint_of(loaded))
    return loaded
