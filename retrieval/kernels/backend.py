"""Which implementation of a kernel runs: chosen by name when an engine opens, never by an import."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

__all__ = ["OPERATIONS", "Backend", "kernel"]

Backend = Literal["reference", "cpu", "cuda"]
"""``reference``: plain NumPy, the definition. ``cpu``: Numba. ``cuda``: Numba on a GPU."""

OPERATIONS = {
    "maxsim": ("maxsim", "maxsim_batch", "maxsim_bf16", "maxsim_i8"),
    "centroid_maxsim": ("centroid_maxsim",),
    "centroid_scores": ("prepare_centroids", "score_centroids"),
    "coded_maxsim": ("coded_maxsim_pq", "coded_maxsim_bits"),
    "hamming": ("hamming", "hamming_distances"),
    "asymmetric": ("asymmetric", "asymmetric_topk"),
    "pq_scan": ("pq_scan",),
    "topk": ("topk", "topk_rows", "merge", "select"),
    "assign": ("assign", "assign_i8"),
    "fde": ("fde_documents", "fde_queries"),
    "gather": ("gather",),
    "links": ("choose_links",),
    "postings": ("distinct", "invert"),
    "rotate": ("rotate", "unrotate"),
    "grid": ("grid_codes", "grid_scales"),
    "tables": ("grid_tables", "pq_tables"),
    "lists": ("scan_lists", "choose_lists", "probe_lists"),
    "residuals": ("product_codes", "product_values", "bucket_codes", "bucket_values", "inverse_norms"),
    "rescore": ("rescore", "rescore_best", "score_exactly"),
    "sharpen": ("sharpen", "probe_whole"),
    "probe_best": ("probe_best",),
    "walk": ("ask_walk", "walk"),
    "token_best": ("token_best",),
    "walk_best": ("walk_best",),
    "token_rescore": ("maxsim_stored", "best_exactly", "maxsim_exactly"),
}
"""Operation (a folder) -> its functions."""

_OPERATION_OF = {function: operation for operation, functions in OPERATIONS.items() for function in functions}


@cache
def kernel(function: str, backend: Backend = "cpu") -> Callable[..., Any]:
    """A kernel by its name. What has no CUDA form runs on the processor."""
    folder = f"retrieval.kernels.{_OPERATION_OF[function]}"
    if backend == "cuda":
        module = import_module(f"{folder}.cuda") if find_spec(f"{folder}.cuda") else None
        if not hasattr(module, function):
            return kernel(function, "cpu")
    found: Callable[..., Any] = getattr(import_module(f"{folder}.{backend}"), function)
    return found
