"""One module a command; each holds one function that `index_tools.main` registers."""
