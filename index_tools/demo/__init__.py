"""The demonstration: search the docstrings of the installed Python standard library."""
