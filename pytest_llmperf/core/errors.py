"""Errors that end in one line on the terminal."""

from __future__ import annotations


class EngineError(Exception):
    """The engine cannot do what was asked; it is still there. One line for the terminal."""


class EngineDied(EngineError):
    """The engine's process is gone."""


class EngineTimeout(EngineDied):
    """The engine gave no sign of life for too long and was ended."""


class InvalidMeasurement(EngineError):
    """The engine answered, but not with what was asked for, so its times mean nothing."""


class NotSupported(Exception):
    """The engine cannot report what it was asked for; one line with the reason."""


class BackendError(ValueError):
    """A backend that is not there, or whose package is broken; one line for the terminal."""
