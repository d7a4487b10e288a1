"""What an engine returned, checked and turned into builtin types.

An engine may be another package's: it may return anything. Whatever is wrong is one line, an
InvalidMeasurement, and never a number in a record.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

from ..core.architecture import Architecture
from ..core.engine import EngineInfo, EngineSpec
from ..core.errors import InvalidMeasurement
from ..core.printable import printable
from ..core.trace import RequestTrace
from ..core.traits import KINDS, Traits
from ..core.weights import Weights
from ..core.workload import Request

T = TypeVar("T")

_LONGEST = 10_000
"""Characters of a setting that are kept."""
_DEEPEST = 8
"""Levels of settings within settings that are kept."""
_LARGEST = 2**53
"""Whole numbers up to here are the same for every reader of JSON."""
_MEMORY = ("model_memory", "kv_cache_memory")


def instance(value: object, kind: type[T], where: str) -> T:
    """Return what a function or a field has, if it is of the right type."""
    if not isinstance(value, kind):
        raise InvalidMeasurement(f"{where} is {shown(value)}, not of type {kind.__name__}")
    return value


def shown(value: object) -> str:
    """Return a value for a message: its repr, short, whatever its type does."""
    try:
        text = printable(repr(value))
    except Exception:
        text = ""
    return text if 0 < len(text) <= 40 else f"a value of type {type(value).__name__}"


def number(value: object, what: str, least: float = -math.inf) -> float:
    """Return a finite number of at least ``least`` as a float."""
    # A number of numpy or torch is one, too; a text is not.
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if math.isfinite(result) and result >= least:
            return result
    bound = "" if least == -math.inf else f" of at least {least:g}"
    raise InvalidMeasurement(f"{what} is {shown(value)}, not a finite number{bound}")


def whole(value: object, what: str, least: int = 0) -> int:
    """Return a whole number of at least ``least`` as an int."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        result = int(value)
        if least <= result <= _LARGEST:
            return result
    raise InvalidMeasurement(f"{what} is {shown(value)}, not a whole number of at least {least}")


def items(value: object, what: str) -> list[Any]:
    """Return the items of a list, a tuple or an array."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return list(value)
    raise InvalidMeasurement(f"{what} is {shown(value)}, not a list")


def token_ids(value: object, where: str) -> list[int]:
    """Return token ids as ints."""
    return [whole(item, f"{where}: a token id") for item in items(value, f"{where}: token_ids")]


def traces(
    requests: Sequence[Request],
    returned: object,
    where: str,
    window: tuple[float, float] = (-math.inf, math.inf),
) -> list[RequestTrace]:
    """Return the traces of a round, each complete and plausible.

    Args:
        requests: the requests of the round.
        returned: what ``generate`` returned.
        where: name of the round, for messages.
        window: readings of the clock before and after the call.

    Raises:
        InvalidMeasurement: with the first thing that is wrong.
    """
    if not isinstance(returned, Sequence) or isinstance(returned, str | bytes):
        raise InvalidMeasurement(
            f"{where}: the answer of generate is {shown(returned)}, not a list of RequestTrace"
        )
    if len(returned) != len(requests):
        raise InvalidMeasurement(f"{where}: {len(returned)} of {len(requests)} requests came back")
    return [
        _trace(request, trace, f"{where}, request {i + 1} of {len(requests)}", window)
        for i, (request, trace) in enumerate(zip(requests, returned, strict=True))
    ]


def _trace(request: Request, value: object, name: str, window: tuple[float, float]) -> RequestTrace:
    """Return one trace in builtin types."""
    if not isinstance(value, RequestTrace):
        raise InvalidMeasurement(f"{name}: {shown(value)} came back, not a RequestTrace")
    trace = RequestTrace(
        submitted=number(value.submitted, f"{name}: the time of submission"),
        times=tuple(
            number(t, f"{name}: a timestamp") for t in items(value.times, f"{name}: times")
        ),
        counts=tuple(
            whole(n, f"{name}: a count of tokens", least=1)
            for n in items(value.counts, f"{name}: counts")
        ),
        input_tokens=whole(value.input_tokens, f"{name}: the number of prompt tokens"),
        token_ids=tuple(token_ids(value.token_ids, name)),
        cached_tokens=whole(value.cached_tokens, f"{name}: the number of cached tokens"),
    )
    if len(trace.counts) != len(trace.times):
        raise InvalidMeasurement(
            f"{name}: {len(trace.counts)} counts of tokens but {len(trace.times)} timestamps"
        )
    if trace.output_tokens != request.output_len:
        raise InvalidMeasurement(
            f"{name}: the engine gave {trace.output_tokens} output tokens instead of "
            f"{request.output_len}"
        )
    if trace.token_ids and len(trace.token_ids) != trace.output_tokens:
        raise InvalidMeasurement(
            f"{name}: {len(trace.token_ids)} token ids but {trace.output_tokens} counted tokens"
        )
    if trace.input_tokens != len(request.prompt_ids):
        raise InvalidMeasurement(
            f"{name}: the engine counted {trace.input_tokens} prompt tokens instead of "
            f"{len(request.prompt_ids)}"
        )
    if trace.cached_tokens > request.prefix_len:
        raise InvalidMeasurement(
            f"{name}: {trace.cached_tokens} of {trace.input_tokens} prompt tokens came from a "
            "prefix cache"
        )
    ordered = [trace.submitted, *trace.times]
    if any(later <= earlier for earlier, later in pairwise(ordered)):
        raise InvalidMeasurement(f"{name}: its timestamps do not increase")
    begin, end = window
    if not begin <= ordered[0] <= ordered[-1] <= end:
        raise InvalidMeasurement(
            f"{name}: its timestamps lie outside the call of generate: they have to be readings of "
            "time.perf_counter"
        )
    return trace


def joules(value: object) -> float | None:
    """Return the energy that an engine reports; None if it reports none."""
    return None if value is None else number(value, "the engine's energy in joules", least=0)


def log_likelihood(value: object) -> float:
    """Return the log-likelihood of a token, which may be minus infinity."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise InvalidMeasurement(f"a score is {shown(value)}, not a number")


def peak_memory(value: object) -> float:
    """Return the MiB of a peak."""
    return number(value, "peak_memory in MiB", least=0)


def energy(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the energy of a measurement, its joules finite and not negative."""
    for key in ("joules", "cpu_joules"):
        if key in part:
            number(part[key], f"energy: {key}", least=0)
    return dict(part)


def prepared(value: object) -> EngineSpec:
    """Return what ``prepare`` returned, its fields in builtin types."""
    spec = instance(value, EngineSpec, "the answer of prepare")
    return replace(spec, model=str(spec.model), local=bool(spec.local))


def info(value: object) -> EngineInfo:
    """Return what ``load`` returned, in builtin types that every reader of a record takes.

    Numbers have to be right. Settings only describe, so what is not plain data in them becomes text.
    """
    loaded = instance(value, EngineInfo, "the answer of load")
    memory = instance(plain(loaded.memory), dict, "load: memory")
    unknown = [shown(key) for key in memory if key not in _MEMORY]
    if unknown:
        raise InvalidMeasurement(f"load: memory has {unknown[0]}; known: {', '.join(_MEMORY)}")
    return EngineInfo(
        device=printable(instance(loaded.device, str, "load: device")),
        dtype=printable(instance(loaded.dtype, str, "load: dtype")),
        vocabulary=whole(loaded.vocabulary, "load: vocabulary", least=1),
        has_tokenizer=bool(loaded.has_tokenizer),
        parameters=_optional(whole, loaded.parameters, "load: parameters"),
        revision=None if loaded.revision is None else printable(loaded.revision),
        memory={
            key: number(mib, f"load: {key} in MiB", least=0) for key, mib in loaded.memory.items()
        },
        settings=instance(plain(loaded.settings), dict, "load: settings"),
        threads=_optional(whole, loaded.threads, "load: threads"),
        architecture=_architecture(loaded.architecture),
        embedding_bytes=_optional(_not_negative, loaded.embedding_bytes, "load: embedding_bytes"),
        cache_value_bytes=_not_negative(loaded.cache_value_bytes, "load: cache_value_bytes"),
        arithmetic=None if loaded.arithmetic is None else printable(loaded.arithmetic),
        devices=whole(loaded.devices, "load: devices", least=1),
        traits=_traits(loaded.traits),
        least_warmup=whole(loaded.least_warmup, "load: least_warmup"),
        context=_optional(whole, loaded.context, "load: context"),
        mode=None if loaded.mode is None else printable(instance(loaded.mode, str, "load: mode")),
        weights=_weights(loaded.weights),
        speculation=bool(loaded.speculation),
    )


def _traits(value: object) -> dict[str, str]:
    reported = instance(plain(value), dict, "load: traits")
    unknown = [shown(kind) for kind in reported if kind not in KINDS]
    if unknown:
        raise InvalidMeasurement(f"load: traits has {unknown[0]}; known: {', '.join(KINDS)}")
    try:
        Traits(**reported)
    except ValueError as error:
        raise InvalidMeasurement(f"load: traits: {error}") from None
    return reported


def plain(value: object, depth: int = 0) -> Any:
    """Return a value as JSON has it; what JSON does not have becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is str:
        return _text(value)
    if isinstance(value, numbers.Integral) and abs(int(value)) <= _LARGEST:
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        result = float(value)
        return result if math.isfinite(result) else str(result)
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth == _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {_text(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner, depth + 1) for inner in value]
    return _text(value)


def _text(value: object) -> str:
    """Return a value as text that can be encoded, cut to what a record keeps."""
    try:
        text = value if type(value) is str else str(value)
    except Exception:
        text = f"a value of type {type(value).__name__}"
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def _architecture(value: object) -> Architecture | None:
    if value is None:
        return None
    shape = instance(value, Architecture, "load: architecture")
    sizes = ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocabulary", "experts")
    return replace(
        shape,
        **{n: whole(getattr(shape, n), f"load: architecture.{n}", least=1) for n in sizes},
        tied=bool(shape.tied),
        window=_optional(whole, shape.window, "load: architecture.window"),
        window_layers=_optional(whole, shape.window_layers, "load: architecture.window_layers"),
    )


def _weights(value: object) -> Weights | None:
    if value is None:
        return None
    loaded = instance(value, Weights, "load: weights")
    share = _not_negative(loaded.unquantized_share, "load: weights.unquantized_share")
    if share > 1:
        raise InvalidMeasurement(f"load: weights.unquantized_share is {share:g}, above 1")
    kind = loaded.unquantized_type
    return Weights(
        linear_parameters=whole(
            loaded.linear_parameters, "load: weights.linear_parameters", least=1
        ),
        linear_bytes=_not_negative(loaded.linear_bytes, "load: weights.linear_bytes"),
        unquantized_share=share,
        unquantized_type=None if kind is None else printable(kind),
        places={
            printable(place): _not_negative(mib, "load: weights.places in MiB")
            for place, mib in instance(plain(loaded.places), dict, "load: weights.places").items()
        },
    )


def _not_negative(value: object, what: str) -> float:
    return number(value, what, least=0)


def _optional(check: Any, value: object, what: str) -> Any:
    return None if value is None else check(value, what)
