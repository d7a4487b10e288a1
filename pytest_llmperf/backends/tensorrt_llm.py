"""TensorRT-LLM through its LLM API, in a separate environment (``--llm-python tensorrt-llm=PATH``).

This module follows the API reference of TensorRT-LLM 1.2, and was only run against a stand-in: its
packages are not on a public index, and it needs an NVIDIA GPU. docs/reference/engines.md explains the
consequences.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.engine import EngineInfo, EngineSpec, Refusal, Setup
from ..core.trace import RequestTrace
from ..core.traits import Traits, cache_trait, in_id
from ..core.workload import Request
from ..machine.host import only_visible
from ..machine.memory import DeviceMemory
from . import arguments
from .base import Backend, parallel_devices, parallel_traits
from .hub import resolved_revision

if TYPE_CHECKING:
    from ..core.models import Model

_CACHE = "kv_cache_config"


class TensorRTLLMBackend(Backend):
    """In-flight batching in the engine's processes; each request is a stream."""

    name = "tensorrt-llm"
    distributions = ("tensorrt-llm",)
    companions = ("torch", "transformers", "tensorrt")
    peak_by_driver = True
    refused_args = arguments.TENSORRT_LLM
    variables = ("PYTORCH_*", "TLLM_*", "TORCH*", "TRTLLM_*")
    install_hint = "its pinned packages need a separate environment: --llm-python tensorrt-llm=PATH"

    @classmethod
    def traits(cls, args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
        whole = args.get(_CACHE)
        of_cache = args.get(
            f"{_CACHE}.dtype", whole.get("dtype") if isinstance(whole, dict) else None
        )
        attention = args.get("attn_backend")
        return Traits(
            devices=parallel_traits(args),
            cache=cache_trait(str(of_cache)) if of_cache not in (None, "auto") else "",
            attention=f"attn{in_id(str(attention))}" if attention else "",
            # The engine records CUDA graphs unless it is given none.
            execution="eager" if args.get("cuda_graph_config", True) is None else "",
            speculation="spec" if args.get("speculative_config") else "",
        )

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        if quantization == "none":
            return None
        return Refusal(
            f"TensorRT-LLM cannot quantize to {quantization}: it runs a checkpoint in its own mode",
            by_nature=True,
        )

    def load(self, spec: EngineSpec) -> EngineInfo:
        if spec.device == "cpu":
            raise ValueError("TensorRT-LLM runs only on NVIDIA GPUs, not with --llm-device=cpu")
        if spec.device.startswith("cuda:"):
            os.environ["CUDA_VISIBLE_DEVICES"] = only_visible(spec.device, os.environ)
        from tensorrt_llm import LLM
        from tensorrt_llm.llmapi import KvCacheConfig

        self._device_memory = DeviceMemory()
        cache = {k.partition(".")[2]: v for k, v in spec.args.items() if k.startswith(f"{_CACHE}.")}
        llm_args = {k: v for k, v in spec.args.items() if not k.startswith(f"{_CACHE}.")}
        options: dict[str, Any] = {
            "model": spec.model,
            "revision": spec.revision,
            "dtype": spec.compute_dtype,
            # A prompt that was seen before must take as long as the first time.
            _CACHE: KvCacheConfig(**{"enable_block_reuse": False, **cache}),
        }
        if spec.random_weights:
            options |= {"load_format": "dummy", "skip_tokenizer_init": True}
        self._llm: Any = LLM(**options | llm_args)
        self._tokenizer: Any = None if spec.random_weights else self._llm.tokenizer
        # One event loop, which lives as long as the engine, awaits its results.
        self._loop = asyncio.new_event_loop()
        return EngineInfo(
            device="cuda:0",
            dtype=spec.compute_dtype,
            vocabulary=_vocabulary(spec, self._tokenizer),
            has_tokenizer=self._tokenizer is not None,
            revision=resolved_revision(spec),
            settings={"tensor_parallel_size": int(spec.args.get("tensor_parallel_size", 1))},
            devices=parallel_devices(spec.args),
        )

    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        return self._loop.run_until_complete(self._generate(requests))

    async def _generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        from tensorrt_llm import SamplingParams

        parameters = {
            length: SamplingParams(max_tokens=length, ignore_eos=True, top_k=1, detokenize=False)
            for length in {request.output_len for request in requests}
        }
        submitted = time.perf_counter()
        streams = [
            self._llm.generate_async(
                {"prompt_token_ids": list(request.prompt_ids)},
                sampling_params=parameters[request.output_len],
                streaming=True,
            )
            for request in requests
        ]
        return await asyncio.gather(*(_follow(stream, submitted) for stream in streams))

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def close(self) -> None:
        self._llm.shutdown()
        self._loop.close()


async def _follow(stream: Any, submitted: float) -> RequestTrace:
    """Return the trace of one request; each answer contains all token ids so far."""
    times: list[float] = []
    counts: list[int] = []
    known = 0
    async for answer in stream:
        now = time.perf_counter()
        new = len(answer.outputs[0].token_ids) - known
        if new > 0:
            times.append(now)
            counts.append(new)
            known += new
    return RequestTrace(
        submitted=submitted,
        times=tuple(times),
        counts=tuple(counts),
        input_tokens=len(stream.prompt_token_ids),
        token_ids=tuple(stream.outputs[0].token_ids),
        cached_tokens=int(getattr(stream, "cached_tokens", 0) or 0),
    )


def _vocabulary(spec: EngineSpec, tokenizer: Any) -> int:
    """Return the number of token ids, from the model's configuration if it is on this machine."""
    config = Path(spec.model) / "config.json"
    if config.is_file():
        return int(json.loads(config.read_text("utf-8"))["vocab_size"])
    return int(tokenizer.vocab_size)
