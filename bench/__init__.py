"""Benchmarks: quality over collections and configurations, speed of kernels, search and builds."""
