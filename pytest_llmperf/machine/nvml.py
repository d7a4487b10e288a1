"""NVIDIA's management library (NVML), and the GPUs that it describes. It does not start CUDA.

The package ``nvidia-ml-py`` is optional. Without the package or the driver there are no answers and no
errors, and a question that fails leaves out only its own answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.units import MIB

_SM_CLOCK = 1
_GPU_TEMPERATURE = 0
# The bits of NVML's mask of clock event reasons. 0x1, an idle GPU, is harmless.
_REASONS = {
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake",
    0x100: "display_clock_setting",
}


@dataclass(frozen=True)
class Card:
    """Handles of one CUDA device."""

    device: Any
    """A whole GPU, or a MIG slice of one."""
    board: Any
    """The whole GPU, which has the clocks, the power and the temperature."""


@dataclass(frozen=True)
class Board:
    """The energy and power of a whole GPU; None if the driver or the GPU does not report one."""

    _nvml: Nvml
    _handle: Any

    @property
    def uuid(self) -> str | None:
        """The GPU's UUID."""
        return _text(self._nvml.ask("nvmlDeviceGetUUID", self._handle))

    def joules(self) -> float | None:
        """Return the energy used since the driver was loaded (Volta and later)."""
        millijoules = self._nvml.ask("nvmlDeviceGetTotalEnergyConsumption", self._handle)
        return None if millijoules is None else millijoules / 1000

    def watts(self) -> float | None:
        """Return the current power, as the driver averages it."""
        milliwatts = self._nvml.ask("nvmlDeviceGetPowerUsage", self._handle)
        return None if milliwatts is None else milliwatts / 1000


@dataclass(frozen=True)
class Nvml:
    """The library. A question that it cannot answer returns None instead of raising."""

    module: Any

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call a function of the library; return its answer, or None if it fails."""
        try:
            return getattr(self.module, name)(*arguments)
        except (AttributeError, self.module.NVMLError):
            return None  # Unknown to this package, this driver or this GPU.

    def boards(self) -> list[Any] | None:
        """Return the handles of all GPUs in the driver's order, or None if they cannot be counted."""
        count = self.ask("nvmlDeviceGetCount")
        if count is None:
            return None
        return [self.ask("nvmlDeviceGetHandleByIndex", i) for i in range(count)]

    def name(self, handle: Any) -> str | None:
        """Return the product name of a GPU or a MIG slice."""
        return _text(self.ask("nvmlDeviceGetName", handle))

    def uuid(self, handle: Any) -> str | None:
        """Return the UUID of a GPU."""
        return _text(self.ask("nvmlDeviceGetUUID", handle))

    def processes(self, card: Card) -> frozenset[int]:
        """Return the pids of the processes that compute on a card, as far as the driver lists them."""
        listed = self.ask("nvmlDeviceGetComputeRunningProcesses", card.device) or []
        return frozenset(entry.pid for entry in listed)

    def reasons(self, card: Card) -> frozenset[str] | None:
        """Return the reasons why a card's clocks are lower than they could be."""
        mask = self.ask("nvmlDeviceGetCurrentClocksEventReasons", card.board)
        if mask is None:  # Drivers before 535 have an older name for it.
            mask = self.ask("nvmlDeviceGetCurrentClocksThrottleReasons", card.board)
        if mask is None:
            return None
        return frozenset(name for bit, name in _REASONS.items() if mask & bit)

    def sm_clock(self, card: Card) -> Any:
        """Return the current SM clock in MHz."""
        return self.ask("nvmlDeviceGetClockInfo", card.board, _SM_CLOCK)

    def temperature(self, card: Card) -> int | None:
        """Return the temperature in degrees Celsius."""
        for name in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            temperature = self.ask(name, card.board, _GPU_TEMPERATURE)
            if temperature is not None:
                return int(temperature)
        return None

    def has_slices(self, card: Card) -> bool:
        """Return whether MIG is on. A GPU without MIG has no answer."""
        modes = self.ask("nvmlDeviceGetMigMode", card.board)  # Current, and after the next reset.
        return bool(modes and modes[0])

    def describe(self, card: Card) -> dict[str, Any]:
        """Return the properties of a card that do not change during a run."""
        memory = self.ask("nvmlDeviceGetMemoryInfo", card.device)
        power = self.ask("nvmlDeviceGetEnforcedPowerLimit", card.board)
        ecc = self.ask("nvmlDeviceGetEccMode", card.board)
        return {
            "name": self.name(card.device),
            "memory_mib": None if memory is None else memory.total // MIB,
            "mig": self.has_slices(card),
            "power_limit_w": None if power is None else power / 1000,
            "clock_limit_mhz": self._clock_limit(card),
            "driver": _text(self.ask("nvmlSystemGetDriverVersion")),
            "ecc": None if ecc is None else bool(ecc[0]),
        }

    def _clock_limit(self, card: Card) -> int | None:
        """Return the limit that a user has set for the SM clock, in MHz, or None.

        On some GPUs the default is below the maximum and yet limits nothing, so it does not count as a
        limit. A locked range (``nvidia-smi -lgc``) cannot be queried: the clock itself shows it.
        """
        limit = self.ask("nvmlDeviceGetApplicationsClock", card.board, _SM_CLOCK)
        highest = self.ask("nvmlDeviceGetMaxClockInfo", card.board, _SM_CLOCK)
        default = self.ask("nvmlDeviceGetDefaultApplicationsClock", card.board, _SM_CLOCK)
        if limit is None or highest is None or limit >= highest or limit == default:
            return None
        return int(limit)


def open_nvml() -> Nvml | None:
    """Return the library, or None without its package or without a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return Nvml(pynvml)


def _text(value: Any) -> str | None:
    """Return a text; older packages return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
