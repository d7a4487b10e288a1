"""Energy from a fake NVML and a fake powercap tree: the programmed joules come back."""

import os
import sys
import time
from types import SimpleNamespace

import pytest

from pytest_llmperf.backends.simulated import SimulatedBackend
from pytest_llmperf.machine.energy import GpuPower
from pytest_llmperf.machine.gpus import Gpus
from pytest_llmperf.machine.idle import IDLE_SECONDS, IdlePower, idle_power
from pytest_llmperf.worker.energy import Meter, meter_of

WORKER = os.getpid()
NO_SLICES = [0, 0]


class Clock:
    """A clock that only the test moves on."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += seconds


class Gpu:
    """A GPU that draws a programmed power, with or without a counter of millijoules."""

    def __init__(
        self, number, clock, watts, pids=(WORKER,), counter=True, power=True, mig=NO_SLICES
    ):
        self.uuid = f"GPU-{number}"
        self.clock = clock
        self.begin = clock()
        self.watts = watts
        self.pids = pids
        self.counter = counter
        self.power = power
        self.mig = mig

    @property
    def millijoules(self):
        return int(5e6 + self.watts * (self.clock() - self.begin) * 1000)


class FakeNvml:
    """A module ``pynvml`` with the functions that energy needs."""

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus):
        self.gpus = gpus

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetName(self, gpu):
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetUUID(self, gpu):
        return gpu.uuid

    def nvmlDeviceGetMigMode(self, gpu):
        return gpu.mig

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        return [SimpleNamespace(pid=pid) for pid in gpu.pids]

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):
        if not gpu.counter:
            raise self.NVMLError("Not Supported")
        return gpu.millijoules

    def nvmlDeviceGetPowerUsage(self, gpu):
        if not gpu.power:
            raise self.NVMLError("Not Supported")
        return int(gpu.watts * 1000)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def nvml(monkeypatch):
    """Return a function that makes the run's GPUs: ``nvml(Gpu(...), CUDA_VISIBLE_DEVICES="0")``."""

    def make(*gpus, **environ):
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(*gpus) if gpus else None)
        return Gpus(environ)

    return make


@pytest.fixture
def powercap(tmp_path):
    """Return a function that writes a folder like /sys/class/powercap.

    For instance ``powercap({"intel-rapl:0": ("package-0", 0)})``.
    """

    def make(domains, range_uj=262_143_328_850):
        folder = tmp_path / "powercap"
        for name, (label, uj) in domains.items():
            (folder / name).mkdir(parents=True)
            (folder / name / "name").write_text(f"{label}\n")
            (folder / name / "energy_uj").write_text(f"{int(uj)}\n")
            (folder / name / "max_energy_range_uj").write_text(f"{range_uj}\n")
        return folder

    return make


def set_uj(folder, name, uj):
    (folder / name / "energy_uj").write_text(f"{int(uj)}\n")


@pytest.fixture
def no_powercap(tmp_path):
    return tmp_path / "none"


class Engine(SimulatedBackend):
    """An engine that does not report its energy."""

    def joules(self):
        return None


@pytest.fixture
def meter(clock, monkeypatch, no_powercap):
    """Return a function that makes the meter of a loaded engine, on the test's clock."""

    def make(device, devices=1, gpus=None, folder=no_powercap):
        meter = meter_of(Engine(), device, devices, gpus, folder)
        meter._clock = clock
        for source in meter._sources:
            source._clock = clock
        return meter

    return make


def measured(meter, clock, seconds, rounds=2):
    with meter:
        meter.start()
        for _ in range(rounds):
            clock.pass_(seconds / rounds)
            meter.mark()
        return meter.stop()


def test_the_counter_of_a_gpu(meter, nvml, clock):
    energy = measured(meter("cuda:0", gpus=nvml(Gpu(0, clock, 300.0))), clock, 2.0)
    assert energy == {
        "source": "NVML counter",
        "joules": pytest.approx(600.0),
        "seconds": pytest.approx(2.0),
        "mean_w": pytest.approx(300.0),
        "error_share": pytest.approx(0.05),
        "gpus": ["GPU-0"],
    }


def test_the_engines_gpus_are_summed_and_no_other(meter, nvml, clock):
    gpus = nvml(
        Gpu(0, clock, 300.0),
        Gpu(1, clock, 200.0),
        Gpu(2, clock, 70.0, pids=(1,)),
        Gpu(3, clock, 70.0, ()),
    )
    energy = measured(meter("cuda", 2, gpus), clock, 2.0)
    assert energy["joules"] == pytest.approx(1000.0)
    assert energy["gpus"] == ["GPU-0", "GPU-1"]


def test_visible_devices_leave_the_others_out(meter, nvml, clock):
    cards = [Gpu(i, clock, 100.0 * (i + 1), pids=()) for i in range(3)]
    energy = measured(meter("cuda:0", gpus=nvml(*cards, CUDA_VISIBLE_DEVICES="2")), clock, 1.5)
    assert energy["joules"] == pytest.approx(450.0)


def test_the_device_number_is_not_asked_where_the_driver_lists_the_engine(meter, nvml, clock):
    cards = [Gpu(0, clock, 70.0, pids=(1,)), Gpu(1, clock, 300.0)]
    assert measured(meter("cuda:1", gpus=nvml(*cards)), clock, 2.0)["joules"] == pytest.approx(
        600.0
    )


def test_where_the_driver_lists_nobody_all_visible_gpus_have_to_be_the_engines(meter, nvml, clock):
    cards = [Gpu(i, clock, 300.0, pids=()) for i in range(2)]
    energy = measured(meter("cuda", 2, nvml(*cards)), clock, 2.0)
    assert energy["joules"] == pytest.approx(1200.0)
    assert measured(meter("cuda", 1, nvml(*cards)), clock, 2.0) == {
        "unavailable": "the driver does not report which of 2 visible GPUs the engine uses: "
        "set CUDA_VISIBLE_DEVICES to these only"
    }


def test_a_board_behind_mig_slices_tells_nothing(meter, nvml, clock):
    gpus = nvml(Gpu(0, clock, 300.0, mig=[1, 1]))
    assert measured(meter("cuda:0", gpus=gpus), clock, 2.0) == {
        "unavailable": "a MIG slice has no energy counter, and its GPU's counter includes all slices"
    }


def test_without_the_package_it_is_unavailable(meter, nvml, clock):
    assert measured(meter("cuda:0", gpus=nvml()), clock, 2.0) == {
        "unavailable": "NVML is not available: pip install 'pytest-llmperf[gpu]'"
    }


def test_a_gpu_that_tells_nothing(meter, nvml, clock):
    gpus = nvml(Gpu(0, clock, 300.0, counter=False, power=False))
    assert measured(meter("cuda:0", gpus=gpus), clock, 2.0) == {
        "unavailable": "the GPU reports neither its energy nor its power"
    }


def test_too_few_refreshes_of_a_counter_give_no_number(meter, nvml, clock):
    energy = measured(meter("cuda:0", gpus=nvml(Gpu(0, clock, 300.0))), clock, 0.3)
    assert energy == {
        "unavailable": "rounds took 0.3 s, but the NVML counter needs 1 s: use more rounds or tokens"
    }


def test_a_counter_that_stands_still_is_none(meter, nvml, clock):
    assert measured(meter("cuda:0", gpus=nvml(Gpu(0, clock, 0.0))), clock, 2.0) == {
        "unavailable": "the energy counter did not change"
    }


def test_a_driver_that_stops_answering(meter, nvml, clock):
    card = Gpu(0, clock, 300.0)
    gpu_meter = meter("cuda:0", gpus=nvml(card))
    gpu_meter.start()
    clock.pass_(2)
    card.counter = False
    assert gpu_meter.stop() == {
        "unavailable": "the driver no longer reports the energy or the power"
    }


def test_without_a_counter_power_is_sampled_and_integrated(nvml, clock):
    card = Gpu(0, clock, 100.0, counter=False)
    source = GpuPower(nvml(card).boards(WORKER), clock)
    source._end.set()  # The thread ends at once: the test takes the samples.
    source.start()
    source._thread.join()
    for watts in (200.0, 300.0, 300.0):
        clock.pass_(1)
        card.watts = watts
        source._sample()
    # Trapezoids: 150 + 250 + 300, and nothing since the last sample.
    assert source.stop() == pytest.approx(700.0)


def test_sampling_ends_when_the_meter_is_left_without_a_stop(meter, nvml, clock):
    gpu_meter = meter("cuda:0", gpus=nvml(Gpu(0, clock, 300.0, counter=False)))
    with gpu_meter:
        gpu_meter.start()
        assert gpu_meter._source._thread.is_alive()
    assert not gpu_meter._source._thread.is_alive()


@pytest.mark.timing
def test_sampled_power_in_real_time(nvml):
    card = Gpu(0, time.monotonic, 250.0, counter=False)
    with meter_of(Engine(), "cuda:0", 1, nvml(card)) as gpu_meter:
        gpu_meter.start()
        time.sleep(1.05)
        energy = gpu_meter.stop()
    assert energy["source"] == "sampled power"
    assert energy["mean_w"] == pytest.approx(250.0, rel=0.01)


def test_packages_are_summed_without_their_parts(meter, powercap, clock):
    folder = powercap(
        {
            "intel-rapl:0": ("package-0", 7_000_000),
            "intel-rapl:0:0": ("core", 5_000_000),
            "intel-rapl:1": ("package-1", 9_000_000),
            "intel-rapl:2": ("psys", 50_000_000),
            "intel-rapl-mmio:0": ("package-0", 7_000_000),
        }
    )
    cpu_meter = meter("cpu", folder=folder)
    cpu_meter.start()
    clock.pass_(2)
    set_uj(folder, "intel-rapl:0", 7e6 + 120e6)
    set_uj(folder, "intel-rapl:1", 9e6 + 80e6)
    for other in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        set_uj(folder, other, 900e6)
    assert cpu_meter.stop() == {
        "source": "RAPL",
        "joules": pytest.approx(200.0),
        "seconds": pytest.approx(2.0),
        "mean_w": pytest.approx(100.0),
        "error_share": pytest.approx(0.0005),
    }


def test_a_counter_that_wraps_goes_on(meter, powercap, clock):
    folder = powercap({"intel-rapl:0": ("package-0", 65_000e6)}, range_uj=65_532_610_987)
    cpu_meter = meter("cpu", folder=folder)
    cpu_meter.start()
    clock.pass_(10)
    set_uj(folder, "intel-rapl:0", 65_000e6 + 1000e6 - 65_532_610_987)
    assert cpu_meter.stop()["joules"] == pytest.approx(1000.0)


def test_rounds_keep_a_counter_from_wrapping_twice_unseen(meter, powercap, clock):
    folder = powercap({"intel-rapl:0": ("package-0", 0)}, range_uj=65_532_610_987)
    cpu_meter = meter("cpu", folder=folder)
    cpu_meter.start()
    for i in range(1, 5):  # 160 s at 500 W: more than the counter holds.
        clock.pass_(40)
        set_uj(folder, "intel-rapl:0", i * 20_000e6 % 65_532_610_987)
        cpu_meter.mark()
    assert cpu_meter.stop()["joules"] == pytest.approx(80_000)


def test_a_round_in_which_a_counter_could_wrap_twice(meter, powercap, clock):
    folder = powercap({"intel-rapl:0": ("package-0", 0)}, range_uj=65_532_610_987)
    assert measured(meter("cpu", folder=folder), clock, 70, rounds=1) == {
        "unavailable": "a RAPL counter may have wrapped more than once in 70 s"
    }


def test_a_package_that_cannot_be_read(meter, powercap, clock):
    folder = powercap({"intel-rapl:0": ("package-0", 0), "intel-rapl:1": ("package-1", 0)})
    (folder / "intel-rapl:1/energy_uj").unlink()
    (folder / "intel-rapl:1/energy_uj").mkdir()  # Even root cannot read a folder.
    assert measured(meter("cpu", folder=folder), clock, 2) == {
        "unavailable": f"{folder}/intel-rapl:1/energy_uj cannot be read by this user"
    }


def test_a_machine_without_rapl(meter, no_powercap, clock):
    assert measured(meter("cpu"), clock, 2) == {"unavailable": f"no RAPL package in {no_powercap}"}


def test_beside_a_gpu_the_packages_stand_apart(meter, nvml, powercap, clock):
    folder = powercap({"intel-rapl:0": ("package-0", 0)})
    gpu_meter = meter("cuda:0", gpus=nvml(Gpu(0, clock, 300.0)), folder=folder)
    gpu_meter.start()
    clock.pass_(2)
    set_uj(folder, "intel-rapl:0", 90e6)
    energy = gpu_meter.stop()
    assert (energy["joules"], energy["cpu_joules"]) == (pytest.approx(600), pytest.approx(90))


@pytest.mark.parametrize("device", ["simulated", "mps"])
def test_other_devices_say_nothing(meter, device, clock):
    assert measured(meter(device), clock, 2) == {}


def test_without_a_source_nothing_is_said():
    with Meter() as meter:
        meter.start()
        meter.mark()
        assert meter.stop() == {}


@pytest.fixture
def idle(clock, no_powercap):
    """Return a function that measures idle power on the test's clock: ``idle(gpus)``.

    Its last argument is called while the measurement sleeps.
    """

    def measure(gpus, folder=no_powercap, meanwhile=lambda: None):
        def sleep(seconds):
            assert seconds == IDLE_SECONDS
            clock.pass_(seconds)
            meanwhile()

        return idle_power(gpus, folder, clock, sleep)

    return measure


def test_idle_power_is_known_for_each_gpu_and_the_packages(idle, nvml, powercap, clock):
    folder = powercap({"intel-rapl:0": ("package-0", 0)})
    cards = Gpu(0, clock, 70.0), Gpu(1, clock, 65.0, counter=False)
    power = idle(nvml(*cards), folder, lambda: set_uj(folder, "intel-rapl:0", 40e6))
    assert power.gpus == {"GPU-0": pytest.approx(70.0), "GPU-1": pytest.approx(65.0)}
    assert power.packages == pytest.approx(40.0)


def test_where_nothing_tells_the_idle_power_nobody_waits(nvml, no_powercap, clock):
    def sleep(seconds):
        raise AssertionError("slept without a source")

    assert idle_power(nvml(), no_powercap, clock, sleep) == IdlePower()


def test_idle_power_of_what_was_counted_is_added():
    idle = IdlePower({"GPU-0": 70.0, "GPU-1": 65.0}, 40.0)
    assert idle.added({"source": "NVML counter", "gpus": ["GPU-1"]}) == {
        "source": "NVML counter",
        "gpus": 1,
        "idle_w": 65.0,
    }
    both = idle.added({"source": "NVML counter", "gpus": ["GPU-0", "GPU-1"], "cpu_joules": 9.0})
    assert (both["idle_w"], both["gpus"]) == (135.0, 2)
    assert idle.added({"source": "RAPL"})["idle_w"] == 40.0
    assert "idle_w" not in idle.added({"source": "simulated"})
    assert idle.added({"source": "NVML counter", "gpus": ["GPU-7"]}) == {
        "source": "NVML counter",
        "gpus": 1,
    }
    assert idle.added({}) == {}
