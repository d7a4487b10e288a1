"""What a quantization mode gives and what it takes, out of stored records: speed, memory, quality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..store.schema import Record
from ..store.stored import cell_name

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


def trade_offs(records: Iterable[Record]) -> list[TradeOff]:
    """Return the trade-offs of every model of which two cells have a quality.

    Args:
        records: of equal measurements the newest counts; each machine has trade-offs of its own.
    """
    ordered = sorted(records, key=lambda record: record["run"]["started_at"])
    by_model: dict[tuple[str, str], list[Record]] = {}
    for record in ordered:
        by_model.setdefault((record["model"]["name"], _machine(record)), []).append(record)
    machines = {machine for _, machine in by_model}
    all_models = [
        _trade_off(f"{model} on {machine}" if len(machines) > 1 else model, of_model)
        for (model, machine), of_model in by_model.items()
    ]
    return [one for one in all_models if sum(p.perplexity is not None for p in one.points) > 1]


def _trade_off(model: str, records: Sequence[Record]) -> TradeOff:
    cells: dict[str, dict[str, Record]] = {}
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


def _point(model: str, found: Mapping[str, Record], chosen: str) -> Point:
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


def _machine(record: Record) -> str:
    """Speeds of two machines are no trade-off."""
    environment = record.get("environment", {})
    cards = [str(card.get("name")) for card in environment.get("accelerators") or ()]
    return ", ".join(dict.fromkeys(cards)) or str(environment.get("cpu", "an unknown machine"))


def _cell(record: Record) -> str:
    return f"{_backend(record)}-{record['quantization']['mode']}"


def _backend(record: Record) -> str:
    """Return the backend as ids name it: with its label and its degree (``vllm@next``, ``vllm-tp2``)."""
    name = cell_name(record)
    return "-".join(part for part in (name.backend, name.degree) if part)


def _test(record: Record) -> str:
    """The test's id without its cell."""
    nodeid, cell = str(record["nodeid"]), str(record.get("cell", ""))
    return nodeid.replace(cell, "", 1).replace("[-", "[").replace("[]", "") if cell else nodeid


def _p50(record: Record | None, key: str) -> float | None:
    metric = record["metrics"].get(key) if record else None
    return float(metric["p50"]) if metric else None


def _parts(point: Point, base: Point) -> list[str]:
    """Memory, speed, quality and energy against the unquantized model, as far as both have them."""
    parts = []
    if point.weights_mib and base.weights_mib:
        ratio = base.weights_mib / point.weights_mib
        less = ratio >= 1
        parts.append(f"{ratio if less else 1 / ratio:.1f}x {'less' if less else 'more'} memory")
    if point.tokens_per_s and base.tokens_per_s:
        parts.append(f"{point.tokens_per_s / base.tokens_per_s:.2g}x speed")
    if point.perplexity and base.perplexity:
        parts.append(f"perplexity {point.perplexity / base.perplexity - 1:+.1%}".replace("%", " %"))
    if point.agreement is not None:
        parts.append(f"{point.agreement:.0%}".replace("%", " %") + " of next tokens the same")
    if point.joules_per_token and base.joules_per_token:
        parts.append(f"{point.joules_per_token / base.joules_per_token:.2g}x energy a token")
    return parts
