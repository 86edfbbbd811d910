"""Sets this clone up: the Python environment, and a Pulumi engine to run the program with.

Owns `.venv` and `.local/engine`. Imports nothing but the standard library, because it runs before anything is
installed, and knows nothing of the local cloud, the program or its stacks. Command: `python3 -m infra.local.engine`.
"""
