"""The machine that a number was measured on: hardware, driver, system. Standard library only."""

from __future__ import annotations

import itertools
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.units import MIB
from .cgroup import cpu_quota
from .cpu_name import cpu_name


def describe_host() -> dict[str, Any]:
    """Return a description of the machine, without starting a driver or a framework."""
    governor = _governor()
    return {
        "host": platform.node(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_mib": _total_memory_mib(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **({"governor": governor} if governor else {}),
    }


def describe_device() -> dict[str, Any]:
    """Return the description of the machine with the accelerators that this process sees."""
    return {**describe_host(), "accelerators": _accelerators()}


def usable_cores() -> int:
    """Return the number of cores that this process may use, by its affinity and its CPU quota.

    A quota is rounded down to whole cores: a thread for a fraction of a core would mostly wait.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def has_accelerator() -> bool:
    """Return whether a GPU driver is installed, by its files: no driver starts."""
    return any(
        Path(p).exists() for p in ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/kfd")
    )


def runs_on_cpu(device: str) -> bool:
    """Return whether engines will run on the CPU (``--llm-device``); no driver starts."""
    return device == "cpu" or (device == "auto" and not has_accelerator())


def accelerator_names() -> list[str]:
    """Return the names of the NVIDIA GPUs from the driver's files; empty if there are none."""
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in file.read_text().splitlines():
            if line.startswith("Model:"):
                names.append(line.split(":", 1)[1].strip())
    return names


def visible_gpus() -> int:
    """Return the number of GPUs that an engine will see, without starting a driver."""
    visible = _named_gpus(os.environ)
    return len(accelerator_names()) if visible is None else len(visible)


def only_visible(device: str, environ: Mapping[str, str]) -> str:
    """Return a CUDA_VISIBLE_DEVICES with one GPU, for an engine that has no option to choose it.

    Args:
        device: ``cuda:N``, the N-th of the currently visible GPUs, as torch and CUDA count them.
        environ: the environment; its CUDA_VISIBLE_DEVICES may contain indices, UUIDs or MIG names.

    Raises:
        ValueError: fewer GPUs are visible.
    """
    index = int(device.partition(":")[2])
    visible = _named_gpus(environ)
    if visible is None:
        return str(index)
    if index >= len(visible):
        setting = environ["CUDA_VISIBLE_DEVICES"]
        raise ValueError(
            f"--llm-device={device}: CUDA_VISIBLE_DEVICES={setting} names {len(visible)} GPU(s), and "
            "the first is cuda:0"
        )
    return visible[index]


def _named_gpus(environ: Mapping[str, str]) -> list[str] | None:
    """Return the entries of CUDA_VISIBLE_DEVICES, or None if it is not set and all are visible."""
    setting = environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return None
    entries = (entry.strip() for entry in setting.split(","))
    # As in CUDA: an entry that names nothing ends the list.
    return list(itertools.takewhile(lambda entry: entry not in ("", "-1"), entries))


def _governor() -> str | None:
    """Return the kernel's policy for the clocks of the cores; None on most virtual machines."""
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


def _total_memory_mib() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    except (ValueError, OSError, AttributeError):
        return 0


def _accelerators() -> list[dict[str, Any]]:
    # Only ask a framework that is already loaded.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    accelerators = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        accelerators.append(
            {
                "name": properties.name,
                "memory_mib": properties.total_memory // MIB,
                "cuda": torch.version.cuda,
                "driver": nvidia_driver(),
            }
        )
    return accelerators


def nvidia_driver() -> str:
    """Return the version of the driver from its version file; ``unknown`` without such a file."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return "unknown"
    words = text.splitlines()[0].split()
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")
