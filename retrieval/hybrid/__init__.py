"""Several generators, one ranking: late interaction, a dense engine, BM25; fused, or scored exactly."""

from retrieval.hybrid.bm25 import BM25
from retrieval.hybrid.found import Generator
from retrieval.hybrid.fusion import Fusion, fuse
from retrieval.hybrid.hybrid import Hybrid

__all__ = ["BM25", "Fusion", "Generator", "Hybrid", "fuse"]
