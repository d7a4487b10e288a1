"""Show the progress of an A/B comparison: a bar on a terminal, one line per run elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TextIO

from ..core.printable import printable


class ABDisplay:
    """Shows runs and tests as they end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Any = None
        self._name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def begin(self, name: str, runs_left: int, seconds_left: float | None) -> None:
        """Show that a run begins."""
        from tqdm import tqdm

        self._close()
        left = "" if seconds_left is None else f", about {_duration(seconds_left)} left"
        self._name = (
            f"{printable(name)} ({runs_left} {'run' if runs_left == 1 else 'runs'} to go{left})"
        )
        if self._stream.isatty():
            self._bar = tqdm(
                desc=self._name, unit="test", file=self._stream, leave=False, dynamic_ncols=True
            )
        else:
            print(self._name, file=self._stream, flush=True)

    def test(self, test: str, number: int, total: int) -> None:
        """Show that a test has ended."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.set_postfix_str(printable(test.rpartition("::")[2]), refresh=False)
            self._bar.update(number - self._bar.n)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._close()
        print(printable(line), file=self._stream, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
