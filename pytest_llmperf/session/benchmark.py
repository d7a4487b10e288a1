"""The ``llm_benchmark`` fixture's value: one call measures, stores and returns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest

from ..backends import backend_class
from ..core.context import why_too_long
from ..core.engine import LoadedEngine
from ..core.floor import Checked, Floor
from ..core.measurement import Measurement
from ..core.printable import printable
from ..core.prompts import check_vocabulary
from ..core.text import Text, shipped, text_of_file
from ..core.values import location, shown
from ..core.workload import Need, Workload
from ..machine.gpus import conditions
from ..metrics.definitions import OBJECTIVES
from ..metrics.quality import flaw, not_finite
from ..metrics.samples import of_these_rounds
from ..store.entries import CLOCK, abandon, is_enabled
from ..store.record import Context, Outcome, Subject, make_record
from ..store.schema import FloorPart, QualityPart
from .checked_call import CheckedCall
from .floor import floor_part
from .gate import MARKER, limits_of_test
from .llm import LLM, Result
from .outcome import of_process, of_quality, of_rounds
from .rounds import MARKER as ROUNDS_MARKER
from .rounds import Asked, rounds_of
from .session import LLMSession
from .sizes import Override, named_parameters
from .utilization import Shares
from .work import Call, why_refused, with_options, workload_of

DEFAULT_OUTPUT_LEN = 64


class LLMBenchmark:
    """Measures a loaded model, once in a test."""

    def __init__(
        self, session: LLMSession, node: pytest.Item, benchmark: Any, override: Override
    ) -> None:
        self._session = session
        self._node = node
        self._benchmark = benchmark
        self._override = override
        self._used = False
        self._failed_before = node.session.testsfailed

    def __call__(
        self,
        llm: LLM,
        *,
        prompt: str | None = None,
        prompts: Sequence[Any] | Path | None = None,
        input_len: int | None = None,
        output_len: int | Sequence[int] = DEFAULT_OUTPUT_LEN,
        batch_size: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        prefix_len: int = 0,
        rounds: int | None = None,
        warmup: int | None = None,
        precision: float | str | None = None,
        max_time: float | None = None,
        min_rounds: int | None = None,
        slo: Mapping[str, float] | None = None,
    ) -> Result:
        """Measure a workload: warm-up rounds, then measured ones, each checked.

        Args:
            llm: the loaded model.
            prompt: a text, the same for every request; or
            prompts: the prompts of the batch, each a text, a list of token ids or a list of chat
                messages (``{"role": ..., "content": ...}``), which the model's own template makes a
                prompt of; or the path of a JSONL file with them, relative to pytest's root folder; or
            input_len: that many random prompt tokens, different in every request and round.
            output_len: tokens to generate, exactly; end-of-sequence is ignored. A list has one for each
                of the prompts.
            batch_size: requests submitted together, which take prompts and output lengths in turn;
                None: as many as there are.
            temperature: 0 decodes greedily; above, each token is drawn from the whole distribution.
            seed: of what is drawn, the same in every round.
            prefix_len: of the ``input_len`` tokens, those that all prompts of all rounds begin with and
                that the engine takes from its prefix cache, which is on only where an argument of the
                engine asks for it (``vllm.enable_prefix_caching=true``).
            rounds: measured rounds, unless ``--llm-rounds`` is given; None: as many as ``precision``
                needs.
            warmup: unmeasured rounds before them, unless ``--llm-warmup`` is given; None: the default.
            precision: the rounds end when the 95 % interval of each median reaches at most this share
                of it away (``0.02`` or ``"2%"``), unless ``--llm-precision`` is given; None: 1 %.
            max_time: seconds that such rounds may take, unless ``--llm-max-time`` is given; None: the
                device's default.
            min_rounds: such rounds at least, whatever time they take, unless ``--llm-min-rounds`` is
                given; None: 3.
            slo: service-level objectives in seconds by metric (``ttft``, ``tpot``, ``e2e``); gives
                ``goodput``.

        Returns:
            The metrics, each with its samples: ``result.ttft.p50``, ``result.output_throughput.mean``.

        Raises:
            ValueError: a size or an objective is not valid.
            pytest.fail.Exception: the engine failed or returned a wrong number of tokens, or a budget
                (``--llm-fail-if``) is broken; then the measurement is stored before.
        """
        __tracebackhide__ = True
        self._check_call(llm)
        with self._measuring():
            with CheckedCall():
                asked = Asked.of(
                    {
                        "rounds": rounds,
                        "precision": precision,
                        "max_time": max_time,
                        "min_rounds": min_rounds,
                    }
                )
                number, need = self._rounds(asked)
                call = Call(
                    prompt=prompt,
                    prompts=prompts,
                    input_len=input_len,
                    output_len=output_len,
                    batch_size=batch_size,
                    rounds=number,
                    need=need,
                    warmup=warmup,
                    temperature=temperature,
                    seed=seed,
                    prefix_len=prefix_len,
                )
                workload = self._workload(call, llm)
                _check_objectives(slo)
            dummy = self._session.settings.load_format == "dummy"
            refused = why_refused(llm.cell, workload, dummy)
            _fail([refused] if refused else [])
            if is_enabled(self._benchmark):
                _fail(self._session.budgets.before(workload, bool(slo)))
                workload = self._with_samples(workload, bool(slo))
            engine = llm.engine()
            workload = self._warmed_up(workload, engine)
            with CheckedCall():
                check_vocabulary(workload.prompts or (), engine.info.vocabulary)
            # The worker counts the tokens of a text; these are known before anything runs.
            too_long = why_too_long(
                workload.known_input_len, workload.output_len, engine.info.context
            )
            _fail([f"{llm.cell.id}: {too_long}"] if too_long else [])
            floor = self._check_output(llm)
            measurement = self._measured(llm, engine, workload)
        metrics = of_rounds(engine, measurement, slo, self._session.settings.hourly_cost)
        shares = self._utilization(llm, engine, measurement)
        outcome = Outcome(
            metrics=of_these_rounds(
                metrics | (dict(shares.metrics) if shares else {}),
                len(measurement.rounds),
                workload.need.precision if workload.need else None,
            ),
            samples=[r.wall_time for r in measurement.rounds],
            workload=workload,
            measurement=measurement,
            roof=shares.roof if shares else None,
            floor=floor,
        )
        return self._store(llm, engine, outcome, shares)

    def load(self, llm: LLM) -> Result:
        """Store the load time of the engine, which is not loaded again for this."""
        __tracebackhide__ = True
        self._check_call(llm)
        with self._measuring():
            engine = llm.engine()
            floor = self._check_output(llm)
        return self._store(
            llm, engine, Outcome(of_process(engine), [engine.load_time], floor=floor)
        )

    def quality(self, llm: LLM, text: str | Path | None = None) -> Result:
        """Store perplexity on a text, and the distance from the unquantized model.

        Skips the test where the engine reports no log-probabilities. KL divergence and agreement need
        the unquantized model's distributions: those of its first unquantized cell, in this run or an
        earlier one.

        Args:
            llm: the loaded model.
            text: a file of text in UTF-8; None: the shipped text. A relative path begins at pytest's
                root folder. Results of different texts are never compared.

        Raises:
            ValueError: the file cannot be read.
            pytest.fail.Exception: the engine failed, or its output cannot come from a working model.
        """
        __tracebackhide__ = True
        self._check_call(llm)
        with CheckedCall():
            scored = shipped() if text is None else self._text(text)
        with self._measuring():
            engine = llm.engine()
            floors = self._session.floor
            # A text of the test's own is its floor, too.
            floor = floors.of_test(self._node)
            checked = Checked()
            if text is None:
                floor, checked = floors.check(llm, self._node)
            vouched = bool(not floor.on or (text is None and (floor.text or checked.agrees_with)))
            quality = llm.quality(scored, vouched)
            if isinstance(quality, str):
                pytest.skip(f"not available: {quality}")
            name = "plain English" if text is None else scored.name
            problem = flaw(quality, name, vouched) if floor.on else not_finite(quality)
            if problem:
                guess = floor.on and problem != flaw(quality, name, vouched=True)
                floors.fail(llm, self._node, Floor(text=scored), Checked(problem, guess).advice)
        part = {
            "text": {"name": scored.name, "sha256": scored.sha256},
            "documents": [asdict(document) for document in quality.documents],
            "reference": dict(quality.reference) if quality.reference else None,
        }
        outcome = Outcome(
            of_quality(quality),
            [quality.seconds],
            quality=cast("QualityPart", part),
            floor=floor_part(floor, checked),
        )
        return self._store(llm, engine, outcome)

    def _text(self, text: str | Path) -> Text:
        if not isinstance(text, str | Path):
            raise ValueError(f"text has to be a file, not {shown(text)}")
        try:
            return text_of_file(location(str(text), self._node.config.rootpath))
        except ValueError as error:
            raise ValueError(f"text=: {error}") from None

    def _check_output(self, llm: LLM) -> FloorPart | None:
        """Check the engine's output; return what the record has of it."""
        return floor_part(*self._session.floor.check(llm, self._node))

    def end(self) -> None:
        """Do without pytest-benchmark's warning if a test failed before it measured."""
        if not self._used and self._node.session.testsfailed > self._failed_before:
            abandon(self._benchmark)

    def _measured(self, llm: LLM, engine: LoadedEngine, workload: Workload) -> Measurement:
        """Measure, and add the state of the engine's GPUs before and after to the conditions."""
        gpus = self._session.loading.gpus
        before = gpus.state(engine.info.device, engine.pid)
        measurement = llm.measure(workload)
        after = gpus.state(engine.info.device, engine.pid)
        return replace(
            measurement, conditions={**measurement.conditions, **conditions(before, after)}
        )

    def _utilization(
        self, llm: LLM, engine: LoadedEngine, measurement: Measurement
    ) -> Shares | None:
        """Return ``mbu`` and ``mfu`` with their ceilings; None where those are unknown."""
        if not is_enabled(self._benchmark):
            return None
        test = self._node.name.partition("[")[0]
        return self._session.utilization.of(llm.cell, engine, measurement, test)

    def _workload(self, call: Call, llm: LLM) -> Workload:
        """Return the test's workload with the sizes that the command line sets instead."""
        __tracebackhide__ = True
        # Without the cell: every engine and mode answers the same prompts.
        salt = self._node.nodeid.replace(llm.cell.id, "")
        root = self._node.config.rootpath
        of_test = workload_of(call, salt, root, self._override.prompts)
        measures = is_enabled(self._benchmark)
        return with_options(of_test, self._session.settings, self._override, measures)

    def _rounds(self, asked: Asked) -> tuple[int, Need | None]:
        """Return the rounds of a call, with what the command line and the marker say."""
        marker = Asked.of_marker(self._node.get_closest_marker(ROUNDS_MARKER))
        return rounds_of(self._session.settings, asked, marker)

    def _with_samples(self, workload: Workload, has_objectives: bool) -> Workload:
        """Return a workload by need that asks for the samples of the budgets, too."""
        if workload.need is None:
            return workload
        rounds = self._session.budgets.needed_rounds(workload, has_objectives)
        return replace(workload, need=replace(workload.need, rounds=rounds))

    def _warmed_up(self, workload: Workload, engine: LoadedEngine) -> Workload:
        """Return the workload with the warm-up that the engine needs at least.

        The command line's number of rounds stays as it is, and so does a run that measures nothing.
        """
        least = engine.info.least_warmup
        is_set = self._session.settings.warmup is not None or not is_enabled(self._benchmark)
        return workload if is_set or workload.warmup >= least else replace(workload, warmup=least)

    def _check_call(self, llm: object) -> None:
        """Raise an exception unless a model is given, and nothing was measured before."""
        __tracebackhide__ = True
        if not isinstance(llm, LLM):
            raise ValueError(f"llm_benchmark measures what the llm fixture gives, not {shown(llm)}")
        if self._used:
            raise RuntimeError(
                "llm_benchmark measures once per test: parametrize the test to measure more"
            )

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        """Note that the test has measured; after a failure, leave no entry behind."""
        self._used = True
        try:
            yield
        except BaseException:
            abandon(self._benchmark)
            raise
        finally:
            self._session.progress.clear()

    def _store(
        self, llm: LLM, engine: LoadedEngine, outcome: Outcome, shares: Shares | None = None
    ) -> Result:
        session = self._session
        if not is_enabled(self._benchmark):
            self._benchmark.pedantic(lambda: None)
            return Result(outcome.metrics, outcome.measurement)
        result = Result(
            {key: replace(metric, warns=True) for key, metric in outcome.metrics.items()},
            outcome.measurement,
        )
        settings, loading = session.settings, session.loading
        marker = self._node.get_closest_marker(MARKER)
        record = make_record(
            Subject(
                nodeid=self._node.nodeid,
                cell=llm.cell,
                spec=loading.slot.spec(llm.cell),
                engine=engine,
                peak_by_driver=backend_class(llm.cell.backend).peak_by_driver,
                parameters=named_parameters(self._node),
            ),
            outcome,
            Context(
                run=session.results.run,
                chosen=settings.metrics,
                gpus=loading.gpus.described,
                idle=loading.idle,
                hourly_cost=settings.hourly_cost,
                limits=limits_of_test(marker, settings.gate.limits),
            ),
        )
        chosen = [outcome.metrics[key] for key in settings.metrics if key in outcome.metrics]
        entries = session.store.add(
            self._benchmark, self._node.stash[CLOCK], outcome.samples, record, chosen
        )
        session.results.keep(record, entries)
        if shares:
            session.utilization.keep(record, shares)
        _fail([*session.budgets.after(record), *session.quiet.after(session.results.records)])
        return result


def _fail(lines: Sequence[str]) -> None:
    """Fail the test with these lines, if there are any."""
    if lines:
        pytest.fail("\n".join(map(printable, lines)), pytrace=False)


def _check_objectives(slo: Mapping[str, float] | None) -> None:
    if slo is not None and not isinstance(slo, Mapping):
        raise ValueError(
            f"slo has to be seconds by metric, such as {{'ttft': 0.3}}, not {shown(slo)}"
        )
    for key, limit in (slo or {}).items():
        if key not in OBJECTIVES:
            raise ValueError(f"slo: unknown metric {shown(key)}; known: {', '.join(OBJECTIVES)}")
        is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
        if not is_number or not 0 < limit < math.inf:
            raise ValueError(
                f"slo: {key} has to be a positive number of seconds, not {shown(limit)}"
            )
