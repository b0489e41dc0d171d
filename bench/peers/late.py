"""All late-interaction engines, ours first; a file a package. They are imported when they build."""

from __future__ import annotations

from bench.peers import exhaustive_maxsim, faiss_tokens, muvera, ours_late, plaid, warp
from bench.peers.late_base import LateEngine

__all__ = ["LATE_PACKAGES", "late_engines"]

LATE_PACKAGES = (
    "faiss-cpu",
    "fast-maxsim",
    "fast-plaid",
    "fastembed",
    "muvera-python",
    "pylate",
    "torch",
    "xtr-warp-rs",
)
"""Names under which they are installed, for versions."""


def late_engines() -> list[LateEngine]:
    """Ours first, then the peers."""
    modules = (ours_late, exhaustive_maxsim, plaid, warp, muvera, faiss_tokens)
    return [engine for module in modules for engine in module.engines()]
