"""Arrays as compiled kernels take them: one kind, so that each kernel is compiled once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["plain"]


def plain(array: NDArray[Any], dtype: Any = None) -> NDArray[Any]:
    """A read-only view that is contiguous and aligned, or a copy where the array is not.

    Numba compiles anew for read-only and for unaligned arrays: seconds, in the middle of a call.
    """
    array = np.require(np.asarray(array), dtype, ["C", "A"]).view()
    array.flags.writeable = False
    return array
