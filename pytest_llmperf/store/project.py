"""What a project tells pytest in its ini file, for commands that run without pytest.

Only what pytest itself reads counts: the first of its files in a folder or above it. A file that cannot
be read says nothing here; pytest says what is wrong with it.
"""

from __future__ import annotations

import configparser
import os
import shlex
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

DEFAULT_STORAGE = ".benchmarks"
_STORAGE = "--benchmark-storage"
_FILE = "file://"
_FILES = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)
_ALWAYS = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
"""Files that are pytest's without a section, too."""


@dataclass(frozen=True)
class Project:
    """A project's ini file and what it says."""

    root: Path
    """The file's folder; without a file, the folder that was asked about."""
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Project:
        """Return the project that a folder belongs to."""
        start = folder.absolute()
        for place in (start, *start.parents):
            for name in _FILES:
                values = _read(place / name)
                if values is not None:
                    return cls(place, values)
        return cls(start)

    def text(self, name: str) -> str:
        """Return a value that is one text; empty if there is none."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def option(self, flag: str, environment: Mapping[str, str] = os.environ) -> str:
        """Return the value of an option in ``addopts`` or PYTEST_ADDOPTS; empty if there is none."""
        addopts = self.values.get("addopts", "")
        words = [str(word) for word in addopts] if isinstance(addopts, list) else _split(addopts)
        words += _split(environment.get("PYTEST_ADDOPTS", ""))
        found = ""
        for word, following in pairwise([*words, ""]):
            name, equals, value = word.partition("=")
            if name == flag:
                found = value if equals else following
        return found


def storage_folder(text: str) -> Path:
    """Parse the value of pytest-benchmark's option: a path, or a URI that begins with ``file://``.

    Raises:
        ValueError: runs are stored elsewhere than in files.
    """
    path = text.removeprefix(_FILE)
    if "://" in path:
        raise ValueError(
            f"{text!r} is not a folder: only runs that are stored as files can be read"
        )
    return Path(path)


def default_storage() -> Path:
    """Return the storage folder of the project here; ``.benchmarks`` if it names none."""
    text = Project.of(Path.cwd()).option(_STORAGE) or DEFAULT_STORAGE
    try:
        return storage_folder(text)
    except ValueError:
        return Path(DEFAULT_STORAGE)


def _split(text: Any) -> list[str]:
    with suppress(ValueError):
        return shlex.split(str(text))
    return []


def _read(path: Path) -> Mapping[str, Any] | None:
    """Return what a file says to pytest; None if it is none of pytest's files."""
    if not path.is_file():
        return None
    is_always = path.name in _ALWAYS
    try:
        text = path.read_text("utf-8")
        values = _of_toml(text, path) if path.suffix == ".toml" else _of_ini(text, path)
    except (OSError, ValueError, configparser.Error):
        return {} if is_always else None
    return {} if values is None and is_always else values


def _of_toml(text: str, path: Path) -> Mapping[str, Any] | None:
    data = tomllib.loads(text)
    if path.name == "pyproject.toml":
        tool = data.get("tool", {}).get("pytest")
        own = tool.get("ini_options", tool) if isinstance(tool, dict) else None
    else:
        own = data.get("pytest")
    return own if isinstance(own, dict) else None


def _of_ini(text: str, path: Path) -> Mapping[str, Any] | None:
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    section = "tool:pytest" if path.name == "setup.cfg" else "pytest"
    return dict(parser[section]) if parser.has_section(section) else None
