"""What to say when a recipe does not reach what it promises, or does not fit its documents any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrieval.config import IndexConfig, RecipeConfig
from retrieval.reduce import split_spec
from retrieval.search import RecallCurve
from retrieval.storage import IndexInfo
from retrieval.types import Precision

__all__ = ["advice", "has_grown", "is_strained", "shortfall", "untrained"]

SHOWN_K = 10
"""The k of the recall that is compared with what a recipe promises."""
MOST_BITS = 8
STRAINED = 1.2
"""Times more than at training that centroids leave of tokens, from which on it is worth training again."""
GROWN = 1.5
"""Times more documents than a recall was measured on, from which on it is worth measuring again."""
CLIPPED = 0.01
"""Share of added numbers beyond the calibrated range, from which on it is worth calibrating again."""
WASTED = 0.25
"""Share of deleted documents among all that take room, from which on it is worth giving it back."""


def advice(info: IndexInfo) -> list[str]:
    """What should be done to an index and why, a sentence each."""
    told = untrained(info.config, info.recipe, info.precision)
    curve = (info.quality or {}).get("curve")
    if curve is not None and has_grown(info.documents, curve):
        told.append(
            f"the recall was measured on {curve['documents']:,} documents and there are {info.documents:,}: "
            "train the recipe again (compact with retrain)"
        )
    if is_strained(info):
        told.append(
            "the documents have changed since the centroids were trained: train the recipe again (compact "
            "with retrain)"
        )
    if info.clipped is not None and info.clipped > CLIPPED:
        told.append(
            f"{info.clipped:.1%} of the numbers added since int8 was calibrated lie beyond its range and "
            "were cut off: encode the documents again (repair with recalibrate)"
        )
    if curve is not None and curve["points"] and info.recipe is not None:
        gap = _gap(RecallCurve.from_json(curve), RecipeConfig.of(**info.recipe))
        told += [f"{gap}: train another one (diagnose tries several)"] if gap else []
    if info.unarranged:
        told.append(
            f"{info.unarranged:,} documents are in segments that the recipe could not arrange for want of "
            "memory, so all of those are scored: compact arranges them where there is more"
        )
    if info.deleted and info.deleted >= WASTED * (info.documents + info.deleted):
        told.append(f"{info.deleted:,} deleted documents still take room: compact gives it back")
    return told


def has_grown(documents: int, curve: Mapping[str, Any]) -> bool:
    """Whether there are many more documents than the recall was measured on."""
    return bool(documents > GROWN * max(curve["documents"], 1))


def is_strained(info: IndexInfo) -> bool:
    """Whether centroids leave much more of the documents' tokens than when they were trained."""
    before = (info.quality or {}).get("strain")
    return bool(info.strain is not None and before and info.strain > STRAINED * before)


def untrained(config: Mapping[str, Any], recipe: Mapping[str, Any] | None, precision: str) -> list[str]:
    """What was asked for (the stored ``config``) and waits for a `compact`, because it is learned from
    documents; ``recipe`` and ``precision`` are what there is."""
    asked = IndexConfig.of(**config)
    told = []
    if asked.recipe.index != "exact" and recipe is None:
        told.append(
            f"the recipe index={asked.recipe.index} is not trained yet, so every document is scored: "
            "compact trains it, once the documents are in"
        )
    if asked.stored_precision not in (None, precision):
        told.append(
            f"vectors are {precision} and not yet {asked.precision}: compact converts them, once the "
            "documents are in"
        )
    return told


def shortfall(curve: RecallCurve, recipe: RecipeConfig, precision: Precision) -> list[str]:
    """What to say when no effort reaches what the recipe promises."""
    told = _gap(curve, recipe)
    if told is None:
        return []
    remedies = _remedies(recipe)
    if precision != "residual":
        remedies.append("score every document (--preset exact)")
    return [f"{told}: {', or '.join(remedies)}"]


def _gap(curve: RecallCurve, recipe: RecipeConfig) -> str | None:
    ks = {point.k for point in curve.points}
    best = curve.best(SHOWN_K if SHOWN_K in ks else max(ks))
    if best.recall >= recipe.recall_target:
        return None
    return f"the recipe reaches a recall@{best.k} of {best.recall:.3f}, its target is {recipe.recall_target}"


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
