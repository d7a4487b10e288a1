"""NVIDIA GPUs as the driver's management library (NVML) describes them. CUDA is not started for it.

The package ``nvidia-ml-py`` is optional: without it or without a driver there are no answers and no
errors, and one question that fails leaves only its own answer out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..core.units import MIB
from .proc import process

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
class GpuState:
    """The engine's GPUs at one moment; None where the driver does not say."""

    throttling: frozenset[str] | None
    """Why clocks are lower than they could be, over all of the engine's GPUs."""
    others: frozenset[int] | None
    """Processes that compute on them and are not the engine's."""
    sm_clock_mhz: int | None
    """Of the first GPU."""
    temperature_c: int | None
    """Of the first GPU."""


class Gpus:
    """The GPUs that one run may use. The driver is asked at the first question, not before."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """``environ`` is the run's environment, whose CUDA_VISIBLE_DEVICES narrows the GPUs."""
        self._environ = environ

    @cached_property
    def described(self) -> list[dict[str, Any]] | None:
        """A mapping for each GPU with what does not change in a run; None where nobody can say."""
        nvml, cards = self._opened
        if nvml is None or cards is None:
            return None
        return [_describe(nvml, card) for card in cards]

    def state(self, device: str, worker: int) -> GpuState | None:
        """Return the GPUs of an engine now; None where it computes on none, or nobody can say.

        Args:
            device: the engine's, as ``EngineInfo.device``.
            worker: pid of the process that the engine runs in.
        """
        nvml, cards = self._opened if device.startswith("cuda") else (None, None)
        if nvml is None or not cards:
            return None
        pids = [nvml.processes(card) for card in cards]
        own = {pid for found in pids for pid in found if _belongs(pid, worker)}
        used = [card for card, found in zip(cards, pids, strict=True) if found & own]
        used = used or _named_by(device, cards)
        reasons = [nvml.reasons(card) for card in used]
        return GpuState(
            throttling=_union(reasons),
            # In a container the driver may list no process, or those of the host by the host's
            # numbers. Unless the engine itself is found, the others cannot be told from it.
            others=frozenset().union(*(found - own for found in pids if found & own))
            if own
            else None,
            sm_clock_mhz=nvml.ask("nvmlDeviceGetClockInfo", used[0].board, _SM_CLOCK),
            temperature_c=nvml.temperature(used[0]),
        )

    def boards(self, worker: int | None = None, count: int = 1) -> list[Board]:
        """Return the whole GPUs that an engine computes on, for the energy that they take.

        Args:
            worker: pid of the process that the engine runs in; None: every visible GPU.
            count: how many GPUs share the model. It decides where the driver lists no process of the
                engine, as in many containers, and then only when that many are visible.

        Raises:
            LookupError: with one line, where that cannot be known or a GPU is shared by slices.
        """
        nvml, cards = self._opened
        if nvml is None:
            raise LookupError("NVML cannot be asked: pip install 'pytest-llmperf[gpu]'")
        if not cards:
            raise LookupError("which GPUs the engine sees is not known")
        if worker is not None:
            listed = [c for c in cards if any(_belongs(p, worker) for p in nvml.processes(c))]
            if not listed and len(cards) != count:
                raise LookupError(
                    f"which of {len(cards)} visible GPUs the engine uses is not known: the driver lists "
                    "no process of it (CUDA_VISIBLE_DEVICES can leave the others out)"
                )
            cards = listed or cards
        if any(card.device is not card.board or _has_slices(nvml, card) for card in cards):
            raise LookupError(
                "a MIG slice has no counter of its own, and the board's is everybody's"
            )
        return [Board(nvml, card.board) for card in cards]

    def used_mib(self) -> float | None:
        """Return MiB in use on all of them, whoever uses it; None where nobody can say."""
        nvml, cards = self._opened
        if nvml is None or not cards:
            return None
        answers = [nvml.ask("nvmlDeviceGetMemoryInfo", card.device) for card in cards]
        return None if None in answers else sum(answer.used for answer in answers) / MIB

    @cached_property
    def _opened(self) -> tuple[_Nvml | None, list[_Card] | None]:
        nvml = _open()
        return nvml, None if nvml is None else _visible(nvml, self._environ)


def conditions(before: GpuState | None, after: GpuState | None) -> dict[str, Any]:
    """Return the GPUs' part of a record's conditions, such as ``throttling`` and ``sm_clock_mhz``."""
    if before is None or after is None:
        return {}
    found: dict[str, Any] = {}
    throttling = _union([before.throttling, after.throttling])
    if throttling is not None:
        found["throttling"] = sorted(throttling)
    others = _union([before.others, after.others])
    if others is not None:
        found["other_gpu_processes"] = len(others)
    for key in ("sm_clock_mhz", "temperature_c"):
        pair = [getattr(before, key), getattr(after, key)]
        if pair != [None, None]:
            found[key] = pair
    return found


@dataclass(frozen=True)
class _Card:
    """Handles of what CUDA calls a device."""

    device: Any
    """A whole GPU, or a MIG slice of one."""
    board: Any
    """The whole GPU: clocks, power and temperature are its own."""


@dataclass(frozen=True)
class Board:
    """A whole GPU's energy and power; None where the driver or the GPU does not say."""

    _nvml: _Nvml
    _handle: Any

    @property
    def uuid(self) -> str | None:
        return _text(self._nvml.ask("nvmlDeviceGetUUID", self._handle))

    def joules(self) -> float | None:
        """Used since the driver was loaded (Volta and later)."""
        millijoules = self._nvml.ask("nvmlDeviceGetTotalEnergyConsumption", self._handle)
        return None if millijoules is None else millijoules / 1000

    def watts(self) -> float | None:
        """Drawn now, as the driver averages it."""
        milliwatts = self._nvml.ask("nvmlDeviceGetPowerUsage", self._handle)
        return None if milliwatts is None else milliwatts / 1000


@dataclass(frozen=True)
class _Nvml:
    """The library, which answers None instead of failing."""

    module: Any

    def ask(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self.module, name)(*arguments)
        except (AttributeError, self.module.NVMLError):
            return None  # Unknown to this package, this driver or this GPU.

    def processes(self, card: _Card) -> frozenset[int]:
        listed = self.ask("nvmlDeviceGetComputeRunningProcesses", card.device) or []
        return frozenset(entry.pid for entry in listed)

    def reasons(self, card: _Card) -> frozenset[str] | None:
        mask = self.ask("nvmlDeviceGetCurrentClocksEventReasons", card.board)
        if mask is None:  # Drivers before 535 know it by its older name.
            mask = self.ask("nvmlDeviceGetCurrentClocksThrottleReasons", card.board)
        if mask is None:
            return None
        return frozenset(name for bit, name in _REASONS.items() if mask & bit)

    def temperature(self, card: _Card) -> int | None:
        for name in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            found = self.ask(name, card.board, _GPU_TEMPERATURE)
            if found is not None:
                return int(found)
        return None


def _open() -> _Nvml | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return _Nvml(pynvml)


def _describe(nvml: _Nvml, card: _Card) -> dict[str, Any]:
    memory = nvml.ask("nvmlDeviceGetMemoryInfo", card.device)
    power = nvml.ask("nvmlDeviceGetEnforcedPowerLimit", card.board)
    ecc = nvml.ask("nvmlDeviceGetEccMode", card.board)
    return {
        "name": _text(nvml.ask("nvmlDeviceGetName", card.device)),
        "memory_mib": None if memory is None else memory.total // MIB,
        "mig": _has_slices(nvml, card),
        "power_limit_w": None if power is None else power / 1000,
        "clock_limit_mhz": _clock_limit(nvml, card),
        "driver": _text(nvml.ask("nvmlSystemGetDriverVersion")),
        "ecc": None if ecc is None else bool(ecc[0]),
    }


def _has_slices(nvml: _Nvml, card: _Card) -> bool:
    """Return whether MIG is on. A GPU without MIG has no answer."""
    mig = nvml.ask("nvmlDeviceGetMigMode", card.board)  # Current, and after the next reset.
    return bool(mig and mig[0])


def _clock_limit(nvml: _Nvml, card: _Card) -> int | None:
    """Return the MHz that somebody has limited the SM clock to.

    On some GPUs the default lies below the maximum and yet limits nothing, so it is not a limit. A
    range that was locked (``nvidia-smi -lgc``) cannot be asked for: the clock itself shows it.
    """
    limit = nvml.ask("nvmlDeviceGetApplicationsClock", card.board, _SM_CLOCK)
    highest = nvml.ask("nvmlDeviceGetMaxClockInfo", card.board, _SM_CLOCK)
    default = nvml.ask("nvmlDeviceGetDefaultApplicationsClock", card.board, _SM_CLOCK)
    if limit is None or highest is None or limit >= highest or limit == default:
        return None
    return int(limit)


def _visible(nvml: _Nvml, environ: Mapping[str, str]) -> list[_Card] | None:
    """Return the GPUs as CUDA_VISIBLE_DEVICES narrows and orders them; None where not known."""
    count = nvml.ask("nvmlDeviceGetCount")
    if count is None:
        return None
    boards = [nvml.ask("nvmlDeviceGetHandleByIndex", i) for i in range(count)]
    setting = environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return [_Card(board, board) for board in boards if board is not None]
    words = [word.strip() for word in setting.split(",")]
    names = {_text(nvml.ask("nvmlDeviceGetName", board)) for board in boards}
    by_bus = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if len(names) > 1 and not by_bus and any(word.isdigit() for word in words):
        return None  # CUDA counts the fastest first, NVML by slot: a number names two GPUs.
    found = []
    for word in words:
        card = _named(nvml, word, boards)
        if card is None:
            break  # As in CUDA: an entry that names nothing ends the list.
        found.append(card)
    return found


def _named(nvml: _Nvml, word: str, boards: list[Any]) -> _Card | None:
    """Return the GPU of an index, of a UUID or its beginning, or of a MIG slice's UUID."""
    if word.startswith("MIG-"):
        device = nvml.ask("nvmlDeviceGetHandleByUUID", word)
        board = nvml.ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", device)
        return None if device is None else _Card(device, board or device)
    board = None
    if word.isdigit():
        board = boards[int(word)] if int(word) < len(boards) else None
    elif word.startswith("GPU-"):
        uuids = {_text(nvml.ask("nvmlDeviceGetUUID", board)): board for board in boards}
        board = next((b for uuid, b in uuids.items() if uuid and uuid.startswith(word)), None)
    return None if board is None else _Card(board, board)


def _named_by(device: str, cards: list[_Card]) -> list[_Card]:
    """Return the GPU of ``cuda:1``; all of them for ``cuda``."""
    index = device.partition(":")[2]
    return cards[int(index) :][:1] or cards if index.isdigit() else cards


def _belongs(pid: int, worker: int) -> bool:
    """Return whether a process is the worker, of the worker's session, or started below it."""
    while pid > 1:
        found = process(pid)
        if pid == worker or (found is not None and found.session == worker):
            return True
        pid = 0 if found is None else found.parent
    return False


def _union(sets: list[frozenset[Any] | None]) -> frozenset[Any] | None:
    """Return the union of those that are known; None where none is."""
    known = [found for found in sets if found is not None]
    return frozenset().union(*known) if known else None


def _text(value: Any) -> str | None:
    """Return text: older packages give bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
