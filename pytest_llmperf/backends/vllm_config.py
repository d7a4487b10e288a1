"""Numbers from the configurations of a model and of vLLM: lengths, key-value pool, architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.architecture import Architecture
from ..core.engine import EngineSpec
from ..core.units import MIB

_CPU_MAX_MODEL_LEN = 4096
_CPU_POOL_TOKENS = 16384


def cpu_bounds(folder: Path) -> dict[str, Any]:
    """Return the bounds of length and key-value pool for a CPU, from the model's configuration."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    longest = config.get("max_position_embeddings", 2048)
    bounds = {"max_model_len": min(longest, _CPU_MAX_MODEL_LEN)}
    architecture = Architecture.from_config(config)
    if architecture is not None:
        bounds["kv_cache_memory_bytes"] = int(architecture.kv_bytes_per_token() * _CPU_POOL_TOKENS)
    return bounds


def pool_mib(config: Any) -> float:
    """Return the MiB of the key-value pool over all workers, each of which has a share."""
    blocks = config.cache_config.num_gpu_blocks
    size = config.cache_config.kv_cache_memory_bytes
    workers = config.parallel_config.world_size
    if size:
        return float(size * workers) / MIB
    model = config.model_config
    bytes_per_token = (
        2
        * model.get_num_layers(config.parallel_config)
        * model.get_num_kv_heads(config.parallel_config)
        * model.get_head_size()
        * _cache_value_bytes(config)
    )
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
    floats = model.quantization is None or spec.quantization != "none"
    return {
        "architecture": architecture,
        "embedding_bytes": float(architecture.embedding_parameters * model.dtype.itemsize),
        "cache_value_bytes": _cache_value_bytes(config),
        "arithmetic": str(model.dtype).removeprefix("torch.") if floats else None,
    }
