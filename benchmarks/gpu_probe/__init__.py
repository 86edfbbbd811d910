"""Measures what an installed vLLM does with a GPU's memory, without weights and without a network.

`run.py` is the command. It and all that it imports run in vLLM's own environment: the standard library, and of this
project the catalogue (which needs pydantic and PyYAML, as vLLM does).
"""
