"""MUVERA encodings on a GPU, against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.kernels.fde import cuda, reference


@pytest.mark.parametrize(("ksim", "proj_dim", "final_dim"), [(0, None, None), (3, 2, 5)])
def test_equals_the_reference(ksim: int, proj_dim: int | None, final_dim: int | None) -> None:
    rng = np.random.default_rng(0)
    offsets = np.array([0, 3, 3, 4])
    values = rng.integers(-3, 4, (4, 6)).astype(np.float32)
    matrices = reference.draw_matrices(6, 2, ksim, proj_dim, final_dim, seed=1)
    matrices = matrices._replace(planes=np.rint(2 * matrices.planes))  # whole numbers: signs are exact
    for fill in (True, False):
        expected = reference.fde_documents(values, offsets, *matrices, fill=fill)
        np.testing.assert_allclose(
            cuda.fde_documents(values, offsets, *matrices, fill=fill), expected, atol=1e-5
        )
    expected = reference.fde_queries(values, offsets, *matrices)
    np.testing.assert_allclose(cuda.fde_queries(values, offsets, *matrices), expected, atol=1e-5)
