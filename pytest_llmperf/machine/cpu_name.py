"""The name of the CPU. It must distinguish CPUs, because their numbers are not comparable."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

# The line of /proc/cpuinfo that names the processor: x86 and LoongArch, MIPS, POWER, RISC-V.
_NAMES = ("model name", "cpu model", "cpu", "uarch")
# On ARM these lines are numbers: the implementer of the core, and its part number.
_MAKERS = {
    0x41: "Arm",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x50: "APM",
    0x51: "Qualcomm",
    0x53: "Samsung",
    0x56: "Marvell",
    0x61: "Apple",
    0x6D: "Microsoft",
    0x70: "Phytium",
    0xC0: "Ampere",
}
_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4A): "Neoverse-E1",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x43, 0x0AF): "ThunderX2",
    (0x46, 0x001): "A64FX",
    (0x48, 0xD01): "Kunpeng 920",
    (0x4E, 0x004): "Carmel",
    (0x51, 0x001): "Oryon",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1A",
}


@cache
def cpu_name() -> str:
    """Return the name of this machine's CPU, as far as the system reports it."""
    text = ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
    return name_in(text) or _mac_name() or platform.processor() or platform.machine()


def cpu_features() -> str:
    """Return the instruction sets of this machine's CPU, as the kernel lists them.

    The text is empty if the kernel does not list them.
    """
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
        return match[1] if match else ""
    return ""


def name_in(cpuinfo: str) -> str | None:
    """Return the CPU's name in the text of ``/proc/cpuinfo``, or None if the text has no name.

    An ARM core that is not in the table is named by its number, ``Arm part 0xd99``, so that two such
    cores are not taken for the same. Cores of different kinds are named in the order of the file.
    """
    parts = dict.fromkeys(
        (int(maker, 16), int(part, 16))
        for maker, part in re.findall(
            r"^CPU implementer\s*: (0x[0-9a-fA-F]+)$.*?^CPU part\s*: (0x[0-9a-fA-F]+)$",
            cpuinfo,
            re.MULTILINE | re.DOTALL,
        )
    )
    if parts:
        return " + ".join(dict.fromkeys(_core_name(*part) for part in parts))
    for key in _NAMES:
        match = re.search(rf"^{key}[ \t]*:[ \t]*(\S.*)$", cpuinfo, re.MULTILINE | re.IGNORECASE)
        if match:
            return match[1].strip()
    return None


def _core_name(maker: int, part: int) -> str:
    known = _CORES.get((maker, part))
    name = _MAKERS.get(maker, f"implementer {maker:#04x}")
    return f"{name} {known}" if known else f"{name} part {part:#05x}"


def _mac_name() -> str | None:
    """Return the chip's name in macOS (``Apple M2 Pro``); Python only reports ``arm``."""
    if sys.platform != "darwin":
        return None
    with suppress(OSError, subprocess.SubprocessError):
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip() or None
    return None
