"""The objects that tests hold: a loaded model, and the result of measuring it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ..core.cell import Cell
from ..core.engine import LoadedEngine
from ..core.errors import EngineError
from ..core.floor import Checked, Floor
from ..core.measurement import Measurement
from ..core.printable import printable
from ..core.progress import Progress
from ..core.prompts import prompt_of, prompts_of, text_of
from ..core.text import Text
from ..core.values import MOST_TOKENS, check_whole, plain_whole, shown
from ..core.workload import Workload, check_sampling
from ..metrics.attributes import MetricAttributes
from ..metrics.definitions import METRICS
from ..metrics.quality import Quality
from ..metrics.samples import Metric
from .checked_call import CheckedCall
from .slot import EngineSlot
from .work import why_no_sampling


@dataclass(frozen=True)
class LLMInfo:
    """The loaded model, as its engine reports it."""

    model: str
    """Short name, as in test ids."""
    source: str
    """Hub id, file or folder name."""
    backend: str
    version: str
    """Version of the engine."""
    quantization: str
    dtype: str
    """Compute type."""
    device: str
    random_weights: bool
    """True with ``--llm-load-format=dummy``: speed and memory are real, text is not."""
    parameters: int | None
    revision: str | None
    load_time: float
    """Seconds."""


class LLM:
    """A loaded model. Tests get it from the ``llm`` fixture; its engine lives in the worker."""

    def __init__(
        self, cell: Cell, slot: EngineSlot, progress: Progress, random_weights: bool
    ) -> None:
        self.cell = cell
        self._slot = slot
        self._progress = progress
        self._random = random_weights

    @property
    def info(self) -> LLMInfo:
        """The loaded model; a dead engine is loaded again for it."""
        engine = self.engine()
        return LLMInfo(
            model=self.cell.model.name,
            source=self.cell.model.recorded_source,
            backend=self.cell.backend,
            version=engine.version,
            quantization=self.cell.quantization,
            dtype=engine.info.dtype,
            device=engine.info.device,
            random_weights=self._random,
            parameters=engine.info.parameters,
            revision=engine.info.revision,
            load_time=engine.load_time,
        )

    def generate(
        self, prompt: str, output_len: int = 16, *, temperature: float = 0.0, seed: int = 0
    ) -> str:
        """Return the continuation of a prompt: exactly ``output_len`` tokens, as text.

        It is greedy, or drawn at a temperature: the same for the same seed.
        """
        __tracebackhide__ = True
        with CheckedCall():
            checked = text_of(prompt)
        text = self._generate([checked], output_len, temperature, seed)[0]["text"]
        if text is None:
            pytest.fail("random weights have no tokenizer, so there is no text", pytrace=False)
        return str(text)

    def generate_ids(
        self,
        prompt: str | list[int],
        output_len: int = 16,
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[int]:
        """Return the continuation as token ids; the prompt may be token ids too."""
        __tracebackhide__ = True
        return self.generate_batch_ids([prompt], output_len, temperature=temperature, seed=seed)[0]

    def generate_batch_ids(
        self,
        prompts: list[str | list[int]],
        output_len: int = 16,
        *,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """Return the token ids of each continuation; all prompts are submitted together."""
        __tracebackhide__ = True
        answers = self._generate(prompts, output_len, temperature, seed)
        return [list(answer["ids"]) for answer in answers]

    def score(self, tokens: str | list[int]) -> list[float]:
        """Return the log-likelihood of each token after the first (natural logarithm).

        Fails the test if the engine does not report log-probabilities of a prompt.
        """
        __tracebackhide__ = True
        with CheckedCall():
            prompt = prompt_of(tokens, self.engine().info.vocabulary)
        with _failing(self.cell.id):
            answer = self._slot.score(prompt)
        if isinstance(answer, str):
            pytest.fail(f"{self.cell.id}: not available: {answer}", pytrace=False)
        return answer

    def perplexity(self, text: str) -> float:
        """Return exp of the mean negative log-likelihood of a text's tokens after the first."""
        if self._random:
            pytest.fail("random weights have no tokenizer, so no perplexity", pytrace=False)
        __tracebackhide__ = True
        with CheckedCall():
            checked = text_of(text)
        scores = self.score(checked)
        return math.exp(-math.fsum(scores) / len(scores))

    def quality(self, text: Text, vouched: bool = False) -> Quality | str:
        """Score a text in documents; return the reason as a string if that cannot be done.

        Args:
            text: the text.
            vouched: it is known that the model works, even if it knows nothing about the text.
        """
        __tracebackhide__ = True
        with CheckedCall():
            _check_type("text", text, Text)
        if self._random:
            return "random weights: there is no quality to measure"
        self.engine()
        with _failing(self.cell.id):
            return self._slot.quality(text, vouched, self._progress)

    def checked(self, floor: Floor) -> Checked:
        """Return whether the output can come from a working model; random weights are not checked."""
        __tracebackhide__ = True
        with CheckedCall():
            _check_type("floor", floor, Floor)
        if self._random or not floor.on:
            return Checked()
        self.engine()
        with _failing(self.cell.id):
            return self._slot.checked(floor)

    def check_output(self) -> None:
        """Fail the test if the output cannot come from a working model; not for random weights."""
        checked = self.checked(Floor())
        if checked.flaw:
            self.fail(checked.advice)

    def fail(self, flaw: str) -> None:
        """Fail the test for a flaw of the engine's output, whatever its speed."""
        pytest.fail(f"{self.cell.id}: invalid measurement: {flaw}", pytrace=False)

    def engine(self) -> LoadedEngine:
        """Return the resident engine, loaded again if it has died; fail the test if it cannot be."""
        with _failing(f"cannot load {self.cell.id}"):
            return self._slot.ensure(self.cell, self._progress)

    def measure(self, workload: Workload) -> Measurement:
        """Run a workload; fail the test if the engine fails."""
        __tracebackhide__ = True
        with CheckedCall():
            _check_type("workload", workload, Workload)
        self.engine()
        with _failing(self.cell.id):
            return self._slot.measure(workload, self._progress)

    def _generate(
        self, prompts: object, output_len: int, temperature: float, seed: int
    ) -> list[dict[str, Any]]:
        __tracebackhide__ = True
        length, seed = plain_whole(output_len), plain_whole(seed)
        with CheckedCall():
            check_whole("output_len", length, 1, MOST_TOKENS)
            check_sampling(temperature, seed)
            checked = prompts_of(prompts, self.engine().info.vocabulary)
        if refused := why_no_sampling(self.cell, temperature):
            pytest.fail(refused, pytrace=False)
        with _failing(self.cell.id):
            return self._slot.generate(checked, length, temperature, seed)


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, not {shown(value)}")


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Turn an engine's error into a test failure of one line, without a traceback."""
    try:
        yield
    except EngineError as error:
        raise pytest.fail.Exception(printable(f"{what}: {error}"), pytrace=False) from None


@dataclass(frozen=True, repr=False)
class Result(MetricAttributes):
    """The metrics that ``llm_benchmark`` measured, each with its samples and percentiles.

    ``result.ttft.p50`` reads one metric; ``result.metrics`` holds all of them by key.
    """

    metrics: Mapping[str, Metric]
    measurement: Measurement | None
    """The traces behind the metrics; None if nothing was generated (load time, quality)."""

    def __repr__(self) -> str:
        return f"Result({'; '.join(map(repr, self.metrics.values()))})"

    if not TYPE_CHECKING:  # A type checker knows the metrics by MetricAttributes.

        def __getattr__(self, key: str) -> Metric:
            __tracebackhide__ = True
            if key.startswith("_"):
                raise AttributeError(key)
            if key in self.metrics:
                return self.metrics[key]
            known = f"this measurement has no {key}; it has {', '.join(self.metrics)}"
            near = difflib.get_close_matches(key, self.metrics, 1)
            if near and key not in METRICS:
                known += f"; did you mean {near[0]}?"
            raise AttributeError(known)
