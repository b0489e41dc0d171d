"""Many vectors to one: MaxSim of two sets of tokens stands as the inner product of one vector each.

One file a kind of fold, one line in the registry. Any index of single vectors finds candidates among folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from numpy.typing import NDArray

from retrieval.errors import ConfigError, IndexFormatError
from retrieval.reduce.base import Arrays
from retrieval.reduce.fde import Muvera
from retrieval.reduce.lemur import Lemur
from retrieval.types import FloatArray, Ragged

__all__ = ["FOLDS", "Fold", "fit_fold", "fold_from_state"]


class Fold(Protocol):
    """Maps a text's tokens to one vector: ``A(Q) . B(D)`` follows ``MaxSim(Q, D)``, but for a number that
    depends on the query alone.

    ``name`` is its word in recipes and in indexes. Nothing is learned after it is made. What it makes of a
    text is a function of that text and what was learned, byte for byte the same whatever is folded with it.
    A text without tokens becomes zeros.
    """

    name: ClassVar[str]

    @property
    def input_dim(self) -> int:
        """Dimension of the tokens it takes."""

    @property
    def output_dim(self) -> int:
        """Dimension of what it gives."""

    @classmethod
    def fit(
        cls,
        sample: Ragged,
        output_dim: int,
        queries: Ragged | None = None,
        options: Mapping[str, Any] = {},
        seed: int = 0,
        threads: int = 1,
    ) -> Self:
        """Learn from documents, one token at least, and, where it helps, queries.

        ``options`` may hold others' keys too; a missing one or None is the default. ``threads`` changes
        nothing but the time.

        Raises:
            ConfigError: dimensions or options that cannot be.
            ValueError: a wrong shape, no tokens, or values that are not finite.
        """

    def transform_documents(self, documents: Ragged, threads: int = 1) -> FloatArray:
        """``n`` texts of ``input_dim`` to ``(n, output_dim)`` float32: the map B.

        Raises:
            ValueError: another shape, or values that are not finite.
        """

    def transform_queries(self, queries: Ragged) -> FloatArray:
        """``n`` texts of ``input_dim`` to ``(n, output_dim)`` float32: the map A.

        Raises:
            ValueError: another shape, or values that are not finite.
        """

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON configuration and trained arrays: all that `from_state` needs."""

    @classmethod
    def from_state(cls, config: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `state`.

        Raises:
            IndexFormatError: options that this version does not know.
            IndexDamagedError: arrays that are missing, or do not have their shape and finite values.
        """


FOLDS: dict[str, type[Fold]] = {Muvera.name: Muvera, Lemur.name: Lemur}


def fit_fold(
    name: str,
    sample: Ragged,
    output_dim: int,
    queries: Ragged | None = None,
    options: Mapping[str, Any] = {},
    seed: int = 0,
    threads: int = 1,
) -> Fold:
    """The fold that a recipe asks for, fitted; see `Fold.fit`.

    Raises:
        ConfigError: an unknown name, or dimensions or options that cannot be.
        ValueError: a wrong shape, no tokens, or values that are not finite.
    """
    if name not in FOLDS:
        raise ConfigError(f"there is no fold {name!r}; choose from {', '.join(FOLDS)}")
    return FOLDS[name].fit(sample, output_dim, queries, options, seed, threads)


def fold_from_state(name: object, config: Mapping[str, Any], arrays: Arrays) -> Fold:
    """The fold that ``state()`` described.

    Raises:
        IndexFormatError: no fold of this name, or one with options unknown to this version.
        IndexDamagedError: its arrays are not what it wrote.
    """
    if not isinstance(name, str) or name not in FOLDS:
        raise IndexFormatError(f"the index uses the fold {name!r}, unknown to this version; upgrade")
    return FOLDS[name].from_state(config, arrays)
