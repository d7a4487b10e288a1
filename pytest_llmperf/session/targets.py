"""Everything that a run will write to, checked before its first engine loads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..core.files import check_target
from ..core.folders import (
    CACHE_VARIABLE,
    check_writable,
    default_cache_dir,
    make_ignored,
    may_be_writable,
    private_folder,
    private_name,
)
from ..core.printable import printable
from ..store.entries import CLOCK
from .demand import NO_TEST_RUNS
from .fixtures import own_fixtures
from .options import Settings

if TYPE_CHECKING:
    from .session import LLMSession

_CACHE = "cache"


def with_usable_cache(settings: Settings) -> Settings:
    """Return the settings, with a temporary cache folder where the default one cannot be written.

    A folder that the user has named stays: ``check_targets`` refuses it if it cannot be written.
    """
    is_named = settings.cache_dir != default_cache_dir() or CACHE_VARIABLE in os.environ
    if is_named or may_be_writable(settings.cache_dir):
        return settings
    try:
        return replace(settings, cache_dir=private_name() / _CACHE)
    except OSError:
        return settings


def cache_note(settings: Settings) -> str:
    """Return a line if a run has another cache folder than it should; empty otherwise."""
    usual = default_cache_dir()
    if settings.cache_dir == usual or settings.cache_dir.name != _CACHE:
        return ""
    if settings.cache_dir != private_name() / _CACHE:
        return ""
    return f"cache: {settings.cache_dir}, because {usual} cannot be written"


def check_targets(items: Sequence[pytest.Item], config: pytest.Config, session: LLMSession) -> None:
    """Check what the tests of this plugin will write to; nothing is touched if none of them runs.

    Raises:
        pytest.UsageError: one line that names the option and the file or folder.
    """
    if any(config.getoption(name, False) for name in NO_TEST_RUNS):
        return
    running = [i for i in items if own_fixtures(i) and not i.get_closest_marker("skip")]
    if not running:
        return
    _checked("the folder for engines' logs", "", lambda: session.logs.folder)
    _check_cache(session.settings.cache_dir)
    if any(CLOCK in item.stash for item in running) and session.store.will_measure():
        _check_results(session)


def _check_cache(folder: Path) -> None:
    def made() -> None:
        if folder.parent == private_name() and private_folder() != folder.parent:
            raise PermissionError(1, "it belongs to another user")
        make_ignored(folder, is_cache=True)
        check_writable(folder)

    _checked("--llm-cache-dir", str(folder), made)


def _check_results(session: LLMSession) -> None:
    store, gate = session.store, session.settings.gate
    if target := store.json_file:
        _checked("--benchmark-json", str(target), lambda: check_target(target))
    if folder := store.saves_in:
        _checked(store.saving_option, str(folder), lambda: check_writable(folder))
    elif not _is_writable(store.folder):
        session.results.in_memory = True
    if gate.accept and session.gate:
        file = session.gate.accepted_file
        _checked("--llm-accept", str(file), lambda: check_target(file))


def _is_writable(folder: Path) -> bool:
    try:
        check_writable(folder)
    except OSError:
        return False
    return True


def _checked(option: str, path: str, check: Callable[[], object]) -> None:
    try:
        check()
    except OSError as error:
        reason = error.strerror or str(error)
        what = f"{option}: {path} cannot be written" if path else f"{option} cannot be written"
        raise pytest.UsageError(printable(f"{what} ({reason})")) from None
