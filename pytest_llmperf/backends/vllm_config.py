"""Numbers from the configurations of a model and of vLLM: lengths, key-value pool, architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.architecture import Architecture
from ..core.engine import EngineSpec
from ..core.units import MIB

_CPU_MAX_MODEL_LEN = 4096
_CPU_POOL_TOKENS = 16384
_CPU_STATES = 1024 * MIB
"""Bytes for layers that keep a state per request instead of keys and values."""


def cpu_bounds(model: Any, one_worker: Any, args: Mapping[str, Any]) -> dict[str, int]:
    """Return the bounds of length and key-value pool for a CPU.

    Without the second one, vLLM takes most of the machine's memory.

    Args:
        model: vLLM's own configuration of the model, which knows the sizes of every architecture.
        one_worker: vLLM's configuration of parallelism for one worker.
        args: what the user asks for.
    """
    bounds = {"max_model_len": min(model.max_model_len, _CPU_MAX_MODEL_LEN)}
    if "gpu_memory_utilization" in args:
        return bounds
    tokens = max(_CPU_POOL_TOKENS, int(args.get("max_model_len") or 0))
    pool = tokens * _bytes_per_token(model, one_worker, model.dtype.itemsize)
    if model.is_attention_free or model.is_hybrid:
        pool = max(pool, _CPU_STATES)
    return {**bounds, "kv_cache_memory_bytes": pool}


def _bytes_per_token(model: Any, parallel: Any, value_bytes: float) -> int:
    """Return the bytes of one token in the pool of a worker."""
    layers, heads = model.get_num_layers(parallel), model.get_num_kv_heads(parallel)
    return int(2 * int(layers) * int(heads) * int(model.get_head_size()) * value_bytes)


def pool_mib(pools: Sequence[Mapping[str, Any]], config: Any) -> float:
    """Return the MiB of the key-value pool over all workers, each of which has a share.

    Args:
        pools: what ``vllm_workers.pool_of`` returned in each worker.
        config: vLLM's configuration, for workers that do not show their tensors.
    """
    if measured := sum(pool["bytes"] for pool in pools):
        return float(measured) / MIB
    blocks = config.cache_config.num_gpu_blocks
    size = config.cache_config.kv_cache_memory_bytes
    workers = config.parallel_config.world_size
    if size:
        return float(size * workers) / MIB
    model = config.model_config
    bytes_per_token = _bytes_per_token(model, config.parallel_config, _by_name(config))
    return float((blocks or 0) * config.cache_config.block_size * bytes_per_token * workers) / MIB


def cache_value_bytes(pools: Sequence[Mapping[str, Any]], config: Any) -> float:
    """Return the bytes of one number in the key-value cache: from the workers, or by the type's name."""
    sizes = [pool["value_bytes"] for pool in pools if pool["value_bytes"]]
    return float(max(sizes, default=_by_name(config)))


def _by_name(config: Any) -> float:
    kind = str(config.cache_config.cache_dtype)
    if kind in ("float16", "bfloat16"):
        return 2
    # The types of 4 bits with an 8 in their names keep some of their numbers in 8.
    return 1 if "8" in kind else 0.5 if "4" in kind else float(config.model_config.dtype.itemsize)


def described(config: Any, spec: EngineSpec, value_bytes: float) -> dict[str, Any]:
    """Return the fields of ``EngineInfo`` for utilization."""
    model = config.model_config
    architecture = Architecture.counted(model.hf_config.to_dict())
    if architecture is None:
        return {}
    # bitsandbytes multiplies in the compute type; the products of other checkpoints are unknown here.
    floats = model.quantization is None or spec.online_mode != "none"
    return {
        "architecture": architecture,
        "embedding_bytes": float(architecture.embedding_parameters * model.dtype.itemsize),
        "cache_value_bytes": value_bytes,
        "arithmetic": str(model.dtype).removeprefix("torch.") if floats else None,
    }
