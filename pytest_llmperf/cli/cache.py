"""``pytest-llmperf cache``: show what is kept on this machine besides stored runs, and clear it."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.folders import default_cache_dir
from ..core.kept import KINDS, Entry, Place, places, remove
from ..core.values import duration, expanded, location
from ..store.project import Project
from .common import DONE, Subcommands, argument, complain, say

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "cache",
        help="show where converted models, references, ceilings and logs lie, and clear them",
        description="Shows what is kept on this machine besides stored runs: converted models, "
        "unquantized models' distributions (references), measured ceilings, engines' logs. All of it "
        "is made again when a run needs it. Exit code: 0 done, 3 usage, or something was not removed.",
    )
    parser.add_argument(
        "--clear",
        nargs="*",
        choices=KINDS,
        metavar="KIND",
        help=f"remove these kinds: {' '.join(KINDS)} (default: all of them)",
    )
    parser.add_argument(
        "--older-than",
        type=argument(duration),
        metavar="AGE",
        help="only what was not used for this long: 30d, 12h or 90min",
    )
    parser.add_argument(
        "--cache-dir",
        type=argument(lambda text: location(text, Path())),
        metavar="PATH",
        help="the cache folder (default: that of the project here)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Find, clear if that is asked for, show."""
    project = Project.of(Path.cwd())
    try:
        cache = options.cache_dir or _cache_dir(project)
    except ValueError as error:
        return complain("cache", str(error))
    least = options.older_than or 0.0
    found = [
        replace(place, entries=_unused_for(place.entries, least))
        for place in places(cache.absolute(), _pytest_cache(project))
    ]
    if options.clear is None:
        _show(found)
        return DONE
    kinds = options.clear or KINDS
    return _clear([place for place in found if place.kind.name in kinds])


def _cache_dir(project: Project) -> Path:
    """Return the cache folder that a run here would have."""
    if typed := project.option("--llm-cache-dir"):
        return location(typed, Path())
    if of_file := project.text("llm_cache_dir"):
        return location(expanded(of_file, os.environ), project.root)
    return default_cache_dir()


def _pytest_cache(project: Project) -> Path:
    text = os.path.expandvars(project.text("cache_dir") or ".pytest_cache")
    return project.root / Path(text).expanduser()


def _unused_for(entries: Sequence[Entry], seconds: float) -> tuple[Entry, ...]:
    limit = time.time() - seconds
    return tuple(entry for entry in entries if entry.used <= limit)


def _clear(found: Sequence[Place]) -> int:
    code, size, number = DONE, 0, 0
    for place in found:
        for entry in place.entries:
            if entry.may_be_in_the_making:
                say(f"left alone, a run may be making it: {entry.path}")
                continue
            try:
                remove(entry)
            except OSError as error:
                code = complain("cache", f"{entry.path} cannot be removed ({error.strerror})")
                continue
            size += entry.size
            number += 1
        place.tidy()
    say(f"removed {number} {'entry' if number == 1 else 'entries'}, {_size(size)}")
    return code


def _show(found: Sequence[Place]) -> None:
    sums: dict[tuple[str, str], list[int]] = {}
    for place in found:
        counts = sums.setdefault((place.kind.name, place.label), [0, 0])
        counts[0] += len(place.entries)
        counts[1] += place.size
    rows = [(kind, number, size, label) for (kind, label), (number, size) in sums.items()]
    total = ("total", sum(row[1] for row in rows), sum(row[2] for row in rows), "")
    say(f"{'kind':<14}{'entries':>7}  {'size':>9}  folder")
    for kind, number, size, folder in (*rows, total):
        say(f"{kind:<14}{number:>7}  {_size(size):>9}  {folder}".rstrip())


def _size(number: float) -> str:
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
