"""llama.cpp through its C API (llama-cpp-python): a static batch in this module's decoding loop."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.engine import EngineInfo, EngineSpec
from ..core.gguf import file_type
from ..core.trace import RequestTrace
from ..core.workload import Request
from .gguf_file import (
    GgufBackend,
    cache_type,
    cpu_threads,
    described,
    device_name,
    memory_mib,
    pool_bytes,
)
from .hub import resolved_revision

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_SEQUENCES = 8
_POOL_TOKENS = 16384


@dataclass(frozen=True)
class _Entry:
    """One input token of a forward pass."""

    sequence: int
    position: int
    token: int
    wanted: bool
    """Whether to compute the logits of the next token."""


class LlamaCppPythonBackend(GgufBackend):
    """All sequences of a batch take each step together, until the longest one ends."""

    name = "llama-cpp-python"
    distributions = ("llama-cpp-python",)
    variables = ("GGML_*", "LLAMA_*")
    install_hint = "pip install 'pytest-llmperf[llama-cpp-python]' (compiles for minutes)"
    cache_args = ("type_k", "type_v")

    def load(self, spec: EngineSpec) -> EngineInfo:
        import llama_cpp

        self._api: Any = llama_cpp
        api = self._api
        api.llama_backend_init()
        on_gpu = self._use_gpu(spec, api.llama_supports_gpu_offload())
        weights, context = self._parameters(spec, on_gpu)
        path = Path(spec.model)
        self._model = api.llama_model_load_from_file(str(path).encode(), weights)
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path.name}; the log has the reason")
        self._context = api.llama_init_from_model(self._model, context)
        if not self._context:
            raise RuntimeError("llama.cpp cannot create a context; the log has the reason")
        self._vocabulary = api.llama_model_get_vocab(self._model)
        self._size: int = api.llama_vocab_n_tokens(self._vocabulary)
        self._sequences: int = context.n_seq_max
        self._capacity: int = context.n_batch
        self._batch = api.llama_batch_init(self._capacity, 0, 1)
        return EngineInfo(
            device=device_name(spec, on_gpu),
            dtype="float32",
            vocabulary=self._size,
            has_tokenizer=True,
            parameters=api.llama_model_n_params(self._model),
            revision=resolved_revision(spec),
            memory=memory_mib(
                api.llama_model_size(self._model),
                pool_bytes(path, context.n_ctx, context.type_k, context.type_v),
            ),
            settings={
                "file_type": file_type(path),
                "n_seq_max": context.n_seq_max,
                "n_ctx": context.n_ctx,
                "n_batch": context.n_batch,
                "n_ubatch": context.n_ubatch,
                "n_gpu_layers": weights.n_gpu_layers,
                "threads": context.n_threads,
                "system": api.llama_print_system_info().decode(),
            },
            threads=cpu_threads(context.n_threads, on_gpu),
            **described(path, on_gpu, context.type_k, context.type_v),
        )

    def _parameters(self, spec: EngineSpec, on_gpu: bool) -> tuple[Any, Any]:
        weights = self._api.llama_model_default_params()
        context = self._api.llama_context_default_params()
        weights.n_gpu_layers = -1 if on_gpu else 0
        if on_gpu and ":" in spec.device:
            weights.main_gpu = int(spec.device.partition(":")[2])
        context.n_ctx = _POOL_TOKENS
        context.n_seq_max = _SEQUENCES
        # A share of the context for each sequence.
        context.kv_unified = False
        if spec.threads:
            context.n_threads = context.n_threads_batch = spec.threads
        for key, value in spec.args.items():
            of_cache = key in self.cache_args
            _set(key, cache_type(value) if of_cache else value, context, weights)
        return weights, context

    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        if len(requests) > self._sequences:
            raise ValueError(
                f"a batch of {len(requests)} needs as many sequences, but this context has "
                f"{self._sequences}: --llm-backend-arg={self.name}.n_seq_max={len(requests)}"
            )
        api = self._api
        api.llama_memory_clear(api.llama_get_memory(self._context), True)
        times: list[list[float]] = [[] for _ in requests]
        tokens: list[list[int]] = [[] for _ in requests]
        entries = [
            _Entry(i, position, token, position == len(request.prompt_ids) - 1)
            for i, request in enumerate(requests)
            for position, token in enumerate(request.prompt_ids)
        ]
        submitted = time.perf_counter()
        while entries:
            following = []
            for start in range(0, len(entries), self._capacity):
                next_tokens = dict(self._step(entries[start : start + self._capacity]))
                now = time.perf_counter()
                for i, token in next_tokens.items():
                    times[i].append(now)
                    tokens[i].append(token)
                    request = requests[i]
                    if len(tokens[i]) < request.output_len:
                        position = len(request.prompt_ids) + len(tokens[i]) - 1
                        following.append(_Entry(i, position, token, True))
            entries = following
        return [
            RequestTrace.token_by_token(submitted, len(request.prompt_ids), times[i], tokens[i])
            for i, request in enumerate(requests)
        ]

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        import numpy

        api = self._api
        api.llama_memory_clear(api.llama_get_memory(self._context), True)
        entries = [_Entry(0, i, token, True) for i, token in enumerate(ids[:-1])]
        rows = numpy.empty((len(entries), self._size), dtype=numpy.float32)
        for start in range(0, len(entries), self._capacity):
            for i, _, logits in self._logits(entries[start : start + self._capacity]):
                row = logits.astype(numpy.float64)
                rows[start + i] = row - numpy.logaddexp.reduce(row)
        return rows

    def _step(self, entries: Sequence[_Entry]) -> Iterator[tuple[int, int]]:
        """Compute a forward pass; yield the sequence and likeliest next token of each wanted entry."""
        for _, sequence, logits in self._logits(entries):
            yield sequence, int(logits.argmax())

    def _logits(
        self, entries: Sequence[_Entry]
    ) -> Iterator[tuple[int, int, NDArray[numpy.float32]]]:
        """Compute a forward pass; yield index, sequence and logits (a view) of each wanted entry."""
        import numpy

        batch = self._batch
        batch.n_tokens = len(entries)
        for i, entry in enumerate(entries):
            batch.token[i] = entry.token
            batch.pos[i] = entry.position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = entry.sequence
            batch.logits[i] = entry.wanted
        status = self._api.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(
                f"llama_decode returned {status}"
                + (": the context is full (n_ctx, n_seq_max)" if status == 1 else "")
            )
        for i, entry in enumerate(entries):
            if entry.wanted:
                logits = self._api.llama_get_logits_ith(self._context, i)
                yield i, entry.sequence, numpy.ctypeslib.as_array(logits, shape=(self._size,))

    def encode(self, text: str) -> list[int]:
        data = text.encode()
        # A token is at least one byte, and the tokenizer may add a few special tokens.
        tokens = (self._api.llama_token * (len(data) + 8))()
        count = self._api.llama_tokenize(
            self._vocabulary, data, len(data), tokens, len(tokens), True, True
        )
        return list(tokens[:count])

    def decode(self, ids: Sequence[int]) -> str:
        tokens = (self._api.llama_token * len(ids))(*ids)
        size = 32 + 16 * len(ids)
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = self._api.llama_detokenize(
                self._vocabulary, tokens, len(ids), buffer, size, True, False
            )
            if length >= 0:
                return buffer.raw[:length].decode(errors="replace")
            size = -length

    def close(self) -> None:
        self._api.llama_batch_free(self._batch)
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)


def _set(key: str, value: Any, *holders: Any) -> None:
    """Set one of llama.cpp's parameters, in the first structure that has it."""
    for holder in holders:
        if key in dict(holder._fields_):
            try:
                setattr(holder, key, value)
            except TypeError as error:
                raise ValueError(
                    f"llama-cpp-python.{key}: {value!r} is refused ({error})"
                ) from None
            return
    known = ", ".join(name for holder in holders for name, *_ in holder._fields_)
    raise ValueError(f"llama-cpp-python has no argument {key!r}; known: {known}")
