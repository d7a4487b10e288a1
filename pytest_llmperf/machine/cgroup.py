"""The CPU quota of a container, from the kernel's control groups. Linux only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPU time that this process may use, in cores, or None if nothing limits it.

    The smallest quota on the path from this process's group up to the root applies, in both versions
    of control groups: ``docker --cpus=2`` is 2.0, however many cores the machine has.

    Args:
        root: folder that contains ``proc`` and ``sys``.
    """
    quotas = [quota for group in _groups(root) if (quota := _quota(group)) is not None]
    return min(quotas, default=None)


@dataclass(frozen=True)
class _Mount:
    """A mounted hierarchy of control groups."""

    folder: Path
    top: PurePosixPath
    """The group that the folder shows: in a container often the container's group."""
    controllers: frozenset[str]
    """Controllers of a version 1 hierarchy; empty for version 2, whose one hierarchy has all of them."""


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups that may hold a CPU quota, innermost first."""
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        controllers = frozenset(name for name in names.split(",") if name)
        for mount in mounts:
            same = controllers <= mount.controllers if controllers else not mount.controllers
            if same and ("cpu" in controllers or not controllers):
                inside = _relative(PurePosixPath(path), mount.top)
                yield mount.folder / inside
                yield from (mount.folder / parent for parent in inside.parents)


def _mounts(root: Path) -> Iterator[_Mount]:
    for line in _lines(root / "proc/self/mountinfo"):
        # ID PARENT MAJOR:MINOR TOP FOLDER OPTIONS [MORE ...] - TYPE SOURCE OPTIONS
        before, _, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(" "), after.split(" ")
        if len(fields) > 4 and kind in ("cgroup", "cgroup2"):
            options = frozenset(rest[-1].split(",")) if kind == "cgroup" and rest else frozenset()
            folder = root / fields[4].lstrip("/")
            yield _Mount(folder, PurePosixPath(fields[3]), options)


def _relative(path: PurePosixPath, top: PurePosixPath) -> PurePosixPath:
    """Return a group's path below a mount, or the mount itself if the group is outside of it."""
    if path.is_relative_to(top):
        return path.relative_to(top)
    return PurePosixPath()


def _quota(group: Path) -> float | None:
    with suppress(OSError, ValueError):
        limit, period = (group / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    with suppress(OSError, ValueError):
        limit = (group / "cpu.cfs_quota_us").read_text()
        period = (group / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
