"""Compares the simulated container with a real vLLM on the CPU: same model name, same arguments, same requests.

``python -m infra.local.container.compare`` prints one row a case; a difference that ``explanations.yaml`` does not
explain fails. ``make test-vllm`` runs it.
"""
