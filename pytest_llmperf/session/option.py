"""An option as a row, which gives its declaration to pytest, its value and its documentation.

A row is the default of a typed field of a frozen dataclass, so the field and its option cannot
disagree, and mypy checks that the parser returns what the field holds::

    rounds: int | None = one("llm-rounds", whole(1), "N", "measured rounds")

``one``, ``many``, ``gathered`` and ``flag`` make a row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, overload

import pytest

from ..core.cause import one_line
from ..core.defaults import AB_TREES
from ..core.printable import printable
from ..core.values import expanded, shown, unusable

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
    parse: Callable[..., Any] = str
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
    located: bool = False
    """True if a value may be a path: ``parse`` takes the folder that a relative one begins at, too."""

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
        # None where the file has no such line: an empty one is a mistake.
        if self.many:
            parser.addini(self.ini, twin, "linelist", default=None)
        else:
            parser.addini(self.ini, twin, "string", default=None)

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
            return bool(config.getoption(self.ini)) or bool(self._of_file(config))
        base = Path()
        texts = self.given(config)
        if not texts:
            base = config.inipath.parent if config.inipath else config.rootpath
            texts = [self._expanded(text) for text in self._texts_of_file(config)]
        parts = [part for text in texts for part in self._parts(text)]
        values = [self._parsed(part, base) for part in parts]
        if self.gather:
            return self.gather(values)
        if not values:
            return self.factory() if self.factory else self.default
        if not self.many:
            return values[-1]
        # Not by a dict: not every value has a hash.
        return tuple(value for i, value in enumerate(values) if value not in values[:i])

    def _texts_of_file(self, config: pytest.Config) -> list[str]:
        """Return the texts of the ini file; a value of TOML may be a list, a number or a flag."""
        value = self._of_file(config)
        if value is None:
            return []
        if value == []:
            raise self._empty(self.ini)
        texts = []
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, (str, int, float)):
                raise pytest.UsageError(f"{self.ini}: {shown(item)} is not a text")
            texts.append(str(item).lower() if isinstance(item, bool) else str(item))
        return texts

    def _of_file(self, config: pytest.Config) -> Any:
        try:
            return config.getini(self.ini)
        except (TypeError, ValueError, Warning) as error:
            raise pytest.UsageError(f"{self.ini}: {printable(error)}") from None

    def _expanded(self, text: str) -> str:
        try:
            return expanded(text, os.environ)
        except ValueError as error:
            raise pytest.UsageError(f"{self.ini}: {error}") from None

    def _parts(self, text: str) -> list[str]:
        """Return the values in a text; none is a mistake."""
        parts = [part.strip() for part in text.split(",")] if self.split else [text]
        parts = [part for part in parts if part or not self.split]
        if not parts:
            raise self._empty(self.flag)
        return parts

    def _parsed(self, text: str, base: Path) -> Any:
        if problem := unusable(text):
            raise pytest.UsageError(f"{self.flag}: {shown(text)} {problem}")
        try:
            if self.located:
                value = self.parse(text, _with_file(text, base) or base)
            else:
                value = self.parse(text)
        except ValueError as error:
            # Without a text of any length.
            line = str(error).replace(repr(text), shown(text))
            raise pytest.UsageError(f"{self.flag}: {printable(line)}") from None
        except Exception as error:
            raise pytest.UsageError(f"{self.flag}: {shown(text)}: {one_line(error)}") from None
        if not text.strip():
            raise self._empty(self.flag)
        return value

    def _empty(self, name: str) -> pytest.UsageError:
        """Return the error for a value that is empty."""
        return pytest.UsageError(
            f"{name}: the value is empty (a variable that is not set?): give {self.metavar}, or leave "
            "the option out"
        )


@overload
def one(
    name: str,
    parse: Callable[..., T],
    metavar: str,
    help: str,
    *,
    unset: str = ...,
    located: bool = ...,
) -> T | None: ...
@overload
def one(name: str, parse: Callable[..., T], metavar: str, help: str, *, default: T) -> T: ...
@overload
def one(
    name: str,
    parse: Callable[..., T],
    metavar: str,
    help: str,
    *,
    factory: Callable[[], T],
    unset: str,
    located: bool = ...,
) -> T: ...
def one(name: str, parse: Callable[..., Any], metavar: str, help: str, **more: Any) -> Any:
    """Make the row of an option with one value."""
    return _row(Option(name, help, metavar, parse, **more))


@overload
def many(
    name: str,
    parse: Callable[..., T],
    metavar: str,
    help: str,
    *,
    unset: str = ...,
    located: bool = ...,
) -> tuple[T, ...] | None: ...
@overload
def many(
    name: str,
    parse: Callable[..., T],
    metavar: str,
    help: str,
    *,
    default: tuple[T, ...],
    split: bool = ...,
) -> tuple[T, ...]: ...
def many(
    name: str,
    parse: Callable[..., Any],
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
    parse: Callable[..., T],
    metavar: str,
    help: str,
    gather: Callable[[list[T]], G],
    *,
    split: bool = False,
    unset: str = "",
    located: bool = False,
) -> G:
    """Make the row of an option whose values become one: a later value replaces an earlier one."""
    more: dict[str, Any] = {"unset": unset, "gather": gather, "located": located}
    return cast(G, _row(Option(name, help, metavar, parse, many=True, split=split, **more)))


def flag(name: str, help: str) -> bool:
    """Make the row of an option without a value, off by default."""
    return cast(bool, _row(Option(name, help, default=False)))


def typed_flags(config: pytest.Config) -> frozenset[str]:
    """Return the options of the command line itself: not those of ``addopts`` or PYTEST_ADDOPTS."""
    return frozenset(str(text).partition("=")[0] for text in config.invocation_params.args)


def rows(settings: type) -> dict[str, Option]:
    """Return the rows of a dataclass by the names of their fields."""
    return {f.name: f.metadata[_ROW] for f in fields(settings) if _ROW in f.metadata}


def _with_file(text: str, base: Path) -> Path | None:
    """Return another folder at which a relative path begins in a side of ``ab``; None if there is none.

    Where the side's own tree, a worktree, lacks the file because git does not have it, that is the same
    folder in the user's repository.
    """
    if AB_TREES not in os.environ:
        return None
    path = text.rpartition("=")[2]
    own, *others = map(Path, json.loads(os.environ[AB_TREES]))
    here = base.resolve()
    with suppress(OSError):  # A name that no file can have.
        if here.is_relative_to(own) and not (here / path).exists():
            twins = [other / here.relative_to(own) for other in others]
            return next((twin for twin in twins if (twin / path).exists()), None)
    return None


def _row(option: Option) -> Any:
    return field(metadata={_ROW: option})
