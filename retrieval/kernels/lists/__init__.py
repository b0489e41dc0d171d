"""Inverted lists of 4-bit codes: which lists are nearest to a query, and what in them scores best."""
