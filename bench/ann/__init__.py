"""Approximate search of single vectors: ours and other engines on the same embeddings."""
