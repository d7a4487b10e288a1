"""The packages that are installed in an engine's environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from ..backends import distributions
from ..core.errors import EngineError
from ..worker.launch import output_of
from .options import Settings

_LIMIT = 60.0
"""Seconds for an interpreter to start and to look packages up."""
_ASK_VERSIONS = """
import importlib.metadata, json, sys
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(versions))
"""


def installed_packages_of(python: str) -> dict[str, str]:
    """Return versions by distribution name in an interpreter's environment.

    Raises:
        EngineError: the interpreter cannot be run.
    """
    from ..worker import server

    if python == sys.executable:
        return server.installed_packages()
    try:
        printed = output_of([python, "-c", _ASK_VERSIONS, *distributions()], _LIMIT)
    except subprocess.TimeoutExpired:
        raise EngineError(f"{python} gives no answer for {_LIMIT:g} s") from None
    except subprocess.CalledProcessError as error:
        written = error.stderr.decode("utf-8", "replace").strip().splitlines()
        why = written[-1][:300] if written else f"exit code {error.returncode}"
        raise EngineError(f"{python} does not run as a Python interpreter ({why})") from None
    except OSError as error:
        raise EngineError(f"{python} does not run as a Python interpreter ({error})") from None
    try:
        # Its start may print as well.
        answer = json.loads(printed.splitlines()[-1])
        return {str(name): str(version) for name, version in answer.items()}
    except (IndexError, ValueError, AttributeError):
        raise EngineError(
            f"{python} does not run as a Python interpreter (it printed {printed[-80:]!r} instead of "
            "versions)"
        ) from None


class Packages:
    """The packages of a run's engines. Each environment is asked only once."""

    def __init__(
        self, settings: Settings, known: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Remember what is known by interpreter; nothing is asked yet."""
        self._settings = settings
        self._known = dict(known or {})

    def of(self, backend: str) -> Mapping[str, str]:
        """Return installed versions by distribution name, in the backend's environment.

        Raises:
            EngineError: its interpreter cannot be run.
        """
        python = self._settings.python_of(backend)
        if python not in self._known:
            self._known[python] = installed_packages_of(python)
        return self._known[python]
