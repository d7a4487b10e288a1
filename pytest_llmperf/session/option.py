"""An option as a row, which gives its declaration to pytest, its value and its documentation.

A row is the default of a typed field of a frozen dataclass, so the field and its option cannot
disagree, and mypy checks that the parser returns what the field holds::

    rounds: int | None = one("llm-rounds", whole(1), "N", "measured rounds")

``one``, ``many``, ``gathered`` and ``flag`` make a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields
from typing import Any, NamedTuple, TypeVar, cast, overload

import pytest

from ..core.values import listed

T = TypeVar("T")
G = TypeVar("G")
_ROW = "option"


class Option(NamedTuple):
    """An option of the command line and its ini twin.

    A named tuple, because every pytest run makes this class, and a dataclass takes a millisecond.
    """

    name: str
    """Without its leading dashes; the ini twin has underscores."""
    help: str
    """Meaning of the option; its default and whether it may be repeated are added to it."""
    metavar: str = ""
    """Placeholder of the value in ``--help``; empty for a flag, which takes no value."""
    parse: Callable[[str], Any] = str
    """Turns a text into a value; raises ValueError with one line."""
    default: Any = None
    """The value when neither the command line nor the ini file has one."""
    factory: Callable[[], Any] | None = None
    """Makes the default when the run starts, if the default depends on the environment."""
    unset: str = ""
    """The behavior without a value, in words, if ``default`` does not say it."""
    many: bool = False
    """True if the option may be repeated."""
    split: bool = False
    """True if one text may hold several values, separated by commas."""
    gather: Callable[[list[Any]], Any] | None = None
    """Turns all values into one; without it, ``many`` gives a tuple without repetitions."""

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return f"--{self.name}"

    @property
    def ini(self) -> str:
        """The name of the ini twin."""
        return self.name.replace("-", "_")

    @property
    def meaning(self) -> str:
        """Meaning of the option, with a note if it may be repeated."""
        return f"{self.help}; may be repeated" if self.many and not self.split else self.help

    @property
    def default_text(self) -> str:
        """The default in words; empty if there is none."""
        if self.unset or self.default in (None, ()):
            return self.unset
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def declare(self, parser: pytest.Parser, group: pytest.OptionGroup) -> None:
        """Declare the option and its ini twin to pytest."""
        default = f" (default: {self.default_text})" if self.default_text else ""
        text = f"{self.meaning}{default}".replace("%", "%%")  # argparse formats what it prints
        twin = f"default of {self.flag}"
        if not self.metavar:
            group.addoption(self.flag, dest=self.ini, action="store_true", help=text)
            parser.addini(self.ini, twin, "bool", default=False)
            return
        action = "append" if self.many else "store"
        group.addoption(self.flag, dest=self.ini, action=action, metavar=self.metavar, help=text)
        if self.many:
            parser.addini(self.ini, twin, "linelist")
        else:
            parser.addini(self.ini, twin, "string")

    def given(self, config: pytest.Config) -> list[str]:
        """Return the texts of the command line; a flag has none."""
        value = config.getoption(self.ini) if self.metavar else None
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    def value(self, config: pytest.Config) -> Any:
        """Return the value: from the command line, else from the ini file, else the default.

        Raises:
            pytest.UsageError: one line that names the option, the text and the right form.
        """
        if not self.metavar:
            return bool(config.getoption(self.ini)) or bool(config.getini(self.ini))
        values = [self._parsed(text) for text in self._texts(config)]
        if self.gather:
            return self.gather(values)
        if not values:
            return self.factory() if self.factory else self.default
        if not self.many:
            return values[-1]
        # Not by a dict: not every value has a hash.
        return tuple(value for i, value in enumerate(values) if value not in values[:i])

    def _texts(self, config: pytest.Config) -> list[str]:
        texts = self.given(config)
        if not texts:
            ini = config.getini(self.ini)
            texts = [ini] if isinstance(ini, str) and ini else list(ini or ())
        if not self.split:
            return texts
        parts = [part for text in texts for part in listed(text)]
        return [part for part in parts if part]

    def _parsed(self, text: str) -> Any:
        try:
            return self.parse(text)
        except ValueError as error:
            raise pytest.UsageError(f"{self.flag}: {error}") from None


@overload
def one(
    name: str, parse: Callable[[str], T], metavar: str, help: str, *, unset: str = ...
) -> T | None: ...
@overload
def one(name: str, parse: Callable[[str], T], metavar: str, help: str, *, default: T) -> T: ...
@overload
def one(
    name: str,
    parse: Callable[[str], T],
    metavar: str,
    help: str,
    *,
    factory: Callable[[], T],
    unset: str,
) -> T: ...
def one(name: str, parse: Callable[[str], Any], metavar: str, help: str, **more: Any) -> Any:
    """Make the row of an option with one value."""
    return _row(Option(name, help, metavar, parse, **more))


@overload
def many(
    name: str, parse: Callable[[str], T], metavar: str, help: str, *, unset: str = ...
) -> tuple[T, ...] | None: ...
@overload
def many(
    name: str,
    parse: Callable[[str], T],
    metavar: str,
    help: str,
    *,
    default: tuple[T, ...],
    split: bool = ...,
) -> tuple[T, ...]: ...
def many(
    name: str,
    parse: Callable[[str], Any],
    metavar: str,
    help: str,
    *,
    split: bool = True,
    **more: Any,
) -> Any:
    """Make the row of an option with several values."""
    return _row(Option(name, help, metavar, parse, many=True, split=split, **more))


def gathered(
    name: str,
    parse: Callable[[str], T],
    metavar: str,
    help: str,
    gather: Callable[[list[T]], G],
    *,
    split: bool = False,
    unset: str = "",
) -> G:
    """Make the row of an option whose values become one: a later value replaces an earlier one."""
    option = Option(name, help, metavar, parse, unset=unset, many=True, split=split, gather=gather)
    return cast(G, _row(option))


def flag(name: str, help: str) -> bool:
    """Make the row of an option without a value, off by default."""
    return cast(bool, _row(Option(name, help, default=False)))


def rows(settings: type) -> dict[str, Option]:
    """Return the rows of a dataclass by the names of their fields."""
    return {f.name: f.metadata[_ROW] for f in fields(settings) if _ROW in f.metadata}


def _row(option: Option) -> Any:
    return field(metadata={_ROW: option})
