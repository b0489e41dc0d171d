"""Whether a machine's memory holds what a recipe builds."""

from __future__ import annotations

import os

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError
from retrieval.index.hnsw import HnswIndex, bytes_to_build
from retrieval.reduce import reduced_dim

__all__ = ["check_memory"]


def check_memory(documents: int, dim: int, recipe: RecipeConfig) -> None:
    """Refuse a graph over ``documents`` of ``dim`` dimensions that this machine could not hold while it is
    built; other indexes hold little more than codes.

    Raises:
        ConfigError: it takes more than there is.
    """
    if recipe.index != HnswIndex.name:
        return
    left = reduced_dim(recipe.reduce, dim)
    needed, there = bytes_to_build(documents, left, recipe.codec, recipe.m_links), _memory()
    if needed > there:
        raise ConfigError(
            f"a graph of {documents:,} vectors of {left} dimensions takes {needed / 2**30:.1f} GiB while it "
            f"is built, and this machine has {there / 2**30:.1f}: choose index=ivf or fewer dimensions "
            f"(reduce=pca:{max(left // 2, 1)}), or use --force (in Python: force=True)"
        )


def _memory() -> int:
    """Bytes of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
