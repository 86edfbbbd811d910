"""Will a model fit: what vLLM takes of one GPU's memory at start-up, as arithmetic.

Owns the terms (weights, activation peak, non-torch memory, CUDA graphs, KV cache) and how they changed between vLLM
versions, kept as data in :mod:`infra.fit.versions`. Pure: no I/O, no Pulumi, no Google library. It leaves the choice
of what to do about a bad fit to its callers.
"""

from infra.fit.gpus import gpu_of
from infra.fit.predict import predict
from infra.fit.types import Fit, Gpu, Options, Outcome, OutOfMemory

__all__ = ["Fit", "Gpu", "Options", "OutOfMemory", "Outcome", "gpu_of", "predict"]
