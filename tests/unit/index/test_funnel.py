"""The funnel, against the same stages in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import ConfigError, IndexDamagedError, IndexFormatError
from retrieval.index.base import Effort
from retrieval.index.registry import fit_index, index_from_state
from retrieval.quantize import Codec, FloatCodec, Int8Codec
from tests.unit.index.indexes import DIM, Case, N, biases_of, documents, in_pieces, queries

STORED: list[Codec] = [FloatCodec("float32"), FloatCodec("float16"), Int8Codec.fit(documents())]


def plainly(values, biases, query, prefixes, depth, accept):  # type: ignore[no-untyped-def]
    """The stages as they are described."""
    left = np.flatnonzero(accept)
    for stage, prefix in enumerate(prefixes):
        scores = values[left, :prefix].astype(np.float64) @ query[:prefix]
        if biases is not None:
            scores += biases[left] + (values[left, prefix:].astype(np.float64) ** 2).sum(axis=1) / 2
        order = np.argsort(-scores, kind="stable")[: depth * 4 ** (len(prefixes) - 1 - stage)]
        best, estimates = left[order], scores[order]
        left = np.sort(best)
    return best, estimates


@pytest.mark.parametrize("stored", STORED, ids=["float32", "float16", "int8"])
@pytest.mark.parametrize("prefixes", [(8,), (5, 11, 24), ()], ids=str)
@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_stages(stored: Codec, prefixes: tuple[int, ...], metric: str) -> None:
    index = fit_index("funnel", documents(), N, Case("funnel", {"funnel": prefixes}).recipe)
    rows = stored.encode(documents())
    values = stored.decode(rows)
    biases = biases_of(values) if metric == "l2" else None
    arrays = index.arrange(in_pieces(values, biases), N)
    assert set(arrays) == (set() if biases is None else {"biases"})
    search = index.attach(arrays, N, rows, stored)
    for accept in (None, np.arange(N) % 3 > 0):
        mask = np.ones(N, bool) if accept is None else accept
        for query, found in zip(queries(), search.search(queries(), Effort(6), accept), strict=True):
            _, wanted = plainly(values, biases, query, prefixes or (6, 12), 6, mask)
            assert mask[found.ordinals].all()
            assert np.allclose(found.estimates, wanted, rtol=1e-4, atol=2e-3)


def test_every_dimension_is_exact_search() -> None:
    index = fit_index("funnel", documents(), N, Case("funnel", {"funnel": (DIM,)}).recipe)
    search = index.attach({}, N, documents(), FloatCodec("float32"))
    for query, found in zip(queries(), search.search(queries(), Effort(25)), strict=True):
        scores = documents() @ query
        assert np.allclose(found.estimates, np.sort(scores)[::-1][:25], rtol=1e-5)
        assert found.scanned == N


def test_unusable_options_are_refused() -> None:
    for prefixes in ((8, 8), (16, 8), (0, 8), (8, DIM + 1)):
        with pytest.raises(ConfigError, match="prefixes must grow"):
            fit_index("funnel", documents(), N, Case("funnel", {"funnel": prefixes}).recipe)
    with pytest.raises(ConfigError, match="reduce is 'pca:8'"):
        fit_index("funnel", documents(), N, Case("funnel", {"reduce": "pca:8"}).recipe)


def test_what_does_not_fit_is_refused() -> None:
    index = fit_index("funnel", documents(), N, Case("funnel").recipe)
    with pytest.raises(IndexDamagedError, match="stored vectors"):
        index.attach({}, N, documents()[:, :-1], FloatCodec("float32"))
    with pytest.raises(IndexFormatError, match="prefixes"):
        index_from_state("funnel", {"dim": 4, "prefixes": [9]}, {})
