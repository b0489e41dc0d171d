"""The best documents of inverted lists in one call: lists, codes, then the stored vectors."""
