"""The ``llm_benchmark`` fixture's value: one call measures, stores and returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest

from ..analysis.fit import MeasuredCell
from ..backends import backend_class
from ..core.architecture import Architecture
from ..core.defaults import DEFAULT_ROUNDS, DEFAULT_WARMUP
from ..core.engine import LoadedEngine
from ..core.measurement import Measurement
from ..core.text import shipped
from ..core.workload import Workload
from ..machine.nvml import conditions
from ..metrics.definitions import OBJECTIVES
from ..metrics.efficiency import of_energy, of_price
from ..metrics.quality import flaw
from ..metrics.roofline import LoadedModel, Roof, utilization
from ..metrics.rounds import from_rounds
from ..metrics.samples import Metric, known
from ..report.terminal import Row
from ..store.entries import abandon, is_enabled
from ..store.record import make_record
from .gate import MARKER, own_limits
from .llm import LLM, Result
from .session import CLOCK, LLMSession

DEFAULT_OUTPUT_LEN = 64


@dataclass(frozen=True)
class Override:
    """Sizes that the command line sets instead of the test; None leaves the test's own."""

    input_len: int | None = None
    output_len: int | None = None
    batch_size: int | None = None

    @property
    def id(self) -> str:
        """Part of the test id: other sizes are other measurements."""
        parts = (("in", self.input_len), ("out", self.output_len), ("b", self.batch_size))
        return "-".join(f"{name}{value}" for name, value in parts if value is not None)


class LLMBenchmark:
    """Measures a loaded model once a test."""

    def __init__(
        self, session: LLMSession, node: pytest.Item, benchmark: Any, override: Override
    ) -> None:
        self._session = session
        self._node = node
        self._benchmark = benchmark
        self._override = override
        self._used = False

    def __call__(
        self,
        llm: LLM,
        *,
        prompt: str | None = None,
        input_len: int | None = None,
        output_len: int = DEFAULT_OUTPUT_LEN,
        batch_size: int = 1,
        rounds: int | None = None,
        warmup: int | None = None,
        slo: Mapping[str, float] | None = None,
    ) -> Result:
        """Measure a workload: warm-up rounds, then measured ones, each checked.

        Args:
            llm: the loaded model.
            prompt: a text, the same for every request; or
            input_len: that many random prompt tokens, different in every request and round.
            output_len: tokens to generate, exactly; end-of-sequence is ignored.
            batch_size: requests submitted together.
            rounds: measured rounds, where ``--llm-rounds`` does not say it; None: its default.
            warmup: unmeasured rounds before them, likewise (``--llm-warmup``).
            slo: service-level objectives in seconds by metric (``ttft``, ``tpot``, ``e2e``); gives
                ``goodput``.

        Returns:
            The metrics, each with its samples: ``result.ttft.p95``, ``result.output_throughput.mean``.

        Raises:
            ValueError: for sizes or objectives that mean nothing.
            pytest.fail.Exception: when the engine fails, or gives other tokens than it had to, and for
                a broken budget (``--llm-fail-if``), after the measurement is stored.
        """
        self._use_once()
        with self._abandoned_on_failure():
            workload = self._workload(
                Workload(
                    prompt=prompt,
                    input_len=input_len,
                    output_len=output_len,
                    batch_size=batch_size,
                    rounds=DEFAULT_ROUNDS if rounds is None else rounds,
                    warmup=DEFAULT_WARMUP if warmup is None else warmup,
                )
            )
            _check_objectives(slo)
            if is_enabled(self._benchmark):
                _fail(self._session.budgets.before(workload, bool(slo)))
            engine = llm.engine()
            llm.check_output()
            measurement = self._measured(llm, workload)
        metrics = from_rounds(measurement.rounds, slo) | _of_process(
            {
                "load_time": engine.load_time,
                "peak_memory": measurement.peak_memory,
                **engine.info.memory,
            }
        )
        metrics |= self._of_use(measurement, metrics)
        shares, roof = self._utilization(llm, engine, measurement)
        samples = [r.wall_time for r in measurement.rounds]
        return self._store(llm, workload, measurement, metrics | shares, samples, roof=roof)

    def load(self, llm: LLM) -> Result:
        """Store how long the engine took to load; it is not loaded again for this."""
        self._use_once()
        with self._abandoned_on_failure():
            engine = llm.engine()
            llm.check_output()
        metrics = _of_process({"load_time": engine.load_time, **engine.info.memory})
        return self._store(llm, None, None, metrics, [engine.load_time])

    def quality(self, llm: LLM) -> Result:
        """Store perplexity on the shipped text, and the distance from the unquantized model.

        Skips the test where the engine tells no log-probabilities. KL divergence and agreement need
        the unquantized model's distributions: those of its first unquantized cell, in this run or one
        before.
        """
        self._use_once()
        text = shipped()
        with self._abandoned_on_failure():
            found = llm.quality(text)
            if isinstance(found, str):
                pytest.skip(f"not available: {found}")
            if problem := flaw(found):
                llm.fail_for(problem)
        record = {
            "text": {"name": text.name, "sha256": text.sha256},
            "documents": [asdict(document) for document in found.documents],
            "reference": dict(found.reference) if found.reference else None,
        }
        return self._store(
            llm, None, None, _of_process(found.metrics()), [found.seconds], quality=record
        )

    def _measured(self, llm: LLM, workload: Workload) -> Measurement:
        """Measure, and note what the engine's GPUs say before and after."""
        engine = llm.engine()
        before = self._session.gpus.state(engine.info.device, engine.pid)
        measurement = llm.measure(workload)
        after = self._session.gpus.state(engine.info.device, engine.pid)
        gpus = conditions(before, after)
        return replace(measurement, conditions={**measurement.conditions, **gpus})

    def _of_use(self, measurement: Measurement, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
        """What the tokens took beside time: energy where it is known, money where it has a price."""
        found: dict[str, Metric] = {}
        if (joules := measurement.energy.get("joules")) is not None:
            found |= of_energy(measurement.rounds, joules)
        if (price := self._session.settings.hourly_cost) is not None:
            found |= of_price(price, metrics["output_throughput"])
        return found

    def _utilization(
        self, llm: LLM, engine: LoadedEngine, measurement: Measurement
    ) -> tuple[dict[str, Metric], Roof | None]:
        """``mbu`` and ``mfu`` with what they were held against; nothing where that is unknown."""
        model = LoadedModel.of(engine.info)
        if model is None or not is_enabled(self._benchmark):
            return {}, None
        shares: dict[str, Metric] = {}
        for again in (False, True):
            ceilings = self._session.ceilings(llm.cell, engine, again)
            if ceilings is None:
                return {}, None
            roof = model.roof(ceilings, engine.info.device)
            shares = utilization(measurement.rounds, model, roof)
            # More than what the machine can do says that something else ran when that was measured.
            if all(share.max <= 1 for share in shares.values()):
                break
        return shares, roof if shares else None

    def _workload(self, of_test: Workload) -> Workload:
        """The test's workload with what the command line sets instead."""
        settings = self._session.settings
        changes: dict[str, Any] = {
            "output_len": self._override.output_len,
            "batch_size": self._override.batch_size,
            "rounds": settings.rounds,
            "warmup": settings.warmup,
        }
        if not is_enabled(self._benchmark):
            changes |= {"rounds": 1, "warmup": 0}
        changes = {key: value for key, value in changes.items() if value is not None}
        if self._override.input_len is not None:
            changes |= {"prompt": None, "input_len": self._override.input_len}
        return replace(of_test, **changes)

    @contextmanager
    def _abandoned_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            abandon(self._benchmark)
            raise
        finally:
            self._session.clear_progress()

    def _use_once(self) -> None:
        if self._used:
            raise RuntimeError(
                "llm_benchmark measures once a test: parametrize the test to measure more"
            )
        self._used = True

    def _store(
        self,
        llm: LLM,
        workload: Workload | None,
        measurement: Measurement | None,
        metrics: Mapping[str, Metric],
        samples: list[float],
        quality: Mapping[str, Any] | None = None,
        roof: Roof | None = None,
    ) -> Result:
        session = self._session
        result = Result(metrics, measurement)
        if not is_enabled(self._benchmark):
            self._benchmark.pedantic(lambda: None)
            return result
        record = make_record(
            nodeid=self._node.nodeid,
            cell=llm.cell,
            spec=session.slot.spec(llm.cell),
            engine=llm.engine(),
            workload=workload,
            measurement=measurement,
            gpus=session.gpus.described,
            metrics=metrics,
            chosen=session.settings.metrics,
            run=session.run(),
            limits=own_limits(self._node.get_closest_marker(MARKER), session.settings.gate.limits),
            energy=session.idle.added(measurement.energy if measurement else {}),
            hourly_cost=session.settings.hourly_cost,
            quality=quality,
            ceilings=roof.to_record() if roof else None,
        )
        chosen = [metrics[key] for key in session.settings.metrics if key in metrics]
        entries = session.store.add(
            self._benchmark, self._node.stash[CLOCK], samples, record, chosen
        )
        test, _, parameters = self._node.nodeid.partition("[")
        random_text = session.settings.load_format == "dummy"
        if session.settings.fit and workload and measurement:
            session.for_fit.append(_for_fit(llm, workload, measurement))
        row = Row(test, parameters.removesuffix("]"), metrics, random_text, roof)
        session.keep(row, entries)
        _fail(session.budgets.after(record, metrics))
        return result


def _for_fit(llm: LLM, workload: Workload, measurement: Measurement) -> MeasuredCell:
    cell, info = llm.cell, llm.engine().info
    return MeasuredCell(
        model=cell.model.name,
        backend=cell.backend,
        mode=cell.quantization,
        degree=cell.degree,
        device=info.device,
        dtype=info.dtype,
        architecture=Architecture(**info.architecture) if info.architecture else None,
        parameters=info.parameters,
        batch=workload.batch_size,
        input_tokens=measurement.rounds[0].requests[0].input_tokens,
        output_tokens=workload.output_len,
        model_memory=info.memory.get("model_memory"),
        peak_memory=measurement.peak_memory,
        pool=info.memory.get("kv_cache_memory", 0.0),
        by_driver=backend_class(cell.backend).peak_by_driver,
        cache_value_bytes=info.cache_value_bytes if info.architecture else None,
    )


def _fail(lines: Sequence[str]) -> None:
    """Fail the test with these lines, if there are any."""
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def _of_process(values: Mapping[str, float]) -> dict[str, Metric]:
    return known({key: [value] for key, value in values.items()})


def _check_objectives(slo: Mapping[str, float] | None) -> None:
    for key, limit in (slo or {}).items():
        if key not in OBJECTIVES:
            raise ValueError(f"slo: unknown metric {key!r}; known: {', '.join(OBJECTIVES)}")
        if not limit > 0:
            raise ValueError(f"slo: {key} has to be a positive number of seconds, not {limit!r}")
