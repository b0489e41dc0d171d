"""The service as its users meet it: what it adds to the engine, and how much it answers."""
