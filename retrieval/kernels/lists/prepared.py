"""What the kernels read, checked and laid out once a segment or a codec, not at every query."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.kernels.arrays import plain
from retrieval.kernels.pq_scan.reference import BLOCK
from retrieval.types import FloatArray, IntArray

__all__ = ["GROUP", "NEAREST", "Coarse", "Groups", "Lists", "places_of", "prepare_centroids", "prepare_lists"]

GROUP = 16
"""Centroids whose bytes lie together: one 32-bit lane each."""
NEAREST = 4
"""Lists whose mean score is what the reach of a choice is measured from."""


@dataclass(frozen=True, eq=False, slots=True)
class Lists:
    """Codes sorted by list; made by `prepare_lists`.

    List ``l`` owns the positions ``starts[l]:starts[l + 1]``, and position ``p`` is lane ``p % 32`` of
    block ``p // 32``: blocks run across the borders of lists. ``scales``, ``biases`` (float32),
    ``ordinals`` (uint32, the document at each position) and ``errors`` (float32, only passed on to the
    answer) have one entry a position, or none at all. ``places`` tells a kernel where the others lie in
    memory: one array to hand over for each query, not six.
    """

    blocks: NDArray[np.uint8]
    starts: IntArray
    scales: FloatArray
    biases: FloatArray
    ordinals: NDArray[np.uint32]
    errors: FloatArray
    places: IntArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_lists(self.blocks, self.starts, *self._numbers())
        object.__setattr__(self, "places", places_of(self.blocks, self.starts, *self._numbers()))

    def _numbers(self) -> tuple[FloatArray, FloatArray, NDArray[np.uint32], FloatArray]:
        return self.scales, self.biases, self.ordinals, self.errors

    def __reduce__(self) -> tuple[Any, ...]:  # a copy's arrays lie elsewhere
        return prepare_lists, (self.blocks, self.starts, *(x if len(x) else None for x in self._numbers()))


class Groups(NamedTuple):
    """Centroids of centroids. Group ``g`` has the lists ``members[starts[g]:starts[g + 1]]``; every list is
    in one group. ``biases`` ``(g,)`` are added to products with ``centroids`` ``(g, d)``, or None."""

    centroids: FloatArray
    starts: IntArray
    members: IntArray
    biases: FloatArray | None


@dataclass(frozen=True, eq=False, slots=True)
class Coarse:
    """Centroids of lists, in float and as bytes; made by `prepare_centroids`.

    ``packed`` ``(n_sixteens, ceil(d / 4), 16, 4)`` holds the centroids less their mean as bytes,
    ``c ~ (code - 128) * step``, in the order of ``members`` ``(16 * n_sixteens,)``: -1 is padding. Run
    ``r`` is the sixteens ``runs[r]:runs[r + 1]``; there is one run, or one for each of ``supers``
    ``(n_runs, d)``, whose biases are ``super_biases``. ``sizes`` counts a run's lists. ``spreads`` say how
    far from its centroid a list's documents reach towards a query of length 1, ``packed_spreads`` the same
    in the order of ``members``. ``places`` is as in `Lists`.
    """

    centroids: FloatArray
    biases: FloatArray
    packed: NDArray[np.uint8]
    packed_biases: FloatArray
    members: IntArray
    runs: IntArray
    sizes: IntArray
    supers: FloatArray
    super_biases: FloatArray
    spreads: FloatArray
    packed_spreads: FloatArray
    step: float
    places: IntArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_coarse(self)
        object.__setattr__(self, "places", places_of(*self._arrays()))

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return (
            self.centroids,
            self.biases,
            self.packed,
            self.packed_biases,
            self.members,
            self.runs,
            self.sizes,
            self.supers,
            self.super_biases,
            self.spreads,
            self.packed_spreads,
        )

    def __reduce__(self) -> tuple[Any, ...]:  # a copy's arrays lie elsewhere
        return Coarse, (*self._arrays(), self.step)


def places_of(*arrays: NDArray[Any]) -> IntArray:
    """Address and number of elements of each."""
    return np.array([x for a in arrays for x in (a.__array_interface__["data"][0], a.size)], np.int64)


def _vector(name: str, array: NDArray[Any] | None, dtype: Any, n: int) -> NDArray[Any]:
    """``array`` as kernels take it; None: empty."""
    if array is None:
        return plain(np.empty(0, dtype))
    if array.dtype != dtype or array.shape != (n,):
        raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be {np.dtype(dtype)} ({n},)")
    return plain(array)


def prepare_lists(
    blocks: NDArray[np.uint8],
    starts: IntArray,
    scales: FloatArray | None = None,
    biases: FloatArray | None = None,
    ordinals: NDArray[np.uint32] | None = None,
    errors: FloatArray | None = None,
) -> Lists:
    """Check the arrays of `Lists`; nothing is copied that is contiguous.

    ``blocks`` ``(n_blocks, ceil(m / 8), 2, 64)`` is what `pq_scan.pack_codes` gives for the ``n`` =
    ``starts[-1]`` codes. Without ``ordinals`` a position is its document.

    Raises:
        ValueError: a type or shape that does not fit; starts that do not grow from 0 to at most the
            number of packed codes.
    """
    n = int(starts[-1]) if starts.ndim == 1 and len(starts) else 0
    return Lists(
        plain(blocks),
        plain(starts),
        _vector("scales", scales, np.float32, n),
        _vector("biases", biases, np.float32, n),
        _vector("ordinals", ordinals, np.uint32, n),
        _vector("errors", errors, np.float32, n),
    )


def _check_lists(
    blocks: NDArray[np.uint8],
    starts: IntArray,
    scales: FloatArray,
    biases: FloatArray,
    ordinals: NDArray[np.uint32],
    errors: FloatArray,
) -> None:
    if blocks.dtype != np.uint8 or blocks.ndim != 4 or blocks.shape[2:] != (2, 64) or not blocks.shape[1]:
        raise ValueError(
            f"blocks are {blocks.dtype} {blocks.shape}: they must be uint8 (n_blocks, groups, 2, 64)"
        )
    if starts.dtype != np.int64 or starts.ndim != 1 or not len(starts):
        raise ValueError(f"starts are {starts.dtype} {starts.shape}: they must be int64 (nlist + 1,)")
    n = int(starts[-1])
    if starts[0] != 0 or (starts[1:] < starts[:-1]).any() or n > len(blocks) * BLOCK or n >= 2**31 - 64:
        raise ValueError(
            f"starts must grow from 0 to at most the {len(blocks) * BLOCK} packed codes, and less than 2**31"
        )
    if len(ordinals) and ordinals.max() >= 2**31:
        raise ValueError(f"an ordinal is {ordinals.max()}: they must be less than 2**31")
    for name, array, dtype in (
        ("scales", scales, np.float32),
        ("biases", biases, np.float32),
        ("ordinals", ordinals, np.uint32),
        ("errors", errors, np.float32),
    ):
        if array.dtype != dtype or array.shape not in {(n,), (0,)} or not array.flags.c_contiguous:
            raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be {np.dtype(dtype)} ({n},)")


def _check_coarse(coarse: Coarse) -> None:
    """So much that no kernel can leave the arrays."""
    (nlist, d), n_packed, n_runs = coarse.centroids.shape, len(coarse.members), len(coarse.sizes)
    shapes = (
        (coarse.biases, np.float32, (nlist,)),
        (coarse.packed, np.uint8, (n_packed // GROUP, -(-d // 4), GROUP, 4)),
        (coarse.packed_biases, np.float32, (n_packed,)),
        (coarse.members, np.int64, (n_packed,)),
        (coarse.runs, np.int64, (n_runs + 1,)),
        (coarse.sizes, np.int64, (n_runs,)),
        (coarse.supers, np.float32, (len(coarse.supers), d)),
        (coarse.super_biases, np.float32, (len(coarse.supers),)),
        (coarse.spreads, np.float32, (nlist,)),
        (coarse.packed_spreads, np.float32, (n_packed,)),
    )
    fits = all(a.dtype == dtype and a.shape == shape and a.flags.c_contiguous for a, dtype, shape in shapes)
    grows = fits and coarse.runs[0] == 0 and coarse.runs[-1] * GROUP == n_packed
    if not grows or (np.diff(coarse.runs) < 0).any() or n_runs != max(len(coarse.supers), 1):
        raise ValueError(
            "the arrays of packed centroids do not fit each other: make them by prepare_centroids"
        )
    if n_packed and (coarse.members.min() < -1 or coarse.members.max() >= nlist):
        raise ValueError(f"packed centroids are of lists that are not among the {nlist}")


def _matrix(name: str, array: FloatArray, dim: int | None = None) -> FloatArray:
    if array.dtype != np.float32 or array.ndim != 2 or 0 in array.shape or dim not in (None, array.shape[1]):
        raise ValueError(f"{name} are {array.dtype} {array.shape}: they must be float32 (n, {dim or 'd'})")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold NaN or infinite numbers")
    return plain(array)


def _biases(name: str, array: FloatArray | None, n: int) -> FloatArray:
    if array is None:
        return plain(np.zeros(n, np.float32))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold NaN or infinite numbers")
    return _vector(name, array, np.float32, n)


def prepare_centroids(
    centroids: FloatArray,
    biases: FloatArray | None = None,
    groups: Groups | None = None,
    spreads: FloatArray | None = None,
) -> Coarse:
    """Round and pack the centroids ``(nlist, d)`` for `choose_lists`.

    ``biases`` ``(nlist,)`` are added to a list's product with the query (for l2: minus half the centroid's
    squared length), ``spreads`` ``(nlist,)`` times the query's length only where lists are compared. With
    ``groups`` only the lists of the nearest groups are looked at.

    Raises:
        ValueError: a type or shape that does not fit, NaN or infinity, groups that do not hold every
            list once.
    """
    centroids = _matrix("centroids", centroids)
    nlist, d = centroids.shape
    added, spread = _biases("biases", biases, nlist), _biases("spreads", spreads, nlist)
    if groups is None:
        order, starts = np.arange(nlist), np.array([0, nlist])
        supers, super_biases = plain(np.empty((0, d), np.float32)), plain(np.empty(0, np.float32))
    else:
        supers = _matrix("centroids of groups", groups.centroids, d)
        super_biases = _biases("biases of groups", groups.biases, len(supers))
        order, starts = _check_groups(groups, nlist)
    members, runs = _pad(order, starts)
    center = centroids.mean(axis=0, dtype=np.float64)
    centred = centroids - center
    step = max(float(np.abs(centred).max()) / 127, 1e-30)
    width = -(-d // 4) * 4
    codes = np.full((len(members), width), 128, np.uint8)
    codes[members >= 0, :d] = (np.clip(np.rint(centred / step), -127, 127) + 128)[members[members >= 0]]
    packed = codes.reshape(-1, GROUP, width // 4, 4).transpose(0, 2, 1, 3)
    packed_biases = np.full(len(members), np.nan, np.float32)  # beside the padding: never among the best
    packed_biases[members >= 0] = added[members[members >= 0]]
    packed_spreads = np.where(members >= 0, spread[members], np.float32(0))
    return Coarse(
        centroids,
        added,
        plain(packed),
        plain(packed_biases),
        plain(members),
        plain(runs),
        plain(np.diff(starts)),
        supers,
        super_biases,
        spread,
        plain(packed_spreads),
        step,
    )


def _check_groups(groups: Groups, nlist: int) -> tuple[IntArray, IntArray]:
    """Their members and starts."""
    members, starts = groups.members, groups.starts
    if members.dtype != np.int64 or not np.array_equal(np.sort(members), np.arange(nlist)):
        raise ValueError(f"members of groups must be int64, each of the {nlist} lists once")
    grows = starts.dtype == np.int64 and starts.shape == (len(groups.centroids) + 1,)
    if not grows or starts[0] != 0 or starts[-1] != nlist or (starts[1:] < starts[:-1]).any():
        raise ValueError(
            f"starts of groups must be int64, one a group and one more, and grow from 0 to {nlist}"
        )
    return members, starts


def _pad(order: IntArray, starts: IntArray) -> tuple[IntArray, IntArray]:
    """Each run filled up to whole sixteens with -1; where the runs begin, in sixteens."""
    sixteens = -(-np.diff(starts) // GROUP)
    runs = np.concatenate([[0], np.cumsum(sixteens)]).astype(np.int64)
    members = np.full(runs[-1] * GROUP, -1, np.int64)
    shift = np.repeat(runs[:-1] * GROUP - starts[:-1], np.diff(starts))
    members[np.arange(len(order)) + shift] = order
    return members, runs
