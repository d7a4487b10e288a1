"""The entries of metrics, each a sibling of its test's own entry: names, groups and samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.samples import Metric
from .schema import KEY
from .stats import stats

OPTIONS = {"timer": "engine_clock", "disable_gc": False}
"""How an entry says that it was measured."""


@dataclass
class Source:
    """What an entry is made of: what pytest-benchmark reads from a ``benchmark`` fixture."""

    name: str
    fullname: str
    group: str
    param: str | None
    params: Mapping[str, Any] | None
    extra_info: dict[str, Any]
    cprofile_stats: None = None
    has_error: bool = False


def lower(metric: Metric) -> list[float]:
    """Return samples as lower-is-better; a rate becomes seconds per unit, empty where a rate is zero."""
    if metric.definition.better == "lower":
        return list(metric.samples)
    return [1 / s for s in metric.samples] if all(s > 0 for s in metric.samples) else []


def same_names(fullnames: Iterable[str], metrics: Sequence[str]) -> tuple[str, str, str] | None:
    """Return two tests and a metric whose entries would have one name, or None."""
    tests = set(fullnames)
    for fullname in sorted(tests):
        for metric in metrics:
            if (other := sibling_name(fullname, metric)) in tests:
                return fullname, other, metric
    return None


def sibling_name(name: str, metric: str) -> str:
    """Return ``test_x[a-ttft]`` for ``test_x[a]`` and ttft."""
    return f"{name[:-1]}-{metric}]" if name.endswith("]") else f"{name}[{metric}]"


def sibling(benchmark: Any, user_group: str | None, metric: Metric) -> Source:
    """Return what the entry of a metric is made of.

    Args:
        benchmark: the test's ``benchmark`` fixture.
        user_group: the group that the test has chosen; None without one.
    """
    group = metric.key + ("_mib" if metric.unit == "MiB" else "")
    return Source(
        name=sibling_name(benchmark.name, metric.key),
        fullname=sibling_name(benchmark.fullname, metric.key),
        group=f"{user_group}:{group}" if user_group else group,
        param=f"{benchmark.param}-{metric.key}" if benchmark.param else metric.key,
        params=benchmark.params,
        extra_info={
            KEY: {
                "parent": benchmark.fullname,
                "metric": metric.key,
                "unit": metric.unit,
                "better": metric.definition.better,
            }
        },
    )


def entry_of(source: Source, samples: Sequence[float]) -> dict[str, Any]:
    """Return an entry as pytest-benchmark writes it."""
    return {
        "group": source.group,
        "name": source.name,
        "fullname": source.fullname,
        "params": source.params,
        "param": source.param,
        "extra_info": source.extra_info,
        "options": OPTIONS,
        "stats": stats(samples),
    }
