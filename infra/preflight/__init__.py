"""Preflight: what a deployment needs of the world, asked before anything is created.

`finding` says what a check answers, `subject` what is checked, `net` how the network is asked, `run` runs every check
at once. The other modules hold the checks: `pure` needs no network; `google`, `huggingface`, `weights` and `image` do.
Imports neither pulumi nor a Google client library.
"""
