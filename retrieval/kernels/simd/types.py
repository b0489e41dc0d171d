"""512-bit vectors (and one half) as Numba types: one type per LLVM vector type.

A vector is an ordinary local variable of an njit function; it lives in a register, passes through
helpers and tuples without loss, and is only made and used by the functions of this folder.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import register_model

__all__ = [
    "F32x16",
    "F64x8",
    "I8x32",
    "I8x64",
    "I16x16",
    "I16x32",
    "I32x8",
    "I32x16",
    "I64x8",
    "Vector",
    "element_ir",
    "vector_ir",
]


class Vector(types.Type):
    """``lanes`` numbers of ``bits`` bits: integers (signless, as in LLVM) or floats."""

    def __init__(self, kind: str, bits: int, lanes: int) -> None:
        self.kind, self.bits, self.lanes = kind, bits, lanes
        super().__init__(name=f"Vector({kind}{bits}x{lanes})")


I8x32 = Vector("i", 8, 32)  # half a vector
I8x64 = Vector("i", 8, 64)
I16x32 = Vector("i", 16, 32)
I16x16 = Vector("i", 16, 16)  # half a vector
I32x16 = Vector("i", 32, 16)
I32x8 = Vector("i", 32, 8)  # half a vector
I64x8 = Vector("i", 64, 8)
F32x16 = Vector("f", 32, 16)
F64x8 = Vector("f", 64, 8)


def element_ir(vector: Vector) -> Any:
    """LLVM type of one lane."""
    if vector.kind == "f":
        return ir.DoubleType() if vector.bits == 64 else ir.FloatType()
    return ir.IntType(vector.bits)


def vector_ir(vector: Vector) -> Any:
    """LLVM type of the whole vector."""
    return ir.VectorType(element_ir(vector), vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector_ir(vector))
