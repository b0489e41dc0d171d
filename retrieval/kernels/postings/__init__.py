"""Which centroids a document has, and which documents a centroid has."""
