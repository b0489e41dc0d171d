"""Nearest centroids of many vectors, and the k-means that finds the centroids."""
