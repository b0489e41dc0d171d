"""Which of its candidates a vector of a graph is linked to."""
