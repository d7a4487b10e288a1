"""What a quantization mode gives and what it takes, out of stored records: speed, memory, quality."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..store.hardware import hardware, hardware_changes, machine

_UNQUANTIZED = "none"


@dataclass(frozen=True)
class Point:
    """One engine and mode of a model; None where it was not measured."""

    model: str
    backend: str
    mode: str
    tokens_per_s: float | None
    """p50 of ``output_throughput`` in the chosen test."""
    weights_mib: float | None
    peak_mib: float | None
    """While the rounds ran, a reserved key-value pool left out."""
    perplexity: float | None
    kl_divergence: float | None
    agreement: float | None
    joules_per_token: float | None

    @property
    def name(self) -> str:
        return f"{self.backend} {self.mode}"


@dataclass(frozen=True)
class TradeOff:
    """The modes of one model."""

    model: str
    test: str
    """Where the speeds come from: the test that the most cells ran, its sizes included."""
    points: tuple[Point, ...]

    def words(self) -> list[str]:
        """A line for each quantized mode against the same engine's unquantized one."""
        plain = {p.backend: p for p in self.points if p.mode == _UNQUANTIZED}
        lines = []
        for point in self.points:
            base = plain.get(point.backend)
            if base is not None and point is not base:
                parts = [part for part in _parts(point, base) if part]
                lines += [f"{point.name}: {', '.join(parts)}"] if parts else []
        return lines


def trade_offs(entries: Iterable[Mapping[str, Any]]) -> list[TradeOff]:
    """The trade-offs that some stored entries tell of: models of which two cells have a quality.

    Args:
        entries: pytest-benchmark's; of equal measurements the newest counts, and machines stand apart.
    """
    records = sorted(
        (record for entry in entries if (record := _record(entry))),
        key=lambda record: str(record.get("run", {}).get("started_at", "")),
    )
    machines = _Machines()
    by_model: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for record in records:
        number = machines.number_of(record.get("environment", {}))
        by_model.setdefault((str(record["model"]["name"]), number), []).append(record)
    names = machines.names()
    found = [
        _trade_off(f"{model} on {names[number]}" if len(names) > 1 else model, of_machine)
        for (model, number), of_machine in by_model.items()
    ]
    return [one for one in found if sum(p.perplexity is not None for p in one.points) > 1]


def _trade_off(model: str, records: Sequence[Mapping[str, Any]]) -> TradeOff:
    cells: dict[str, dict[str, Mapping[str, Any]]] = {}
    tests: dict[str, set[str]] = {}
    for record in records:
        test = _test(record)
        cells.setdefault(_cell(record), {})[test] = record
        if "output_throughput" in record["metrics"]:
            tests.setdefault(test, set()).add(_cell(record))
    # Python's max keeps the first of equals: the order of the run.
    chosen = max(tests, key=lambda test: len(tests[test]), default="")
    points = [_point(model, found, chosen) for found in cells.values()]
    return TradeOff(model, chosen, tuple(points))


def _point(model: str, found: Mapping[str, Mapping[str, Any]], chosen: str) -> Point:
    speed = found.get(chosen)
    quality = next(
        (r for r in reversed(list(found.values())) if "perplexity" in r["metrics"]), None
    )
    some = speed or quality or next(iter(found.values()))
    peak, pool = _p50(speed, "peak_memory"), _p50(speed, "kv_cache_memory")
    return Point(
        model=model,
        backend=_backend(some),
        mode=str(some["quantization"]["mode"]),
        tokens_per_s=_p50(speed, "output_throughput"),
        weights_mib=_p50(speed, "model_memory"),
        peak_mib=None if peak is None else peak - (pool or 0),
        perplexity=_p50(quality, "perplexity"),
        kl_divergence=_p50(quality, "kl_divergence"),
        agreement=_p50(quality, "top1_agreement"),
        joules_per_token=_p50(speed, "energy_per_output_token"),
    )


def _record(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """An entry's record; None for a metric's own entry, and for what others stored."""
    record = entry.get("extra_info", {}).get("llmperf", {})
    return record if "metrics" in record else None


class _Machines:
    """The machines that some records come from: speeds of two are no trade-off."""

    def __init__(self) -> None:
        self._environments: list[Mapping[str, Any]] = []

    def number_of(self, environment: Mapping[str, Any]) -> int:
        """Return the machine's number: that of the first record with the same hardware."""
        for number, known in enumerate(self._environments):
            if not hardware_changes(known, environment):
                return number
        self._environments.append(environment)
        return len(self._environments) - 1

    def names(self) -> list[str]:
        """Return a name for each; machines of one name differ by what else their hardware says."""
        short = [machine(environment) for environment in self._environments]
        return [
            name if short.count(name) == 1 else f"{name} ({self._peculiarities(number, short)})"
            for number, name in enumerate(short)
        ]

    def _peculiarities(self, number: int, short: Sequence[str]) -> str:
        parts = hardware(self._environments[number])
        others = [
            hardware(environment)
            for environment, name in zip(self._environments, short, strict=True)
            if name == short[number]
        ]
        return ", ".join(
            f"{key} {value}"
            for key, value in parts.items()
            if any(other.get(key) != value for other in others)
        )


def _cell(record: Mapping[str, Any]) -> str:
    return f"{_backend(record)}-{record['quantization']['mode']}"


def _backend(record: Mapping[str, Any]) -> str:
    """The backend as ids name it: with its label and its degree (``vllm@next``, ``vllm-tp2``)."""
    name, mode = str(record["model"]["name"]), str(record["quantization"]["mode"])
    inner = str(record.get("cell", "")).removeprefix(f"{name}-")
    found = re.fullmatch(rf"(.+?)-{re.escape(mode)}(?:-(.+))?", inner)
    if found is None:
        return str(record["backend"]["name"])
    return "-".join(part for part in found.groups() if part)


def _test(record: Mapping[str, Any]) -> str:
    """The test's id without its cell."""
    nodeid, cell = str(record["nodeid"]), str(record.get("cell", ""))
    return nodeid.replace(cell, "", 1).replace("[-", "[").replace("[]", "") if cell else nodeid


def _p50(record: Mapping[str, Any] | None, key: str) -> float | None:
    metric = record["metrics"].get(key) if record else None
    return float(metric["p50"]) if metric else None


def _change(ratio: float, less: str, more: str) -> str:
    """Return ``39 % smaller`` for a ratio of 0.61."""
    share = f"{abs(ratio - 1):.0%}".replace("%", " %")
    return "unchanged" if share == "0 %" else f"{share} {less if ratio < 1 else more}"


def _parts(point: Point, base: Point) -> list[str]:
    """Memory, speed, quality and energy against the unquantized model, as far as both have them."""
    parts = []
    if point.weights_mib and base.weights_mib:
        parts.append(
            f"weights {_change(point.weights_mib / base.weights_mib, 'smaller', 'larger')}"
        )
    if point.peak_mib and base.peak_mib:
        # Beside the weights: what unpacks them as it goes may need more at its peak, not less.
        parts.append(f"peak memory {_change(point.peak_mib / base.peak_mib, 'lower', 'higher')}")
    if point.tokens_per_s and base.tokens_per_s:
        parts.append(f"{point.tokens_per_s / base.tokens_per_s:.2g}x speed")
    if point.perplexity and base.perplexity:
        parts.append(f"perplexity {point.perplexity / base.perplexity - 1:+.1%}".replace("%", " %"))
    if point.agreement is not None:
        parts.append(f"{point.agreement:.0%}".replace("%", " %") + " of next tokens the same")
    if point.joules_per_token and base.joules_per_token:
        parts.append(f"{point.joules_per_token / base.joules_per_token:.2g}x energy a token")
    return parts
