"""What ``explain`` and ``fit`` have to say, as JSON."""

from __future__ import annotations

from typing import Any

from infra.cli.facts import Explanation, changes, notes, verdict_of, warnings, why
from infra.cli.gpu_memory import concurrency_at, parallel_of, tokens_at
from infra.fit import Fit
from infra.recipes.costs import costs_of

__all__ = ["facts", "memory_facts"]


def facts(explained: Explanation) -> dict[str, Any]:
    """Everything that the page says, for JSON: GiB are 2^30 bytes on one GPU, prices US dollars an hour."""
    plan, fit = explained.plan, explained.fit
    tensor, pipeline = parallel_of(plan)
    return {
        "verdict": explained.verdict.value,
        "why": why(fit),
        "stack": plan.name,
        "model": plan.model.id,
        "hardware": {
            "machine_type": plan.hardware.machine_type,
            "accelerator_type": plan.hardware.accelerator_type,
            "accelerator_count": plan.hardware.accelerator_count,
            "spot": plan.hardware.spot,
            "region": plan.region,
        },
        "tensor_parallel_size": tensor,
        "pipeline_parallel_size": pipeline,
        "image_uri": plan.container.image_uri,
        "vllm_version": plan.vllm_version,
        "arguments": list(plan.container.args),
        "max_model_len": fit.max_model_len if fit else plan.vllm.max_model_len,
        "max_num_seqs": fit.max_num_seqs if fit else plan.vllm.max_num_seqs,
        "gpu_memory_utilization": plan.vllm.gpu_memory_utilization,
        "memory": None if fit is None else memory_facts(fit),
        "changes": list(changes(explained)),
        "largest": None
        if explained.limits is None
        else {
            "max_model_len": explained.limits.max_model_len,
            "max_num_seqs": explained.limits.max_num_seqs,
        },
        "cost": costs_of(plan).as_dict(),
        "choices": [
            {
                "machine_type": choice.machine_type,
                "accelerator_type": choice.accelerator_type,
                "accelerator_count": choice.accelerator_count,
                "usd_per_hour": choice.usd_per_hour,
                "verdict": verdict_of(choice.fit).value,
                "kv_gib": _rounded(choice.fit.kv_cache),
                "kv_tokens": choice.fit.kv_tokens,
                "max_concurrency": round(choice.fit.max_concurrency, 2),
            }
            for choice in explained.choices
        ],
        "warnings": list(warnings(explained)),
        "notes": list(notes(explained)),
    }


def memory_facts(fit: Fit) -> dict[str, Any]:
    """A prediction for JSON; GiB are 2^30 bytes on one GPU, intervals hold 90 %."""
    return {
        "outcome": fit.outcome.value,
        "outcome_point": fit.outcome_point.value,
        "outcome_low": fit.outcome_low.value,
        "vllm_version": fit.version,
        "engine": fit.engine,
        "runner": fit.runner,
        "total_gib": _rounded(fit.total),
        "budget_gib": _rounded(fit.budget),
        "terms": [
            {
                "name": term.name,
                "gib": _rounded(term.gib),
                "low": _rounded(term.low),
                "high": _rounded(term.high),
                "charged": term.charged,
                "formula": term.formula,
                "numbers": dict(term.numbers),
                "source": term.source,
            }
            for term in fit.terms
        ],
        "dominating": fit.dominating.name,
        "kv_cache": {
            "gib": _rounded(fit.kv_cache),
            "first_stage_gib": _rounded(fit.kv_first_stage),
            "low": _rounded(fit.kv_low),
            "high": _rounded(fit.kv_high),
            "needed_gib": _rounded(fit.kv_needed),
            "bytes_per_token": fit.kv_bytes_per_token,
            "block_size": fit.block_size,
            "tokens": fit.kv_tokens,
            "tokens_low": tokens_at(fit, fit.kv_low),
            "tokens_high": tokens_at(fit, fit.kv_high),
            "max_concurrency": round(fit.max_concurrency, 2),
            "max_concurrency_low": round(concurrency_at(fit, fit.kv_low), 2),
            "max_concurrency_high": round(concurrency_at(fit, fit.kv_high), 2),
        },
        "max_model_len": fit.max_model_len,
        "max_num_seqs": fit.max_num_seqs,
        "max_num_batched_tokens": fit.max_num_batched_tokens,
        "estimated_max_len": fit.estimated_max_len,
        "out_of_memory": None
        if fit.oom is None
        else {
            "stage": fit.oom.stage,
            "tried_gib": _rounded(fit.oom.tried),
            "in_use_gib": _rounded(fit.oom.in_use),
            "free_gib": _rounded(fit.oom.free),
        },
        "notes": list(fit.notes),
    }


def _rounded(gib: float) -> float:
    return round(gib, 4)
