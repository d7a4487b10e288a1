"""Numbers from the configurations of a model and of vLLM: lengths, key-value pool, architecture."""

from __future__ import annotations

from collections.abc import Mapping
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


def _bytes_per_token(model: Any, parallel: Any, value_bytes: int) -> int:
    """Return the bytes of one token in the pool of a worker."""
    layers, heads = model.get_num_layers(parallel), model.get_num_kv_heads(parallel)
    return 2 * int(layers) * int(heads) * int(model.get_head_size()) * value_bytes


def pool_mib(config: Any) -> float:
    """Return the MiB of the key-value pool over all workers, each of which has a share."""
    blocks = config.cache_config.num_gpu_blocks
    size = config.cache_config.kv_cache_memory_bytes
    workers = config.parallel_config.world_size
    if size:
        return float(size * workers) / MIB
    model = config.model_config
    bytes_per_token = _bytes_per_token(model, config.parallel_config, _cache_value_bytes(config))
    return float((blocks or 0) * config.cache_config.block_size * bytes_per_token * workers) / MIB


def _cache_value_bytes(config: Any) -> int:
    """Return the bytes of one number in the key-value cache: 1 in each of vLLM's 8-bit types."""
    in_eight_bits = "8" in str(config.cache_config.cache_dtype)
    return 1 if in_eight_bits else int(config.model_config.dtype.itemsize)


def described(config: Any, spec: EngineSpec) -> dict[str, Any]:
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
        "cache_value_bytes": _cache_value_bytes(config),
        "arithmetic": str(model.dtype).removeprefix("torch.") if floats else None,
    }
