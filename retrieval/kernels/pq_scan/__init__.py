"""Scan of product-quantised codes through tables of a query's partial scores, with top-k."""
