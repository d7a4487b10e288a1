"""Questions to vLLM's workers: each function with an argument ``worker`` runs inside a worker."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from . import tensors


def register_by_value() -> None:
    """Send the functions of this module and of ``tensors`` as code.

    A worker's process may not be able to import this package by its name. vLLM sends functions with
    cloudpickle, which it installs.
    """
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    cloudpickle.register_pickle_by_value(tensors)


def ask_workers(llm: Any, function: Callable[[Any], Any]) -> list[Any]:
    """Call a self-contained function in every worker of vLLM; return the answers."""
    answers: list[Any] = llm.collective_rpc(function)
    return answers


def weights_of(worker: Any) -> dict[str, Any]:
    """Return the counts of a worker's tensors. Runs in a worker."""
    return tensors.counted(worker.get_model())


def pool_of(worker: Any) -> dict[str, float | None]:
    """Return the bytes of a worker's key-value pool, and of one number in it. Runs in a worker."""
    runner = worker.model_runner
    groups = getattr(getattr(runner, "kv_cache_config", None), "kv_cache_groups", None) or ()
    specs = []
    for group in groups:
        spec = group.kv_cache_spec
        # A group may have a specification for each of its layers.
        specs += list((getattr(spec, "kv_cache_specs", None) or {"": spec}).values())
    return {
        "bytes": tensors.pool_bytes(getattr(runner, "kv_caches", ())),
        "value_bytes": max((size for spec in specs if (size := _value_bytes(spec))), default=None),
    }


def _value_bytes(spec: Any) -> float | None:
    """Return the bytes of one number in the cache of a layer, its share of scales included.

    None for a layer that does not keep keys and values.
    """
    head = getattr(spec, "head_size", None)
    heads = getattr(spec, "num_kv_heads", None)
    if not head or not heads:
        return None
    both = head + (getattr(spec, "head_size_v", None) or head)
    return float(spec.page_size_bytes / (spec.block_size * heads * both))


def keep_logits(worker: Any) -> None:
    """Keep all logits that the model computes, as log-probabilities. Runs in a worker."""
    model = worker.get_model()
    compute = model.compute_logits
    model.llmperf_rows = []

    def compute_and_keep(*args: Any, **kwargs: Any) -> Any:
        logits = compute(*args, **kwargs)
        if logits is not None:
            model.llmperf_rows.append(logits.float().log_softmax(dim=-1).cpu().numpy())
        return logits

    model.compute_logits = compute_and_keep


def kept_logits(worker: Any) -> list[Any]:
    """Return the kept logits, oldest first, and stop keeping them. Runs in a worker."""
    model = worker.get_model()
    rows = model.llmperf_rows
    # This deletes only the attribute of the instance, so that the class's method is used again.
    del model.compute_logits, model.llmperf_rows
    return list(rows)


def reset_device_peak(worker: Any) -> None:
    """Start a new window for ``device_peak``. Runs in a worker."""
    import torch

    torch.cuda.reset_peak_memory_stats()


def device_peak(worker: Any) -> int:
    """Return the bytes at the allocator's peak. Runs in a worker."""
    import torch

    return int(torch.cuda.max_memory_allocated())


def threads_of(worker: Any) -> int:
    """Return the threads that a worker computes with on a CPU. Runs in a worker."""
    import torch

    return int(torch.get_num_threads())


def cache_type(worker: Any) -> str:
    """Return the type of the key-value cache as the model resolved it. Runs in a worker."""
    return str(worker.vllm_config.cache_config.cache_dtype)


def attention_of(worker: Any) -> list[str]:
    """Return the names of the attention backends that layers use. Runs in a worker."""
    names = {
        str(module.attn_backend.get_name())
        for module in worker.get_model().modules()
        if hasattr(module, "attn_backend") and hasattr(module.attn_backend, "get_name")
    }
    return sorted(names)
