"""Observed vLLM start-ups: rows of published or measured logs, what the arithmetic predicts for each, and what its
constants become when they are fitted to such rows. For ``vertex-vllm fit --batch`` and ``benchmarks/fit.py``."""

from infra.observed.rows import RowPrediction, predict_row

__all__ = ["RowPrediction", "predict_row"]
