"""What to say when a recipe does not reach what it promises."""

from __future__ import annotations

from retrieval.config import RecipeConfig
from retrieval.reduce import split_spec
from retrieval.search import RecallCurve
from retrieval.types import Precision

__all__ = ["shortfall"]

SHOWN_K = 10
"""The k of the recall that is compared with what a recipe promises."""
MOST_BITS = 8


def shortfall(curve: RecallCurve, recipe: RecipeConfig, precision: Precision) -> list[str]:
    """What to say when no effort reaches what the recipe promises."""
    ks = {point.k for point in curve.points}
    best = curve.best(SHOWN_K if SHOWN_K in ks else max(ks))
    if best.recall >= recipe.recall_target:
        return []
    told = f"the recipe reaches a recall@{best.k} of {best.recall:.3f}, its target is {recipe.recall_target}"
    remedies = _remedies(recipe)
    if precision != "residual":
        remedies.append("score every document (--preset exact)")
    return [f"{told}: {', or '.join(remedies)}"]


def _remedies(recipe: RecipeConfig) -> list[str]:
    """What may bring the recall up, of what the recipe leaves open."""
    remedies = []
    if recipe.index in ("flat", "ivf") and recipe.codec == "bits" and recipe.bits < MOST_BITS:
        remedies.append(f"give the codes more bits (--set bits={4 if recipe.bits < 4 else MOST_BITS})")
    elif recipe.index in ("flat", "ivf") and recipe.codec != "bits":
        remedies.append("use other codes (--set codec=bits --set bits=4)")
    if recipe.index == "tokens" and recipe.codec == "none":
        remedies.append("code what centroids leave (--preset codes)")
    elif recipe.index == "tokens":
        remedies.append("use longer codes (--set codec=bits --set bits=4)")
    if (split := split_spec(recipe.reduce)).fold is not None:
        remedies.append(f"ask for more dimensions than {split.fold}:{split.dim}, or for --preset codes")
    elif recipe.reduce != "none":
        remedies.append("keep all dimensions (--set reduce=none)")
    return remedies
