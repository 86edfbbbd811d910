"""The `local` stack from start to end: what `make up`, `make down`, `make env` and `make status` run.

Owns the background server of this clone, `.local/env`, the engine's runs on the stack, and the question that is asked
at the end. Leaves to `infra.local.engine` what is installed, to `infra.local.cloud` what the server answers, and to the
program what is deployed. Its command: `python -m infra.local.stack`.
"""
