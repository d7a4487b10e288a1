"""transformers: a plain synchronized ``model.generate`` on the model that we have loaded."""

from __future__ import annotations

import argparse
import time

from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.core.workload import Request

from .turns import INPUT_LEN, Results, in_turns, workload_of


def pairs(spec: EngineSpec, options: argparse.Namespace) -> Results:
    import torch

    from pytest_llmperf.backends.transformers import TransformersBackend

    backend = TransformersBackend()
    info = backend.load(spec)
    model, device = backend._model, torch.device(info.device)

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def ours(requests: list[Request]) -> float:
        trace = backend.generate(requests)[0]
        return trace.last - trace.submitted

    def theirs(requests: list[Request]) -> float:
        prompts = [request.prompt_ids for request in requests]
        synchronize()
        start = time.perf_counter()
        ids = torch.tensor(prompts, device=device)
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                eos_token_id=None,
                max_new_tokens=options.output_len,
                pad_token_id=0,
            )
        synchronize()
        seconds = time.perf_counter() - start
        assert output.shape[1] == INPUT_LEN + options.output_len
        return seconds

    def of_size(batch: int) -> tuple[list[float], list[float]]:
        workload = workload_of(options, batch)

        def requests(i: int) -> list[Request]:
            return workload.requests(i, backend.encode, info.vocabulary)

        count = options.pairs or 30
        return in_turns(lambda i: ours(requests(i)), lambda i: theirs(requests(i)), count)

    return {f"e2e of {batch}": of_size(batch) for batch in options.batch_size}
