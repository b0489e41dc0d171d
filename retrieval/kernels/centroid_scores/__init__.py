"""All centroids' scores with a query's tokens: rows of small integers, and each token's best centroids."""
