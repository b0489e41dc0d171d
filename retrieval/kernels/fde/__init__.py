"""MUVERA: the token vectors of a text to one vector whose inner product approximates MaxSim."""
