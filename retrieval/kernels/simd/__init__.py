"""Typed 512-bit vectors for Numba kernels: `types`, `memory`, `arithmetic`. Needs AVX-512 to run."""
