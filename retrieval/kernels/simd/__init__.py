"""Typed vectors for Numba kernels: of 512 bits (`types`, `memory`, `arithmetic`, ...), which need AVX-512,
and of 256 bits in generic operations (`halves`)."""
