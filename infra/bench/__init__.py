"""Load on one endpoint: sends chat requests at set concurrencies or rates, and says how fast the tokens came.

The definitions are those of vLLM's own ``vllm bench serve``, so that figures can be laid beside its results. It is not
used itself: it needs an installed vLLM; GuideLLM, the other kept harness, needs torch, transformers and datasets.
"""
