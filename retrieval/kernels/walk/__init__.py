"""A walk through a graph of coded vectors: 1-bit estimates decide whose 8-bit codes are scored."""
