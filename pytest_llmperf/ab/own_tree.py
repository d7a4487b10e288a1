"""Give a side its own tree: paths that lead into another one are led into the side's."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# "-c/x", "@/x", "--rootdir=/x", "--opt=NAME=/x", "/x::test_a": what stands before and after the path.
_ARGUMENT = re.compile(r"(?P<before>-\w|@|[^/]*=|)(?P<path>/.*?)(?P<after>::.*)?", re.DOTALL)


@dataclass(frozen=True)
class OwnTree:
    """The tree that a side runs in, and those that it has nothing to do with."""

    root: Path
    others: tuple[Path, ...] = ()
    """The repository, where the side is a commit of it, and the other side's tree."""

    @classmethod
    def of(cls, root: Path, all_roots: Sequence[Path]) -> OwnTree:
        """Return a side's tree among all: the repository's and those of both sides."""
        own = root.resolve()
        others = dict.fromkeys(path.resolve() for path in all_roots)
        return cls(own, tuple(path for path in others if path != own))

    def arguments(self, arguments: Sequence[str]) -> list[str]:
        """Return pytest arguments with each absolute path into another tree led into this one."""
        return [self._argument(argument) for argument in arguments]

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return environment variables, with PYTHONPATH and PYTEST_ADDOPTS led into this tree."""
        result = dict(environment)
        if paths := result.get("PYTHONPATH"):
            result["PYTHONPATH"] = os.pathsep.join(map(self.path, paths.split(os.pathsep)))
        if options := result.get("PYTEST_ADDOPTS"):
            with suppress(ValueError):  # Pytest says what is wrong with it.
                result["PYTEST_ADDOPTS"] = shlex.join(self.arguments(shlex.split(options)))
        return result

    def path(self, path: str) -> str:
        """Return the path of the same file in this tree; the path itself if this tree lacks it.

        What git does not have (models, environments, caches) is shared by the sides. Tests, ini files
        and modules that a side lacks are found by its own report (``session.child``).
        """
        if not Path(path).is_absolute():
            return path
        for absolute in (os.path.normpath(path), os.path.realpath(path)):
            owners = [root for root in (self.root, *self.others) if _is_inside(absolute, root)]
            owner = max(owners, key=lambda root: len(str(root)), default=self.root)
            if owner == self.root:
                continue
            twin = self.root / os.path.relpath(absolute, owner)
            if twin.exists():
                return str(twin)
        return path

    def _argument(self, argument: str) -> str:
        match = _ARGUMENT.fullmatch(argument)
        if not match:
            return argument
        before, path, after = match["before"], match["path"], match["after"] or ""
        moved = self.path(path)
        if moved == path:
            # An ini value may be a list of paths.
            moved = "".join(self.path(part) for part in re.split(r"([\s,]+)", path))
        return f"{before}{moved}{after}"


def _is_inside(path: str, folder: Path) -> bool:
    return Path(path).is_relative_to(folder)
