"""Whether the memory that is free holds what a recipe builds."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError
from retrieval.index import hnsw, vamana
from retrieval.reduce import reduced_dim
from retrieval.storage import Snapshot

__all__ = ["check_arranging", "check_memory", "free_memory"]

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""What a container may use, and uses, by the second version of cgroups and by the first."""


def check_memory(documents: int, dim: int, recipe: RecipeConfig) -> None:
    """Refuse a graph over ``documents`` of ``dim`` dimensions that could not be held while it is built; other
    indexes hold little more than codes.

    Raises:
        ConfigError: it takes more than is free.
    """
    left = reduced_dim(recipe.reduce, dim)
    if recipe.index == hnsw.HnswIndex.name:
        needed = hnsw.bytes_to_build(documents, left, recipe.codec, recipe.m_links)
    elif recipe.index == vamana.VamanaIndex.name:
        needed = vamana.bytes_to_build(documents, left, recipe.m_links)
    else:
        return
    there = free_memory()
    if needed > there:
        raise ConfigError(
            f"a graph of {documents:,} vectors of {left} dimensions takes {needed / 2**30:.1f} GiB while it "
            f"is built, and {there / 2**30:.1f} are free: choose index=ivf or fewer dimensions "
            f"(reduce=pca:{max(left // 2, 1)}), make room, or give build or compact --force (in Python: "
            "force=True)"
        )


def check_arranging(snapshot: Snapshot, documents: int) -> None:
    """`check_memory` of a segment of so many documents, by the recipe that the index has been trained with.

    Raises:
        ConfigError: it takes more than is free.
    """
    recipe = snapshot.record.config.get("recipe")
    if recipe is not None:
        check_memory(documents, snapshot.record.dim, RecipeConfig.of(**recipe))


def free_memory() -> int:
    """Bytes that this process may still take without making others swap, or being killed: of the machine, and
    of its container. Files that are kept in memory give way, and count as free."""
    return min(_machine(), *(_container(*(CGROUP / name for name in names)) for names in LIMITS))


def _machine() -> int:
    with suppress(OSError, KeyError):
        return 1024 * _numbers(MEMINFO)["MemAvailable:"]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # not Linux: all there is


def _container(limit: Path, usage: Path, stat: Path) -> int:
    """As much as there can be where nothing is limited."""
    try:
        most, used, kept = int(limit.read_text()), int(usage.read_text()), _numbers(stat)
    except (OSError, ValueError):  # no such container, or "max"
        return 2**62
    return most - used + kept.get("active_file", 0) + kept.get("inactive_file", 0)


def _numbers(path: Path) -> dict[str, int]:
    """A line a number: its name, and how many."""
    return {words[0]: int(words[1]) for line in path.read_text().splitlines() if (words := line.split())}
