"""Squared lengths are NumPy's up to rounding."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.lengths import squared_length


@pytest.mark.parametrize("dim", [0, 1, 3, 33, 384])
def test_squared_length(dim: int) -> None:
    query = np.random.default_rng(dim).standard_normal((1, dim)).astype(np.float32)
    for given in (query, query[:, ::-1], np.zeros_like(query)):
        assert squared_length(given) == pytest.approx(float(np.vdot(given, given)), rel=1e-5)
