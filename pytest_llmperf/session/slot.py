"""The slot of the resident engine: loads a cell, and loads it again if its process has died."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

from ..backends import BUILT_IN, ask, family, time_to_answer
from ..backends.conversion import remove_unfinished
from ..core.cell import Cell
from ..core.engine import EngineInfo, EngineSpec, LoadedEngine
from ..core.errors import BackendError, EngineDied, EngineError, EngineTimeout
from ..core.floor import Checked, Floor
from ..core.measurement import Measurement
from ..core.models import Model
from ..core.progress import Progress, silent
from ..core.text import Text, shipped
from ..core.workload import Workload
from ..machine.host import runs_on_cpu, usable_cores
from ..metrics.quality import Quality
from ..worker.client import Worker, start_worker
from .cells import CellPlan
from .options import Settings
from .references import references_of
from .traits import why_other_traits

_GRACE = 5.0
"""Seconds after which a process is ended that should have reported that a limit has passed."""
_TRIES = 2
"""Loads of a cell that may crash one after the other before it is given up."""


@dataclass(frozen=True)
class _FailedLoads:
    """The loads of a cell that have failed since it was last resident."""

    error: EngineError
    """The last one's."""
    tries: int

    @property
    def final(self) -> bool:
        """Return whether another try would only fail again.

        A process that died may have been the victim of something else. An exception would be raised
        again, and a load that took too long would take as long again.
        """
        died = isinstance(self.error, EngineDied) and not isinstance(self.error, EngineTimeout)
        return not died or self.tries >= _TRIES

    def as_error(self) -> EngineError:
        """Return the error of a test that needs the cell and does not load it again."""
        tries = "once" if self.tries == 1 else f"{self.tries} times"
        return EngineError(f"{self.error} (tried {tries}, not again)")


class EngineSlot:
    """Holds at most one engine. Loading another cell, or closing, ends the one before."""

    def __init__(
        self,
        settings: Settings,
        plan: CellPlan,
        log: Callable[[str], Path],
    ) -> None:
        """Make an empty slot.

        Args:
            plan: the cells of the run.
            log: returns the file for the output of an engine that starts, by its cell's id.
        """
        self._settings = settings
        self._plan = plan
        self._log = log
        self._revisions: dict[Model, str | None] = {}
        self._worker: Worker | None = None
        self._cell: Cell | None = None
        self._loaded: LoadedEngine | None = None
        self._checked_engine: LoadedEngine | None = None
        self._checks: dict[Floor, Checked] = {}
        self._changing = threading.RLock()
        self._failed: dict[str, _FailedLoads] = {}
        self.loads = 0

    def ensure(self, cell: Cell, progress: Progress) -> LoadedEngine:
        """Return the engine of a cell, loaded now unless it is resident and alive.

        A load that failed is tried once more if the process died, and never if it raised an exception
        or took too long.

        Raises:
            EngineError: it cannot be loaded; nothing is resident then.
        """
        # Threads of one test that all find the engine dead load it once.
        with self._changing:
            return self._ensured(cell, progress)

    def _ensured(self, cell: Cell, progress: Progress) -> LoadedEngine:
        resident = self._worker is not None and self._worker.alive and self._cell == cell
        if resident and self._loaded is not None:
            return self._loaded
        failed = self._failed.get(cell.id)
        if failed and failed.final:
            self.close()
            raise failed.as_error()
        try:
            loaded = self._load(cell, progress)
        except EngineError as error:
            self._failed[cell.id] = _FailedLoads(error, failed.tries + 1 if failed else 1)
            raise
        self._failed.pop(cell.id, None)
        return loaded

    def _load(self, cell: Cell, progress: Progress) -> LoadedEngine:
        self.close()
        spec = self._spec(cell, progress)
        self._worker = self._start(cell)
        self._cell = cell
        self.loads += 1
        progress("load", 0, 0)
        try:
            answer = self._call("load", progress, spec=spec.to_wire())
        except BaseException:
            self.close()
            raise
        info = EngineInfo.from_wire(answer["info"])
        if other := cell.contradicted_by(info) or why_other_traits(cell, info):
            self.close()
            raise EngineError(other)
        self._loaded = LoadedEngine(
            info=info,
            load_time=answer["load_time"],
            version=answer["version"],
            versions=answer["versions"],
            environment=answer["environment"],
            pid=answer["pid"],
            number=self.loads,
        )
        self._revisions[cell.model] = self._loaded.info.revision
        return self._loaded

    def leave(self, cell: Cell) -> None:
        """End the resident engine unless it is this cell's: another one is about to load."""
        if self._cell != cell:
            self.close()

    def measure(self, workload: Workload, progress: Progress) -> Measurement:
        """Run a workload on the resident engine."""
        assert self._worker is not None
        answer = self._worker.call(
            "measure",
            progress,
            self._settings.round_timeout,
            "--llm-round-timeout",
            workload=workload.to_wire(),
            patience=self._settings.timeout,
        )
        return Measurement.from_wire(answer)

    def generate(
        self,
        prompts: list[str | list[int]],
        output_len: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Return ``ids`` and ``text`` of each prompt's continuation, generated as one batch."""
        answer: list[dict[str, Any]] = self._call(
            "generate",
            silent,
            prompts=prompts,
            output_len=output_len,
            temperature=temperature,
            seed=seed,
        )
        return answer

    def checked(self, floor: Floor) -> Checked:
        """Return whether the engine's output can come from a working model.

        The worker is asked once per loaded engine and text.
        """
        assert self._cell is not None
        assert self._loaded is not None
        if self._checked_engine is not self._loaded:
            self._checked_engine, self._checks = self._loaded, {}
        if floor not in self._checks:
            engine = {
                "backend": family(self._cell.backend),
                "version": self._loaded.version,
                "mode": self._cell.quantization,
            }
            answer = self._call(
                "check_output",
                silent,
                text=(floor.text or shipped()).documents[0],
                references=str(self._references),
                name=floor.text_name,
                engine=engine,
            )
            self._checks[floor] = Checked(**answer)
        return self._checks[floor]

    def quality(self, text: Text, vouched: bool, progress: Progress) -> Quality | str:
        """Score a text; return the reason as a string if that cannot be done.

        An unquantized model's distributions are kept, to compare quantized ones with them later.

        Args:
            text: the text.
            vouched: it is known that the model works, even if it knows nothing about the text.
            progress: called before each document.
        """
        assert self._cell is not None
        assert self._loaded is not None
        engine = {
            "backend": self._cell.backend,
            "version": self._loaded.version,
            "dtype": self._loaded.info.dtype,
        }
        # The engine's arguments may quantize weights even in mode none.
        args = self._settings.args_of(self._cell.backend)
        plain = not _asked(self._cell.backend, "changes_weights", bool, args)
        answer = self._call(
            "quality",
            progress,
            texts=list(text.documents),
            references=str(self._references),
            may_keep=engine if plain and self._is_reference(self._cell) else None,
            vouched=vouched,
        )
        return answer.get("unavailable") or Quality.from_wire(answer)

    def score(self, prompt: str | list[int]) -> list[float] | str:
        """Return log-likelihoods of a prompt's tokens after the first, or the reason as a string."""
        answer = self._call("score", silent, prompt=prompt)
        scores: list[float] | str = answer.get("unavailable") or answer["scores"]
        return scores

    def _is_reference(self, cell: Cell) -> bool:
        """Return whether other cells of the model's name are compared with this one."""
        return (
            cell.quantization == "none"
            and self._plan.checkpoints.unquantized(cell.model) == cell.model
        )

    @property
    def _references(self) -> Path:
        """Folder of the unquantized model's distributions, whatever engine and mode is resident."""
        assert self._cell is not None
        model = self._plan.checkpoints.unquantized(self._cell.model)
        revision = self._revisions.get(model) or self._settings.revision
        return references_of(model, revision, self._settings.cache_dir)

    def close(self) -> None:
        """End the resident engine, if there is one."""
        with self._changing:
            worker, self._worker = self._worker, None
            self._cell = self._loaded = None
            if worker is not None:
                worker.close()

    def spec(self, cell: Cell) -> EngineSpec:
        """Return the worker's specification of a cell, before anything is downloaded or converted."""
        settings = self._settings
        dummy = settings.load_format == "dummy"
        folder = cell.model.shipped_config if dummy else cell.model.gguf
        return EngineSpec(
            backend=family(cell.backend),
            quantization=cell.quantization,
            model=str(folder) if folder else cell.model.source,
            local=cell.model.is_local or folder is not None,
            revision=None if cell.model.is_local or folder else settings.revision,
            dtype=settings.dtype,
            device=settings.device,
            load_format=settings.load_format,
            threads=engine_threads(settings),
            args=settings.args_of(cell.backend),
            is_quantized=cell.is_quantized,
        )

    def _spec(self, cell: Cell, progress: Progress) -> EngineSpec:
        """Return the specification of a cell, its files prepared if the engine needs that."""
        spec = self.spec(cell)
        cache = self._settings.cache_dir
        ready = self._ready(cell, spec)
        if ready is not None:
            return ready
        progress("prepare", 0, 0)
        # In a separate process, so that its memory is not part of a measurement.
        self._worker, self._cell = self._start(cell), cell
        try:
            changed = self._call("prepare", progress, spec=spec.to_wire(), cache=str(cache))
        finally:
            self.close()
            # It may have been ended at any moment.
            remove_unfinished(cache / "models")
        return replace(spec, **changed)

    def _ready(self, cell: Cell, spec: EngineSpec) -> EngineSpec | None:
        """Return the specification for ``load``, or None if its files have to be prepared."""
        cache = self._settings.cache_dir
        packages = self._plan.packages(cell.backend)
        limit = time_to_answer(self._settings.timeout)
        if spec.backend in BUILT_IN or self._settings.isolation == "none":
            kinds = (EngineSpec, NoneType)
            ready: EngineSpec | None = _asked(
                spec.backend, "ready", kinds, spec, cache, packages, limit=limit
            )
            return ready
        # Another package's may end its process.
        self._worker, self._cell = self._start(cell), cell
        try:
            answer = self._worker.call(
                "ready",
                silent,
                limit + _GRACE,
                spec=spec.to_wire(),
                cache=str(cache),
                packages=dict(packages),
                seconds=limit,
            )
        finally:
            self.close()
        if "error" in answer:
            raise EngineError(answer["error"])
        return None if answer["spec"] is None else EngineSpec(**answer["spec"])

    def _start(self, cell: Cell) -> Worker:
        python = self._settings.python_of(cell.backend)
        try:
            log = self._log(cell.id)
        except OSError as error:
            raise EngineError(f"its log cannot be written: {error}") from None
        return start_worker(self._settings.isolation, python, log)

    def _call(self, method: str, progress: Progress, **arguments: Any) -> Any:
        assert self._worker is not None
        return self._worker.call(method, progress, self._settings.timeout, **arguments)


def _asked(
    backend: str,
    method: str,
    kind: type | tuple[type, ...],
    *arguments: Any,
    limit: float | None = None,
) -> Any:
    """Ask a backend's class, of this package or of another; raise EngineError if it cannot answer."""
    try:
        return ask(backend, method, kind, *arguments, limit=limit)
    except BackendError as error:
        raise EngineError(str(error)) from None


def engine_threads(settings: Settings) -> int | None:
    """Return the number of engine threads; None leaves it to the engine.

    On a CPU one core is left free: as many threads as cores collapse under any other process.
    """
    if settings.threads:
        return settings.threads
    return max(1, usable_cores() - 1) if runs_on_cpu(settings.device) else None
