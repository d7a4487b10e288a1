"""What vLLM's own workers are asked: each function runs inside one of them, wherever that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def ask_workers(llm: Any, function: Callable[[Any], Any]) -> list[Any]:
    """Call a self-contained function with every worker of vLLM, wherever those run.

    A worker's process may not be able to import this package by its name; a function of ``__main__``
    travels by value through every process on the way.
    """
    function.__module__ = "__main__"
    answers: list[Any] = llm.collective_rpc(function)
    return answers


def weights_of(worker: Any) -> tuple[int, int]:
    """Runs inside a vLLM worker: bytes of the weights and number of parameters, shared ones once."""
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
    # A CPU kernel that takes a weight over in its own layout leaves an empty one behind.
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
    """Runs inside a vLLM worker: note all logits that the model makes, as log-probabilities."""
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
    """Runs inside a vLLM worker: the noted ones, oldest first; nothing is noted from now on."""
    model = worker.get_model()
    rows = model.llmperf_rows
    # The attribute of the instance alone: the class's own method is below it.
    del model.compute_logits, model.llmperf_rows
    return list(rows)


def reset_device_peak(worker: Any) -> None:
    import torch

    torch.cuda.reset_peak_memory_stats()


def device_peak(worker: Any) -> int:
    import torch

    return int(torch.cuda.max_memory_allocated())
