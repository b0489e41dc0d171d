"""Tokens as a centroid, a coded residual and an inverse norm (ColBERTv2, Santhanam et al., NAACL 2022)."""

from retrieval.quantize.residual.codec import ResidualCodec
from retrieval.quantize.residual.tokens import TokenCodes
from retrieval.quantize.residual.training import FitProgress

__all__ = ["FitProgress", "ResidualCodec", "TokenCodes"]
