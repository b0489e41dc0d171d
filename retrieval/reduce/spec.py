"""What a recipe writes as ``reduce``: reducers joined by +, and where many vectors become one.

pca:128                      token vectors, or documents' vectors, in fewer dimensions
pca:128+muvera:10240+pca:512     tokens reduced, folded into one vector a document, that reduced again
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from retrieval.errors import ConfigError
from retrieval.reduce.base import FittableReducer
from retrieval.reduce.folding import FOLDS
from retrieval.reduce.registry import asked_reducer

__all__ = ["Split", "check_spec", "parsed", "reduced_dim", "split_spec"]


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a specification: reducers ``before`` the fold, the ``fold`` (None: none) with the
    dimensions it gives, and reducers ``after`` it. ``before`` and ``after`` are specifications too."""

    before: str
    fold: str | None
    dim: int
    after: str


def split_spec(spec: str) -> Split:
    """Cut a specification at its fold.

    Raises:
        ConfigError: not such a text, or two folds.
    """
    parts = _parts(spec)
    folds = [i for i, (name, _) in enumerate(parts) if name in FOLDS]
    if len(folds) > 1:
        raise ConfigError(f"reduce is {spec!r}: vectors can be made one only once; keep one of the folds")
    if not folds:
        return Split(spec, None, 0, "none")
    (at,) = folds
    name, dim = parts[at]
    return Split(_joined(parts[:at]), name, dim, _joined(parts[at + 1 :]))


def check_spec(spec: str, dim: int) -> None:
    """Refuse what could not be fitted to vectors of ``dim``.

    Raises:
        ConfigError: not such a text, an unknown name, or more dimensions than there are.
    """
    split = split_spec(spec)
    _check(spec, split.before, dim)
    if split.fold is not None:
        if split.dim < 1:
            raise ConfigError(f"reduce is {spec!r}: {split.fold} needs 1 dimension at least")
        _check(spec, split.after, split.dim)


def reduced_dim(spec: str, dim: int) -> int:
    """Dimensions that a specification leaves of ``dim``.

    Raises:
        ConfigError: not such a text.
    """
    parts = _parts(spec)
    return parts[-1][1] if parts else dim


def parsed(spec: str) -> list[tuple[type[FittableReducer], int]]:
    """Reducers and the dimensions that they give, of a specification without a fold.

    Raises:
        ConfigError: not such a text, or an unknown name.
    """
    return [(asked_reducer(name), dim) for name, dim in _parts(spec)]


def _check(spec: str, part: str, before: int) -> None:
    for kind, dim in parsed(part):
        if not 1 <= dim <= before:
            raise ConfigError(
                f"reduce is {spec!r}: {kind.name} cannot make {dim} dimensions of {before}; "
                f"ask for 1 to {before}"
            )
        before = dim


def _parts(spec: str) -> list[tuple[str, int]]:
    parts = []
    for part in [] if spec == "none" else spec.split("+"):
        if (match := re.fullmatch(r"([a-z0-9_-]+):([0-9]{1,9})", part)) is None:
            raise ConfigError(
                f"reduce is {spec!r}; write none, or a reducer and its dimensions (pca:128), or several of "
                "these joined by +"
            )
        parts.append((match[1], int(match[2])))
    return parts


def _joined(parts: list[tuple[str, int]]) -> str:
    return "+".join(f"{name}:{dim}" for name, dim in parts) or "none"
