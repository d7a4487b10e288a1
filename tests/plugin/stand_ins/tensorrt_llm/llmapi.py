"""The parts of TensorRT-LLM's LLM API that the backend uses, in their documented shapes."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class KvCacheConfig:
    enable_block_reuse: bool = True
    free_gpu_memory_fraction: float | None = None


@dataclass
class SamplingParams:
    max_tokens: int = 32
    ignore_eos: bool = False
    top_k: int | None = None
    detokenize: bool = True


@dataclass
class CompletionOutput:
    index: int
    token_ids: list[int] = field(default_factory=list)


class RequestOutput:
    """A result that can be iterated over, once for each answer; its token ids grow."""

    def __init__(self, prompt_token_ids, parameters, streaming):
        asyncio.get_running_loop()  # As the real one, it belongs to the loop that asked for it.
        assert streaming
        self.prompt_token_ids = prompt_token_ids
        self.outputs = [CompletionOutput(0)]
        self.cached_tokens = 0
        self._parameters = parameters

    def __aiter__(self):
        return self

    async def __anext__(self):
        ids = self.outputs[0].token_ids
        if len(ids) == self._parameters.max_tokens:
            raise StopAsyncIteration
        await asyncio.sleep(0.030 if not ids else 0.004)
        ids.append((self.prompt_token_ids[-1] + len(ids)) % 1000)
        return self


class LLM:
    def __init__(
        self,
        model,
        tokenizer=None,
        skip_tokenizer_init=False,
        tensor_parallel_size=1,
        dtype="auto",
        revision=None,
        kv_cache_config=None,
        load_format="auto",
    ):
        Path("llm.json").write_text(
            json.dumps(
                {
                    "model": model,
                    "dtype": dtype,
                    "load_format": load_format,
                    "tensor_parallel_size": tensor_parallel_size,
                    "kv_cache_config": vars(kv_cache_config),
                }
            )
        )
        self.tokenizer = None if skip_tokenizer_init else object()

    def generate_async(self, inputs, sampling_params=None, streaming=False):
        assert sampling_params.ignore_eos
        assert sampling_params.top_k == 1
        return RequestOutput(inputs["prompt_token_ids"], sampling_params, streaming)

    def shutdown(self):
        Path("shutdown").touch()
