"""The best k scores, in order; and which scores may be among them."""

from retrieval.kernels.topk.cpu import merge, select, topk, topk_rows

__all__ = ["merge", "select", "topk", "topk_rows"]
