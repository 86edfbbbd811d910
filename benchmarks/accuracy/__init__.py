"""How near a prediction of GPU memory comes to what vLLM printed, and how near published formulas come.

Owns the reading of measured start-ups (:mod:`.rows`), the published formulas (:mod:`.peers`), the errors
(:mod:`.measures`), and the tables and the plot (:mod:`.report`, :mod:`.plot`). `benchmarks/fit.py` is the command.
"""
