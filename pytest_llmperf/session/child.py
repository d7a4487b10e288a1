"""Pytest as ``pytest-llmperf ab`` runs it: it writes what happens as JSON lines.

This is a script. A side's interpreter runs it by its path, in an environment that may hold another
release of this package or none: it imports pytest and the standard library only, and nothing of this
package imports it. ``ab.outcomes`` reads the lines.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    # ``python -m pytest`` finds the modules of the working directory, and none of this folder.
    sys.path[0] = str(Path.cwd())

import json
import os
from typing import Any

import pytest


class Places:
    """The side's own tree, and the trees that are not its own."""

    def __init__(self, own: str, others: list[str]) -> None:
        self._own = own
        self._others = others

    def is_foreign(self, path: str) -> bool:
        """Return whether a path lies in another tree."""
        owners = [root for root in (self._own, *self._others) if _is_inside(path, root)]
        return bool(owners) and max(owners, key=len) != self._own

    def is_above(self, path: str) -> bool:
        """Return whether a folder holds the side's own tree and more."""
        return bool(self._others) and path != self._own and _is_inside(self._own, path)

    def is_installed(self, path: str) -> bool:
        """Return whether a module of another tree is a package of an environment that lies there."""
        if {"site-packages", "dist-packages"} & set(Path(path).parts):
            return True
        prefixes = {os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix)}
        return any(
            _is_inside(path, prefix) and any(_is_inside(prefix, root) for root in self._others)
            for prefix in prefixes
        )


class Reporter:
    """A pytest plugin that writes one JSON object per line.

    - ``rootdir`` and ``inipath``: the settings that pytest has chosen;
    - ``tests``, ``ids`` and ``files``: what it has collected;
    - ``begins``: the id of a test that begins;
    - ``test`` and ``outcome``: how a test ended, or a module that skips itself;
    - ``test``, ``outcome`` and ``reason``: a module that cannot be collected;
    - ``test``, ``number`` and ``total``: a test that has ended;
    - ``modules``: the files of the modules that it has imported;
    - ``foreign``: why this run is not a measurement of its own side.
    """

    def __init__(self, report: str, places: Places) -> None:
        self._file = Path(report).open("w", encoding="utf-8")  # noqa: SIM115 - as long as pytest.
        self._places = places
        self._total = 0
        self._ended = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: Any) -> None:
        # Before a conftest of another tree runs.
        root = os.path.realpath(str(early_config.rootpath))
        ini = early_config.inipath and os.path.realpath(str(early_config.inipath))
        self._write(rootdir=root, inipath=ini or None)
        if self._places.is_foreign(root) or self._places.is_above(root):
            self._refuse(f"pytest's rootdir is {root}")
        if ini and self._places.is_foreign(ini):
            self._refuse(f"pytest's ini file is {ini}")

    def pytest_collectreport(self, report: Any) -> None:
        if report.skipped:
            self._write(test=report.nodeid, outcome="skipped")
        elif report.failed:
            self._write(test=report.nodeid, outcome="failed", reason=_reason(report))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: Any) -> None:
        self._total = len(session.items)
        files = sorted({os.path.realpath(str(item.path)) for item in session.items})
        ids = [item.nodeid for item in session.items]
        self._write(tests=self._total, ids=ids, files=files)
        for file in files:
            if self._places.is_foreign(file):
                self._refuse(f"it would run the tests of {file}")
        name, file = self._foreign_module()
        if name:
            self._refuse(f"it imports {name} from {file}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(begins=nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        # First: when the terminal shows a test, its line stands here.
        outcome = _outcome(report)
        if outcome is not None:
            self._write(test=report.nodeid, outcome=outcome)
        if report.when == "teardown":
            self._ended += 1
            self._write(test=report.nodeid, number=self._ended, total=self._total)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: Any) -> None:
        self._write(modules=_modules())
        name, file = self._foreign_module()
        if name:
            self._write(foreign=f"it imports {name} from {file}")

    def _foreign_module(self) -> tuple[str, str]:
        for name, file in sorted(_modules().items()):
            if self._places.is_foreign(file) and not self._places.is_installed(file):
                return name, file
        return "", ""

    def _refuse(self, problem: str) -> None:
        self._write(foreign=problem)
        raise pytest.UsageError(problem)

    def _write(self, **line: Any) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _outcome(report: Any) -> str | None:
    """Return the outcome of one phase of a test; None for a passed setup or teardown."""
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.outcome in ("failed", "skipped"):
        return str(report.outcome)
    # A test that runs again (pytest-rerunfailures) has outcomes of its own before the last one.
    return "passed" if report.outcome == "passed" and report.when == "call" else None


def _reason(report: Any) -> str:
    """Return the exception's line of a failure's text; empty if it has none."""
    lines = [line[1:].strip() for line in str(report.longrepr).splitlines() if line[:2] == "E "]
    return lines[-1] if lines else ""


def _modules() -> dict[str, str]:
    """Return the files of the imported modules that are not Python's own."""
    library = f"{Path(os.path.realpath(os.__file__)).parent}{os.sep}"
    files = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in ("__main__", "__mp_main__") or not isinstance(file, str):
            continue
        path = os.path.realpath(file)
        if not path.startswith(library) or "-packages" in path:
            files[name] = path
    return files


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def main() -> int:
    """Run pytest; the first argument says where to report and which trees there are, in JSON."""
    asked = json.loads(sys.argv[1])
    # Files that git does not have, such as models, are in the user's repository only: session.option.
    os.environ["PYTEST_LLMPERF_AB_TREES"] = json.dumps([asked["own"], *asked["others"]])
    reporter = Reporter(asked["report"], Places(asked["own"], asked["others"]))
    sys.argv = [pytest.__file__, *sys.argv[2:]]
    return int(pytest.main(sys.argv[1:], plugins=[reporter]))


if __name__ == "__main__":
    sys.exit(main())
