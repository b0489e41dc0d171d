"""Arrays from where they lie in memory, inside compiled code.

Handing an array to a compiled function costs a tenth of a microsecond. What a segment or a codec keeps is
described once, by `retrieval.kernels.lists.prepared`, and all of it handed over in one array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

__all__ = ["bytes_at", "doubles_at", "floats_at", "integers_at", "signs_at", "words_at"]

_inline = njit(nogil=True, error_model="numpy", forceinline=True)


@intrinsic
def _pointer(_context: Any, address: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.int64), generate


@_inline
def bytes_at(places, i):  # type: ignore[no-untyped-def]
    """Array ``i`` of those that ``places`` tells of, as uint8."""
    return carray(_pointer(places[2 * i]), (places[2 * i + 1],), np.uint8)


@_inline
def floats_at(places, i):  # type: ignore[no-untyped-def]
    """`bytes_at` of float32."""
    return carray(_pointer(places[2 * i]), (places[2 * i + 1],), np.float32)


@_inline
def integers_at(places, i):  # type: ignore[no-untyped-def]
    """`bytes_at` of int64."""
    return carray(_pointer(places[2 * i]), (places[2 * i + 1],), np.int64)


@_inline
def signs_at(places, i):  # type: ignore[no-untyped-def]
    """`bytes_at` of int8."""
    return carray(_pointer(places[2 * i]), (places[2 * i + 1],), np.int8)


@_inline
def doubles_at(places, i):  # type: ignore[no-untyped-def]
    """`bytes_at` of float64."""
    return carray(_pointer(places[2 * i]), (places[2 * i + 1],), np.float64)


@_inline
def words_at(places, i):  # type: ignore[no-untyped-def]
    """`bytes_at` of uint32."""
    return carray(_pointer(places[2 * i]), (places[2 * i + 1],), np.uint32)
