"""Estimates of some candidates again, from all bits of their codes."""
