"""Pytest's side of a worker: start it, call it, and end it in every case."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

import execnet

from ..core.errors import EngineDied, EngineError, EngineTimeout, InvalidMeasurement
from ..core.printable import printable
from ..core.progress import Progress, silent
from ..machine.variables import OF_COVERAGE

_PACKAGE = Path(__file__).resolve().parent.parent
_CLOSE_TIMEOUT = 30.0
# This shell ends the worker's whole process group if pytest disappears without notice, even by
# SIGKILL: the kernel then closes the pipe that the shell reads.
_WATCHDOG = 'read -r word; [ "$word" = done ] || kill -s KILL -- "-$0"'


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

    def __init__(self, python: str, log: Path) -> None:
        super().__init__()
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._group = execnet.Group()
        self._pid: int | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        try:
            gateway = self._group.makegateway(
                f"popen//python={_command(python)}//execmodel=main_thread_only"
            )
            self._channel = gateway.remote_exec(_bootstrap, package=str(_PACKAGE), log=str(log))
            _, pid = self._channel.receive(timeout=60)
        except (OSError, EOFError, execnet.TimeoutError, execnet.RemoteError) as error:
            self._group.terminate(timeout=1)
            raise EngineDied(f"cannot start a worker with {python}: {_last_line(error)}") from None
        self._gateway = gateway
        self._pid = pid
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, str(pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    @property
    def alive(self) -> bool:
        process = self._process
        return self._pid is not None and (process is None or process.poll() is None)

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
            while True:
                kind, payload = self._channel.receive(timeout=timeout)
                if kind != "progress":
                    return _result(kind, payload, log=self._log)
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
        except execnet.DumpError as error:
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
        """End the worker's process group at once."""
        pid, self._pid = self._pid, None
        if pid is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if self._watchdog is not None:
            with suppress(OSError):
                self._watchdog.communicate(b"done\n")
        self._group.terminate(timeout=1)

    def _end(self) -> str:
        """End the children of a process that has ended; return a description of how it ended."""
        process = self._process
        status = None
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(5)
        self.kill()
        if status is None:
            return "ended unexpectedly"
        if status == -signal.SIGKILL:
            return "was killed by SIGKILL (out of memory, or by hand)"
        if status < 0:
            return f"was killed by {_signal_name(-status)}"
        return f"ended unexpectedly with exit code {status}"


def _command(python: str) -> str:
    """Return the shell words that start an interpreter without coverage, which would slow it down."""
    unset = [word for name in OF_COVERAGE if name in os.environ for word in ("-u", name)]
    return shlex.join(["env", *unset, python] if unset else [python])


def _last_line(error: BaseException) -> str:
    """Return the line of an exception that says most: execnet's hold a whole traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[-1].strip()[:300])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
