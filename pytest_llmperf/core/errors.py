"""Errors that end in one line on the terminal."""

from __future__ import annotations

from .printable import printable


class OneLine(Exception):
    """An error whose message is one line, and safe on a terminal whoever wrote parts of it."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class EngineError(OneLine):
    """The engine cannot do what was requested, but it is still running. One line for the terminal."""


class EngineDied(EngineError):
    """The engine's process has ended."""


class EngineTimeout(EngineDied):
    """The engine did not respond in time and was killed."""


class InvalidMeasurement(EngineError):
    """The engine's answer differs from the request, so its times are meaningless."""


class NotSupported(OneLine):
    """The engine cannot report the requested value; one line with the reason."""


class BackendError(OneLine, ValueError):
    """The backend does not exist, or its package is broken; one line for the terminal."""
