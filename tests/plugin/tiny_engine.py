"""A whole backend of another package: an engine that counts upwards, a token a millisecond."""

import time
from dataclasses import replace

from pytest_llmperf.backends import Backend, Contract, EngineInfo, RequestTrace


class TinyBackend(Backend):
    name = "tiny"
    distributions = ("tiny-engine",)
    install_hint = "pip install tiny-engine"
    modes = ("none", "half")
    computes_text = False
    contract = Contract(foreign_mode="nf4")

    @classmethod
    def ready(cls, spec, cache, packages):
        return replace(spec, model="")  # It reads no file.

    def load(self, spec):
        return EngineInfo(
            device="cpu",
            dtype=spec.compute_dtype,
            vocabulary=1000,
            has_tokenizer=True,
            memory={"model_memory": 1.0 if spec.quantization == "none" else 0.5},
        )

    def generate(self, requests):
        submitted = time.perf_counter()
        times = []
        for _ in range(max(request.output_len for request in requests)):
            time.sleep(0.001)
            times.append(time.perf_counter())
        return [
            RequestTrace(
                submitted=submitted,
                times=tuple(times[: request.output_len]),
                counts=(1,) * request.output_len,
                input_tokens=len(request.prompt_ids),
                token_ids=tuple(
                    (request.prompt_ids[-1] + i) % 1000 for i in range(request.output_len)
                ),
            )
            for request in requests
        ]

    def encode(self, text):
        return [ord(letter) % 1000 for letter in text]

    def decode(self, ids):
        return " ".join(str(i) for i in ids)
