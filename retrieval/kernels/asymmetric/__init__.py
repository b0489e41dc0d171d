"""Float queries against documents of 1, 2, 4 or 8 bits a dimension."""
