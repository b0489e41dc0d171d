from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from retrieval.filters.compare import as_mask


@pytest.mark.parametrize("start", [0, 1, 7, 8, 9, 21])
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 70])
def test_bits_from_anywhere_in_a_buffer(start, n) -> None:
    values = [(None, True, False, True, True)[i * i % 5] for i in range(start + n + 3)]
    found = as_mask(pa.array(values, pa.bool_()).slice(start, n))
    assert found.dtype == np.bool_
    assert found.tolist() == [value is True for value in values[start : start + n]]
