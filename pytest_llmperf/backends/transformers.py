"""Hugging Face transformers: ``model.generate`` on a static batch, with quantization by bitsandbytes."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.architecture import Architecture
from ..core.checkpoint_format import CheckpointFormat, mode_of_config
from ..core.context import context_of, why_too_long
from ..core.engine import EngineInfo, EngineSpec, Refusal, Setup
from ..core.generative import why_no_text
from ..core.quantization import MODES
from ..core.trace import RequestTrace
from ..core.traits import Traits
from ..core.units import MIB
from ..core.workload import Request
from . import arguments, parameters, random_weights
from .base import Backend
from .contract import BITSANDBYTES_MIB, BITSANDBYTES_PRODUCTS, Contract
from .hub import (
    HubTokenizer,
    own_code,
    own_code_explained,
    resolved_revision,
    text_model,
    whole_model,
)
from .online import TORCHAO, refusal_here
from .tensors import counted
from .transformers_cache import (
    WARMUP_OF_COMPILED,
    Shapes,
    argument_for,
    compiles,
    of_generate,
    ready_for_generate,
    resolved_traits,
    traits_of,
)
from .transformers_modes import (
    METHODS,
    ONLINE,
    quantization_config,
    refusal_of_format,
    refusal_of_quantization,
)

if TYPE_CHECKING:
    import numpy
    import torch
    from numpy.typing import NDArray

    from ..core.models import Model


class TransformersBackend(HubTokenizer, Backend):
    """One static batch per round: it runs until its longest request is complete."""

    name = "transformers"
    distributions = ("transformers",)
    companions = (
        "torch",
        "accelerate",
        "bitsandbytes",
        "tokenizers",
        "safetensors",
        *filter(None, METHODS.values()),
    )
    variables = ("ACCELERATE_*", "BNB_*", "PYTORCH_*", "TORCH*", "TRANSFORMERS_*", "TRITON_*")
    install_hint = "pip install 'pytest-llmperf[transformers]'"
    modes = tuple(MODES)
    further_modes = tuple(TORCHAO)
    refused_args = arguments.TRANSFORMERS
    tells_architecture = True
    chats = True
    samples = True
    contract = Contract("int8_float32", BITSANDBYTES_MIB, BITSANDBYTES_PRODUCTS)

    @classmethod
    def traits(cls, args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
        return traits_of(args, model, setup)

    @classmethod
    def argument_for(cls, kind: str, trait: str) -> str:
        return argument_for(kind, trait)

    @classmethod
    def refusal_of_args(cls, args: Mapping[str, Any]) -> Refusal | None:
        refusal = super().refusal_of_args(args) or refusal_of_quantization(args)
        known = [f"{arguments.GENERATE}{name}" for name in arguments.OF_GENERATE]
        for name in args:
            if refusal is None and name.startswith(arguments.GENERATE) and name not in known:
                reason = f"it may change what is measured; known: {', '.join(known)}"
                return Refusal(f"{cls.name}.{name}: {reason}", by_nature=True)
        return refusal

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        if quantization in MODES and quantization != "none" and "bitsandbytes" not in packages:
            return Refusal(
                f"{quantization} needs bitsandbytes: pip install 'pytest-llmperf[bnb]'",
                by_nature=False,
            )
        if quantization in ONLINE:
            version = packages.get("transformers", "")
            return refusal_here(ONLINE[quantization], "transformers", version, packages)
        return super().refusal_of_mode(quantization, packages)

    @classmethod
    def refusal_of_model(cls, model: Model, quantization: str, setup: Setup) -> Refusal | None:
        online = ONLINE.get(quantization)
        if online and setup.on_cpu and not online.on_cpu:
            return Refusal(f"torchao runs {quantization} only on a GPU", by_nature=True)
        return None

    @classmethod
    def refusal_of_format(
        cls, stored: CheckpointFormat, packages: Mapping[str, str], setup: Setup
    ) -> Refusal | None:
        return refusal_of_format(stored, packages, setup)

    def load(self, spec: EngineSpec) -> EngineInfo:
        import torch
        from transformers import AutoTokenizer

        # On a CPU, int8 logs one line per layer and token.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        if spec.threads:
            torch.set_num_threads(spec.threads)
        self._torch = torch
        given = of_generate(spec.args)
        self._of_generate = ready_for_generate(spec)
        dtype = getattr(torch, spec.compute_dtype)
        device = _device(spec, torch)
        self._tokenizer = None
        with own_code_explained(spec):
            if spec.random_weights:
                model = _random_model(spec, dtype, device)
            else:
                model = _trained_model(spec, dtype, device)
                self._tokenizer = AutoTokenizer.from_pretrained(
                    spec.model, revision=spec.revision, **own_code(spec)
                )
        config = model.config.to_dict()
        if reason := why_no_text(config):  # A hub id has no files before the load.
            raise ValueError(reason)
        model.eval()
        self._model = model
        self._device = model.get_input_embeddings().weight.device
        if _method(model) not in (None, "bitsandbytes"):
            # The first forward pass unpacks some formats. That of bitsandbytes only changes the layout
            # of 4-bit weights, and only on some CPUs: they are counted as they are everywhere else.
            with torch.inference_mode():
                model(torch.tensor([[0]], device=self._device))
        counts = counted(model, partial(_place, _device_map(model)))
        plain = parameters.of_config(model.config, own_code(spec))
        traits = resolved_traits(model, given, self._device.type == "cpu")
        static = traits["execution"].startswith("static")
        compiled = static and compiles(model, self._of_generate)
        self._shapes = Shapes(static, compiled)
        return EngineInfo(
            device=str(self._device),
            dtype=str(dtype).removeprefix("torch."),
            vocabulary=model.config.get_text_config().vocab_size,
            has_tokenizer=self._tokenizer is not None,
            parameters=parameters.total(counts, plain),
            revision=resolved_revision(spec),
            memory={"model_memory": counts["bytes"] / MIB},
            settings={
                "attention": str(getattr(model.config, "_attn_implementation", "unknown")),
                "threads": torch.get_num_threads(),
                **given,
                **({"compiled": compiled} if static else {}),
            },
            traits=traits,
            least_warmup=WARMUP_OF_COMPILED if compiled else 0,
            threads=torch.get_num_threads() if self._device.type == "cpu" else None,
            devices=max(1, len(_places(model) - {"cpu", "disk"})),
            context=context_of(config),
            mode=mode_of_config(config),
            weights=parameters.weights(counts, plain),
            # The numbers in another cache are not those of the compute type, or there are none.
            **({} if traits["cache"] else _described(model, spec, dtype)),
        )

    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        torch = self._torch
        length = max(request.output_len for request in requests)
        width = max(len(request.prompt_ids) for request in requests)
        recorder = _Recorder()
        self._shapes.enter(self._model, len(requests), width + length)
        sampling = self._sampling(requests[0])
        with torch.inference_mode():
            submitted = time.perf_counter()
            # Padding is on the left, so that every row continues at the same position.
            rows = [[0] * (width - len(r.prompt_ids)) + list(r.prompt_ids) for r in requests]
            mask = [[0] * (width - len(r.prompt_ids)) + [1] * len(r.prompt_ids) for r in requests]
            self._model.generate(
                input_ids=torch.tensor(rows, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                streamer=recorder,
                **sampling,
                num_beams=1,
                max_new_tokens=length,
                # As a keyword, because None in a generation config is replaced by the model's value.
                eos_token_id=None,
                pad_token_id=0,
                **self._of_generate,
            )
        # The first call of put has the prompt itself.
        times = recorder.times[1:]
        tokens = [row.tolist() for row in recorder.tokens[1:]]
        return [
            RequestTrace(
                submitted=submitted,
                times=tuple(times[: request.output_len]),
                counts=(1,) * len(times[: request.output_len]),
                input_tokens=len(request.prompt_ids),
                token_ids=tuple(step[i] for step in tokens[: request.output_len]),
            )
            for i, request in enumerate(requests)
        ]

    def _sampling(self, request: Request) -> dict[str, Any]:
        """Return the arguments of a batch's sampling, whose seed is that of its first request."""
        if not request.temperature:
            return {"do_sample": False}
        self._torch.manual_seed(request.seed)
        # The whole distribution, whatever the checkpoint's generation_config.json says.
        whole = {"top_k": 0, "top_p": 1.0, "min_p": None, "typical_p": 1.0}
        return {"do_sample": True, "temperature": request.temperature, **whole}

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        torch = self._torch
        if reason := why_too_long(len(ids), 0, context_of(self._model.config.to_dict())):
            raise ValueError(reason)
        with torch.inference_mode():
            logits = self._model(torch.tensor([list(ids)], device=self._device)).logits[0, :-1]
            rows: NDArray[numpy.float32] = logits.float().log_softmax(dim=-1).cpu().numpy()
        return rows

    def reset_peak_memory(self) -> None:
        if self._device.type != "cuda":
            return super().reset_peak_memory()
        for index in range(self._torch.cuda.device_count()):
            self._torch.cuda.reset_peak_memory_stats(index)

    def peak_memory(self) -> float:
        if self._device.type != "cuda":
            return super().peak_memory()
        count = self._torch.cuda.device_count()
        return float(sum(self._torch.cuda.max_memory_allocated(i) for i in range(count))) / MIB

    def close(self) -> None:
        del self._model
        gc.collect()


class _Recorder:
    """A streamer: ``generate`` calls ``put`` with the ids of a step once they are on the host."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.tokens: list[torch.Tensor] = []

    def put(self, value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())
        self.tokens.append(value)

    def end(self) -> None:
        """Ignore the end of the stream, which has no token."""


def _device(spec: EngineSpec, torch: Any) -> str:
    """Return the device as torch names it.

    Raises:
        ValueError: torch does not see that GPU. Left alone, transformers would fail to import the model.
    """
    visible = torch.cuda.device_count()
    if spec.device == "auto":
        return "cuda:0" if visible else "cpu"
    device = "cuda:0" if spec.device == "cuda" else spec.device
    index = device.partition(":")[2]
    if index and int(index) >= visible:
        first = ", and the first is cuda:0" if visible else ""
        raise ValueError(f"--llm-device={spec.device}: torch sees {visible} GPU(s){first}")
    return device


def _options(spec: EngineSpec, dtype: torch.dtype, device: str) -> dict[str, Any]:
    options: dict[str, Any] = {"dtype": dtype, "device_map": device}
    if spec.online_mode != "none":
        options["quantization_config"] = quantization_config(spec, dtype)
    return options | _of_loading(spec)


def _of_loading(spec: EngineSpec) -> dict[str, Any]:
    """Return the user's arguments for ``from_pretrained``."""
    return {k: v for k, v in spec.args.items() if not k.startswith(arguments.GENERATE)}


def _trained_model(spec: EngineSpec, dtype: torch.dtype, device: str) -> Any:
    return whole_model(
        text_model,
        "from_pretrained",
        spec.model,
        revision=spec.revision,
        **_options(spec, dtype, device),
    )


def _random_model(spec: EngineSpec, dtype: torch.dtype, device: str) -> Any:
    """Return the architecture with random weights; a quantized model is first built on the CPU."""
    code = own_code(spec)
    plain = spec.online_mode == "none" and not _of_loading(spec).keys() - code
    model = random_weights.build(spec, dtype, device if plain else "cpu")
    if plain:
        return model
    # from_pretrained needs a checkpoint in the Auto class, but not in the model's class.
    loaded = type(model).from_pretrained(
        None, config=model.config, state_dict=model.state_dict(), **_options(spec, dtype, device)
    )
    del model
    gc.collect()
    return loaded


def _described(model: Any, spec: EngineSpec, dtype: torch.dtype) -> dict[str, Any]:
    """Return the fields of ``EngineInfo`` for utilization."""
    config = model.config.to_dict()
    architecture = Architecture.counted(config)
    places = _places(model)
    # Layers that are offloaded to the host's memory use another bus than the measured one.
    if architecture is None or (len(places) > 1 and places & {"cpu", "disk"}):
        return {}
    table = model.get_input_embeddings().weight
    # LLM.int8() multiplies integers; the products of a quantized checkpoint are unknown here.
    unquantized = spec.online_mode == "none" and not config.get("quantization_config")
    floats = unquantized or spec.online_mode in ("fp4", "nf4", "nf4-dq")
    return {
        "architecture": architecture,
        "embedding_bytes": float(table.numel() * table.element_size()),
        "cache_value_bytes": dtype.itemsize,
        "arithmetic": str(dtype).removeprefix("torch.") if floats else None,
    }


def _method(model: Any) -> str | None:
    """Return the method that quantized a model, as its checkpoint or this package names it."""
    quantizer = getattr(model, "hf_quantizer", None)
    method = quantizer.quantization_config.quant_method if quantizer else None
    return None if method is None else str(getattr(method, "value", method))


def _device_map(model: Any) -> dict[str, str]:
    """Return the places of the layers by name, the whole model's name being empty."""
    places = getattr(model, "hf_device_map", None) or {"": 0}
    return {name: str(place) for name, place in places.items()}


def _places(model: Any) -> set[str]:
    """Return the places of the layers: GPUs, ``cpu``, ``disk``."""
    return set(_device_map(model).values())


def _place(places: Mapping[str, str], name: str) -> str:
    """Return where a module's weights are whose tensors are empty: ``cpu`` or ``disk``."""
    inside = [part for part in places if not part or f"{name}.".startswith(f"{part}.")]
    return places[max(inside, key=len)] if inside else "unknown"
