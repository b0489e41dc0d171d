"""Inverted lists: codes of what is left after the nearest centroid; the lists of the nearest are scanned.

Jegou, Douze, Schmid, Product quantization for nearest neighbor search (2011), section IV. The estimate of a
document ``x`` in the list of centroid ``c`` is ``q . c + estimate(q, x - c) + bias``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.index.base import Arrays, Block
from retrieval.index.checking import check_keys, check_starts, take, take_permutation, under
from retrieval.index.ivf_search import IvfSearch
from retrieval.index.lists import encode_blocks, load_codes, store_codes
from retrieval.index.training import (
    TWO_LEVELS,
    Shape,
    default_nlist,
    group_centroids,
    shape_of_lists,
    spread,
    train_centroids,
)
from retrieval.kernels.arrays import plain
from retrieval.kernels.assign.cpu import assign_i8
from retrieval.kernels.lists.prepared import Coarse, Groups, prepare_centroids
from retrieval.quantize import codec_from_state, fit_codec
from retrieval.quantize.base import Codec, SearchCodec
from retrieval.types import FloatArray, IntArray

__all__ = ["IvfIndex"]

CODEC_ROWS = 65536
"""Vectors that codecs are trained on at most."""
UNCENTRED = ("sign",)
"""Codecs that take a vector's direction from the origin: nothing is subtracted before they code."""


class IvfIndex:
    """``centroids`` ``(nlist, d)``, in ``groups`` where there are many, and a codec.

    ``origin`` ``(d,)`` is subtracted from every document before it is coded; None: its list's centroid is.
    ``shape`` is None of indexes that were trained before there was one.
    """

    name: ClassVar[str] = "ivf"

    def __init__(
        self,
        centroids: FloatArray,
        groups: Groups | None,
        codec: SearchCodec,
        origin: FloatArray | None,
        shape: Shape | None,
    ) -> None:
        self.centroids, self._groups, self.codec, self._origin = centroids, groups, codec, origin
        self._shape = shape

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
        lists = _nearest(rows, centroids, threads)
        codec = fit_codec(
            options["codec"], rows - (centroids[lists] if origin is None else origin), options, seed, threads
        )
        return cls(centroids, groups, codec, origin, shape_of_lists(rows, lists, centroids))

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
        if coded.biases is not None:
            return IvfSearch(self.codec, coded, self._coarse_l2, self._origin, None)
        reaches = None if self._shape is None else self._shape.reaches
        return IvfSearch(self.codec, coded, self._coarse, self._origin, reaches)

    @cached_property
    def _coarse(self) -> Coarse:
        """Lists by ``q . c``, and how far their documents spread."""
        spreads = None if self._shape is None else self._shape.spreads
        return prepare_centroids(self.centroids, None, self._groups, spreads)

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
        if self._shape is not None:
            arrays["spreads"], arrays["reaches"] = self._shape
        arrays |= {f"codec/{name}": array for name, array in codec_arrays.items()}
        return {
            "dim": dim,
            "nlist": nlist,
            "n_groups": 0 if self._groups is None else len(self._groups.centroids),
            "residual": self._origin is None,
            "shape": self._shape is not None,
            "codec": {"name": self.codec.name, "config": config},
        }, arrays

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a part that this version does not know.
            IndexDamagedError: arrays that do not fit.
        """
        config = {"shape": False, **config}  # indexes that were trained before there was one lack the word
        check_keys(config, {"dim", "nlist", "n_groups", "residual", "shape", "codec"}, "ivf index")
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
        shape = None
        if config["shape"]:
            shape = Shape(*(take(arrays, name, np.float32, (nlist,)) for name in Shape._fields))
        return cls(centroids, groups, codec, origin, shape)


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
