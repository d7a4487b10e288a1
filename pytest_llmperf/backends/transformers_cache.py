"""How transformers caches keys and values and runs its steps: traits, arguments of ``generate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.checkpoint import read_optional
from ..core.engine import EngineSpec, Setup
from ..core.traits import Traits, cache_trait, in_id
from ..machine.host import visible_gpus
from . import arguments

if TYPE_CHECKING:
    from ..core.models import Model

SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")
"""Values of ``device_map`` with which accelerate distributes the layers over all GPUs that it sees."""
WARMUP_OF_COMPILED = 3
"""One round compiles the steps, one records their CUDA graphs, one replays them."""
_COMPILE = "compile_config"
_EVERYWHERE = "_compile_all_devices"
"""The key of a compile configuration that compiles on a CPU, too."""
# The names of one static cache; "hybrid" is ignored where a checkpoint has it.
_STATIC = ("static", "sliding_window", "hybrid", "hybrid_chunked", "offloaded_static")
_OFFLOADED = ("offloaded", "offloaded_static", "offloaded_hybrid", "offloaded_hybrid_chunked")
_BITS = 4
"""Bits of a quantized cache that names none."""


def of_generate(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's arguments for each call of ``generate``, as they were written."""
    return {
        name.removeprefix(arguments.GENERATE): value
        for name, value in args.items()
        if name.startswith(arguments.GENERATE)
    }


def ready_for_generate(spec: EngineSpec) -> dict[str, Any]:
    """Return the user's arguments for each call of ``generate``, as it takes them.

    Raises:
        ValueError: the compile configuration is not one; one line.
    """
    given = of_generate(spec.args)
    if given.get(_COMPILE) is not None:
        given[_COMPILE] = _compile_config(given[_COMPILE])
    return given


def _compile_config(value: object) -> Any:
    from transformers import CompileConfig

    name = f"transformers.{arguments.GENERATE}{_COMPILE}"
    if not isinstance(value, Mapping):
        raise ValueError(f'{name}: {value!r} is not an object, such as {{"mode": "default"}}')
    try:
        config = CompileConfig(**{k: v for k, v in value.items() if k != _EVERYWHERE})
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
    # Not a field: transformers has it for tests on a CPU.
    config._compile_all_devices = value.get(_EVERYWHERE)
    return config


def traits_of(args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
    """Return the traits that arguments and the checkpoint's own generation settings give."""
    count = visible_gpus() if args.get("device_map") in SPREAD else 1
    attention = args.get("attn_implementation")
    of_file = {} if setup.random_weights else _of_file(model)
    return Traits(
        devices=f"gpus{count}" if count > 1 else "",
        attention=f"attn{in_id(str(attention))}" if attention else "",
    ).resolved(_of_steps({**of_file, **of_generate(args)}, setup.on_cpu))


def argument_for(kind: str, trait: str) -> str:
    """Return the argument that makes a trait of cache or execution part of test ids."""
    if trait == "nocache":
        return f"{arguments.GENERATE}use_cache=false"
    names = {"static": "static", "kvoffloaded": "offloaded", "kvint4": "quantized"}
    if kind not in ("cache", "execution") or trait not in ("", *names):
        return ""
    return f"{arguments.GENERATE}cache_implementation={names.get(trait, 'dynamic')}"


def resolved_traits(model: Any, given: Mapping[str, Any], on_cpu: bool) -> dict[str, str]:
    """Return the traits of a loaded model by kind.

    Args:
        model: as transformers has it.
        given: the user's arguments for ``generate``.
        on_cpu: whether it runs on a CPU.
    """
    config = getattr(model, "generation_config", None)
    own = {name: getattr(config, name, None) for name in ("cache_implementation", "use_cache")}
    return _of_steps({**_known(own), **given}, on_cpu)


def _of_file(model: Model) -> dict[str, Any]:
    """Return the settings of generation beside a model's configuration that make traits."""
    folder = model.config_folder
    settings = read_optional(folder / "generation_config.json") if folder else {}
    return _known({name: settings.get(name) for name in ("cache_implementation", "use_cache")})


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value not in (None, "hybrid")}


def _of_steps(settings: Mapping[str, Any], on_cpu: bool) -> dict[str, str]:
    """Return the traits of cache and execution."""
    name, compile_config = settings.get("cache_implementation"), settings.get(_COMPILE)
    cache = execution = ""
    if settings.get("use_cache") is False:
        return {"cache": "nocache", "execution": ""}
    if name == "quantized":
        cache_config = settings.get("cache_config")
        bits = cache_config.get("nbits") if isinstance(cache_config, Mapping) else None
        cache = cache_trait(f"int{bits or _BITS}")
    if name in _OFFLOADED:
        cache = cache_trait("offloaded")
    if name in _STATIC or name in _OFFLOADED[1:]:
        # With such a cache, transformers compiles the steps on a GPU by itself, and on a CPU if asked.
        asked = isinstance(compile_config, Mapping) and bool(compile_config.get(_EVERYWHERE))
        is_off = settings.get("disable_compile") is True
        if on_cpu:
            execution = "static-compiled" if asked and not is_off else "static"
        else:
            execution = "static-eager" if is_off else "static"
    return {"cache": cache, "execution": execution}


class Shapes:
    """The shapes of the calls of ``generate`` with a static cache.

    transformers keeps the longest static cache that an engine has had, and torch compiles a second shape
    for every shape: both would make a number depend on what was measured before.
    """

    def __init__(self, static: bool, compiles: bool) -> None:
        """Keep what the engine does.

        Args:
            static: whether its cache is static.
            compiles: whether its steps are compiled.
        """
        self._static = static
        self._compiles = compiles
        self._last: tuple[int, int] | None = None

    def enter(self, model: Any, batch: int, length: int) -> None:
        """Forget the shapes before, if this is another one.

        Args:
            model: as transformers has it.
            batch: number of requests.
            length: tokens of the longest one, prompt and output.
        """
        if not self._static or self._last == (batch, length):
            return
        self._last = (batch, length)
        model._previous_max_cache_length = -1
        if self._compiles and hasattr(model, "_compiled_call"):
            import torch

            del model._compiled_call
            torch.compiler.reset()


def compiles(model: Any, given: Mapping[str, Any]) -> bool:
    """Return whether ``generate`` compiles the steps of a model with a static cache.

    transformers decides that in every call; its rule is asked here with an empty cache.

    Args:
        model: as transformers has it.
        given: the user's arguments for ``generate``, as it takes them.
    """
    from transformers import GenerationConfig, StaticCache

    rule = getattr(model, "_valid_auto_compile_criteria", None)
    if rule is None:
        return False
    config = GenerationConfig(
        **{k: v for k, v in given.items() if k in (_COMPILE, "disable_compile")}
    )
    cache = StaticCache(config=model.config.get_text_config(decoder=True), max_cache_len=1)
    return bool(rule({"past_key_values": cache}, config))
