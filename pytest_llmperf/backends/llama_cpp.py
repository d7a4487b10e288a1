"""llama.cpp with its server's scheduler, in process (xllamacpp): it runs GGUF files directly."""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.engine import EngineInfo, EngineSpec
from ..core.gguf import file_type, header
from ..core.trace import RequestTrace
from ..core.workload import Request
from . import arguments
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

# A proxy from the environment must not be used for this machine's loopback address.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_SLOTS = 8
_POOL_TOKENS = 16384
_GPU_TYPES = (1, 2)  # ggml_backend_dev_type: a dedicated GPU, an integrated GPU.
_CONTROL = 3  # In tokenizer.ggml.token_type: tokens that are not text.


class LlamaCppBackend(GgufBackend):
    """Continuous batching over a fixed number of slots, each with a share of the context."""

    name = "llama-cpp"
    chats = True
    samples = True
    distributions = ("xllamacpp",)
    refused_args = arguments.LLAMA_CPP
    variables = ("GGML_*", "LLAMA_*")
    install_hint = "pip install 'pytest-llmperf[llama-cpp]'"
    cache_args = ("cache_type_k", "cache_type_v")

    def load(self, spec: EngineSpec) -> EngineInfo:
        import xllamacpp

        path = Path(spec.model)
        gpus = [d for d in xllamacpp.get_device_info() if int(d["type"]) in _GPU_TYPES]
        on_gpu = self._use_gpu(spec, bool(gpus))
        parameters = _parameters(xllamacpp.CommonParams(), spec, on_gpu)
        self._slots: int = parameters.n_parallel
        shares = 1 if parameters.kv_unified else self._slots
        self._slot_tokens: int = parameters.n_ctx // shares
        # An argument of the user may give other keys, or none.
        self._key: str = next(iter(parameters.api_keys), "")
        self._server: Any = xllamacpp.Server(parameters)
        meta = self._ask("/v1/models")["data"][0]["meta"]
        self._control = _control_tokens(path)
        types = int(parameters.cache_type_k), int(parameters.cache_type_v)
        return EngineInfo(
            device=device_name(spec, on_gpu),
            dtype="float32",
            vocabulary=meta["n_vocab"],
            has_tokenizer=True,
            parameters=meta["n_params"],
            revision=resolved_revision(spec),
            memory=memory_mib(meta["size"], pool_bytes(path, parameters.n_ctx, *types)),
            settings={
                "file_type": file_type(path),
                "n_parallel": parameters.n_parallel,
                "n_ctx": parameters.n_ctx,
                "n_batch": parameters.n_batch,
                "n_ubatch": parameters.n_ubatch,
                "n_gpu_layers": parameters.n_gpu_layers,
                "threads": parameters.cpuparams.n_threads,
                "system": xllamacpp.get_system_info(),
            },
            threads=cpu_threads(parameters.cpuparams.n_threads, on_gpu),
            **described(path, on_gpu, *types),
        )

    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        self._check_fits(requests)
        answers: list[list[_Answer]] = [[] for _ in requests]
        problems: list[str] = []

        def receive(chunk: Any) -> bool:
            now = time.perf_counter()
            if isinstance(chunk, dict) and "timings" in chunk:
                answers[chunk["choices"][0]["index"]].append(_Answer(now, chunk["timings"]))
            elif isinstance(chunk, dict):
                problems.append(_problem(chunk))
            return False  # True would stop the server.

        # One call with all prompts, so that the server starts them together.
        call = self._body(requests) | {"stream": True, "timings_per_token": True}
        submitted = time.perf_counter()
        self._server.handle_completions(call, receive)
        if problems:
            raise RuntimeError(problems[0])
        return [
            _trace(submitted, request, chunks)
            for request, chunks in zip(requests, answers, strict=True)
        ]

    def continue_ids(self, requests: Sequence[Request]) -> list[list[int]]:
        # The stream omits the ids of tokens that end in the middle of a character.
        self._check_fits(requests)
        answer = self._ask("/completion", self._body(requests) | {"return_tokens": True})
        parts = answer if isinstance(answer, list) else [answer]
        tokens = {part["index"]: part["tokens"] for part in parts}
        return [list(tokens[i][: request.output_len]) for i, request in enumerate(requests)]

    def encode(self, text: str) -> list[int]:
        call = {"content": text, "add_special": True, "parse_special": True}
        ids: list[int] = self._ask("/tokenize", call)["tokens"]
        return ids

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        text = self._ask("/apply-template", {"messages": [dict(m) for m in messages]})["prompt"]
        ids = self.encode(text)
        # Its tokenizer adds special tokens before any text, and the template may write them, too.
        added = self.encode("")
        twice = bool(added) and ids[: 2 * len(added)] == added * 2
        return ids[len(added) :] if twice else ids

    def decode(self, ids: Sequence[int]) -> str:
        kept = [i for i in ids if i not in self._control]
        text: str = self._ask("/detokenize", {"tokens": kept})["content"]
        return text

    def close(self) -> None:
        del self._server

    def _check_fits(self, requests: Sequence[Request]) -> None:
        """Raise ValueError for requests that the server would queue or truncate."""
        if len(requests) > self._slots:
            raise ValueError(
                f"a batch of {len(requests)} needs as many slots, but this server has {self._slots}: "
                f"--llm-backend-arg=llama-cpp.n_parallel={len(requests)}"
            )
        longest = max(len(request.prompt_ids) + request.output_len for request in requests)
        if longest > self._slot_tokens:
            raise ValueError(
                f"a request of {longest} tokens does not fit in a slot of {self._slot_tokens}: "
                f"--llm-backend-arg=llama-cpp.n_ctx={longest * self._slots} (for {self._slots} slots)"
            )

    @staticmethod
    def _body(requests: Sequence[Request]) -> dict[str, Any]:
        return {
            "prompt": [list(request.prompt_ids) for request in requests],
            # One number for all requests: a shorter request is truncated to its own length.
            "n_predict": max(request.output_len for request in requests),
            "ignore_eos": True,
            "cache_prompt": False,
            **_sampling(requests[0]),
        }

    def _ask(self, route: str, body: Any = None) -> Any:
        """Call a route of the server, for work that is not measured; return its JSON answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._server.listening_address + route, data, headers)
        try:
            with _OPENER.open(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise RuntimeError(_problem(json.loads(error.read()))) from None


def _sampling(request: Request) -> dict[str, Any]:
    """Return the parameters of a batch's sampling, whose seed is that of its first request."""
    if not request.temperature:
        return {"temperature": 0}
    return {
        "temperature": request.temperature,
        "seed": request.seed,
        # Only the temperature: by default, others cut the distribution as well.
        "samplers": ["temperature"],
    }


class _Answer:
    """One chunk of the stream: its time of arrival, and the server's counts until then."""

    def __init__(self, now: float, timings: Mapping[str, Any]) -> None:
        self.now = now
        self.tokens: int = timings["predicted_n"]
        self.since_first: float = timings["predicted_ms"] / 1e3
        self.prompt: int = timings["prompt_n"]
        self.cached: int = timings["cache_n"]


def _trace(submitted: float, request: Request, answers: Sequence[_Answer]) -> RequestTrace:
    """Return the trace of a request.

    A chunk may contain several tokens, because the server sends whole characters.
    """
    times: list[float] = []
    counts: list[int] = []

    def add(now: float, tokens: int) -> None:
        tokens = min(tokens, request.output_len - sum(counts))
        if tokens > 0:
            times.append(now)
            counts.append(tokens)

    for answer in answers:
        if not times and answer.tokens > 1:
            # The first token was held back; the server's clock shows for how long.
            add(answer.now - answer.since_first, 1)
        add(answer.now, answer.tokens - sum(counts))
    last = answers[-1] if answers else None
    return RequestTrace(
        submitted=submitted,
        times=tuple(times),
        counts=tuple(counts),
        input_tokens=last.prompt + last.cached if last else 0,
        cached_tokens=last.cached if last else 0,
    )


def _parameters(parameters: Any, spec: EngineSpec, on_gpu: bool) -> Any:
    parameters.model.path = spec.model
    parameters.n_parallel = _SLOTS
    parameters.n_ctx = _POOL_TOKENS
    # A share of the context for each slot: with one shared context, each slot slows down decoding.
    parameters.kv_unified = False
    # No result of an earlier computation may be reused.
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    parameters.n_ctx_checkpoints = 0
    parameters.slot_prompt_similarity = 0.0
    parameters.verbosity = 2  # Errors and warnings.
    parameters.ui = False
    # Its port is open to everybody on this machine, and an answer to others takes time from ours.
    parameters.api_keys = [secrets.token_urlsafe(32)]
    if not on_gpu:
        parameters.n_gpu_layers = 0
    if on_gpu and ":" in spec.device:
        parameters.main_gpu = int(spec.device.partition(":")[2])
    if spec.threads:
        parameters.cpuparams.n_threads = spec.threads
        parameters.cpuparams_batch.n_threads = spec.threads
    for key, value in spec.args.items():
        _set(parameters, key, cache_type(value) if key in LlamaCppBackend.cache_args else value)
    return parameters


def _set(parameters: Any, key: str, value: Any) -> None:
    """Set one of llama.cpp's parameters, by its name in xllamacpp."""
    *path, last = key.split(".")
    holder = parameters
    for part in path:
        holder = getattr(holder, part, None)
    if not hasattr(holder, last):
        raise ValueError(f"llama-cpp has no argument {key!r}: see xllamacpp.CommonParams")
    try:
        setattr(holder, last, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"llama-cpp.{key}: {value!r} is refused ({error})") from None


def _problem(answer: Mapping[str, Any]) -> str:
    error = answer.get("error", answer)
    return str(error.get("message", error) if isinstance(error, Mapping) else error)


def _control_tokens(path: Path) -> frozenset[int]:
    kinds = header(path).values.get("tokenizer.ggml.token_type") or ()
    return frozenset(i for i, kind in enumerate(kinds) if kind == _CONTROL)
