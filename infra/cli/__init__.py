"""The command ``vertex-vllm``: one module a command; ``app`` puts them together."""
