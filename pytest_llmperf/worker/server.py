"""The engine's side of a worker: load, measure, generate, close.

It runs in the worker process, in the environment that the engine needs, so it imports only the
standard library and modules of this package that do the same.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..backends import backend_class, distributions
from ..backends.base import Backend
from ..core.cause import CAUSE, cause_in_log, one_line, says_nothing, text_of
from ..core.engine import EngineInfo, EngineSpec
from ..core.errors import InvalidMeasurement, NotSupported
from ..core.printable import printable
from ..core.progress import Progress, silent
from ..core.workload import Request, Workload
from ..machine import ceilings
from ..machine.host import describe_device
from ..machine.variables import speed_variables
from . import outputs, scoring
from .energy import meter_of
from .measure import continuations, encoder, measure

_LONGEST = 500
"""Characters of a message."""
_REPORTING = ("measure", "quality", "prepare")
"""Methods of EngineHost that report their progress."""


class EngineHost:
    """One engine and the calls that it answers; arguments and answers have builtin types only."""

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self._info: EngineInfo | None = None
        self._measured: Counter[str] = Counter()
        self._environment: dict[str, str | None] = {}

    def load(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Load an engine; return its info, load time, versions and environment."""
        start = time.perf_counter()
        engine = EngineSpec(**spec)
        before = dict(os.environ)
        try:
            _prepare_environment(engine)
            backend = backend_class(engine.backend)()
            info = outputs.info(backend.load(engine))
        except BaseException:
            _restore_environment(_changed_since(before))
            raise
        load_time = time.perf_counter() - start
        self._environment = _changed_since(before)
        self._backend, self._info = backend, info
        packages = installed_packages()
        named = (*backend.distributions, *backend.companions)
        return {
            "info": info.to_wire(),
            "load_time": load_time,
            "pid": os.getpid(),
            "versions": {name: packages[name] for name in named if name in packages},
            "version": printable(backend.version(packages)),
            "environment": {
                **describe_device(),
                # As this process got it: the rest is this package's own work.
                "variables": speed_variables(before, backend.variables),
            },
        }

    def measure(self, workload: dict[str, Any], report: Progress) -> dict[str, Any]:
        """Run a workload and return its Measurement in the wire form.

        If the salt of the workload was measured before (a failed test runs again, for instance), it
        gets other random prompts, because this engine has already seen the first ones.
        """
        backend, info = self._loaded()
        work = Workload(**workload)
        repeats = self._measured[work.salt]
        self._measured[work.salt] += 1
        if repeats:
            work = replace(work, salt=f"{work.salt}#{repeats}")
        with meter_of(backend, info.device, info.devices) as meter:
            return measure(backend, info, work, report, meter).to_wire()

    def generate(self, prompts: list[str | list[int]], output_len: int) -> list[dict[str, Any]]:
        """Return the greedy continuations of a batch: token ids, and text if there is a tokenizer."""
        backend, info = self._loaded()
        encode = encoder(backend, info)
        ids = [encode(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        requests = [Request(tuple(prompt), output_len) for prompt in ids]
        return [
            {"ids": ids, "text": self._text_of(ids) if info.has_tokenizer else None}
            for ids in continuations(backend, requests)
        ]

    def check_output(self, text: str, references: str) -> dict[str, Any]:
        """Return ``flaw``: the reason why the output cannot come from a working model, or None.

        Args:
            text: the text to test the model with.
            references: folder of the unquantized model's distributions.
        """
        backend, info = self._loaded()
        return {"flaw": scoring.look(backend, info, text, Path(references))}

    def quality(
        self,
        texts: list[str],
        references: str,
        may_keep: dict[str, Any] | None,
        report: Progress,
    ) -> dict[str, Any]:
        """Return a Quality in the wire form, or ``unavailable`` with the reason."""
        backend, info = self._loaded()
        try:
            quality = scoring.assess(backend, info, texts, Path(references), may_keep, report)
        except NotSupported as error:
            return {"unavailable": shortened(text_of(error))}
        return quality.to_wire()

    def score(self, prompt: str | list[int]) -> dict[str, Any]:
        """Return ``scores``, the log-likelihoods of the tokens after the first, or ``unavailable``."""
        backend, info = self._loaded()
        ids = encoder(backend, info)(prompt) if isinstance(prompt, str) else prompt
        try:
            scores = outputs.items(scoring.scores(backend, ids), "the answer of score")
            return {"scores": [outputs.log_likelihood(score) for score in scores]}
        except NotSupported as error:
            return {"unavailable": shortened(text_of(error))}

    def prepare(self, spec: dict[str, Any], cache: str, report: Progress) -> dict[str, Any]:
        """Download and convert a model; return the location that the engine loads it from."""
        engine = EngineSpec(**spec)
        before = dict(os.environ)
        try:
            _prepare_environment(engine)
            made = backend_class(engine.backend).prepare(engine, Path(cache), report)
            ready = outputs.prepared(made)
        finally:
            _restore_environment(_changed_since(before))
        return {"model": ready.model, "local": ready.local, "revision": ready.revision}

    def ceilings(self, device: str, threads: int | None) -> dict[str, Any] | None:
        """Return the ceilings of a device; call this in a process without an engine."""
        measured = ceilings.measure(device, threads)
        return measured.to_wire() if measured else None

    def close(self) -> None:
        """Let the engine end its processes, and restore the environment variables."""
        if self._backend is not None:
            backend, self._backend = self._backend, None
            try:
                backend.close()
            finally:
                _restore_environment(self._environment)

    def _text_of(self, ids: list[int]) -> str:
        """Return the text of token ids; what cannot be encoded is written as an escape."""
        backend, _ = self._loaded()
        text = outputs.instance(backend.decode(ids), str, "the answer of decode")
        return text.encode("utf-8", "backslashreplace").decode()

    def _loaded(self) -> tuple[Backend, EngineInfo]:
        if self._backend is None or self._info is None:
            raise RuntimeError("no engine is loaded")
        return self._backend, self._info


def answer(
    host: EngineHost,
    method: str,
    arguments: Mapping[str, Any],
    report: Progress,
    caught: type[BaseException] = Exception,
    written: Callable[[], str] = str,
) -> Any:
    """Call one method of the host; return its result, or its exception as a message.

    Args:
        host: the engine's host.
        method: name of the method.
        arguments: arguments of the method.
        report: called with the progress of a long method.
        caught: exceptions that become a message. In a process of its own that is every one, since
            whatever is raised there comes from the engine.
        written: returns what the engine has written to its log during this call.

    Returns:
        ``("ok", result)``, ``("invalid", message)`` or ``("error", message)``.
    """
    reports = {"report": report} if method in _REPORTING else {}
    try:
        return "ok", getattr(host, method)(**arguments, **reports)
    except InvalidMeasurement as error:
        return "invalid", shortened(text_of(error))
    except (caught, SystemExit) as error:
        line = one_line(error)
        if says_nothing(line.rpartition(CAUSE)[2]):
            # Before this process writes there, too.
            line = CAUSE.join(filter(None, (line, cause_in_log(written()))))
        traceback.print_exc()
        return "error", line


def shortened(message: str) -> str:
    """Return a message in one line that a terminal can show."""
    return printable(message if len(message) <= _LONGEST else message[:_LONGEST] + "...")


def serve(channel: Any, log: str) -> None:
    """Answer calls from the channel until it closes; write all of the engine's output to the log."""
    _redirect_output(log)
    os.setsid()
    # Pytest handles Ctrl-C: it decides what happens to this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel.send(("started", os.getpid()))
    host = EngineHost()

    def report(phase: str, number: int, total: int) -> None:
        channel.send(("progress", (printable(phase), int(number), int(total))))

    for method, arguments in channel:
        written = _Written(log)
        kind, payload = answer(host, method, arguments, report, BaseException, written.text)
        try:
            channel.send((kind, payload))
        except Exception as error:
            # Nothing was sent: it holds something that is not plain data.
            channel.send(("error", f"the answer of {method} cannot be sent: {one_line(error)}"))
    # Pytest has ended, or has closed the channel.
    answer(host, "close", {}, report=silent, caught=BaseException)


class _Written:
    """What is written to the log from now on."""

    _END = 256 * 1024
    """Bytes that are looked at: the end, where an error stands."""
    _WAIT = 0.3
    """Seconds for a thread or a process that still writes why it failed."""

    def __init__(self, log: str) -> None:
        self._log = Path(log)
        self._begin = self._log.stat().st_size

    def text(self) -> str:
        time.sleep(self._WAIT)
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._begin, size - self._END))
            return file.read().decode("utf-8", "replace")


def installed_packages() -> dict[str, str]:
    """Return the versions of the installed distributions that backends ask about."""
    versions = {}
    for name in distributions():
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _redirect_output(log: str) -> None:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _prepare_environment(spec: EngineSpec) -> None:
    """Set the environment variables that engines read when they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if spec.local:
        os.environ["HF_HUB_OFFLINE"] = "1"
        _update_hub_library()
    if spec.threads:
        os.environ["OMP_NUM_THREADS"] = str(spec.threads)
        os.environ["MKL_NUM_THREADS"] = str(spec.threads)


def _changed_since(before: Mapping[str, str]) -> dict[str, str | None]:
    """Return the earlier value of each environment variable that has changed; None if it was not set."""
    names = {*before, *os.environ}
    return {name: before.get(name) for name in names if before.get(name) != os.environ.get(name)}


def _restore_environment(values: Mapping[str, str | None]) -> None:
    """Restore variables: without isolation this is pytest's process, and another model may follow."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _update_hub_library()


def _update_hub_library() -> None:
    """Apply HF_HUB_OFFLINE to a hub library that is already imported and reads it only once."""
    constants: Any = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        setting = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
        constants.HF_HUB_OFFLINE = setting.upper() in ("1", "ON", "YES", "TRUE")
