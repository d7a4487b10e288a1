"""Compare the traits in a test's id with those that the loaded engine reports."""

from __future__ import annotations

from ..backends import ask
from ..core.cell import Cell
from ..core.engine import EngineInfo
from ..core.errors import BackendError


def why_other_traits(cell: Cell, info: EngineInfo) -> str | None:
    """Return why a loaded engine is not what its cell's id says, in one line, or None."""
    for kind, trait in info.traits.items():
        of_id = getattr(cell.traits, kind)
        if trait == of_id:
            continue
        actual = Cell(
            cell.model, cell.backend, cell.quantization, cell.traits.resolved({kind: trait})
        )
        runs = f"with {trait!r}" if trait else f"without {of_id!r}"
        line = _argument(cell.backend, kind, trait)
        return f"the engine runs {runs}, so it is {actual.id}, which the test id does not say" + (
            f": give --llm-backend-arg={line}" if line else ""
        )
    return None


def _argument(backend: str, kind: str, trait: str) -> str:
    try:
        argument: str = ask(backend, "argument_for", str, kind, trait)
    except BackendError:
        return ""
    return f"{backend}.{argument}" if argument else ""
