"""A graph whose walk reads one bit a dimension and scores little: Vamana, 1-bit estimates and 8-bit codes.

Subramanya et al., DiskANN: fast accurate billion-point nearest neighbor search on a single node (NeurIPS
2019) for the graph; Gao, Long, RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for
approximate nearest neighbor search (SIGMOD 2024) for the estimates. A vector is one line (its signs after a
rotation, and where its links are), its code and its links; a walk estimates by the lines of whom it meets,
and scores by their codes those that may matter.

Links follow distances. With biases (l2) these are distances of vectors. Without (inner products) a vector
gets one more coordinate that makes all as long as the longest, so that the nearest is the best (Bachrach et
al., Speeding up the Xbox recommender system, RecSys 2014); only building knows it.

Vectors that have the same code are one to the graph: the first is linked with others, and leads to the next.

Where vectors are stored as bytes and not reduced, the walk scores the stored bytes: there are no codes beside
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.index.base import Arrays, Block
from retrieval.index.blocks import in_blocks
from retrieval.index.checking import check_keys, take, under
from retrieval.index.copies import chain, first_of_each
from retrieval.index.linking import ROOM, Vectors, entries_of, link, link_bytes, n_entries
from retrieval.index.training import spread
from retrieval.index.vamana_search import VamanaSearch
from retrieval.kernels.walk.cpu import ask_walk
from retrieval.kernels.walk.prepared import (
    MOST_DIMENSIONS,
    Asked,
    Layout,
    aligned,
    prepare_coding,
    prepare_graph,
)
from retrieval.quantize.base import Codec
from retrieval.quantize.int8 import Int8Codec
from retrieval.quantize.rotation import Rotation
from retrieval.quantize.trained import stored as trained
from retrieval.types import FloatArray, IntArray

__all__ = ["VamanaIndex", "bytes_to_build"]

ROWS = 8192
CALIBRATION = 65536


class VamanaIndex:
    """What all segments' graphs share: ``codec``, the ``rotation`` and the ``mean`` ``(d,)`` that is taken
    away before it, ``m_links`` links a vector (twice as many at most, or three times where nothing else would
    lead to some vector), and ``ef_construction``; ``reads_stored``: codes are the stored vectors, by their
    codec."""

    name: ClassVar[str] = "vamana"

    def __init__(
        self,
        codec: Int8Codec,
        rotation: Rotation,
        mean: FloatArray,
        m_links: int,
        ef_construction: int,
        seed: int,
        *,
        reads_stored: bool = False,
    ) -> None:
        self.codec, self.rotation, self.reads_stored = codec, rotation, reads_stored
        signs = rotation.signs
        assert signs is not None  # a rotation of our own
        self.coding = prepare_coding(signs, mean, codec.step, codec.offsets)
        self.m_links, self.ef_construction, self.seed = m_links, ef_construction, seed

    @classmethod
    def fit(
        cls,
        sample: FloatArray,
        n: int,  # noqa: ARG003
        options: Mapping[str, Any],
        seed: int = 0,
        threads: int = 1,  # noqa: ARG003
    ) -> Self:
        """Calibrate the codes, unless ``options["stored"]``, the codec of the vectors, makes them.

        Raises:
            ConfigError: more dimensions than a walk can do.
        """
        dim = sample.shape[1]
        if dim > MOST_DIMENSIONS:
            raise ConfigError(
                f"the index vamana takes at most {MOST_DIMENSIONS} dimensions, and there are {dim}: choose "
                "index=ivf or fewer (reduce=pca:256)"
            )
        rows = np.ascontiguousarray(sample[spread(len(sample), CALIBRATION)], dtype=np.float32)
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        rotation = Rotation.random(dim, seed)
        kept: Codec | None = options.get("stored")
        # Nothing lies between stored rows: the kernel reads whole lines.
        reads_stored = isinstance(kept, Int8Codec) and Layout.of(dim).wide == dim
        codec = kept if isinstance(kept, Int8Codec) and reads_stored else Int8Codec.fit(rows)
        links = options["m_links"], options["ef_construction"]
        return cls(codec, rotation, mean, *links, seed, reads_stored=reads_stored)

    def arrange(self, blocks: Iterator[Block], n: int, threads: int = 1) -> dict[str, NDArray[Any]]:
        """Build the graph: lines, codes and links. Holds the segment's ``(n, dim)`` vectors meanwhile; see
        `bytes_to_build`.

        Raises:
            ConfigError: more vectors than one graph can hold.
        """
        vectors, weights, error = self._coded(blocks, n)
        layout, lines = vectors.layout, vectors.lines
        floats = layout.floats(lines)
        groups = first_of_each(vectors.codes, floats[:, 1])
        first = np.flatnonzero(groups == np.arange(n))
        order = np.random.default_rng(self.seed).permutation(first)
        links = link(vectors, order, self.m_links, self.ef_construction, threads)
        links = chain(links, groups)
        if weights is not None:
            floats[:, 1] = 0
        there = links >= 0
        counts = there.sum(axis=1)
        layout.degrees(lines)[:] = counts
        layout.starts(lines)[:, 0] = np.cumsum(counts) - counts
        size = link_bytes(n)
        kept = np.ascontiguousarray(links[there]).view(np.uint8).reshape(-1, 4)[:, :size]
        entries = entries_of(order, n)
        whole: dict[str, NDArray[Any]] = {"lines": lines, "links": kept.reshape(-1, size), "entries": entries}
        codes = {} if self.reads_stored else {"codes": vectors.codes[:, : layout.dim]}
        return {**whole, **codes, "error": np.array([error], np.float32)}

    def _coded(self, blocks: Iterator[Block], n: int) -> tuple[Vectors, FloatArray | None, float]:
        """All vectors, what the one more coordinate of queries is (None: 1), and the error of estimates."""
        dim = self.codec.dim
        layout = self.coding.layout
        if n * max(layout.length // 4, ROOM * self.m_links) >= 2**31:
            raise ConfigError(f"{n:,} vectors are too many for one graph: choose index=ivf")
        lines, codes = aligned((n, layout.length)), aligned((n, layout.wide))
        values, errors, has_biases = np.zeros((n, _width(dim)), np.float32), np.zeros(n), False
        floats = layout.floats(lines)
        for at, block in in_blocks(blocks, ROWS, n, dim):
            some = slice(at, at + len(block.values))
            values[some, :dim], codes[some, :dim] = block.values, self.codec.encode(block.values)
            lines[some, : -(-dim // 8)], floats[some, 0], errors[some] = self._signs(block.values)
            if block.biases is not None:
                floats[some, 1], has_biases = block.biases, True
        weights = None
        if not has_biases:
            weights = floats[:, 1] = values[:, dim] = _lift(values)
        error = float(errors.mean()) if n else 0.0

        def ask(ordinals: IntArray) -> Asked:
            ones = np.ones(len(ordinals), np.float32)
            return ask_walk(
                values[ordinals, :dim], self.coding, error, ones if weights is None else weights[ordinals]
            )

        return Vectors(layout, values, lines, codes, ask), weights, error

    def _signs(self, values: FloatArray) -> tuple[NDArray[np.uint8], FloatArray, NDArray[np.float64]]:
        """Bits, factors, and the standard errors of estimates for a query of length 1."""
        turned = self.rotation.apply_to_documents(values - self.coding.mean)
        square = np.einsum("nd,nd->n", turned, turned, dtype=np.float64)
        size = np.abs(turned).sum(axis=1, dtype=np.float64)
        factors = (square / np.where(size > 0, size, 1)).astype(np.float32)
        # What lies across the signs' direction, spread over the other dimensions.
        dim = turned.shape[1]
        across = np.sqrt(np.maximum(dim * np.square(factors, dtype=np.float64) - square, 0) / max(dim - 1, 1))
        return np.packbits(turned >= 0, axis=1, bitorder="little"), factors, across

    def attach(self, arrays: Arrays, n: int, rows: NDArray[Any], stored: Codec) -> VamanaSearch:
        """See `VectorIndex.attach`. Keeps copies of links in memory, and of codes that are not the stored
        vectors."""
        layout, size = self.coding.layout, link_bytes(n)
        lines = take(arrays, "lines", np.uint8, (n, layout.length))
        codes = self._stored(rows, stored) if self.reads_stored else aligned((n, layout.wide))
        if not self.reads_stored:
            codes[:, : layout.dim] = take(arrays, "codes", np.uint8, (n, layout.dim))
        total = int(layout.degrees(lines).sum(dtype=np.int64))
        links = take(arrays, "links", np.uint8, (total, size))
        entries = take(arrays, "entries", np.int32, (n_entries(n),))
        error = float(take(arrays, "error", np.float32, (1,))[0])
        try:
            graph = prepare_graph(layout.dim, lines, links.reshape(-1), size, codes, entries)
        except ValueError as wrong:
            raise IndexDamagedError(f"the graph is damaged: {wrong}; run verify, then repair") from wrong
        return VamanaSearch(self.codec, self.coding, graph, error)

    def _stored(self, rows: NDArray[Any], stored: Codec) -> NDArray[np.uint8]:
        own = self.codec
        if not isinstance(stored, Int8Codec) or not (
            np.array_equal(stored.low, own.low) and np.array_equal(stored.span, own.span)
        ):
            raise IndexDamagedError("the graph is of vectors that another codec stores; restore the index")
        return rows

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Configuration and trained arrays."""
        config: dict[str, Any] = {"m_links": self.m_links, "ef_construction": self.ef_construction}
        config |= {"seed": self.seed} | ({"reads_stored": True} if self.reads_stored else {})
        codec = {f"codec/{name}": array for name, array in self.codec.state()[1].items()}
        return config, {**codec, **self.rotation.arrays(), "mean": self.coding.mean}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: an option that this version does not know.
            IndexDamagedError: arrays that do not fit.
        """
        config = {"reads_stored": False, **config}  # older ones do not say so
        check_keys(config, {"m_links", "ef_construction", "seed", "reads_stored"}, "vamana index")
        codec = Int8Codec.from_state({}, under(arrays, "codec"))
        rotation = Rotation.from_arrays(arrays, codec.dim)
        mean = trained(arrays, "mean", np.float32, (codec.dim,))
        if rotation.signs is None:
            raise IndexDamagedError("the vamana index lacks its array 'signs'; restore the index from a copy")
        options = (int(config[name]) for name in ("m_links", "ef_construction", "seed"))
        return cls(codec, rotation, mean, *options, reads_stored=bool(config["reads_stored"]))


def bytes_to_build(n: int, dim: int, m_links: int) -> int:
    """Memory that the graph of a segment of ``n`` vectors takes while it is built: float32 vectors, lines and
    codes, and links, as numbers and as the walk reads them. The most that `VamanaIndex.arrange` holds."""
    layout = Layout.of(dim)
    links = (
        8 + link_bytes(n)
    ) * ROOM * m_links + 8 * m_links  # as numbers once more while the last are chosen
    return n * (4 * _width(dim) + layout.length + layout.wide + links)


def _width(dim: int) -> int:
    """Dimensions whose distances are computed: one more, and whole vectors."""
    return (dim + 1 + 15) // 16 * 16


def _lift(values: FloatArray) -> FloatArray:
    """The one more coordinate ``(n,)`` that makes all as long as the longest."""
    squares = np.einsum("nd,nd->n", values, values, dtype=np.float64)
    lifts: FloatArray = np.sqrt(squares.max(initial=0) - squares).astype(np.float32)
    return lifts
