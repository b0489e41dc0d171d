"""The media types of bodies."""

from __future__ import annotations

__all__ = ["ARROW", "JSON", "NDJSON"]

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
