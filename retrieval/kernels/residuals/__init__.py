"""Codes of what is left of tokens after their centroids, and the lengths that coding changed."""
