"""Doors that other services' clients already speak."""

from __future__ import annotations

from server.routing import make_router

router = make_router("/v1", "compatible")
