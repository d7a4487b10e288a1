"""CTranslate2: a plain timed ``generate_batch`` on the generator that we have loaded."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pytest_llmperf.backends.ctranslate2 import CTranslate2Backend
from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.core.progress import silent
from pytest_llmperf.session.options import default_cache_dir

from .turns import Results, in_turns, our_round, workload_of


def pairs(spec: EngineSpec, options: argparse.Namespace) -> Results:
    backend = CTranslate2Backend()
    info = backend.load(CTranslate2Backend.prepare(spec, Path(default_cache_dir()), silent))
    generator, tokens = backend._generator, backend._tokens

    def of_size(batch: int) -> tuple[list[float], list[float]]:
        workload = workload_of(options, batch)

        def ours(i: int) -> float:
            return our_round(backend, info.vocabulary, workload, i)

        def theirs(i: int) -> float:
            requests = workload.requests(i, backend.encode, info.vocabulary)
            start = time.perf_counter()
            answers = generator.generate_batch(
                [[tokens[i] for i in request.prompt_ids] for request in requests],
                max_length=options.output_len,
                min_length=options.output_len,
                sampling_topk=1,
                end_token=[],
                include_prompt_in_result=False,
            )
            seconds = time.perf_counter() - start
            assert all(len(a.sequences_ids[0]) == options.output_len for a in answers)
            return seconds

        return in_turns(ours, theirs, options.pairs or 30)

    return {f"e2e of {batch}": of_size(batch) for batch in options.batch_size}
