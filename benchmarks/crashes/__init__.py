"""Killing a deployment at a known point, doing what a user would do next, and counting what is left.

`benchmarks/chaos.py` runs all of it; tests/engine/test_chaos.py runs a seeded few.
"""
