"""The packages that are installed in an engine's environment."""

from __future__ import annotations

import json
import subprocess
import sys

from ..backends import distributions
from ..core.errors import EngineError

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
        done = subprocess.run(
            [python, "-c", _ASK_VERSIONS, *distributions()],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"{python} does not run as a Python interpreter ({error})") from None
    answer: dict[str, str] = json.loads(done.stdout)
    return answer
