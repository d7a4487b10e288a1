"""Pytest's side of a worker: start it, call it, and end it in every case."""

from __future__ import annotations

import subprocess
import threading
import time
import traceback
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

import execnet

from ..core.cause import one_line
from ..core.errors import EngineDied, EngineError, EngineTimeout, InvalidMeasurement
from ..core.printable import printable
from ..core.progress import Progress, silent
from ..core.turns import WAITING
from .children import how_it_ended
from .launch import Watchdog, command, printed_at_start
from .remains import Remains
from .scratch import Scratch

_PACKAGE = Path(__file__).resolve().parent.parent
_CLOSE_TIMEOUT = 30.0
_START_LIMIT = 60.0
"""Seconds for an interpreter to start."""
_CLOCK_STEP = 1.0
"""Seconds by which the times of files may be behind the clock."""


class Worker(ABC):
    """The place of an engine: a separate process, or (for a debugger) this process."""

    def __init__(self) -> None:
        # An answer has no name: whoever asks has to hear it before anybody else may ask.
        self._turn = threading.Lock()

    def call(
        self,
        method: str,
        progress: Progress,
        timeout: float,
        limit: str = "--llm-timeout",
        **arguments: Any,
    ) -> Any:
        """Call a method of ``server.EngineHost`` and return its answer.

        Calls of several threads are answered one after the other.

        Args:
            method: name of the method.
            progress: called with each progress report.
            timeout: maximum seconds without an answer or a progress report.
            limit: the option that sets the timeout, for the message.
            **arguments: arguments of the method.

        Raises:
            EngineError: one line; EngineDied if the worker can no longer be used.
        """
        with self._turn:
            return self._ask(method, progress, timeout, limit, arguments)

    @abstractmethod
    def _ask(
        self, method: str, progress: Progress, timeout: float, limit: str, arguments: dict[str, Any]
    ) -> Any:
        """Send one question and wait for its answer; nobody else asks meanwhile."""

    @abstractmethod
    def close(self) -> None:
        """End the engine and everything that it started. Never raises."""

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Return whether the engine can still be called, as far as its process shows."""


def start_worker(isolation: str, python: str, log: Path) -> Worker:
    """Start and return a worker in a separate process (``process``) or in this one (``none``)."""
    return ProcessWorker(python, log) if isolation == "process" else InlineWorker()


class InlineWorker(Worker):
    """The engine in pytest's process: a debugger can step into it, but a crash ends pytest too."""

    def __init__(self) -> None:
        from .server import EngineHost

        super().__init__()
        self._host = EngineHost()

    def _ask(
        self, method: str, progress: Progress, timeout: float, limit: str, arguments: dict[str, Any]
    ) -> Any:
        from .server import answer

        kind, payload = answer(self._host, method, arguments, progress)
        return _result(kind, payload, log=None)

    def close(self) -> None:
        from .server import answer

        answer(self._host, "close", {}, silent)

    @property
    def alive(self) -> bool:
        return True


class ProcessWorker(Worker):
    """The engine in a child process with its own session, connected by execnet."""

    def __init__(self, python: str, log: Path, start_limit: float = _START_LIMIT) -> None:
        super().__init__()
        self._log = log
        self._pid: int | None = None
        self._gateway: execnet.Gateway | None = None
        self._lost = ""
        self._group = execnet.Group()
        mark = uuid.uuid4().hex
        since = time.time() - _CLOCK_STEP
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            log.touch()
            self._scratch = Scratch()
            self._remains = Remains(mark, str(self._scratch.path), since)
            self._watchdog = Watchdog(mark, self._scratch.path, since)
        except OSError as error:
            raise EngineDied(f"cannot start a worker: {one_line(error)}") from None
        try:
            self._connect(python, mark, start_limit)
        except BaseException:
            self._clear()
            raise

    def _connect(self, python: str, mark: str, limit: float) -> None:
        """Start the interpreter and the worker in it.

        Raises:
            EngineDied: one line; EngineTimeout if it does not answer in time.
        """
        begin = self._log.stat().st_size
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._remains.end()

        timer = threading.Timer(limit, give_up)
        timer.daemon = True
        try:
            timer.start()
            self._gateway = self._group.makegateway(
                f"popen//python={command(python, mark, self._scratch.path, self._log)}"
                "//execmodel=main_thread_only"
            )
            self._channel = self._gateway.remote_exec(
                _bootstrap, package=str(_PACKAGE), log=str(self._log)
            )
            _, pid = self._channel.receive(timeout=limit)
        except Exception as error:
            is_late = late.is_set() or isinstance(error, execnet.TimeoutError)
            why = "" if is_late else self._why(error, python, begin)
            _release(error)
            if is_late:
                raise EngineTimeout(
                    f"cannot start a worker with {python}: no answer for {limit:g} s, so it was ended"
                ) from None
            raise EngineDied(f"cannot start a worker with {python}: {why}") from None
        finally:
            timer.cancel()
        self._pid = pid
        self._remains.leader(pid)
        self._watchdog.leader(pid)

    def _why(self, error: Exception, python: str, begin: int) -> str:
        """Return why an interpreter could not be started."""
        if isinstance(error, AssertionError):
            # Of execnet: the first byte was not the worker's.
            text = printed_at_start(python)
            return (
                f"it prints {text} to stdout while it starts, where the worker answers; use stderr"
            )
        with self._log.open("rb") as file:
            file.seek(begin)
            written = file.read().decode("utf-8", "replace").strip()
        if written:
            return printable(written.splitlines()[-1][:300])
        if isinstance(error, EOFError | OSError):
            return "it ended without an answer"
        return _last_line(error)

    @property
    def alive(self) -> bool:
        process = self._process
        if self._pid is None or (process is not None and process.poll() is not None):
            return False
        if self._turn.acquire(blocking=False):
            try:
                self._hear()
            finally:
                self._turn.release()
        return not self._lost

    def _hear(self) -> None:
        """Note what the worker has reported since the last answer."""
        with suppress(execnet.TimeoutError, EOFError, OSError):
            while True:
                kind, payload = self._channel.receive(timeout=0)
                if kind == "lost":
                    self._lost = payload

    @property
    def _process(self) -> subprocess.Popen[bytes] | None:
        """The child process that execnet started."""
        process = getattr(getattr(self._gateway, "_io", None), "popen", None)
        return process if isinstance(process, subprocess.Popen) else None

    def _ask(
        self, method: str, progress: Progress, timeout: float, limit: str, arguments: dict[str, Any]
    ) -> Any:
        if self._pid is None:
            raise EngineDied(f"the engine's process has ended; log: {self._log}")
        try:
            self._send(method, arguments)
            left: float | None = timeout
            while True:
                kind, payload = self._channel.receive(timeout=left)
                if kind == "lost":
                    self.kill()
                    raise EngineDied(f"{payload}; log: {self._log}")
                if kind != "progress":
                    return _result(kind, payload, log=self._log)
                # Whoever gives the turns ends the waiting.
                left = None if payload[0] == WAITING else timeout
                progress(*payload)
        except execnet.TimeoutError:  # Before OSError, its base class.
            self.kill()
            raise EngineTimeout(
                f"no answer for {timeout:g} s ({limit}), so the engine was ended; log: {self._log}"
            ) from None
        except (EOFError, OSError):
            raise EngineDied(f"the engine's process {self._end()}; log: {self._log}") from None
        except execnet.RemoteError as error:
            self.kill()
            raise EngineDied(
                f"the engine's process failed: {_last_line(error)}; log: {self._log}"
            ) from None
        except EngineError:
            raise
        except BaseException:
            # For instance Ctrl-C: the engine is still working, but nothing waits for its answer.
            self.kill()
            raise

    def _send(self, method: str, arguments: dict[str, Any]) -> None:
        try:
            self._channel.send((method, arguments))
        except (OSError, EOFError):
            raise
        except Exception as error:  # An integer of 5,000 digits is a ValueError, for instance.
            # Nothing was sent, so the engine is as it was.
            raise EngineError(
                f"{method}: an argument is not plain data (numbers, text, lists): {_last_line(error)}"
            ) from None

    def close(self) -> None:
        # A thread of a test that is gone may still wait for its answer.
        turn = self._turn.acquire(timeout=_CLOSE_TIMEOUT)
        try:
            if turn and self.alive:
                self._ask("close", silent, _CLOSE_TIMEOUT, "", {})
        except EngineError:
            pass
        finally:
            if turn:
                self._turn.release()
            # A dead engine may have left its children and the watchdog running.
            self.kill()

    def kill(self) -> None:
        """End the worker's processes at once and remove what they have left."""
        pid, self._pid = self._pid, None
        if pid is not None:
            self._clear()

    def _clear(self) -> None:
        self._remains.clear()
        self._scratch.release()
        self._watchdog.end()
        self._group.terminate(timeout=1)

    def _end(self) -> str:
        """End the children of a process that has ended; return a description of how it ended."""
        process = self._process
        status = None
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(5)
        self.kill()
        return "ended unexpectedly" if status is None else how_it_ended(status)


def _release(error: BaseException) -> None:
    """Close the process that execnet has started and leaves open when it raises."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        process = getattr(frame.f_locals.get("io"), "popen", None)
        if isinstance(process, subprocess.Popen):
            with suppress(OSError), process:
                process.kill()


def _last_line(error: BaseException) -> str:
    """Return the line of an exception that says most: execnet's hold a whole traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[-1].strip()[:300])


def _result(kind: str, payload: Any, log: Path | None) -> Any:
    if kind == "ok":
        return payload
    if kind == "invalid":
        raise InvalidMeasurement(f"invalid measurement: {payload}")
    raise EngineError(payload if log is None else f"{payload}; log: {log}")


def _bootstrap(channel, package, log):  # type: ignore[no-untyped-def]
    # This function is sent to the worker as source. It loads this package by its location only: adding
    # the parent folder to the path would make this environment's packages visible to the worker.
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location(
        "pytest_llmperf", package + "/__init__.py", submodule_search_locations=[package]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pytest_llmperf"] = module
    spec.loader.exec_module(module)
    from pytest_llmperf.worker.server import serve

    serve(channel, log)
