"""Inverted lists: codes of what is left after the nearest centroid; the lists of the nearest are scanned.

Jegou, Douze, Schmid, Product quantization for nearest neighbor search (2011), section IV. The estimate of a
document ``x`` in the list of centroid ``c`` is ``q . c + estimate(q, x - c) + bias``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.index.base import Arrays, Block, Effort, Found
from retrieval.index.best import nothing
from retrieval.index.checking import check_keys, check_starts, take, take_permutation, under
from retrieval.index.lists import WIDEN, Coded, encode_blocks, found_whole, load_codes, scan, store_codes
from retrieval.index.training import (
    GROUPS_SHARE,
    TWO_LEVELS,
    default_nlist,
    group_centroids,
    spread,
    train_centroids,
)
from retrieval.kernels.arrays import plain
from retrieval.kernels.assign.cpu import assign_i8
from retrieval.kernels.lists.cpu import Probed, choose_lists, probe_lists
from retrieval.kernels.lists.prepared import Coarse, Groups, Lists, prepare_centroids
from retrieval.kernels.sharpen.cpu import probe_whole
from retrieval.quantize import codec_from_state, fit_codec
from retrieval.quantize.base import Codec, SearchCodec, TableCodec
from retrieval.quantize.bits import BitsTableCodec, NestedBitsCodec
from retrieval.types import FloatArray, IntArray

__all__ = ["IvfIndex"]

CODEC_ROWS = 65536
"""Vectors that codecs are trained on at most."""
UNCENTRED = ("sign",)
"""Codecs that take a vector's direction from the origin: nothing is subtracted before they code."""


class IvfIndex:
    """``centroids`` ``(nlist, d)``, in ``groups`` where there are many, and a codec.

    ``origin`` ``(d,)`` is subtracted from every document before it is coded; None: its list's centroid is.
    """

    name: ClassVar[str] = "ivf"

    def __init__(
        self, centroids: FloatArray, groups: Groups | None, codec: SearchCodec, origin: FloatArray | None
    ) -> None:
        self.centroids, self._groups, self.codec, self._origin = centroids, groups, codec, origin

    @property
    def nlist(self) -> int:
        """How many lists there are."""
        return len(self.centroids)

    @classmethod
    def fit(
        cls, sample: FloatArray, n: int, options: Mapping[str, Any], seed: int = 0, threads: int = 1
    ) -> Self:
        """k-means, then the codec on what is left.

        Raises:
            ConfigError: more lists than documents to train on, or a codec's unusable option.
        """
        nlist = options.get("nlist") or min(default_nlist(n), len(sample))
        if not 1 <= nlist <= len(sample):
            raise ConfigError(
                f"nlist is {nlist}: there are {len(sample)} documents to train on; use fewer lists"
            )
        centroids = train_centroids(sample, nlist, seed, threads)
        groups = group_centroids(centroids, seed, threads) if nlist >= TWO_LEVELS else None
        rows = np.ascontiguousarray(sample[spread(len(sample), CODEC_ROWS)], dtype=np.float32)
        origin = None
        if options["codec"] in UNCENTRED:
            origin = np.zeros(sample.shape[1], np.float32)
        elif not options.get("residual", True):
            origin = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        taken = centroids[_nearest(rows, centroids, threads)] if origin is None else origin
        codec = fit_codec(options["codec"], rows - taken, options, seed, threads)
        return cls(centroids, groups, codec, origin)

    def arrange(self, blocks: Iterator[Block], n: int, threads: int = 1) -> dict[str, NDArray[Any]]:
        """Lists and codes. Of the whole segment only codes are held, not vectors."""
        nlist, dim = self.centroids.shape
        lists = np.empty(n, np.int32)

        def center(values: FloatArray, where: slice) -> FloatArray:
            lists[where] = _nearest(values, self.centroids)
            return values - (self.centroids[lists[where]] if self._origin is None else self._origin)

        codes, biases = encode_blocks(self.codec, blocks, n, dim, center, threads)
        order = np.argsort(lists, kind="stable")
        starts = np.zeros(nlist + 1, np.int64)
        np.cumsum(np.bincount(lists, minlength=nlist), out=starts[1:])
        own_arrays = {"starts": starts, "ordinals": order.astype(np.uint32)}
        return own_arrays | store_codes(self.codec, codes, biases, order)

    def attach(self, arrays: Arrays, n: int, rows: NDArray[Any], stored: Codec) -> IvfSearch:  # noqa: ARG002
        """See `VectorIndex.attach`."""
        nlist, dim = self.centroids.shape
        starts = take(arrays, "starts", np.int64, (nlist + 1,))
        check_starts(starts, "starts", n)
        ordinals = take_permutation(arrays, "ordinals", np.uint32, n)
        coded = load_codes(self.codec, dim, arrays, plain(starts), plain(ordinals))
        coarse = self._coarse if coded.biases is None else self._coarse_l2
        return IvfSearch(self.codec, coded, coarse, self._origin)

    @cached_property
    def _coarse(self) -> Coarse:
        """Lists by ``q . c``."""
        return prepare_centroids(self.centroids, None, self._groups)

    @cached_property
    def _coarse_l2(self) -> Coarse:
        """Lists by ``q . c - |c|^2 / 2``, which orders them by distance."""
        groups = self._groups
        if groups is not None:
            groups = groups._replace(biases=_half_squares(groups.centroids))
        return prepare_centroids(self.centroids, _half_squares(self.centroids), groups)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and trained arrays."""
        config, codec_arrays = self.codec.state()
        nlist, dim = self.centroids.shape
        arrays: dict[str, NDArray[Any]] = {"centroids": self.centroids}
        if self._groups is not None:
            arrays["groups/centroids"] = self._groups.centroids
            arrays["groups/starts"] = self._groups.starts
            arrays["groups/members"] = self._groups.members
        if self._origin is not None:
            arrays["origin"] = self._origin
        arrays |= {f"codec/{name}": array for name, array in codec_arrays.items()}
        return {
            "dim": dim,
            "nlist": nlist,
            "n_groups": 0 if self._groups is None else len(self._groups.centroids),
            "residual": self._origin is None,
            "codec": {"name": self.codec.name, "config": config},
        }, arrays

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a part that this version does not know.
            IndexDamagedError: arrays that do not fit.
        """
        check_keys(config, {"dim", "nlist", "n_groups", "residual", "codec"}, "ivf index")
        dim, nlist, n_groups = config["dim"], config["nlist"], config["n_groups"]
        centroids = plain(take(arrays, "centroids", np.float32, (nlist, dim)))
        groups = _groups_from(under(arrays, "groups"), nlist, n_groups, dim) if n_groups else None
        origin = None if config["residual"] else take(arrays, "origin", np.float32, (dim,))
        stored = config["codec"]
        codec = codec_from_state(stored["name"], stored["config"], under(arrays, "codec"))
        if not isinstance(codec, SearchCodec):
            raise IndexDamagedError(
                f"the codec {stored['name']!r} of the index cannot be searched; run verify"
            )
        return cls(centroids, groups, codec, origin)


def _nearest(values: FloatArray, centroids: FloatArray, threads: int = 1) -> IntArray:
    """The list of each vector."""
    return assign_i8(values, centroids, "l2", threads=threads).ordinals


def _half_squares(centroids: FloatArray) -> FloatArray:
    """``-|c|^2 / 2``."""
    squares = np.einsum("kd,kd->k", centroids, centroids, dtype=np.float64)
    return np.asarray(-squares / 2, dtype=np.float32)


def _groups_from(arrays: Arrays, nlist: int, n_groups: int, dim: int) -> Groups:
    starts = take(arrays, "starts", np.int64, (n_groups + 1,))
    check_starts(starts, "groups/starts", nlist)
    members = take_permutation(arrays, "members", np.int64, nlist)
    return Groups(take(arrays, "centroids", np.float32, (n_groups, dim)), starts, members, None)


class IvfSearch:
    """One segment's lists."""

    def __init__(self, codec: SearchCodec, coded: Coded, coarse: Coarse, origin: FloatArray | None) -> None:
        self._codec, self._coded, self._coarse, self._origin = codec, coded, coarse, origin
        self._grid = codec.grid if isinstance(codec, BitsTableCodec | NestedBitsCodec) else None
        self._n_documents = int(coded.starts[-1])

    def search(
        self, queries: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None = None
    ) -> list[Found]:
        """See `SegmentSearch.search`; ``effort.nprobe`` is cut to the number of lists."""
        queries = np.asarray(queries, np.float32)
        nlist = len(self._coarse.centroids)
        nprobe = min(max(1, effort.nprobe), nlist)
        if accept is not None and effort.accepted and nprobe < nlist:
            nprobe = self._enough_lists(queries, nprobe, effort.accepted, accept)
        enough = max(8 * nprobe, nlist // GROUPS_SHARE)
        depth, coded = min(effort.depth, self._n_documents), self._coded.lists
        if coded is not None and depth < 1:
            return [nothing() for _ in queries]
        if coded is not None and (self._coded.whole is None or self._grid is not None):
            return self._probe(queries, coded, nprobe, depth, accept, enough)
        lists, bases = choose_lists(queries, self._coarse, nprobe, enough)
        if self._origin is not None:
            bases = np.repeat((queries @ self._origin)[:, None], lists.shape[1], axis=1)
        elif self._coded.biases is not None:
            bases = bases - self._coarse.biases[lists]  # a document's own bias takes its place
        return scan(self._codec, self._coded, queries, lists, bases, effort.depth, accept)

    def _enough_lists(self, queries: FloatArray, nprobe: int, share: float, accept: NDArray[np.bool_]) -> int:
        """How many lists hold the ``share`` of the accepted documents, for every query, if not ``nprobe``: a
        filter may accept only what is far from the query."""
        coded, nlist = self._coded, len(self._coarse.centroids)
        among = accept if coded.ordinals is None else accept[coded.ordinals]
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(among)])
        counts = before[coded.starts[1:]] - before[coded.starts[:-1]]
        lists, _ = choose_lists(queries, self._coarse, nlist, nlist)
        reached = np.cumsum(counts[lists], axis=1) >= share * before[-1]
        return max(nprobe, int(reached.argmax(axis=1).max(initial=0)) + 1)

    def _probe(
        self,
        queries: FloatArray,
        coded: Lists,
        nprobe: int,
        depth: int,
        accept: NDArray[np.bool_] | None,
        enough: int,
    ) -> list[Found]:
        """All steps in one call."""
        coarse, origin, whole = self._coarse, self._origin, self._coded.whole
        if whole is not None and self._grid is not None:
            several = min(WIDEN * depth, self._n_documents)
            best, scanned = probe_whole(
                queries, coarse, coded, whole, nprobe, several, depth, self._grid, origin, accept, enough
            )
            return found_whole(best, scanned)
        tables = self._grid or cast(TableCodec, self._codec).tables(queries)
        return _found(probe_lists(queries, coarse, coded, nprobe, depth, tables, origin, accept, enough))


def _found(probed: Probed) -> list[Found]:
    """An answer of `probe_lists` in parts, a query each."""
    estimates, ordinals, errors, found, scanned = probed
    has_errors = errors.shape[1] > 0
    return [
        Found(ordinals[q, :n], estimates[q, :n], errors[q, :n] if has_errors else None, seen)
        for q, (n, seen) in enumerate(zip(found.tolist(), scanned.tolist(), strict=True))
    ]
