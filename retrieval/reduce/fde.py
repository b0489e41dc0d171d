"""MUVERA: tokens sorted into random partitions, one block of numbers a partition.

Dhulipala et al., MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings (NeurIPS 2024); what an
encoding is says `retrieval.kernels.fde.reference`. Ours centres and balances the tokens first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexDamagedError
from retrieval.kernels.backend import kernel
from retrieval.kernels.blocks import one_blas_thread
from retrieval.kernels.fde.reference import Matrices, Sketch, draw_matrices
from retrieval.reduce.balance import TokenMaps, fit_maps, mapped
from retrieval.reduce.base import Arrays
from retrieval.reduce.fold_door import (
    check_fit,
    check_tokens,
    option,
    stored_array,
    stored_numbers,
    unknown_fold,
)
from retrieval.types import FloatArray, Ragged

__all__ = ["Muvera", "muvera_shape"]

REPS, KSIM, PROJ_DIM = 20, 5, 16
LARGEST = 2**24
"""Numbers of an encoding before its sketch, at most."""


class Muvera:
    """Fixed-dimensional encodings: in each of ``reps`` repetitions ``2**ksim`` partitions by the signs of
    random hyperplanes; a query gives the sum of its tokens there, a document the mean, both projected to
    ``proj_dim`` at random; where that is longer than asked for, a count sketch of it all.

    Tokens go through `TokenMaps` first: where they all point much the same way (mean cosine .95), plain
    encodings found .66 of the true ten best within 1,000 candidates, these .99, as among tokens that do not;
    there it costs nothing. A query token's *partition* is that of the token less the documents' mean, so that
    it falls where its best document tokens do; its *values* stay whole, as MaxSim shifts by
    ``sum of q . mean`` only if nothing is taken from queries.

    Estimates are in the unit of MaxSim: the queries' map is divided by ``reps``. All that was drawn is kept.
    """

    name: ClassVar[str] = "muvera"

    def __init__(self, maps: TokenMaps, matrices: Matrices) -> None:
        self._maps, self._matrices = maps, matrices
        planes, projections, _ = matrices
        reps, dim, _ = planes.shape
        # A last coordinate of 1 moves a query's signs and, with a sign of 0, stays out of its values.
        shift = -(maps.center @ maps.queries) @ planes
        self._query_planes = np.concatenate([planes, shift[:, None, :]], axis=1)
        if projections is None:
            each = np.broadcast_to(np.arange(dim, dtype=np.int32), (reps, dim))
            projections = Sketch(each, np.ones((reps, dim), np.float32), dim)
        aside = ((0, 0), (0, 1))
        self._query_projections = Sketch(
            np.pad(projections.targets, aside), np.pad(projections.signs, aside), projections.dim
        )

    @property
    def input_dim(self) -> int:
        """Dimension of the tokens it takes."""
        return len(self._maps.center)

    @property
    def output_dim(self) -> int:
        """Dimension of what it gives."""
        final = self._matrices.final
        return _total(self._matrices) if final is None else final.dim

    @classmethod
    def fit(
        cls,
        sample: Ragged,
        output_dim: int,
        queries: Ragged | None = None,
        options: Mapping[str, Any] = {},
        seed: int = 0,
        threads: int = 1,  # noqa: ARG003
    ) -> Self:
        """See `Fold.fit`. Options: ``reps`` (20), ``proj_dim`` (16; the tokens' dimension or more: nothing is
        projected), ``ksim`` (the fewest hyperplanes up to 5 that give ``output_dim`` numbers: a longer
        encoding sketched is worse)."""
        sample, queries = check_fit(cls.name, sample, output_dim, queries)
        reps, ksim, proj_dim = muvera_shape(output_dim, sample.dim, options)
        total = reps * min(proj_dim, sample.dim) << ksim
        with one_blas_thread():  # sums of fewer threads are rounded otherwise
            asked = None if queries is None else queries.values
            maps = fit_maps(sample.values, asked, 0 if queries is None else len(queries))
        maps = maps._replace(queries=maps.queries / np.float32(reps))
        shorter = proj_dim if proj_dim < sample.dim else None
        return cls(
            maps,
            draw_matrices(sample.dim, reps, ksim, shorter, None if output_dim == total else output_dim, seed),
        )

    def transform_documents(self, documents: Ragged, threads: int = 1) -> FloatArray:
        """See `Fold.transform_documents`."""
        documents = check_tokens(documents, self.input_dim)
        with one_blas_thread():
            values = mapped(documents, self._maps.documents, self._maps.center)
        encoded: FloatArray = kernel("fde_documents")(
            values, documents.offsets, *self._matrices, threads=threads
        )
        return encoded

    def transform_queries(self, queries: Ragged) -> FloatArray:
        """See `Fold.transform_queries`."""
        queries = check_tokens(queries, self.input_dim)
        values = np.ones((len(queries.values), self.input_dim + 1), np.float32)
        values[:, :-1] = mapped(queries, self._maps.queries)
        encoded: FloatArray = kernel("fde_queries")(
            values, queries.offsets, self._query_planes, self._query_projections, self._matrices.final
        )
        return encoded

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """See `Fold.state`: the maps, and what was drawn; ``proj_dim`` is the tokens' dimension where nothing
        is projected."""
        planes, projections, final = self._matrices
        reps, dim, ksim = planes.shape
        config = {
            "input_dim": dim,
            "output_dim": self.output_dim,
            "reps": reps,
            "ksim": ksim,
            "proj_dim": dim if projections is None else projections.dim,
        }
        arrays: dict[str, NDArray[Any]] = self._maps._asdict()
        if ksim:
            arrays["planes"] = planes
        for name, sketch in (("projection", projections), ("final", final)):
            if sketch is not None:
                arrays |= {f"{name}_targets": sketch.targets, f"{name}_signs": sketch.signs}
        return config, arrays

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """See `Fold.from_state`."""
        known = {
            "input_dim": (1, 2**20),
            "output_dim": (1, LARGEST),
            "reps": (1, 2**16),
            "ksim": (0, 8),
            "proj_dim": (1, 2**20),
        }
        dim, output_dim, reps, ksim, proj_dim = stored_numbers(cls.name, config, known)
        total = reps * proj_dim << ksim
        if proj_dim > dim or output_dim > total:
            raise unknown_fold(cls.name, config)
        shapes = {"center": (dim,), "queries": (dim, dim), "documents": (dim, dim)}
        maps = TokenMaps(
            **{key: stored_array(cls.name, arrays, key, np.float32, shapes[key]) for key in shapes}
        )
        planes = np.zeros((reps, dim, 0), np.float32)
        if ksim:
            planes = stored_array(cls.name, arrays, "planes", np.float32, (reps, dim, ksim))
        projections = None if proj_dim == dim else _stored_sketch(arrays, "projection", (reps, dim), proj_dim)
        final = None if output_dim == total else _stored_sketch(arrays, "final", (total,), output_dim)
        return cls(maps, Matrices(planes, projections, final))


def _total(matrices: Matrices) -> int:
    """Numbers of an encoding before its sketch."""
    reps, dim, ksim = matrices.planes.shape
    total: int = reps * (matrices.projections.dim if matrices.projections else dim) << ksim
    return total


def muvera_shape(output_dim: int, dim: int, options: Mapping[str, Any]) -> tuple[int, int, int]:
    """``reps``, ``ksim`` and ``proj_dim`` of encodings of ``output_dim`` numbers of tokens of ``dim``.

    Raises:
        ConfigError: so many numbers are not made, or too many.
    """
    reps = option(options, "reps", REPS, 1, 2**16)
    proj_dim = option(options, "proj_dim", PROJ_DIM, 1, 2**20)
    block = reps * min(proj_dim, dim)
    enough = next((k for k in range(KSIM) if block << k >= output_dim), KSIM)
    ksim = option(options, "ksim", enough, 0, 8)
    _check_lengths(output_dim, block << ksim)
    return reps, ksim, proj_dim


def _check_lengths(output_dim: int, total: int) -> None:
    if output_dim > total:
        raise ConfigError(
            f"the fold muvera:{output_dim} has only {total} numbers to give (reps x 2^ksim x proj_dim, "
            f"or the tokens' dimension if that is less): write muvera:{total} or ask for more of these"
        )
    if total > LARGEST:
        raise ConfigError(
            f"the fold muvera:{output_dim} would make {total} numbers of a document (reps x 2^ksim x "
            f"proj_dim); ask for {LARGEST} at most"
        )


def _stored_sketch(arrays: Arrays, name: str, shape: tuple[int, ...], dim: int) -> Sketch:
    """A sketch as it was stored.

    Raises:
        IndexDamagedError: an array is missing, of another type or shape, or points outside ``dim``.
    """
    targets = stored_array(Muvera.name, arrays, f"{name}_targets", np.int32, shape)
    signs = stored_array(Muvera.name, arrays, f"{name}_signs", np.float32, shape)
    if targets.min() < 0 or targets.max() >= dim or (np.abs(signs) != 1).any():
        raise IndexDamagedError(
            f"the sketch {name!r} of the fold 'muvera' has targets outside 0..{dim - 1} or signs other than "
            "1 and -1; restore the index from a copy"
        )
    return Sketch(targets, signs, dim)
