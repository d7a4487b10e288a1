"""Store measurements as pytest-benchmark entries. The only module that touches pytest-benchmark.

A measurement becomes one primary entry (the wall time of a round) and a sibling entry for each chosen
metric. All of them are lower-is-better, so that every stock column, comparison and gate reads right:
throughput is stored as seconds per token, and its OPS column is tokens per second.

The primary entry is made through the public interface only: a marker sets ``timer=`` to a virtual
clock, and ``benchmark.pedantic`` replays the samples by advancing it. Siblings need three private
names; without those, they are added to the files through a public hook instead, and only the table
and the gate inside the run do not have them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ..metrics.samples import Metric
from .plain import plain
from .schema import KEY, Record
from .siblings import OPTIONS, Source, entry_of, lower, sibling, sibling_name
from .stats import stats
from .stock import StockReport
from .stock_options import Defaults, without_effect

ROUND_GROUP = "round"
_PLUGIN = "pytest-benchmark"


class VirtualClock:
    """A timer that only moves when a sample is replayed."""

    __name__ = "engine_clock"
    __module__ = "pytest_llmperf"

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


@dataclass(frozen=True, eq=False)
class _KnownInfo:
    """A plugin that gives pytest-benchmark its earlier answers again."""

    machine: Any
    commit: Any

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_benchmark_generate_machine_info(self) -> Any:
        return copy.deepcopy(self.machine)

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_benchmark_generate_commit_info(self) -> Any:
        return copy.deepcopy(self.commit)


@dataclass
class BenchmarkStore:
    """The entries of one run."""

    config: pytest.Config
    _fallback: list[dict[str, Any]] = field(default_factory=list)
    _warned: bool = False

    def add(
        self,
        benchmark: Any,
        clock: VirtualClock,
        samples: Sequence[float],
        record: Record,
        siblings: Sequence[Metric],
    ) -> list[dict[str, Any]]:
        """Store a measurement.

        Args:
            benchmark: the test's ``benchmark`` fixture, not used yet.
            clock: the timer that its marker has set.
            samples: wall times of the rounds in seconds (or the one time that was measured).
            record: for ``extra_info["llmperf"]`` of the primary entry.
            siblings: metrics that become separate entries.

        Returns:
            The entries as they will be in the JSON, samples included.
        """
        self._forget(benchmark.fullname)
        user_group = benchmark.group
        benchmark.group = user_group or ROUND_GROUP
        benchmark.extra_info[KEY] = record
        _replay(benchmark, clock, samples)
        sources = [(sibling(benchmark, user_group, m), lower(m)) for m in siblings]
        sources = [(source, values) for source, values in sources if values]
        try:
            made = [_metadata(source, values) for source, values in sources]
            self._session().benchmarks.extend(made)
            return [entry.as_dict(include_data=True) for entry in (benchmark.stats, *made)]
        except Exception as error:
            self._warn(error)
        entries = [entry_of(source, values) for source, values in sources]
        self._fallback += entries
        return [entry_of(_primary(benchmark), samples), *entries]

    def revise(self, fullname: str, siblings: Sequence[Metric]) -> list[dict[str, Any]]:
        """Give sibling entries of a test other samples; return the entries as they will be in the JSON.

        Args:
            fullname: that of the primary entry.
            siblings: the metrics with their new samples.
        """
        samples = {sibling_name(fullname, metric.key): lower(metric) for metric in siblings}
        revised: list[dict[str, Any]] = []
        for entry in getattr(self._session(), "benchmarks", ()):
            if entry and entry.fullname in samples and _test_of(entry) == fullname:
                entry.stats = _metadata(entry, samples[entry.fullname]).stats
                revised.append(entry.as_dict(include_data=True))
        for made in self._fallback:
            if made["fullname"] in samples and made["extra_info"][KEY]["parent"] == fullname:
                made["stats"] = stats(samples[made["fullname"]])
                revised.append(made)
        return revised

    def _forget(self, fullname: str) -> None:
        """Leave out what a test has measured before: it runs again."""
        entries = getattr(self._session(), "benchmarks", None)
        if isinstance(entries, list):
            entries[:] = [e for e in entries if not e or _test_of(e) != fullname]
        self._fallback = [e for e in self._fallback if e["extra_info"][KEY]["parent"] != fullname]

    def update_json(self, output_json: dict[str, Any]) -> None:
        """Complete the files.

        The siblings are added if they could not be added through the private names. What JSON cannot
        hold, such as a parameter with a tuple as a key, becomes text: it would cost the whole file.
        """
        output_json["benchmarks"] += self._fallback
        for entry in output_json["benchmarks"]:
            for part in ("params", "param", "extra_info"):
                if part in entry:
                    entry[part] = plain(entry[part])

    @cached_property
    def stock(self) -> StockReport:
        """pytest-benchmark's report on this run."""
        return StockReport(self._session)

    @property
    def folder(self) -> Path:
        """The storage folder; the default one where results go elsewhere (Elasticsearch).

        It is looked up each time: pytest-benchmark may be configured after this plugin.
        """
        path = getattr(getattr(self._session(), "storage", None), "path", None)
        return Path(path or ".benchmarks")

    def will_save(self) -> bool:
        """Return whether pytest-benchmark writes this run when it ends."""
        return bool(self.saving_option or self.json_file)

    @property
    def json_file(self) -> Path | None:
        """The file of ``--benchmark-json``."""
        file = getattr(self.config.option, "benchmark_json", None)
        if not file:
            return None
        # A path; in older releases of pytest-benchmark, a file that is open.
        return Path(file if isinstance(file, (str, Path)) else file.name)

    @property
    def saving_option(self) -> str:
        """The option that asks for a file in the storage; empty without one."""
        names = ("autosave", "save")
        asked = [n for n in names if getattr(self.config.option, f"benchmark_{n}", None)]
        return f"--benchmark-{asked[0]}" if asked else ""

    @property
    def saves_in(self) -> Path | None:
        """The folder in which pytest-benchmark will write this run; None if in none."""
        session = self._session()
        path = getattr(getattr(session, "storage", None), "path", None)
        if path is None or not self.saving_option:
            return None
        return Path(path) / str(getattr(session, "machine_id", ""))

    def will_store(self) -> bool:
        """Return whether the run will be in the storage, and so in later baselines."""
        option = self.config.option
        return any(getattr(option, f"benchmark_{name}", None) for name in ("autosave", "save"))

    def will_measure(self) -> bool:
        """Return whether benchmarks are measured: not with ``--benchmark-disable`` or ``-skip``."""
        return not self.why_disabled()

    def why_disabled(self) -> str:
        """Return why benchmarks are not measured; empty if they are."""
        if getattr(self._session(), "skip", False):
            return "--benchmark-skip is set"
        if not getattr(self._session(), "disabled", False):
            return ""
        by_option = getattr(self.config.option, "benchmark_disable", False)
        return "--benchmark-disable is set" if by_option else "pytest-benchmark is disabled"

    def without_effect(self, items: Sequence[pytest.Item]) -> list[str]:
        """Return the options and marker arguments that would change how a stock benchmark measures."""
        measuring = [item for item in items if CLOCK in item.stash]
        if not measuring:
            return []
        from pytest_benchmark.plugin import pytest_addoption

        defaults = Defaults()
        pytest_addoption(defaults)
        marks = (mark for item in measuring for mark in item.iter_markers("benchmark"))
        of_markers = (
            key
            for mark in marks
            for key, value in mark.kwargs.items()
            if not isinstance(value, VirtualClock)
        )
        return without_effect(self.config.option, defaults.of, of_markers)

    def file_header(self) -> dict[str, Any]:
        """Return machine and commit as they are in pytest-benchmark's files.

        Both are looked up once per run, which takes a second of CPU time: pytest-benchmark gets the same
        answers when it saves.
        """
        hook = self.config.hook
        machine_info = hook.pytest_benchmark_generate_machine_info(config=self.config)
        commit_info = hook.pytest_benchmark_generate_commit_info(config=self.config)
        # Before the hooks that add to them: those are called again for the files.
        self.config.pluginmanager.register(
            _KnownInfo(copy.deepcopy(machine_info), copy.deepcopy(commit_info))
        )
        hook.pytest_benchmark_update_machine_info(config=self.config, machine_info=machine_info)
        hook.pytest_benchmark_update_commit_info(config=self.config, commit_info=commit_info)
        return {
            "machine_info": machine_info,
            "commit_info": commit_info,
            "machine_id": getattr(self._session(), "machine_id", "unknown"),
            "benchmark_version": _version(),
        }

    def _session(self) -> Any:
        return self.config.pluginmanager.get_plugin(_PLUGIN)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                pytest.PytestWarning(
                    f"pytest-benchmark {_version()} has changed inside ({type(error).__name__}: "
                    f"{error}): the metrics are in the saved files, not in this run's own comparison"
                ),
                stacklevel=2,
            )


CLOCK: pytest.StashKey[VirtualClock] = pytest.StashKey()
"""The clock of a test that measures."""


def is_active(config: pytest.Config) -> bool:
    """Return whether pytest-benchmark is there (not with ``-p no:benchmark``)."""
    # By the name that it gives itself: that of its module depends on how it was loaded.
    return config.pluginmanager.hasplugin(_PLUGIN)


def is_its_module(module: str) -> bool:
    """Return whether a module is one of pytest-benchmark's."""
    return module.partition(".")[0] == "pytest_benchmark"


def is_enabled(benchmark: Any) -> bool:
    """Return whether a ``benchmark`` fixture measures.

    It does not under ``--benchmark-disable``, nor if it is another plugin's fixture.
    """
    return bool(getattr(benchmark, "enabled", False))


def abandon(benchmark: Any) -> None:
    """Mark a ``benchmark`` fixture as used, because its test has failed: it would warn otherwise."""
    # Disabled, a call leaves no entry behind; an empty one would be stored as a run.
    benchmark.disabled = True
    benchmark.pedantic(lambda: None)


def use_virtual_clock(item: pytest.Item) -> VirtualClock:
    """Give a test's ``benchmark`` fixture a virtual clock; keep the test's benchmark marker."""
    clock = VirtualClock()
    marker = item.get_closest_marker("benchmark")
    kwargs = dict(marker.kwargs) if marker else {}
    item.add_marker(pytest.mark.benchmark(**{**kwargs, "timer": clock}), append=False)
    return clock


def _test_of(entry: Any) -> str:
    """Return the test of an entry of pytest-benchmark's session."""
    ours = entry.extra_info.get(KEY)
    return str((ours or {}).get("parent") or entry.fullname) if isinstance(ours, dict) else ""


def _replay(benchmark: Any, clock: VirtualClock, samples: Sequence[float]) -> None:
    remaining = iter(samples)
    benchmark.pedantic(lambda: clock.advance(next(remaining, 0.0)), rounds=len(samples))


def _primary(benchmark: Any) -> Source:
    return Source(
        benchmark.name,
        benchmark.fullname,
        benchmark.group,
        benchmark.param,
        benchmark.params,
        benchmark.extra_info,
    )


def _metadata(source: Source, samples: Sequence[float]) -> Any:
    from pytest_benchmark.stats import Metadata

    entry = Metadata(source, iterations=1, options=OPTIONS)
    for sample in samples:
        entry.update(sample)
    # Read now everything that the table, the files and the gate will read.
    stored = entry.as_dict(include_data=True, flat=False)
    if not entry or stored["fullname"] != source.fullname or entry.has_error:
        raise TypeError("an entry does not keep what it was made of")
    return entry


def _version() -> str:
    import pytest_benchmark

    return str(pytest_benchmark.__version__)
