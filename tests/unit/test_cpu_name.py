"""The CPU's name in samples of /proc/cpuinfo."""

import subprocess
import sys

import pytest

from pytest_llmperf.machine import cpu_name as module
from pytest_llmperf.machine.cpu_name import cpu_name, name_in

X86 = """
processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 143
model name	: Intel(R) Xeon(R) Platinum 8480C
stepping	: 8
cpu MHz		: 2000.000
"""
ARM = """
processor	: {number}
BogoMIPS	: 243.75
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics
CPU implementer	: {maker}
CPU architecture: 8
CPU variant	: 0x3
CPU part	: {part}
CPU revision	: 1
"""
POWER = """
processor	: 0
cpu		: POWER9, altivec supported
clock		: 2300.000000MHz
"""
RISC_V = """
processor	: 0
hart		: 1
isa		: rv64imafdc
uarch		: sifive,u74-mc
"""


def arm(*cores):
    return "".join(ARM.format(number=i, maker=m, part=p) for i, (m, p) in enumerate(cores))


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (X86, "Intel(R) Xeon(R) Platinum 8480C"),
        (POWER, "POWER9, altivec supported"),
        (RISC_V, "sifive,u74-mc"),
        (arm(("0x41", "0xd0c")), "Arm Neoverse-N1"),
        (arm(("0x41", "0xd4f"), ("0x41", "0xd4f")), "Arm Neoverse-V2"),
        (arm(("0xc0", "0xac4")), "Ampere Ampere-1A"),
        (arm(("0x41", "0xd05"), ("0x41", "0xd0b")), "Arm Cortex-A55 + Arm Cortex-A76"),
        ("model name\t: ARMv7 Processor rev 3 (v7l)\n" + arm(("0x41", "0xd08")), "Arm Cortex-A72"),
        ("", None),
        ("processor\t: 0\ncpu family\t: 6\nmodel name\t:\n", None),
    ],
)
def test_a_cpu_has_the_name_that_tells_it_from_others(cpuinfo, name):
    assert name_in(cpuinfo) == name


@pytest.mark.parametrize(
    ("maker", "part", "name"),
    [("0x41", "0xd99", "Arm part 0xd99"), ("0x99", "0x1", "implementer 0x99 part 0x001")],
)
def test_an_arm_core_that_is_not_known_keeps_its_numbers(maker, part, name):
    assert name_in(arm((maker, part))) == name


def test_an_apple_chip_is_called_as_the_system_calls_it(monkeypatch):
    def run(command, **_):
        assert command[-1] == "machdep.cpu.brand_string"
        return subprocess.CompletedProcess(command, 0, "Apple M2 Pro\n")

    monkeypatch.setattr(module, "name_in", lambda text: None)
    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(sys, "platform", "darwin")
    cpu_name.cache_clear()
    assert cpu_name() == "Apple M2 Pro"
    cpu_name.cache_clear()
