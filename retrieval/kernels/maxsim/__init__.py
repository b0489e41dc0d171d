"""MaxSim of queries against ragged documents."""

from retrieval.kernels.maxsim.blas import maxsim_batch
from retrieval.kernels.maxsim.blas import maxsim_batch as maxsim

__all__ = ["maxsim", "maxsim_batch"]
