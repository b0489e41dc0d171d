"""Inner loops. One folder an operation: ``reference.py`` defines it, ``cpu.py`` does it fast.

Both have the same names and signatures, and tests hold them equal.
"""

from pathlib import Path

from retrieval.kernels.caching import Sources, stamp_kernels

stamp_kernels(Sources(Path(__file__).parent, __name__))  # before the first is decorated
