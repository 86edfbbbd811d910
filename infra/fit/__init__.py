"""Will a model fit: what vLLM takes of one GPU's memory at start-up, as arithmetic.

Owns the terms (weights, activation peak, non-torch memory, CUDA graphs, KV cache) and how they changed between vLLM
versions, kept as data in ``infra/catalog/vllm_memory.csv``. Pure: no network, no Pulumi, no Google library. It leaves
the choice of what to do about a bad fit to its callers.
"""

from infra.fit.gpus import gpu_of
from infra.fit.predict import limits, predict
from infra.fit.types import Fit, Gpu, Limits, Options, Outcome, OutOfMemory, Term

__all__ = ["Fit", "Gpu", "Limits", "Options", "OutOfMemory", "Outcome", "Term", "gpu_of", "limits", "predict"]
