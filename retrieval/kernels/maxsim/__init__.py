"""MaxSim of ragged queries against ragged documents."""

from retrieval.kernels.maxsim.cpu import maxsim

__all__ = ["maxsim"]
