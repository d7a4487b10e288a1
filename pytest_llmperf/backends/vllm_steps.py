"""What vLLM's engine core sends at each step, with the time at which it arrives."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ..core.trace import RequestTrace
from ..core.workload import Request


class Arrivals:
    """Stamps what the core sends as it arrives, and looks into it only after the last token.

    vLLM makes an object for each request and step if somebody wants to see every token, in the process
    that has to keep up with the core. Here it makes one a request, at its end, as ``LLM.generate`` does;
    a step costs one reading of the clock.
    """

    def __init__(self, core: Any) -> None:
        """Stand between the core's client and vLLM's own loop.

        Args:
            core: ``LLMEngine.engine_core``, for the core in this process or in one of its own.
        """
        self._steps: list[tuple[float, Any]] = []
        get_output = core.get_output

        def stamped() -> Any:
            outputs = get_output()
            self._steps.append((time.perf_counter(), outputs))
            return outputs

        core.get_output = stamped

    def forget(self) -> None:
        """Drop the steps so far."""
        self._steps.clear()

    def traces(
        self,
        submitted: float,
        names: Sequence[str],
        requests: Sequence[Request],
        finished: Sequence[Any],
    ) -> list[RequestTrace]:
        """Return the traces of a batch, from the steps since the last ``forget``.

        Args:
            submitted: clock reading before the first request was handed over.
            names: the engine's own names of the requests.
            requests: what was handed over, in the same order.
            finished: vLLM's answer to each, in the same order.
        """
        times: dict[str, list[float]] = defaultdict(list)
        counts: dict[str, list[int]] = defaultdict(list)
        for now, outputs in self._steps:
            for output in outputs.outputs:
                if output.new_token_ids:
                    times[output.request_id].append(now)
                    counts[output.request_id].append(len(output.new_token_ids))
        self.forget()
        return [
            RequestTrace(
                submitted=submitted,
                times=tuple(times[name]),
                counts=tuple(counts[name]),
                input_tokens=len(request.prompt_ids),
                token_ids=tuple(answer.outputs[0].token_ids),
                cached_tokens=answer.num_cached_tokens or 0,
            )
            for name, request, answer in zip(names, requests, finished, strict=True)
        ]
