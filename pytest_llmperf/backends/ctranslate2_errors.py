"""Errors of CTranslate2's converter, each as one line that says what cannot be converted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

_UNKNOWN = re.compile(r"No conversion is registered for the model configuration (\w+)")


@contextmanager
def conversion_explained() -> Iterator[None]:
    """Raise ValueError with one line for a model that the converter does not know."""
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        # It reads the layout that a model has in another version of transformers.
        raise ValueError(
            f"CTranslate2's converter does not know this model as transformers has it ({error})"
        ) from error
    except ValueError as error:
        unknown = _UNKNOWN.match(str(error))
        if unknown is None:
            raise
        raise ValueError(f"CTranslate2 has no conversion for {unknown[1]}") from None
