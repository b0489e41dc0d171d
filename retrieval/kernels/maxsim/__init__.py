"""MaxSim of queries against ragged documents."""
