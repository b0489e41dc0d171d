"""Which scores may be among the best k."""

from retrieval.kernels.topk.cpu import select

__all__ = ["select"]
