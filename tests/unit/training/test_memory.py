"""What a graph takes is known before it is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError
from retrieval.index.base import Block
from retrieval.index.hnsw import bytes_to_build
from retrieval.index.registry import fit_index
from retrieval.training import check_memory, memory
from tests.unit.index.indexes import DIM, Case, N, documents


def test_a_graph_beyond_this_machine_is_refused() -> None:
    graph = RecipeConfig.of(index="hnsw", codec="float16", reduce="pca:200")
    check_memory(10_000, 384, graph)
    check_memory(10**12, 384, RecipeConfig.of(index="ivf"))
    check_memory(10_000, 384, RecipeConfig.of(index="vamana"))
    with pytest.raises(ConfigError, match="vectors of 384 dimensions takes"):
        check_memory(10**12, 384, RecipeConfig.of(index="vamana"))
    with pytest.raises(
        ConfigError, match=r"1,000,000,000,000 vectors of 200 dimensions takes .*\(reduce=pca:100\)"
    ):
        check_memory(10**12, 384, graph)


@pytest.mark.parametrize("codec", ["int8", "float16"])
def test_the_arrays_of_a_graph_are_as_large_as_was_said(codec: str) -> None:
    case = Case("hnsw", {"codec": codec, "m_links": 8})
    index = fit_index("hnsw", documents(), N, case.recipe)
    arrays = index.arrange(iter([Block(documents(), None)]), N)
    held = 4 * 32 * N + 2 * sum(array.nbytes for array in arrays.values())
    assert 0.9 * held < bytes_to_build(N, DIM, codec, 8) < 1.4 * held


@pytest.mark.parametrize(
    ("limit", "folder", "free"),
    [("3000", "", 1700), ("max", "", 8192), ("3000", "memory", 1700), ("90000", "", 8192)],
    ids=["container", "no limit", "first version", "more than the machine"],
)
def test_what_is_free_of_a_machine_and_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, folder: str, free: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  20 kB\nMemAvailable:  8 kB\nHugePages_Total:  0\n")
    names = memory.LIMITS[1 if folder else 0]
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, content in zip(names, (limit, "1800", "active_file 200\ninactive_file 300\n"), strict=True):
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.free_memory() == free
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    assert memory.free_memory() >= free, "all of the machine, where nobody says what is free"
    (tmp_path / names[2]).write_text("anon 7\n")
    assert memory.free_memory() >= free - 500, "nobody says which files are in memory"
