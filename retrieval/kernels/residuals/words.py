"""Codes back to numbers: each piece of a code names a run of numbers, its *word*, which is copied whole.

Words are kept as long as a vector, or several, so that copying one is a load and a store; what is too much of
it lies where the next word goes, or the next row, or beyond the last.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.residuals.reference import Around, part_starts
from retrieval.types import FloatArray, IntArray

__all__ = ["Words", "bucket_words", "product_words", "word_values"]

LANES = (1, 2, 4, 8, 16)
"""Numbers copied at once. The longer words are several times the most."""


class Words(NamedTuple):
    """What codes of ``dim`` numbers mean: ``words`` ``(pieces, 16 or 256, length)`` by piece and number, of
    ``nbits``; those of piece ``p`` begin at ``starts[p]``. ``lanes``: how much of one is copied at once."""

    words: FloatArray
    starts: IntArray
    nbits: int
    dim: int
    lanes: int

    @property
    def nbytes(self) -> int:
        """Of a code."""
        return int(-(-len(self.words) * self.nbits // 8))


def product_words(codebooks: FloatArray, dim: int) -> Words:
    """Of codebooks ``(m, 16 or 256, dsub)``; see `reference.product_codes`."""
    m, ksub, dsub = codebooks.shape
    longest = -(-dim // m)
    lanes = next((one for one in LANES if one >= longest), LANES[-1])
    words = np.zeros((m, ksub, -(-longest // lanes) * lanes), np.float32)
    words[:, :, : min(longest, dsub)] = codebooks[:, :, :longest]
    return Words(words, part_starts(dim, m), ksub.bit_length() - 1, dim, lanes)


def bucket_words(buckets: FloatArray, bits: int) -> Words:
    """Of ``buckets`` ``(d, 2**bits)``; see `reference.bucket_codes`: a piece is a byte."""
    dim, each = len(buckets), 8 // bits
    padded = np.zeros((-(-dim // each) * each, 2**bits), np.float32)
    padded[:dim] = buckets
    numbers = np.arange(256)[:, None] >> np.arange(0, 8, bits) & 2**bits - 1
    pieces = np.arange(len(padded)).reshape(-1, 1, each)
    return Words(padded[pieces, numbers], each * np.arange(len(pieces) + 1), 8, dim, each)


def word_values(codes: NDArray[np.uint8], words: Words, around: Around | None = None) -> FloatArray:
    """``(n, dim)`` float32: what codes ``(n, nbytes)`` mean, or that ``around`` centroids.

    Raises:
        ValueError: codes of another type or width; an ordinal that is no centroid's; shapes that do not fit.
    """
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != words.nbytes:
        raise ValueError(f"codes are {codes.dtype} {codes.shape}: give uint8 (n, {words.nbytes})")
    n, length = len(codes), words.words.shape[2]
    room = (np.empty if len(words.words) else np.zeros)(n * words.dim + length, np.float32)
    lanes = (np.float32(0),) * words.lanes
    table = plain(words.words).reshape(-1), length, words.starts, words.nbits
    _decode(plain(codes), *table, lanes, words.dim, _checked(around, n, words.dim), room)
    return room[: n * words.dim].reshape(n, words.dim)


def _checked(around: Around | None, n: int, dim: int) -> tuple[Any, ...] | None:
    if around is None:
        return None
    centroids, ordinals, inv_norms = around
    if centroids.dtype != np.float32 or centroids.ndim != 2 or centroids.shape[1] != dim:
        raise ValueError(f"centroids are {centroids.dtype} {centroids.shape}: give float32 (K, {dim})")
    if ordinals.shape != (n,) or inv_norms.shape != (n,):
        raise ValueError(f"ordinals {ordinals.shape}, inverse norms {inv_norms.shape}: give one a code, {n}")
    if n and not 0 <= ordinals.min() <= ordinals.max() < len(centroids):
        raise ValueError(f"ordinals leave the {len(centroids)} centroids")
    return plain(centroids), plain(ordinals, np.int64), plain(inv_norms, np.float32)


@intrinsic
def _copy_lanes(_context: Any, target: Any, at: Any, source: Any, start: Any, lanes: Any) -> Any:
    """As many numbers as there are ``lanes``, from one array to another; LLVM alone finds no vectors here."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), len(lanes))
        both = []
        for array, index in ((0, 1), (2, 3)):
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            place = context.cast(builder, args[index], signature.args[index], types.int64)
            both.append(builder.bitcast(builder.gep(data, [place]), vector.as_pointer()))
        number = builder.load(both[1])
        number.align = builder.store(number, both[0]).align = 4
        return context.get_dummy_value()

    return types.void(target, at, source, start, lanes), generate


def _copy_alone(target: Any, at: int, source: Any, start: int, lanes: Any) -> None:
    target[at : at + len(lanes)] = source[start : start + len(lanes)]


_copy = _copy_alone if config.DISABLE_JIT else _copy_lanes


@njit(nogil=True, error_model="numpy", _nrt=False)
def _copy_word(out, at, words, source, length, lanes):  # type: ignore[no-untyped-def]
    _copy(out, at, words, source, lanes)
    for more in range(len(lanes), length, len(lanes)):
        _copy(out, at + more, words, source + more, lanes)


@njit(nogil=True, cache=True, error_model="numpy")
def _decode(codes, words, length, starts, nbits, lanes, dim, around, out):  # type: ignore[no-untyped-def]
    """Rows of ``dim`` numbers to ``out``, which has room for one more word. It is compiled for each number
    of ``lanes``, a constant then."""
    m, size = len(starts) - 1, length << nbits
    for i in range(len(codes)):
        code, first = codes[i], i * dim
        if nbits == 8:
            for piece in range(m):
                source = piece * size + np.int64(code[piece]) * length
                _copy_word(out, first + starts[piece], words, source, length, lanes)
        else:
            for pair in range(m >> 1):
                number, source = np.int64(code[pair]), 2 * pair * size
                low, high = source + (number & 15) * length, source + size + (number >> 4) * length
                _copy_word(out, first + starts[2 * pair], words, low, length, lanes)
                _copy_word(out, first + starts[2 * pair + 1], words, high, length, lanes)
            if m & 1:
                source = (m - 1) * size + np.int64(code[m >> 1] & 15) * length
                _copy_word(out, first + starts[m - 1], words, source, length, lanes)
        if around is not None:
            centroids, ordinals, inv_norms = around
            centroid, factor, row = centroids[ordinals[i]], inv_norms[i], out[first : first + dim]
            for j in range(dim):
                row[j] = (centroid[j] + row[j]) * factor
