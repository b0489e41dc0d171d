"""The HTTP API on the engine: `server.app.create_app`, or ``python -m server``."""
