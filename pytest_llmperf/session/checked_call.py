"""A test's call that is wrong fails at the test's own line."""

from __future__ import annotations

from types import TracebackType


class CheckedCall:
    """Checks the arguments of a call: a ValueError within it shows no line of this package.

    The functions between the test and this block hide their own lines from pytest's traceback
    (``__tracebackhide__``); whatever fails below them for another reason is still shown.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        __tracebackhide__ = True
        if isinstance(error, ValueError):
            raise error.with_traceback(None) from None
