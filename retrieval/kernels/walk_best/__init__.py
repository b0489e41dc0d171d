"""The best documents of a graph in one call: the query as the walk takes it, the walk, the stored vectors."""
