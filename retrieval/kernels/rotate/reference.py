"""A random rotation in O(d log d) of any dimension d, in plain NumPy.

``rounds`` times: flip signs at random, then an orthonormal Walsh-Hadamard transform of a window of
``2**k`` coordinates, ``k = floor(log2 d)``: the first ones in even rounds, the last ones in odd rounds
(Ailon and Chazelle, The fast Johnson-Lindenstrauss transform, SIAM J. Comput. 39(1), 2009; several
rounds as in Andoni et al., Practical and optimal LSH for angular distance, NeurIPS 2015).

Windows overlap little where d is just below a power of two, and then each mixes its own half of the
vector. So before every even round but the first, coordinates half a vector apart are mixed in pairs:
``(a + b) / sqrt(2)`` and ``(a - b) / sqrt(2)``. Where d is a power of two, there is one window and
nothing to be mixed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray

__all__ = ["rotate", "unrotate"]


def rotate(values: FloatArray, signs: NDArray[np.int8]) -> FloatArray:
    """``(n, d)`` float32 turned by the orthonormal map that ``signs`` ``(rounds, d)`` of +1 and -1 choose."""
    out, dim = values.astype(np.float32), values.shape[1]
    for index, row in enumerate(signs):
        if _mixes(index, dim):
            _mix(out)
        out *= row
        _transform(out[:, _window(index, dim)])
    return out


def unrotate(values: FloatArray, signs: NDArray[np.int8]) -> FloatArray:
    """The inverse of `rotate`, of the same signs."""
    out, dim = values.astype(np.float32), values.shape[1]
    for index in reversed(range(len(signs))):
        _transform(out[:, _window(index, dim)])
        out *= signs[index]
        if _mixes(index, dim):
            _mix(out)
    return out


def _window(index: int, dim: int) -> slice:
    size = 1 << (dim.bit_length() - 1)
    return slice(dim - size, dim) if index % 2 else slice(0, size)


def _mixes(index: int, dim: int) -> bool:
    """Whether a round begins with pairs."""
    return index > 0 and index % 2 == 0 and dim & (dim - 1) != 0


def _mix(values: FloatArray) -> None:
    """Coordinates ``i`` and ``ceil(d / 2) + i``; of an odd number the middle one stays."""
    half = values.shape[1] // 2
    first, last = values[:, :half].copy(), values[:, values.shape[1] - half :].copy()
    values[:, :half] = (first + last) * np.float32(0.5**0.5)
    values[:, values.shape[1] - half :] = (first - last) * np.float32(0.5**0.5)


def _transform(window: FloatArray) -> None:
    """Orthonormal Walsh-Hadamard transform of each row, in place, in natural order."""
    n, size = window.shape
    step = 1
    while step < size:
        pairs = window.reshape(n, size // (2 * step), 2, step)
        window[:] = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2).reshape(
            n, size
        )
        step *= 2
    window *= np.float32(size**-0.5)
