"""Memory of the engine's process and its children, as the kernel counts it."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from .nvml import Gpus

_PROC = Path("/proc")


def reset_peak() -> None:
    """Set the peak resident set of this session's processes back to their current one (Linux)."""
    for pid in _session_processes():
        try:
            (_PROC / str(pid) / "clear_refs").write_text("5")
        except OSError:
            # Refused in some containers: the peak then includes what came before.
            continue


def peak_mib() -> float:
    """Return the peak resident set since the last reset in MiB, over the engine's processes."""
    peaks = [_status_kib(pid, "VmHWM") for pid in _session_processes()]
    if any(peaks):
        return sum(peaks) / 1024
    # No /proc: the peak since the process started, in KiB on Linux and bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


class DeviceMemory:
    """Memory that an engine has taken on the GPUs since this was made, by the driver's count.

    For engines whose allocator does not report it. The count is the whole GPU's: another process that
    takes memory meanwhile is in it.
    """

    def __init__(self) -> None:
        """Raises RuntimeError where the driver cannot be asked."""
        self._gpus = Gpus(os.environ)
        before = self._gpus.used_mib()
        if before is None:
            raise RuntimeError(
                "only the driver knows this engine's memory on a GPU: "
                "pip install 'pytest-llmperf[gpu]'"
            )
        self._before = before

    def mib(self) -> float:
        """Return MiB taken until now. An engine that keeps what it has taken is at its peak."""
        now = self._gpus.used_mib()
        return max(0.0, (now or 0.0) - self._before)


def _session_processes() -> list[int]:
    """Return this process and every other one of its session: an engine's child processes."""
    own = os.getpid()
    if os.getsid(0) != own or not _PROC.is_dir():
        return [own]  # Not in a worker of its own: the session holds foreign processes.
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == own:
                    found.append(int(entry.name))
            except OSError:
                continue  # Ended meanwhile.
    return found


def _status_kib(pid: int, key: str) -> int:
    try:
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
