"""The HTTP interface of the simulated container: OpenAI's, vLLM's own and Vertex AI's prediction format.

Owns request checks, error bodies, response fields and streaming frames, by vLLM version. Leaves the words of an
answer to a responder and everything before the first request to :mod:`infra.local.container.boot`.
"""
