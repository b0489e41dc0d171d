"""Random rotations by sign flips and Walsh-Hadamard transforms: every direction looks like any other."""
