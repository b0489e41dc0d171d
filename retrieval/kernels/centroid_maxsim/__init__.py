"""MaxSim of a query with the centroids of documents' tokens: the score that prunes candidates."""
