"""The nearest 1-bit codes by Hamming distance."""
