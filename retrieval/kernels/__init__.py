"""Inner loops. One folder an operation: ``reference.py`` defines it, ``cpu.py`` does it fast.

Both have the same names and signatures, and tests hold them equal.
"""
