"""vLLM's traits: those that its arguments give, and those that it has after loading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.cache_type import cache_type_of_folder
from ..core.engine import Setup
from ..core.traits import Traits, cache_trait, in_id
from .base import parallel_traits
from .vllm_workers import ask_workers, attention_of, cache_type

if TYPE_CHECKING:
    from ..core.models import Model

# One type under several names; scales per token and head are the only kind of whole numbers.
_SAME = {
    "fp8_e4m3": "fp8",
    "fp8_inc": "fp8",
    "int8_per_token_head": "int8",
    "int4_per_token_head": "int4",
}
_SHORT = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
_AUTO = "auto"


def traits_of(args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
    """Return the traits that arguments and the checkpoint's configuration give."""
    of_cache = args.get("kv_cache_dtype") or _AUTO
    if of_cache == _AUTO:
        folder = model.config_folder
        of_cache = (folder and cache_type_of_folder(folder)) or _AUTO
    inner = args.get("attention_config")
    attention = args.get("attention_backend") or args.get(
        "attention_config.backend", inner.get("backend") if isinstance(inner, Mapping) else None
    )
    return Traits(
        devices=parallel_traits(args),
        cache=_cache(str(of_cache), "bfloat16" if setup.dtype == _AUTO else setup.dtype),
        attention=f"attn{in_id(str(attention))}" if attention else "",
        execution=_execution(args.get("enforce_eager"), setup.on_cpu),
        speculation="spec" if args.get("speculative_config") else "",
        implementation="hf" if args.get("model_impl") == "transformers" else "",
        reuse="prefix" if args.get("enable_prefix_caching") else "",
    )


def resolved_traits(llm: Any) -> dict[str, str]:
    """Return the traits by kind that a loaded engine may have resolved by itself."""
    config = llm.llm_engine.vllm_config
    dtype = str(config.model_config.dtype).removeprefix("torch.")
    return {
        # A worker sees what the checkpoint's scheme made of "auto".
        "cache": _cache(str(ask_workers(llm, cache_type)[0]), dtype),
        "speculation": "spec" if getattr(config, "speculative_config", None) else "",
        "reuse": "prefix" if config.cache_config.enable_prefix_caching else "",
    }


def argument_for(kind: str, trait: str) -> str:
    """Return the argument that makes a trait of the cache part of test ids."""
    if kind != "cache":
        return ""
    return f"kv_cache_dtype={trait.removeprefix('kv') or _AUTO}"


def settings_of(llm: Any) -> dict[str, Any]:
    """Return what vLLM chose, for the record; what this version does not have is left out."""
    config, core = llm.llm_engine.vllm_config, llm.llm_engine.engine_core
    compilation = getattr(config, "compilation_config", None)
    chosen = {
        "kv_cache_dtype": ask_workers(llm, cache_type)[0],
        "attention": ", ".join(ask_workers(llm, attention_of)[0]),
        "model_impl": getattr(config.model_config, "model_impl", None),
        "compilation": _name(getattr(compilation, "mode", None)),
        "cudagraph_mode": _name(getattr(compilation, "cudagraph_mode", None)),
        "engine_core": "in process" if hasattr(core, "engine_core") else "own process",
        "async_scheduling": bool(getattr(config.scheduler_config, "async_scheduling", False)),
    }
    return {name: value for name, value in chosen.items() if value not in (None, "")}


def _name(value: Any) -> str | None:
    return None if value is None else str(getattr(value, "name", value))


def _cache(name: str, dtype: str) -> str:
    """Return the trait of a cache's type; empty if it is the compute type."""
    name = _SAME.get(name, name)
    return "" if name in (_AUTO, dtype) else cache_trait(_SHORT.get(name, name.replace("_", "")))


def _execution(eager: object, on_cpu: bool) -> str:
    """Return the trait of the way steps run; on a CPU this package's default is ``enforce_eager``."""
    if eager is None or bool(eager) == on_cpu:
        return ""
    return "eager" if eager else "compiled"
