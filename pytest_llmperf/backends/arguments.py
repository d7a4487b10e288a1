"""Arguments for an engine that would change what is measured, each with the reason why it is refused.

A name that ends in a dot stands for all that begin with it; ``NAME=VALUE`` for that value only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GREEDY = "decoding is greedy and of exact length, so that every engine does the same work"
_OTHER_MODEL = "another model than the one in the test id would be measured: give --llm-model"
_REVISION = "give --llm-revision, which is recorded"
_TYPE = "give --llm-dtype, which is recorded"
_LORA = (
    "no adapter can be named, so the base model would be measured: merge the adapter into it "
    "(merge_and_unload of peft), and give the folder of the result to --llm-model"
)
_RANDOM = "give --llm-load-format=dummy, which is recorded: the weights are random"

GENERATE = "generate."
"""Prefix of the arguments for each call of transformers' ``generate``."""
OF_GENERATE = (
    "cache_implementation",
    "cache_config",
    "compile_config",
    "disable_compile",
    "prefill_chunk_size",
    "use_cache",
)
"""Those that only change how the same tokens are computed."""
_SAMPLING = (
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "num_beams",
    "num_return_sequences",
    "repetition_penalty",
    "max_new_tokens",
    "min_new_tokens",
    "max_length",
    "min_length",
    "eos_token_id",
    "stop_strings",
)
TRANSFORMERS = {
    **dict.fromkeys(_SAMPLING, _GREEDY),
    **{f"{GENERATE}{name}": _GREEDY for name in _SAMPLING},
    **dict.fromkeys(OF_GENERATE, "it belongs to generate: give transformers.generate.KEY=VALUE"),
    **dict.fromkeys(
        ("pretrained_model_name_or_path", "config", "state_dict", "gguf_file"), _OTHER_MODEL
    ),
    "revision": _REVISION,
    "dtype": _TYPE,
    "torch_dtype": _TYPE,
    "adapter_kwargs": _LORA,
    "torch_compile": "transformers compiles by itself with a static cache on a GPU: give "
    "transformers.generate.cache_implementation=static",
}
VLLM = {
    **dict.fromkeys(("model", "model_weights", "hf_config_path"), _OTHER_MODEL),
    **dict.fromkeys(("enable_lora", "lora_modules", "default_mm_loras"), _LORA),
    **dict.fromkeys(
        ("runner=pooling", "task=embed", "convert=embed"), "only generation is measured"
    ),
    "revision": _REVISION,
    "dtype": _TYPE,
    "load_format=dummy": _RANDOM,
}
LLAMA_CPP = {
    **dict.fromkeys(("model.", "mmproj."), _OTHER_MODEL),
    **dict.fromkeys(("sampling.", "n_predict"), _GREEDY),
    **dict.fromkeys(("embedding", "reranking"), "only generation is measured"),
    "lora_adapters": _LORA,
}
CTRANSLATE2 = {
    "model_path": _OTHER_MODEL,
    "compute_type": "give --llm-quant or --llm-dtype, which are in the test id and in the record",
    "device": "give --llm-device, which is recorded",
}
TENSORRT_LLM = {
    "model": _OTHER_MODEL,
    **dict.fromkeys(("enable_lora", "lora_config"), _LORA),
    "revision": _REVISION,
    "dtype": _TYPE,
    "load_format=dummy": _RANDOM,
}


def reason_against(refused: Mapping[str, str], name: str, value: Any) -> str | None:
    """Return why an argument is refused, or None. One that is switched off never is."""
    if value is None or value is False:
        return None
    for key in (name, f"{name}={value}", f"{name.partition('.')[0]}."):
        if key in refused:
            return refused[key]
    return None
