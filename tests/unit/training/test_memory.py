"""What a graph takes is known before it is built."""

from __future__ import annotations

import pytest

from retrieval.config import RecipeConfig
from retrieval.errors import ConfigError
from retrieval.index.base import Block
from retrieval.index.hnsw import bytes_to_build
from retrieval.index.registry import fit_index
from retrieval.training import check_memory
from tests.unit.index.indexes import DIM, Case, N, documents


def test_a_graph_beyond_this_machine_is_refused() -> None:
    graph = RecipeConfig.of(index="hnsw", codec="float16", reduce="pca:200")
    check_memory(10_000, 384, graph)
    check_memory(10**12, 384, RecipeConfig.of(index="ivf"))
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
