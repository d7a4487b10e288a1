"""CTranslate2: a static batch on a converted model, which is quantized during the conversion."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.architecture import Architecture, window_of
from ..core.context import context_of
from ..core.engine import EngineInfo, EngineSpec, Refusal, Setup
from ..core.errors import NotSupported
from ..core.progress import Progress
from ..core.trace import RequestTrace
from ..core.traits import Traits
from ..core.units import MIB
from ..core.workload import Request
from ..machine.cpu_name import cpu_features, cpu_name
from ..machine.host import accelerator_names, visible_gpus
from ..machine.memory import DeviceMemory
from . import arguments
from .base import Backend
from .chat_template import chat_of, rendered
from .contract import Contract
from .conversion import capped, folder_digest, make_once
from .ctranslate2_errors import conversion_explained
from .hub import own_code, own_code_explained, resolved_revision, whole_model

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..core.checkpoint_format import CheckpointFormat
    from ..core.models import Model

# Part of the converted folder's name: increase it if the conversion changes.
_VERSION = 5
_NOTES = "llmperf.json"
_FLOATS = ("bfloat16", "float16", "float32")
_BYTES = {"int8": 1, "int16": 2, "bfloat16": 2, "float16": 2, "float32": 4}
# The converter reads the layout that these models had before transformers included them.
_NOT_CONVERTED = {"phi": "Phi", "phi3": "Phi-3", "gpt_neox": "GPT-NeoX"}
# Keyword arguments of each call to generate; all others belong to the Generator.
_OF_GENERATE = ("max_batch_size", "batch_type")


class CTranslate2Backend(Backend):
    """One static batch per round; ``max_batch_size`` splits it into successive batches."""

    name = "ctranslate2"
    distributions = ("ctranslate2",)
    companions = ("transformers", "torch", "tokenizers")
    variables = ("CT2_*",)
    install_hint = "pip install 'pytest-llmperf[ctranslate2]'"
    modes = ("none", "int8")
    refused_args = arguments.CTRANSLATE2
    further_modes = ("int8_float32", "int8_bfloat16", "int8_float16", "int16")
    peak_by_driver = True
    chats = True
    # Its random numbers begin anew for no call: the same seed draws other tokens.
    samples = False
    tells_architecture = True
    # On a CPU it computes in float32, so it needs twice the memory of a bfloat16 checkpoint. Each row
    # of integers has a float32 factor.
    contract = Contract(
        weights_mib={"none": (513, 514), "int8": (129, 131)},
        products={"none": ("float32", 4), "int8": (None, 1 + 4 / 576)},
        cache_value_bytes=4,
    )

    @classmethod
    def traits(cls, args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
        return Traits(attention="attnflash" if args.get("flash_attention") is True else "")

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        refusal = super().refusal_of_mode(quantization, packages)
        if refusal is None and "transformers" not in packages:
            return Refusal(
                f"CTranslate2 converts models with transformers: {cls.install_hint}",
                by_nature=False,
            )
        return refusal

    @classmethod
    def refusal_of_model(cls, model: Model, quantization: str, setup: Setup) -> Refusal | None:
        family = _NOT_CONVERTED.get(model.model_type or "")
        if family:
            reason = f"CTranslate2 cannot convert {family} in the layout of transformers 5"
        elif setup.random_weights:
            reason = (
                "CTranslate2 loads only converted checkpoints: --llm-load-format=dummy has none"
            )
        elif setup.on_cpu and quantization.endswith(("_bfloat16", "_float16")):
            reason = f"CTranslate2 computes in {quantization} only on a GPU"
        elif setup.on_cpu and setup.dtype in ("bfloat16", "float16"):
            reason = f"CTranslate2 computes in {setup.dtype} only on a GPU"
        else:
            return None
        return Refusal(reason, by_nature=True)

    @classmethod
    def refusal_of_format(
        cls, stored: CheckpointFormat, packages: Mapping[str, str], setup: Setup
    ) -> Refusal | None:
        reason = f"CTranslate2 converts unquantized checkpoints only, not {stored.mode}"
        return Refusal(reason, by_nature=True)

    @classmethod
    def ready(cls, spec: EngineSpec, cache: Path, packages: Mapping[str, str]) -> EngineSpec | None:
        version = packages.get("ctranslate2", "")
        # Only the engine knows the compute type of a mode on a device; ``prepare`` stores it in a file.
        try:
            compute_type = _noted_type(spec, cache, version).read_text("utf-8")
        except OSError:
            return None
        source = super().ready(spec, cache, packages) if spec.local else None
        if source is None:
            return None
        folder = _converted_folder(Path(source.model), cache, compute_type, version)
        return replace(source, model=str(folder)) if folder.is_dir() else None

    @classmethod
    def prepare(cls, spec: EngineSpec, cache: Path, report: Progress) -> EngineSpec:
        import ctranslate2

        version = ctranslate2.__version__
        compute_type = _compute_type(spec, _device(spec)[0])
        type_file = _noted_type(spec, cache, version)
        if spec.is_gguf:
            spec = super().prepare(spec, cache, report)
        elif not spec.local:
            report("download", 0, 0)
            spec = _downloaded(spec)
        source = Path(spec.model)
        folder = _converted_folder(source, cache, compute_type, version)
        if not folder.is_dir():

            def make(part: Path) -> None:
                _convert(source, compute_type, part, own_code(spec))

            with own_code_explained(spec), conversion_explained():
                make_once(folder, "convert", make, report)
        # Without the stored type, the next load runs ``prepare`` again.
        with suppress(OSError):
            type_file.parent.mkdir(parents=True, exist_ok=True)
            type_file.write_text(compute_type, "utf-8")
        return replace(spec, model=str(folder))

    def load(self, spec: EngineSpec) -> EngineInfo:
        import ctranslate2
        from tokenizers import Tokenizer

        folder = Path(spec.model)
        device, index = _device(spec)
        compute_type = _compute_type(spec, device)
        self._device_memory = DeviceMemory() if device == "cuda" else None
        self._of_generate = {k: v for k, v in spec.args.items() if k in _OF_GENERATE}
        options: dict[str, Any] = {
            "device": device,
            "device_index": index,
            "compute_type": compute_type,
            "inter_threads": 1,
            "intra_threads": spec.threads or 0,
        }
        elsewhere = (*_OF_GENERATE, *own_code(spec))
        options |= {k: v for k, v in spec.args.items() if k not in elsewhere}
        threads = options["intra_threads"]
        self._generator: Any = ctranslate2.Generator(str(folder), **options)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokens: list[str] = json.loads((folder / "vocabulary.json").read_text("utf-8"))
        notes = json.loads((folder / _NOTES).read_text("utf-8"))
        self._window: int | None = notes["window"]
        self._chat: dict[str, Any] | None = notes["chat"]
        if f"-ct2-{compute_type}-" not in folder.name:
            raise RuntimeError(f"{folder.name} was not converted to {compute_type}: remove it")
        # The type that runs, not the requested type: an unknown type falls back without a message.
        actual = self._generator.compute_type
        return EngineInfo(
            device=f"cuda:{index}" if device == "cuda" else "cpu",
            dtype=actual.rpartition("_")[2] if actual != "int16" else "float32",
            vocabulary=len(self._tokens),
            has_tokenizer=True,
            parameters=notes["parameters"],
            revision=resolved_revision(spec),
            memory={"model_memory": (folder / "model.bin").stat().st_size / MIB},
            settings={"compute_type": actual, "threads": threads, **self._of_generate},
            # One worker computes a batch; 0 leaves the number of threads to the engine.
            threads=threads or None if device == "cpu" else None,
            context=notes.get("context"),
            **_described(notes, actual, compute_type),
        )

    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        times: list[list[float]] = [[] for _ in requests]
        tokens: list[list[int]] = [[] for _ in requests]

        def receive(step: Any) -> bool:
            now = time.perf_counter()
            i: int = step.batch_id
            times[i].append(now)
            tokens[i].append(step.token_id)
            # True ends only this request: the batch continues until its longest request ends.
            return len(tokens[i]) >= requests[i].output_len

        longest = max(request.output_len for request in requests)
        submitted = time.perf_counter()
        self._generator.generate_batch(
            [[self._tokens[i] for i in request.prompt_ids] for request in requests],
            max_length=longest,
            min_length=longest,
            end_token=[],  # No token ends a sequence.
            beam_size=1,
            sampling_topk=1,
            # This computes the prompt as a whole; otherwise it is computed token by token.
            include_prompt_in_result=False,
            callback=receive,
            **self._of_generate,
        )
        return [
            RequestTrace.token_by_token(submitted, len(request.prompt_ids), times[i], tokens[i])
            for i, request in enumerate(requests)
        ]

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        import ctranslate2
        import numpy

        try:
            answer = self._generator.forward_batch(
                [[self._tokens[i] for i in ids]], return_log_probs=True
            )
        except ValueError:
            # Its copy of the keys has only as many places as the window.
            if self._window is None or len(ids) <= self._window:
                raise
            raise NotSupported(
                f"CTranslate2 reports no probabilities of a text of {len(ids)} tokens in a model with a "
                f"window of {self._window}"
            ) from None
        if answer.device != "cpu":
            answer = answer.to_device(ctranslate2.Device.cpu)
        if answer.dtype != ctranslate2.DataType.float32:
            answer = answer.to(ctranslate2.DataType.float32)
        # A copy, because the array would be a view of memory that is freed with the answer.
        return numpy.array(answer, dtype=numpy.float32)[0, :-1]

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        if self._chat is None:
            raise ValueError("the model has no chat template: give prompts of text or token ids")
        text = rendered(self._chat, messages)
        # The template writes the special tokens.
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def close(self) -> None:
        self._generator.unload_model()


def _converted_folder(source: Path, cache: Path, compute_type: str, version: str) -> Path:
    """Return the folder of a converted checkpoint, whether or not it exists yet."""
    name = f"{capped(source.name)}-ct2-{compute_type}-{version}"
    return cache / "models" / f"{name}-{folder_digest(source, _VERSION)}"


def _noted_type(spec: EngineSpec, cache: Path, version: str) -> Path:
    """Return the file that stores the compute type of a mode on machines like this one."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("CT2_")}
    request = [version, spec.quantization, spec.dtype, spec.device]
    machine = [cpu_name(), cpu_features(), accelerator_names(), visible_gpus(), settings]
    name = hashlib.sha256(json.dumps([request, machine], sort_keys=True).encode()).hexdigest()[:16]
    return cache / "compute-types" / f"ctranslate2-{name}.txt"


def _device(spec: EngineSpec) -> tuple[str, int]:
    import ctranslate2

    kind, _, index = spec.device.partition(":")
    if kind == "auto":
        kind = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    return kind, int(index or 0)


def _compute_type(spec: EngineSpec, device: str) -> str:
    """Return the engine's compute type for a mode and a dtype; ``auto`` is bfloat16 if possible."""
    import ctranslate2

    supported: Collection[str] = ctranslate2.get_supported_compute_types(device)
    floats = _FLOATS if spec.dtype == "auto" else (spec.dtype,)
    wanted = {
        "none": floats,
        "int8": tuple(f"int8_{name}" for name in floats),
    }.get(spec.quantization, (spec.quantization,))
    for name in wanted:
        if name in supported:
            return name
    raise ValueError(
        f"CTranslate2 cannot compute in {' or '.join(wanted)} on this {device}; it can: "
        f"{', '.join(sorted(supported))}"
    )


def _described(notes: Mapping[str, Any], actual: str, stored: str) -> dict[str, Any]:
    """Return the fields of ``EngineInfo`` for utilization.

    Args:
        notes: what the conversion stored about the model.
        actual: the type that the engine computes in.
        stored: the type in the file. Unless the types differ, the file is as large as the weights.
    """
    if not notes.get("architecture") or actual != stored:
        return {}
    shape = Architecture(**notes["architecture"])
    weights, _, floats = actual.rpartition("_")
    value_bytes = _BYTES.get(floats, 4)
    per_weight = _BYTES[weights or actual]
    # Each row of integers has a float32 factor.
    factors = 4 * shape.vocabulary if actual.startswith("int") else 0
    return {
        "architecture": shape,
        "embedding_bytes": float(shape.embedding_parameters * per_weight + factors),
        "cache_value_bytes": value_bytes,
        "arithmetic": actual if actual in _FLOATS else None,
    }


def _downloaded(spec: EngineSpec) -> EngineSpec:
    from huggingface_hub import snapshot_download

    path = snapshot_download(
        spec.model, revision=spec.revision, allow_patterns=["*.json", "*.safetensors", "*.model"]
    )
    return replace(spec, model=path, local=True, revision=Path(path).name)


def _convert(source: Path, compute_type: str, folder: Path, code: Mapping[str, bool]) -> None:
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoConfig, AutoTokenizer

    class Converter(TransformersConverter):  # type: ignore[misc]
        def load_model(self, model_class: Any, name: str, **options: Any) -> Any:
            return whole_model(model_class.from_pretrained, name, **options)

    converter = Converter(str(source), **code)
    converter.convert(str(folder), quantization=compute_type, force=True)
    tokenizer = AutoTokenizer.from_pretrained(str(source), **code)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    # The engine's configuration does not store these. AutoConfig adds defaults that the file omits.
    config = AutoConfig.from_pretrained(str(source), **code).to_dict()
    shape = Architecture.counted(config)
    notes = {
        "parameters": _parameter_count(source),
        "architecture": shape and shape.to_wire(),
        "context": context_of(config),
        "window": window_of(config),
        "chat": chat_of(tokenizer),
    }
    (folder / _NOTES).write_text(json.dumps(notes), "utf-8")


def _parameter_count(source: Path) -> int | None:
    """Return the number of parameters from a checkpoint's headers, or None for another format."""
    from safetensors import safe_open

    files = sorted(source.glob("*.safetensors"))
    total = 0
    for path in files:
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                total += size
    return total if files else None
