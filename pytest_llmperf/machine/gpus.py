"""The NVIDIA GPUs that one run may use: their description, state and memory, as NVML reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..core.units import MIB
from .nvml import Board, Card, Nvml, open_nvml
from .proc import process


@dataclass(frozen=True)
class GpuState:
    """The engine's GPUs at one moment; None if the driver does not report a value."""

    throttling: frozenset[str] | None
    """Reasons why clocks are lower than they could be, over all of the engine's GPUs."""
    others: frozenset[int] | None
    """Processes that compute on these GPUs and do not belong to the engine."""
    sm_clock_mhz: int | None
    """Clock of the first GPU."""
    temperature_c: int | None
    """Temperature of the first GPU."""


class Gpus:
    """The GPUs that one run may use. The driver is opened at the first question, not before."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Keep the run's environment, whose CUDA_VISIBLE_DEVICES selects the GPUs."""
        self._environ = environ

    @cached_property
    def described(self) -> list[dict[str, Any]] | None:
        """The properties of each GPU that do not change during a run; None if they are unknown."""
        nvml, cards = self._opened
        if nvml is None or cards is None:
            return None
        return [nvml.describe(card) for card in cards]

    def state(self, device: str, worker: int) -> GpuState | None:
        """Return the current state of an engine's GPUs, or None if it uses none or it is unknown.

        Args:
            device: the engine's device, as in ``EngineInfo.device``.
            worker: pid of the process that the engine runs in.
        """
        nvml, cards = self._opened if device.startswith("cuda") else (None, None)
        if nvml is None or not cards:
            return None
        pids_by_card = [nvml.processes(card) for card in cards]
        engine_pids = {pid for pids in pids_by_card for pid in pids if _belongs(pid, worker)}
        used = [card for card, pids in zip(cards, pids_by_card, strict=True) if pids & engine_pids]
        used = used or _cards_by_index(device, cards)
        reasons = [nvml.reasons(card) for card in used]
        # In a container the driver may list no processes, or the host's processes by the host's pids.
        # Unless the engine itself is listed, other processes cannot be told apart from it.
        others = [pids - engine_pids for pids in pids_by_card if pids & engine_pids]
        return GpuState(
            throttling=_union(reasons),
            others=frozenset().union(*others) if engine_pids else None,
            sm_clock_mhz=nvml.sm_clock(used[0]),
            temperature_c=nvml.temperature(used[0]),
        )

    def boards(self, worker: int | None = None, count: int = 1) -> list[Board]:
        """Return the whole GPUs that an engine computes on, to measure their energy.

        Args:
            worker: pid of the process that the engine runs in; None for every visible GPU.
            count: number of GPUs that share the model. It matters only if the driver lists none of the
                engine's processes, as in many containers: then exactly that many must be visible.

        Raises:
            LookupError: the GPUs are unknown, or slices share a GPU; one line with the reason.
        """
        nvml, cards = self._opened
        if nvml is None:
            raise LookupError("NVML is not available: pip install 'pytest-llmperf[gpu]'")
        if not cards:
            raise LookupError("the GPUs that the engine sees are unknown")
        if worker is not None:
            listed = [c for c in cards if any(_belongs(p, worker) for p in nvml.processes(c))]
            if not listed and len(cards) != count:
                raise LookupError(
                    f"the driver does not report which of {len(cards)} visible GPUs the engine uses: "
                    "set CUDA_VISIBLE_DEVICES to these only"
                )
            cards = listed or cards
        if any(card.device is not card.board or nvml.has_slices(card) for card in cards):
            raise LookupError(
                "a MIG slice has no energy counter, and its GPU's counter includes all slices"
            )
        return [Board(nvml, card.board) for card in cards]

    def used_mib(self) -> float | None:
        """Return the MiB in use on all of these GPUs, by any process; None if they are unknown."""
        cards = self.memory_mib()
        return None if cards is None else sum(used for used, _ in cards)

    def memory_mib(self) -> list[tuple[float, float]] | None:
        """Return the MiB in use, by any process, and all MiB of each of these GPUs."""
        nvml, cards = self._opened
        if nvml is None or not cards:
            return None
        answers = [nvml.ask("nvmlDeviceGetMemoryInfo", card.device) for card in cards]
        if None in answers:
            return None
        return [(answer.used / MIB, answer.total / MIB) for answer in answers]

    @cached_property
    def _opened(self) -> tuple[Nvml | None, list[Card] | None]:
        """The library and the visible cards."""
        nvml = open_nvml()
        return nvml, None if nvml is None else _visible_cards(nvml, self._environ)


def conditions(before: GpuState | None, after: GpuState | None) -> dict[str, Any]:
    """Return the GPUs' part of a record's conditions, such as ``throttling`` and ``sm_clock_mhz``."""
    if before is None or after is None:
        return {}
    values: dict[str, Any] = {}
    throttling = _union([before.throttling, after.throttling])
    if throttling is not None:
        values["throttling"] = sorted(throttling)
    others = _union([before.others, after.others])
    if others is not None:
        values["other_gpu_processes"] = len(others)
    for key in ("sm_clock_mhz", "temperature_c"):
        pair = [getattr(before, key), getattr(after, key)]
        if pair != [None, None]:
            values[key] = pair
    return values


def _visible_cards(nvml: Nvml, environ: Mapping[str, str]) -> list[Card] | None:
    """Return the GPUs that CUDA_VISIBLE_DEVICES selects, in its order; None if they are unknown."""
    boards = nvml.boards()
    if boards is None:
        return None
    setting = environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return [Card(board, board) for board in boards if board is not None]
    entries = [entry.strip() for entry in setting.split(",")]
    names = {nvml.name(board) for board in boards}
    by_bus = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if len(names) > 1 and not by_bus and any(entry.isdigit() for entry in entries):
        return (
            None  # CUDA counts the fastest GPU first, NVML counts by slot: an index is ambiguous.
        )
    cards = []
    for entry in entries:
        card = _card_of_entry(nvml, entry, boards)
        if card is None:
            break  # As in CUDA, an entry that matches no GPU ends the list.
        cards.append(card)
    return cards


def _card_of_entry(nvml: Nvml, entry: str, boards: list[Any]) -> Card | None:
    """Return the GPU with an index, with a UUID or the beginning of one, or with a MIG slice's UUID."""
    if entry.startswith("MIG-"):
        device = nvml.ask("nvmlDeviceGetHandleByUUID", entry)
        board = nvml.ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", device)
        return None if device is None else Card(device, board or device)
    board = None
    if entry.isdigit():
        board = boards[int(entry)] if int(entry) < len(boards) else None
    elif entry.startswith("GPU-"):
        uuids = {nvml.uuid(board): board for board in boards}
        board = next((b for uuid, b in uuids.items() if uuid and uuid.startswith(entry)), None)
    return None if board is None else Card(board, board)


def _cards_by_index(device: str, cards: list[Card]) -> list[Card]:
    """Return the one GPU of ``cuda:1``, or all GPUs for ``cuda``."""
    index = device.partition(":")[2]
    return cards[int(index) :][:1] or cards if index.isdigit() else cards


def _belongs(pid: int, worker: int) -> bool:
    """Return whether a process is the worker, is in the worker's session, or descends from it."""
    while pid > 1:
        current = process(pid)
        if pid == worker or (current is not None and current.session == worker):
            return True
        pid = 0 if current is None else current.parent
    return False


def _union(sets: list[frozenset[Any] | None]) -> frozenset[Any] | None:
    """Return the union of the known sets, or None if none is known."""
    known_sets = [each for each in sets if each is not None]
    return frozenset().union(*known_sets) if known_sets else None
