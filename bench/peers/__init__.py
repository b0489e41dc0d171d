"""Other engines behind one face, and ours; a file a package. Their packages are imported when they build."""

from __future__ import annotations

from bench.peers import faiss, graphs, kannolo, ours, rabitqlib, scann, svs, turbovec
from bench.peers.base import Engine

__all__ = ["PACKAGES", "all_engines"]

PACKAGES = ("faiss-cpu", "hnswlib", "usearch", "scann", "scalable-vs", "rabitqlib", "kannolo", "turbovec")
"""Names under which they are installed, for versions."""


def all_engines() -> list[Engine]:
    """Ours first, then the peers."""
    modules = (ours, faiss, graphs, scann, svs, rabitqlib, kannolo, turbovec)
    return [engine for module in modules for engine in module.engines()]
