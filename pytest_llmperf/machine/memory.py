"""Memory of the engine's process and its children, as the kernel counts it."""

from __future__ import annotations

import os
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..core.units import MIB
from .gpus import Gpus

_PROC = Path("/proc")
_OF_MAPPING = ("Rss", "Pss", "Anonymous")


def reset_peak() -> None:
    """Reset the peak resident set of this session's processes to the current one (Linux)."""
    for pid in _session_processes():
        try:
            (_PROC / str(pid) / "clear_refs").write_text("5")
        except OSError:
            # Some containers refuse this: the peak then includes the time before.
            continue


def peak_mib() -> float:
    """Return the peak resident set since the last reset in MiB, summed over the engine's processes.

    Pages that several of them have in common, such as those of libraries, count once.
    """
    pids = _session_processes()
    peaks = [_status_kib(pid, "VmHWM") for pid in pids]
    if any(peaks):
        return (sum(peaks) - (_counted_twice(pids) if len(pids) > 1 else 0)) / 1024
    # Without /proc: the peak since the process started, in KiB on Linux and in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def available_mib(root: Path = Path("/")) -> float | None:
    """Return the MiB that new processes can have without swapping; None if that is not known.

    Args:
        root: folder that contains ``proc`` and ``sys``.
    """
    free = _value_of(root / "proc/meminfo", "MemAvailable:")
    if free is None:
        return None
    # The limit of a container, in both versions of control groups; files that it can drop are free.
    group = root / "sys/fs/cgroup"
    for folder, limit, used, cached in (
        (group, "memory.max", "memory.current", "inactive_file"),
        (
            group / "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ):
        with suppress(OSError, ValueError):
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
            return min(free / 1024, (left + (_value_of(folder / "memory.stat", cached) or 0)) / MIB)
    return free / 1024


def _value_of(file: Path, key: str) -> int | None:
    """Return the number behind a word at the beginning of a line; None if there is none."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            words = line.split()
            if words[:1] == [key]:
                return int(words[1])
    return None


class DeviceMemory:
    """GPU memory that an engine has allocated since this object was created, by the driver's count.

    It is for engines whose allocator does not report it. The driver counts the whole GPU, so the number
    includes memory that another process allocates in the meantime.
    """

    def __init__(self) -> None:
        """Note the memory that is in use now.

        Raises:
            RuntimeError: the driver cannot be asked.
        """
        self._gpus = Gpus(os.environ)
        before = self._gpus.used_mib()
        if before is None:
            raise RuntimeError(
                "only the driver knows this engine's memory on a GPU: "
                "pip install 'pytest-llmperf[gpu]'"
            )
        self._before = before

    def mib(self) -> float:
        """Return the MiB allocated so far, which is the peak for an engine that never frees memory."""
        now = self._gpus.used_mib()
        return max(0.0, (now or 0.0) - self._before)


def _session_processes() -> list[int]:
    """Return the pids of this process and of its session's other processes: the engine's children."""
    this_pid = os.getpid()
    if os.getsid(0) != this_pid or not _PROC.is_dir():
        return [this_pid]  # Not in a worker process: the session contains unrelated processes.
    pids = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == this_pid:
                    pids.append(int(entry.name))
            except OSError:
                continue  # The process has ended in the meantime.
    return pids


def _counted_twice(pids: list[int]) -> int:
    """Return the KiB that the sum of the resident sets of these processes counts too often."""
    of_files: dict[str, list[int]] = defaultdict(list)
    after_fork = 0
    for pid in pids:
        own: Counter[str] = Counter()
        for file, kib in _mappings(pid):
            if file:
                own[file] += kib["Rss"] - kib["Anonymous"]
            else:
                after_fork += kib["Rss"] - kib["Pss"]
        for file, resident in own.items():
            of_files[file].append(resident)
    return after_fork + sum(sum(parts) - max(parts) for parts in of_files.values())


def _mappings(pid: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the mappings of a process: device and inode of the file, "" for none, and KiB by name."""
    try:
        lines = (_PROC / str(pid) / "smaps").read_text(errors="replace").splitlines()
    except OSError:
        return
    file, kib = "", dict.fromkeys(_OF_MAPPING, 0)
    for line in lines:
        key, *values = line.split()
        if not key.endswith(":"):  # The first line of a mapping: address, rights, offset, file.
            yield file, kib
            file = "" if values[3] == "0" else f"{values[2]} {values[3]}"
            kib = dict.fromkeys(_OF_MAPPING, 0)
        elif (name := key.removesuffix(":")) in kib:
            kib[name] = int(values[0])
    yield file, kib


def _status_kib(pid: int, key: str) -> int:
    try:
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
