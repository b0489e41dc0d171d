"""Scores of single stored vectors, with an early stop where the remaining ones cannot matter."""
