"""A real vLLM on the CPU as the container: its environment, a shrunk model, its arguments, its process.

Owns the ``.local/vllm-env`` environment and the process. The model has random weights: answers are noise, but
everything else (arguments, checks, frames, errors) is vLLM's own.
"""
