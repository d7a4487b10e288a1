"""Why something failed, in one line for the terminal: from an exception, or from an engine's log."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .printable import printable

CAUSE = "; cause: "
_LONGEST = 300
"""Characters of a message."""
_UNFINISHED = re.compile(r"([:,;(]|\b(or|and|of|the))$")
"""The end of a line that goes on in the next one."""
_SAYS_NOTHING = re.compile(
    r"^$|no message|\b(check|look at) the (logs?|above)\b|validation errors? for"
    r"|error raised in subprocess|non-zero exit status"
    r"|\bsee\b.{0,40}\b(above|below|cause|logs?|stack trace|traceback)\b"
    r"|failed to init|initialization failed",
    re.IGNORECASE,
)
"""A message that names no cause, or only where it stands."""
# Of vLLM and its processes: "(EngineCore pid=7) ERROR 11-25 06:00:00 [core.py:1132] ".
_OF_A_LOGGER = re.compile(
    r"^(\([^()]*pid=\d+\)\s*)?"
    r"((DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\s*(\[[^\]]*\])?\s?)?"
)
_PYTHON_ERROR = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Timeout|Unsupported)(?::\s|$)"
)
# Of llama.cpp: "0.00.021.324 E llama_model_load: error loading model: ...".
_LLAMA_CPP_ERROR = re.compile(r"^\d+\.\d\d\.\d{3}\.\d{3} E (.*)$")


def one_line(error: BaseException) -> str:
    """Return an exception as one line: its type and message, and the cause where that says more.

    The cause is the innermost exception that it was raised from, or that was being handled where its own
    message says nothing.
    """
    text = _message(error)
    line = f"{type(error).__name__}: {text or 'no message'}"
    cause = _innermost(error)
    if cause is not None:
        inner = _message(cause)
        if inner and inner not in text:
            line = f"{line}{CAUSE}{type(cause).__name__}: {inner}"
    return printable(line)


def says_nothing(message: str) -> bool:
    """Return whether a message names no cause, or only the place where it is written."""
    return bool(_SAYS_NOTHING.search(message))


def cause_in_log(log: str) -> str | None:
    """Return the error in what an engine has written that says most, or None.

    Of Python's errors that is the last one with a message of its own: a child's comes before those of
    the processes that only saw it end. Of llama.cpp's it is the first: the others follow from it.
    """
    lines = [_OF_A_LOGGER.sub("", line, count=1).rstrip() for line in log.splitlines()]
    python = [line for line in lines if _PYTHON_ERROR.match(line)]
    native = [match[1] for line in lines if (match := _LLAMA_CPP_ERROR.match(line))]
    for line in [*reversed(python), *native]:
        if not says_nothing(line) and ":" in line:
            return printable(line[:_LONGEST].strip())
    return None


def text_of(error: BaseException) -> str:
    """Return an exception's own text, also if it cannot write one."""
    try:
        return str(error)
    except Exception as problem:
        return f"no message: its __str__ raises {type(problem).__name__}"


def _message(error: BaseException) -> str:
    """Return the first line of an exception's text, with those in which it goes on."""
    lines = [line.strip() for line in text_of(error).splitlines() if line.strip()]
    if lines and "validation error" in lines[0]:
        # Pydantic's first line only counts the errors; the next lines describe them.
        told = [line for line in lines[1:3] if not line.startswith("For further information")]
        described = " ".join(line.partition(" [type=")[0] for line in told)
        return (described or lines[0])[:_LONGEST]
    text = lines[0] if lines else ""
    for line in lines[1:]:
        if not _UNFINISHED.search(text) or len(text) > _LONGEST:
            break
        text = f"{text} {line}"
    return text[:_LONGEST]


def _innermost(error: BaseException) -> BaseException | None:
    """Return the exception at the bottom of the chain, as far as it explains the one above; or None."""
    cause = None
    for inner in _chain(error):
        cause = inner
    return cause


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    while True:
        inner = error.__cause__
        # What was merely being handled often has nothing to do with it: a cache that had no entry.
        if inner is None and not error.__suppress_context__ and says_nothing(_message(error)):
            inner = error.__context__
        if inner is None or id(inner) in seen:
            return
        seen.add(id(inner))
        yield inner
        error = inner
