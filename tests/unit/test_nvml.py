"""GPUs through a fake NVML: the machine that runs these tests has no GPU.

The fake's functions have the names, arguments and answers of NVIDIA's package nvidia-ml-py: modes
are [current, pending], power is in mW, memory in bytes, clocks in MHz. A question that a GPU or a
driver cannot answer raises NVMLError.
"""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pytest_llmperf.machine.gpus import Gpus, GpuState, conditions

WORKER = os.getpid()


class FakeNvml:
    """A module ``pynvml`` with a list of GPUs, each a mapping of answers; a missing answer raises."""

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus, driver=True):
        self.gpus = list(gpus)
        self.driver = driver
        self.opened = 0

    def nvmlInit(self):
        self.opened += 1
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")

    def __getattr__(self, name):
        if not name.startswith("nvml"):
            raise AttributeError(name)
        answers = {
            "nvmlSystemGetDriverVersion": lambda: "580.95.05",
            "nvmlDeviceGetCount": lambda: len(self.gpus),
            "nvmlDeviceGetHandleByIndex": lambda index: self.gpus[index],
            "nvmlDeviceGetHandleByUUID": self._by_uuid,
        }
        return answers.get(name) or (lambda gpu, *_: self._answer(gpu, name))

    def _answer(self, gpu, name):
        key = name.removeprefix("nvmlDeviceGet").removeprefix("nvmlDevice")
        if key not in gpu:
            raise self.NVMLError("Not Supported")
        return gpu[key]

    def _by_uuid(self, uuid):
        slices = [s for gpu in self.gpus for s in gpu.get("slices", ())]
        matches = [gpu for gpu in (*self.gpus, *slices) if gpu["UUID"] == uuid]
        if not matches:
            raise self.NVMLError("Not Found")
        return matches[0]


def gpu(number=0, pids=(WORKER,), **changes):
    """Return the answers of one H100."""
    return {
        "UUID": f"GPU-{number}a1b2c3d-1111-2222-3333-444455556666",
        "Name": "NVIDIA H100 80GB HBM3",
        "MemoryInfo": SimpleNamespace(total=81559 * 2**20, free=0, used=0),
        "EnforcedPowerLimit": 700000,
        "MigMode": [0, 1],
        "EccMode": [1, 1],
        "ApplicationsClock": 1980,
        "DefaultApplicationsClock": 1980,
        "MaxClockInfo": 1980,
        "ClockInfo": 1755,
        "Temperature": 41,
        "CurrentClocksEventReasons": 0x1,
        "ComputeRunningProcesses": [SimpleNamespace(pid=pid, usedGpuMemory=1) for pid in pids],
    } | changes


def without(card, *keys):
    return {key: value for key, value in card.items() if key not in keys}


@pytest.fixture
def gpus(monkeypatch):
    """Return a function that makes the run's GPUs with a fake driver.

    For instance ``gpus(gpu(), gpu(1), CUDA_VISIBLE_DEVICES="1")``.
    """

    def make(*cards, **environ):
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*cards))
        return Gpus(environ)

    return make


H100 = {
    "name": "NVIDIA H100 80GB HBM3",
    "memory_mib": 81559,
    "mig": False,
    "power_limit_w": 700.0,
    "clock_limit_mhz": None,
    "driver": "580.95.05",
    "ecc": True,
}


def test_a_gpu_is_described(gpus):
    assert gpus(gpu()).described == [H100]


def test_a_gpu_is_described_once_a_run(monkeypatch):
    fake = FakeNvml(gpu())
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    run_gpus = Gpus({})
    assert fake.opened == 0
    first = run_gpus.described
    fake.gpus.clear()
    assert run_gpus.described == first == [H100]
    assert fake.opened == 1


@pytest.mark.parametrize(
    ("call", "key"),
    [
        ("Name", "name"),
        ("MemoryInfo", "memory_mib"),
        ("EnforcedPowerLimit", "power_limit_w"),
        ("EccMode", "ecc"),
        ("ApplicationsClock", "clock_limit_mhz"),
        ("MaxClockInfo", "clock_limit_mhz"),
    ],
)
def test_a_call_that_fails_leaves_only_its_own_value_out(gpus, call, key):
    assert gpus(without(gpu(), call)).described == [H100 | {key: None}]


def test_a_gpu_without_mig_has_no_mig(gpus):
    assert gpus(without(gpu(), "MigMode")).described == [H100]


def test_older_packages_give_bytes(gpus):
    assert gpus(gpu(Name=b"NVIDIA H100 80GB HBM3")).described == [H100]


@pytest.mark.parametrize(
    ("application", "default", "limit"),
    [
        (1980, 1980, None),
        (1400, 1980, 1400),
        (1400, 1400, None),  # As delivered: some GPUs exceed their default clock by themselves.
    ],
)
def test_a_clock_limit_is_what_somebody_set(gpus, application, default, limit):
    card = gpu(ApplicationsClock=application, DefaultApplicationsClock=default)
    assert gpus(card).described[0]["clock_limit_mhz"] == limit


def test_without_the_package_there_is_no_answer(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpus({}).described is None
    assert Gpus({}).state("cuda:0", WORKER) is None


def test_without_a_driver_there_is_no_answer(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(driver=False))
    assert Gpus({}).described is None
    assert Gpus({}).state("cuda:0", WORKER) is None


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("1", [1]),
        ("2, 0", [2, 0]),
        ("", []),
        ("-1", []),
        ("0,7,1", [0]),
        (gpu(2)["UUID"], [2]),
        ("GPU-1a1b,0", [1, 0]),
        ("GPU-nobody", []),
    ],
)
def test_visible_devices_choose_and_order(gpus, setting, expected):
    cards = [gpu(i, MemoryInfo=SimpleNamespace(total=(i + 1) * 2**30)) for i in range(3)]
    descriptions = gpus(*cards, CUDA_VISIBLE_DEVICES=setting).described
    assert [card["memory_mib"] // 1024 - 1 for card in descriptions] == expected


def test_an_index_says_nothing_where_gpus_differ(gpus):
    # CUDA numbers the fastest GPU first by default, NVML numbers by slot.
    cards = [gpu(0), gpu(1, Name="NVIDIA T4")]
    assert gpus(*cards, CUDA_VISIBLE_DEVICES="0").described is None
    by_bus = gpus(*cards, CUDA_VISIBLE_DEVICES="1", CUDA_DEVICE_ORDER="PCI_BUS_ID").described
    assert [card["name"] for card in by_bus] == ["NVIDIA T4"]
    by_uuid = gpus(*cards, CUDA_VISIBLE_DEVICES="GPU-1").described
    assert [card["name"] for card in by_uuid] == ["NVIDIA T4"]


def test_a_slice_has_its_own_memory_and_the_boards_power(gpus):
    board = gpu(MigMode=[1, 1])
    board["slices"] = [
        {
            "UUID": "MIG-5d7e",
            "Name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "MemoryInfo": SimpleNamespace(total=9728 * 2**20),
            "DeviceHandleFromMigDeviceHandle": board,
        }
    ]
    assert gpus(board, CUDA_VISIBLE_DEVICES="MIG-5d7e").described == [
        H100 | {"name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "memory_mib": 9728, "mig": True}
    ]


def test_an_engine_without_gpu_has_no_state(gpus):
    run_gpus = gpus(gpu())
    assert run_gpus.state("cpu", WORKER) is None
    assert run_gpus.state("simulated", WORKER) is None
    assert gpus(gpu(), CUDA_VISIBLE_DEVICES="").state("cuda", WORKER) is None


def test_the_state_of_a_gpu(gpus):
    card = gpu(CurrentClocksEventReasons=0x1 | 0x4 | 0x20)
    assert gpus(card).state("cuda:0", WORKER) == GpuState(
        throttling=frozenset({"sw_power_cap", "sw_thermal_slowdown"}),
        others=frozenset(),
        sm_clock_mhz=1755,
        temperature_c=41,
    )


@pytest.mark.parametrize(
    ("bit", "name"),
    [
        (0x2, "applications_clocks_setting"),
        (0x4, "sw_power_cap"),
        (0x8, "hw_slowdown"),
        (0x10, "sync_boost"),
        (0x20, "sw_thermal_slowdown"),
        (0x40, "hw_thermal_slowdown"),
        (0x80, "hw_power_brake"),
        (0x100, "display_clock_setting"),
    ],
)
def test_every_reason_has_its_name(gpus, bit, name):
    state = gpus(gpu(CurrentClocksEventReasons=bit)).state("cuda", WORKER)
    assert state.throttling == {name}


def test_an_older_driver_knows_the_reasons_by_another_name(gpus):
    card = without(gpu(CurrentClocksThrottleReasons=0x8), "CurrentClocksEventReasons")
    assert gpus(card).state("cuda", WORKER).throttling == {"hw_slowdown"}


def test_a_newer_driver_knows_the_temperature_by_another_name(gpus):
    card = without(gpu(TemperatureV=55), "Temperature")
    assert gpus(card).state("cuda", WORKER).temperature_c == 55


def test_a_driver_that_says_nothing_leaves_the_state_empty(gpus):
    assert gpus({"UUID": "GPU-0"}).state("cuda", WORKER) == GpuState(None, None, None, None)


@pytest.fixture
def child():
    """Return a function that starts a process, which ends with the test."""
    started = []

    def start(**options):
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, **options
        )
        started.append(process)
        return process.pid

    yield start
    for process in started:
        process.communicate(b"\n")


def test_a_foreign_process_on_the_gpu_counts(gpus):
    assert gpus(gpu(pids=(WORKER, 1))).state("cuda", WORKER).others == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="parents are read through /proc")
@pytest.mark.parametrize("session", [False, True])
def test_a_child_of_the_worker_is_the_engines(gpus, child, session):
    pid = child(start_new_session=session)
    assert gpus(gpu(pids=(WORKER, pid, 1))).state("cuda", WORKER).others == {1}


@pytest.mark.parametrize("pids", [(), (1,)])
def test_where_the_engine_is_not_listed_nobody_can_be_told_from_it(gpus, pids):
    # As in a container, where the driver lists no process, or the host's pids.
    assert gpus(gpu(pids=pids)).state("cuda", WORKER).others is None


def test_only_the_engines_own_gpus_count(gpus):
    cards = [
        gpu(0, pids=(1,), CurrentClocksEventReasons=0x40, Temperature=90),
        gpu(1, pids=(WORKER,), CurrentClocksEventReasons=0x4),
    ]
    state = gpus(*cards).state("cuda:0", WORKER)  # The number as the worker counts GPUs.
    assert (state.throttling, state.others, state.temperature_c) == ({"sw_power_cap"}, set(), 41)


def test_where_no_process_is_listed_the_devices_number_tells(gpus):
    cards = [gpu(i, pids=(), Temperature=40 + i) for i in range(3)]
    run_gpus = gpus(*cards)
    assert run_gpus.state("cuda:2", WORKER).temperature_c == 42
    assert run_gpus.state("cuda", WORKER).temperature_c == 40
    assert run_gpus.state("cuda:7", WORKER).temperature_c == 40


def test_conditions_unite_before_and_after():
    before = GpuState(frozenset({"sync_boost"}), frozenset({3}), 345, 31)
    after = GpuState(frozenset({"sw_power_cap"}), frozenset({3, 4}), 1980, 58)
    assert conditions(before, after) == {
        "throttling": ["sw_power_cap", "sync_boost"],
        "other_gpu_processes": 2,
        "sm_clock_mhz": [345, 1980],
        "temperature_c": [31, 58],
    }


def test_conditions_leave_out_what_nobody_said():
    nothing = GpuState(None, None, None, None)
    assert conditions(nothing, nothing) == {}
    assert conditions(None, nothing) == conditions(nothing, None) == {}
    after = GpuState(frozenset(), None, None, 58)
    assert conditions(nothing, after) == {"throttling": [], "temperature_c": [None, 58]}


def test_memory_in_use_is_summed_over_the_visible_gpus(gpus):
    used = [SimpleNamespace(used=n * 2**20, total=2**30) for n in (300, 500)]
    cards = gpu(0, MemoryInfo=used[0]), gpu(1, MemoryInfo=used[1])
    assert gpus(*cards).used_mib() == 800
    assert gpus(*cards, CUDA_VISIBLE_DEVICES="1").used_mib() == 500
    assert gpus(*cards).memory_mib() == [(300, 1024), (500, 1024)]


def test_memory_that_a_gpu_does_not_tell_is_unknown(gpus):
    assert gpus(without(gpu(), "MemoryInfo")).used_mib() is None
    assert gpus(gpu(), CUDA_VISIBLE_DEVICES="").used_mib() is None
