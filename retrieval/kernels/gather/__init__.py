"""Approximate MaxSim of the documents that the probed centroids' postings name."""
