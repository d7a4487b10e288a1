"""Questions to vLLM's workers: each function with an argument ``worker`` runs inside a worker."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def register_by_value() -> None:
    """Send the functions of this module as code.

    A worker's process may not be able to import this package by its name. vLLM sends functions with
    cloudpickle, which it installs.
    """
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def ask_workers(llm: Any, function: Callable[[Any], Any]) -> list[Any]:
    """Call a self-contained function in every worker of vLLM; return the answers."""
    answers: list[Any] = llm.collective_rpc(function)
    return answers


def weights_of(worker: Any) -> tuple[int, int]:
    """Return bytes of weights and number of parameters, shared ones once. Runs in a worker."""
    model = worker.get_model()
    sizes: dict[int, int] = {}
    count = 0

    def add(tensor: Any) -> None:
        if tensor is not None and tensor.numel():
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()

    for parameter in model.parameters():
        states = (getattr(parameter, "bnb_quant_state", None) or {}).values()
        new = parameter.numel() and parameter.data_ptr() not in sizes
        add(parameter)
        for state in states:
            count += state.shape.numel()
            while state is not None:
                add(state.absmax)
                add(getattr(state, "code", None))
                state = getattr(state, "state2", None)
        if new and not states:
            count += parameter.numel()
    for buffer in model.buffers():
        add(buffer)
    # A CPU kernel that copies a weight into its own layout leaves an empty tensor behind.
    repacked = 0
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if weight is not None and not weight.numel():
            rows = getattr(module, "output_size_per_partition", getattr(module, "output_size", 0))
            columns = getattr(module, "input_size_per_partition", getattr(module, "input_size", 0))
            repacked += rows * columns
    itemsize = next(p.element_size() for p in model.parameters() if p.numel())
    return sum(sizes.values()) + repacked * itemsize, count + repacked


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
