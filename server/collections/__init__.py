"""Which collections there are; how they come, go, change and lead to others."""
