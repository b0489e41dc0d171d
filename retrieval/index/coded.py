"""Compressed exhaustive search: every code of a segment is scanned.

Documents are coded less the mean of the sample, which shortens what is coded; the query's product with the
mean is the same for all of them and added back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import IndexDamagedError
from retrieval.index.base import Arrays, Block, Effort, Found, SegmentSearch
from retrieval.index.best import best_of
from retrieval.index.checking import check_keys, take, under
from retrieval.index.ivf import CODEC_ROWS, UNCENTRED
from retrieval.index.ivf_search import IvfSearch
from retrieval.index.lists import Coded, encode_blocks, load_codes, scan, store_codes
from retrieval.index.training import spread
from retrieval.kernels.arrays import plain
from retrieval.kernels.lists.prepared import Coarse, prepare_centroids
from retrieval.quantize import codec_from_state, fit_codec
from retrieval.quantize.base import Codec, SearchCodec
from retrieval.quantize.bits import BitsCodec
from retrieval.types import FloatArray

__all__ = ["CodedFlatIndex"]


class CodedFlatIndex:
    """A codec of documents less ``origin`` ``(d,)``."""

    name: ClassVar[str] = "flat"

    def __init__(self, codec: SearchCodec, origin: FloatArray) -> None:
        self.codec, self._origin = codec, origin

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        n: int,  # noqa: ARG003
        options: Mapping[str, Any],
        seed: int = 0,
        threads: int = 1,
    ) -> Self:
        """Train the codec.

        Raises:
            ConfigError: a codec's unusable option.
        """
        rows = np.ascontiguousarray(sample[spread(len(sample), CODEC_ROWS)], dtype=np.float32)
        origin = np.zeros(rows.shape[1], np.float32)
        if options["codec"] not in UNCENTRED:
            origin = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(fit_codec(options["codec"], rows - origin, options, seed, threads), origin)

    def arrange(self, blocks: Iterator[Block], n: int, threads: int = 1) -> dict[str, NDArray[Any]]:
        """Codes. Of the whole segment only they are held, not vectors."""
        codes, biases = encode_blocks(
            self.codec, blocks, n, len(self._origin), lambda values, _: values - self._origin, threads
        )
        return store_codes(self.codec, codes, biases, None)

    def attach(self, arrays: Arrays, n: int, rows: NDArray[Any], stored: Codec) -> SegmentSearch:  # noqa: ARG002
        """See `VectorIndex.attach`."""
        coded = load_codes(self.codec, len(self._origin), arrays, np.array([0, n]), None)
        if coded.lists is None:
            return CodedFlatSearch(self.codec, coded, self._origin)
        return IvfSearch(self.codec, coded, self._coarse, self._origin, None)

    @cached_property
    def _coarse(self) -> Coarse:
        """One list, which every query visits: all of it is one call then (`kernels.probe_best`), where a scan
        has left nothing of Python in the caches."""
        return prepare_centroids(self._origin[None])

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and trained arrays."""
        config, codec_arrays = self.codec.state()
        arrays = {f"codec/{name}": array for name, array in codec_arrays.items()}
        stored = {"name": self.codec.name, "config": config}
        return {"dim": len(self._origin), "codec": stored}, {"origin": self._origin, **arrays}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: a part that this version does not know.
            IndexDamagedError: arrays that do not fit.
        """
        check_keys(config, {"dim", "codec"}, "flat index")
        stored = config["codec"]
        codec = codec_from_state(stored["name"], stored["config"], under(arrays, "codec"))
        if not isinstance(codec, SearchCodec):
            raise IndexDamagedError(
                f"the codec {stored['name']!r} of the index cannot be searched; run verify"
            )
        return cls(codec, take(arrays, "origin", np.float32, (config["dim"],)))


class CodedFlatSearch:
    """One segment's codes that have no look-ups."""

    def __init__(self, codec: SearchCodec, coded: Coded, origin: FloatArray) -> None:
        self._codec, self._coded, self._origin = codec, coded, origin

    def search(
        self, queries: FloatArray, effort: Effort, accept: NDArray[np.bool_] | None = None
    ) -> list[Found]:
        """See `SegmentSearch.search`."""
        queries = plain(queries, np.float32)
        bases = (queries @ self._origin)[:, None]
        rows, depth = self._coded.rows, min(effort.depth, int(self._coded.starts[-1]))
        if rows is None or self._coded.biases is not None or depth < 1:
            lists = np.zeros((len(queries), 1), np.int64)
            return scan(self._codec, self._coded, queries, lists, bases, depth, accept)
        scores, ordinals = self._codec.topk(queries, rows, depth, accept)
        scanned = len(rows) if accept is None else int(np.count_nonzero(accept))
        errors = self._coded.errors
        found = []
        for query, estimates, own in zip(queries, scores + bases, ordinals, strict=True):
            off = None
            if errors is not None and isinstance(self._codec, BitsCodec):  # the scan rounds queries too
                off = np.hypot(errors[own], self._codec.rounding(query, rows[own]))
            found.append(best_of(estimates, own, depth, scanned, off))
        return found
