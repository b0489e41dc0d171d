"""How an index folder comes to be, and who may write to it.

A folder without a committed catalog is no index: what a killed creation left in it is cleared by
the next one, and a creation that fails takes its folder away again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from retrieval.config import IndexConfig, RecipeConfig
from retrieval.corpus import FieldTypes
from retrieval.encode import ConfiguredEncoder, Encoder
from retrieval.encode.base import check_fingerprint, fingerprint_of
from retrieval.errors import ConfigError, IndexExistsError, IndexUnfinishedError
from retrieval.quantize import FloatCodec
from retrieval.storage import (
    Catalog,
    CodecRecord,
    clear_folder,
    clear_leftovers,
    has_catalog,
    is_index_folder,
    make_folder,
    writer_lock,
)

__all__ = ["begin_build", "check_target", "create_index"]

FIRST_CODEC = 1
"""The codec generation of a build; training makes the next."""


def check_target(root: Path, *, resume: bool = False) -> None:
    """Whether an index may be made at ``root``, or with ``resume`` continued; changes nothing.

    Raises:
        IndexExistsError: something else, or a complete index, is there.
        IndexUnfinishedError: an unfinished build is there and ``resume`` is False.
    """
    if not is_index_folder(root):
        raise IndexExistsError(f"{root} exists and is not an index; choose another path")
    if resume or not has_catalog(root):
        return
    with Catalog.open(root) as catalog:
        if catalog.build_state()["complete"]:
            raise IndexExistsError(f"there is an index at {root} already; add to it, or choose another path")
    raise IndexUnfinishedError(f"an unfinished build is at {root}; continue it with --resume, or remove it")


def create_index(root: Path, encoder: Encoder, config: IndexConfig) -> None:
    """Make an empty, complete index.

    Raises:
        IndexExistsError: something is there already.
    """
    with _claimed(root):
        check_target(root)
        _create_catalog(root, encoder, config, complete=True)


@contextmanager
def begin_build(root: Path, encoder: Encoder, config: IndexConfig, resume: bool) -> Iterator[Catalog]:
    """A catalog to build into: a new one, or with ``resume`` the unfinished one.

    Raises:
        IndexExistsError, IndexUnfinishedError: there is one and ``resume`` is False.
        EncoderMismatchError, ConfigError: the build began with other options, or has been trained with
            another recipe.
    """
    config = config.resolve(encoder.kind)
    with _claimed(root):
        check_target(root, resume=resume)
        if has_catalog(root):
            _check_same_build(root, encoder, config)
        else:
            _create_catalog(root, encoder, config, complete=False)
        try:
            with Catalog.open(root, write=True) as catalog:
                clear_leftovers(root, catalog)
                _take_recipe(catalog, config)
                yield catalog
        except BaseException:
            _drop_if_empty(root)
            raise


@contextmanager
def _claimed(root: Path) -> Iterator[None]:
    """Make the folder and lock it for writing; if it is no index in the end, take away what was
    made here."""
    check_target(root, resume=True)
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        make_folder(root)
        with writer_lock(root):
            try:
                yield
            finally:
                if not has_catalog(root):
                    clear_folder(root, lock=True)
    finally:
        with suppress(OSError):  # not empty, or gone: then it is not ours to remove
            for folder in made:
                folder.rmdir()


def _create_catalog(root: Path, encoder: Encoder, config: IndexConfig, *, complete: bool) -> None:
    clear_folder(root)
    config = config.resolve(encoder.kind)
    meta = {"config": config.as_json(), "fields": FieldTypes().to_json(), "build": {"complete": complete}}
    Catalog.create(root, _new_codec_record(encoder, config), meta).close()


def _new_codec_record(encoder: Encoder, config: IndexConfig) -> CodecRecord:
    """The first codec generation of an index."""
    resolved = config.resolve(encoder.kind)
    codec_config, _ = FloatCodec(resolved.first_precision).state()
    known = encoder.config.model_dump() if isinstance(encoder, ConfiguredEncoder) else None
    fingerprint = fingerprint_of(encoder)
    return CodecRecord(
        FIRST_CODEC,
        FloatCodec.name,
        codec_config,
        encoder.kind,
        encoder.metric,
        encoder.dim,
        known,
        fingerprint,
    )


def _check_same_build(root: Path, encoder: Encoder, config: IndexConfig) -> None:
    with Catalog.open(root) as catalog:
        build, segments = catalog.build_state(), len(catalog.built())
        if build["complete"] and not build.get("segments", segments):
            raise IndexExistsError(f"the index at {root} was not built but created; add to it")
        if build["complete"] and build.get("segments", segments) != segments:
            raise IndexExistsError(
                f"the build of {root} is complete, and its segments were merged since; add to it"
            )
        check_fingerprint(catalog.codec().encoder_fingerprint, fingerprint_of(encoder))
        _check_same(catalog.meta("config"), config)
        _check_recipe(catalog.codec(), IndexConfig.of(**catalog.meta("config")).recipe, config.recipe)


def _check_same(stored: Mapping[str, Any], given: IndexConfig) -> None:
    """Refuse to resume a build whose documents would be cut or stored otherwise, naming the first difference.

    Raises:
        ConfigError: there is one.
    """
    before = IndexConfig.of(**stored)
    for name in IndexConfig.model_fields:
        value, known = getattr(given, name), getattr(before, name)
        if name != "recipe" and value != known:
            raise ConfigError(f"{name}={value!r}, but the build began with {known!r}; resume with that")


def _check_recipe(record: CodecRecord, before: RecipeConfig, given: RecipeConfig) -> None:
    """Refuse to resume a build with another recipe than the one that it was trained with; before that any
    will do, since documents are stored in the same way for all.

    Raises:
        ConfigError: it is another.
    """
    is_trained = record.codec > FIRST_CODEC
    if not is_trained or given == before or given.index == "auto":  # what that chose is in its place
        return
    old, new = before.model_dump(), given.model_dump()
    told = ", ".join(f"{name}={new[name]} (it was {old[name]})" for name in old if new[name] != old[name])
    raise ConfigError(
        f"the build is complete and trained, and its recipe would change: {told}; leave the index as it is, "
        "or compact it with the other recipe"
    )


def _take_recipe(catalog: Catalog, config: IndexConfig) -> None:
    """A build that goes on with another recipe is a build with that one."""
    is_new = catalog.codec().codec == FIRST_CODEC and catalog.meta("config") != config.as_json()
    if is_new:
        with catalog.transaction("recipe"):
            catalog.set_meta("config", config.as_json())


def _drop_if_empty(root: Path) -> None:
    """A failed build that committed no documents leaves no index."""
    with Catalog.open(root) as catalog:
        empty = not catalog.segments() and not catalog.build_state()["complete"]
    if empty:
        clear_folder(root)
