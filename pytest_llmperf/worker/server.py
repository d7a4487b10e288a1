"""The engine's side of a worker: load, measure, generate, close.

It runs in the worker process, in the environment that the engine needs, so it imports only the
standard library and modules of this package that do the same.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import NoneType
from typing import Any

from ..backends import ask, backend_class, distributions
from ..backends.base import Backend
from ..core.cause import CAUSE, cause_in_log, one_line, says_nothing, text_of
from ..core.engine import EngineInfo, EngineSpec
from ..core.errors import BackendError, InvalidMeasurement, NotSupported
from ..core.printable import printable
from ..core.progress import Progress, silent
from ..core.workload import Request, Workload, sampled
from ..machine import canary, ceilings
from ..machine.conditions import Snapshot, between
from ..machine.gpus import Gpus, conditions
from ..machine.host import describe_device
from ..machine.variables import speed_variables
from . import floor, outputs, scoring
from .children import Children
from .energy import meter_of
from .environment import changed_since, prepare_environment, restore_environment
from .measure import check_fits, continuations, encoder, measure
from .turns import turns, why_no_room

_LONGEST = 500
"""Characters of a message."""
_REPORTING = ("measure", "quality", "prepare")
"""Methods of EngineHost that report their progress."""
_WORKING = ("load", "prepare", "ceilings", "check_output", "quality", "generate", "score")
"""Methods that would disturb the rounds of an engine that takes turns with this one; ``measure`` takes
its turns itself."""


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
            prepare_environment(engine)
            backend = backend_class(engine.backend)()
            info = outputs.info(backend.load(engine))
        except BaseException:
            restore_environment(changed_since(before))
            raise
        load_time = time.perf_counter() - start
        self._environment = changed_since(before)
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

    def measure(
        self, workload: dict[str, Any], patience: float, report: Progress
    ) -> dict[str, Any]:
        """Run a workload and return its Measurement in the wire form.

        If the salt of the workload was measured before (a failed test runs again, for instance), it
        gets other random prompts, because this engine has already seen the first ones.

        Args:
            workload: the work, in the wire form.
            patience: seconds without a sign of an engine that takes turns with this one.
            report: called with the progress.
        """
        backend, info = self._loaded()
        work = Workload.from_wire(workload)
        # Before the first rounds: later, another engine has its memory.
        no_room = "" if self._measured else why_no_room(backend, info)
        repeats = self._measured[work.salt]
        self._measured[work.salt] += 1
        if repeats:
            work = replace(work, salt=f"{work.salt}#{repeats}")
        with (
            turns(report, patience, no_room) as taken,
            meter_of(backend, info.device, info.devices) as meter,
        ):
            return measure(backend, info, work, report, meter, turns=taken).to_wire()

    def generate(
        self,
        prompts: list[str | list[int]],
        output_len: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[dict[str, Any]]:
        """Return the continuations of a batch: token ids, and text if there is a tokenizer."""
        backend, info = self._loaded()
        with _refused_as("generate"):
            length = outputs.whole(output_len, "output_len", least=1)
            ids = [self._ids_of(prompt) for prompt in outputs.items(prompts, "prompts")]
        requests = [
            sampled(Request(tuple(prompt), length), temperature, seed, i)
            for i, prompt in enumerate(ids)
        ]
        check_fits(info, requests)
        return [
            {"ids": ids, "text": self._text_of(ids) if info.has_tokenizer else None}
            for ids in continuations(backend, requests)
        ]

    def check_output(
        self, text: str, references: str, name: str, engine: dict[str, str]
    ) -> dict[str, Any]:
        """Return the fields of ``core.floor.Checked``.

        Args:
            text: the text to test the model with.
            references: folder of the unquantized model's distributions.
            name: name of the text, for the message.
            engine: ``backend``, ``version`` and ``mode`` of this engine.
        """
        backend, info = self._loaded()
        return asdict(floor.check(backend, info, text, name, Path(references), engine))

    def quality(
        self,
        texts: list[str],
        references: str,
        may_keep: dict[str, Any] | None,
        vouched: bool,
        report: Progress,
    ) -> dict[str, Any]:
        """Return a Quality in the wire form, or ``unavailable`` with the reason."""
        backend, info = self._loaded()
        try:
            quality = scoring.assess(
                backend, info, texts, Path(references), may_keep, report, vouched
            )
        except NotSupported as error:
            return {"unavailable": shortened(text_of(error))}
        return quality.to_wire()

    def score(self, prompt: str | list[int]) -> dict[str, Any]:
        """Return ``scores``, the log-likelihoods of the tokens after the first, or ``unavailable``."""
        backend, info = self._loaded()
        with _refused_as("score"):
            ids = self._ids_of(prompt)
        check_fits(info, [Request(tuple(ids), 0)])
        try:
            scores = outputs.items(scoring.scores(backend, ids), "the answer of score")
            return {"scores": [outputs.log_likelihood(score) for score in scores]}
        except NotSupported as error:
            return {"unavailable": shortened(text_of(error))}

    def ready(
        self, spec: dict[str, Any], cache: str, packages: dict[str, str], seconds: float
    ) -> dict[str, Any]:
        """Return ``spec``, the spec for ``load`` or None, or ``error``, one line.

        Args:
            spec: the requested load.
            cache: folder for converted models.
            packages: versions by distribution name in this environment.
            seconds: limit for the answer.
        """
        engine = EngineSpec(**spec)
        kinds = (EngineSpec, NoneType)
        try:
            made = ask(engine.backend, "ready", kinds, engine, Path(cache), packages, limit=seconds)
        except BackendError as error:
            return {"error": str(error)}
        return {"spec": made and made.to_wire()}

    def prepare(self, spec: dict[str, Any], cache: str, report: Progress) -> dict[str, Any]:
        """Download and convert a model; return the location that the engine loads it from."""
        engine = EngineSpec(**spec)
        before = dict(os.environ)
        try:
            prepare_environment(engine)
            made = backend_class(engine.backend).prepare(engine, Path(cache), report)
            ready = outputs.prepared(made)
        finally:
            restore_environment(changed_since(before))
        return {"model": ready.model, "local": ready.local, "revision": ready.revision}

    def ceilings(self, device: str, threads: int | None) -> dict[str, Any] | None:
        """Return the ceilings of a device, with ``conditions`` and ``canary`` of their measurement.

        Call this in a process without an engine.
        """
        # Both canaries on the CPU: before the measurement, nothing is on a GPU.
        canary_before = {} if device == "simulated" else canary.run("cpu")
        before = Snapshot.take()
        measured = ceilings.measure(device, threads)
        if measured is None:
            return None
        gpus = Gpus(os.environ).state(device, os.getpid())
        seen = between(before, Snapshot.take()) | conditions(gpus, gpus)
        after = {} if device == "simulated" else canary.run("cpu")
        return {
            **measured.to_wire(),
            "conditions": seen,
            "canary": canary.joined(canary_before, after),
        }

    def close(self) -> None:
        """Let the engine end its processes, and restore the environment variables."""
        if self._backend is not None:
            backend, self._backend = self._backend, None
            try:
                backend.close()
            finally:
                restore_environment(self._environment)

    def _ids_of(self, prompt: str | list[int]) -> list[int]:
        """Return the token ids of a test's prompt.

        Raises:
            InvalidMeasurement: the prompt is not a text, and not a list of tokens that the model has.
        """
        backend, info = self._loaded()
        if isinstance(prompt, str):
            return encoder(backend, info)(prompt)
        ids = outputs.token_ids(prompt, "the prompt")
        beyond = [token for token in ids if token >= info.vocabulary]
        if beyond:
            raise InvalidMeasurement(
                f"the prompt: a token id is {beyond[0]}, and the vocabulary has {info.vocabulary}"
            )
        return ids

    def _text_of(self, ids: list[int]) -> str:
        """Return the text of token ids; what cannot be encoded is written as an escape."""
        backend, _ = self._loaded()
        text = outputs.instance(backend.decode(ids), str, "the answer of decode")
        return text.encode("utf-8", "backslashreplace").decode()

    def _loaded(self) -> tuple[Backend, EngineInfo]:
        if self._backend is None or self._info is None:
            raise RuntimeError("no engine is loaded")
        return self._backend, self._info


@contextmanager
def _refused_as(method: str) -> Iterator[None]:
    """Turn what is wrong with a test's own arguments into a ValueError: nothing was measured."""
    try:
        yield
    except InvalidMeasurement as error:
        raise ValueError(f"{method}: {error}") from None


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
        with turns(report) if method in _WORKING else nullcontext():
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

    steps = itertools.count(1)
    step: int | None = None

    def report(phase: str, number: int, total: int) -> None:
        nonlocal step
        step = next(steps)
        channel.send(("progress", (printable(phase), int(number), int(total))))

    def report_loss(line: str) -> None:
        channel.send(("lost", line))

    children = Children(report_loss, lambda: step)
    this = os.getpid()
    for method, arguments in channel:
        step = next(steps)
        if method == "close":
            children.ignore()
        written = _Written(log)
        kind, payload = answer(host, method, arguments, report, BaseException, written.text)
        if os.getpid() != this:
            # The engine forked, and both processes have come back: only one may answer.
            os._exit(0)
        if method == "load" and kind == "ok":
            children.watch()
        step = None
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
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
