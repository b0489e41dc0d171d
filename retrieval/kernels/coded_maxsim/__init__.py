"""MaxSim on residual codes: a centroid's score plus a residual's, times an inverse norm."""
