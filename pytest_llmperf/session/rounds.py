"""How many rounds a test measures: a fixed number, or as many as the precision of its medians needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..core.defaults import (
    DEFAULT_MAX_TIME_CPU,
    DEFAULT_MAX_TIME_GPU,
    DEFAULT_MIN_ROUNDS,
    DEFAULT_PRECISION,
)
from ..core.values import MOST_ROUNDS, check_whole, plain_whole, ratio, seconds, shown
from ..core.workload import Need
from ..metrics.rounds import OF_ROUND
from .options import Settings

MARKER = "llm_rounds"


@dataclass(frozen=True)
class Asked:
    """What a call or a marker says about its rounds; None: nothing."""

    rounds: int | None = None
    """The number of rounds, fixed."""
    precision: float | None = None
    max_time: float | None = None
    """Seconds."""
    min_rounds: int | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, object]) -> Asked:
        """Return the values of arguments by name.

        Raises:
            ValueError: one line that names the argument, the value and what would be right.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        values: dict[str, Any] = {n: _PARSERS[n](n, value) for n, value in given.items()}
        asked = cls(**values)
        if asked.rounds is not None and len(given) > 1:
            others = " and ".join(f"{name}=" for name in given if name != "rounds")
            raise ValueError(f"rounds= fixes the number of rounds: leave {others} out, or rounds=")
        return asked

    @classmethod
    def of_marker(cls, marker: Any) -> Asked:
        """Return the values of a test's marker; of none without one.

        Raises:
            ValueError: as in ``of``.
        """
        if marker is None:
            return cls()
        unknown = set(marker.kwargs) - {field.name for field in fields(cls)}
        if marker.args or unknown:
            raise ValueError(
                f"@pytest.mark.{MARKER} takes rounds=, or precision=, max_time= and min_rounds="
                + (f", not {min(unknown)}=" if unknown else "")
            )
        try:
            return cls.of(marker.kwargs)
        except ValueError as error:
            raise ValueError(f"@pytest.mark.{MARKER}: {error}") from None

    def or_else(self, other: Asked) -> Asked:
        """Return these values, and the other's where these say nothing.

        Whether the number is fixed, the nearer one says.
        """
        if self.rounds is not None:
            return self
        if other.rounds is not None:
            return other if self == Asked() else self
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(other, **{name: v for name, v in mine.items() if v is not None})


def rounds_of(settings: Settings, call: Asked, marker: Asked) -> tuple[int, Need | None]:
    """Return the number of rounds, and when they end if that number is only the smallest one.

    The command line and the ini file come first, then the call, then the marker.
    """
    asked = call.or_else(marker)
    if settings.rounds is not None:
        return settings.rounds, None
    if asked.rounds is not None:
        return asked.rounds, None
    default = DEFAULT_MAX_TIME_CPU if settings.setup.on_cpu else DEFAULT_MAX_TIME_GPU
    need = Need(
        precision=_first(settings.precision, asked.precision, DEFAULT_PRECISION),
        max_time=_first(settings.max_time, asked.max_time, default),
        metrics=_deciding(settings.metrics),
    )
    return _first(settings.min_rounds, asked.min_rounds, DEFAULT_MIN_ROUNDS), need


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _deciding(chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the metrics that have to be known: the chosen ones that a round has."""
    return tuple(key for key in OF_ROUND if key in chosen) or ("e2e",)


def _whole(name: str, value: object) -> int:
    number = plain_whole(value)
    check_whole(name, number, 1, MOST_ROUNDS)
    return int(number)


def _precision(name: str, value: object) -> float:
    try:
        return ratio(_text(value))
    except ValueError:
        raise ValueError(
            f"{name} must be a share between 0 and 100 %, such as '2%' or 0.02, not {shown(value)}"
        ) from None


def _seconds(name: str, value: object) -> float:
    try:
        if isinstance(value, str):
            raise ValueError
        return seconds(_text(value))
    except ValueError:
        raise ValueError(
            f"{name} must be seconds, above 0 and at most 1,000,000,000, not {shown(value)}"
        ) from None


def _text(value: object) -> str:
    """Return a number or a text as a text; a truth value is neither."""
    return "" if isinstance(value, bool) else value if isinstance(value, str) else shown(value)


_PARSERS = {
    "rounds": _whole,
    "precision": _precision,
    "max_time": _seconds,
    "min_rounds": _whole,
}
