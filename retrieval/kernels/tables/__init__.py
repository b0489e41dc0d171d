"""A query's tables: what every code of a piece adds to the inner product."""
