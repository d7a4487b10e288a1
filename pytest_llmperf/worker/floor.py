"""Check a loaded engine's output before its first benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..backends.base import Backend
from ..core.engine import EngineInfo
from ..core.floor import Checked
from ..metrics.quality import HOPELESS, Glimpse, Quality, flaw, flaw_at_a_glimpse, guessing
from . import scoring
from .witnesses import vouched_by, witness_of


def check(
    backend: Backend,
    info: EngineInfo,
    text: str,
    name: str,
    root: Path,
    engine: Mapping[str, str],
) -> Checked:
    """Return whether the output can come from a working model.

    Args:
        backend: the loaded engine.
        info: the engine's report of what it loaded.
        text: the document to look at.
        name: the text's name, for the message.
        root: folder of the model's references.
        engine: ``backend``, ``version`` and ``mode`` of this engine.
    """
    agrees_with: str | None = None
    is_guessing = False
    unchecked = False

    def judge(quality: Quality) -> str | None:
        nonlocal agrees_with, is_guessing
        problem = flaw(quality, name)
        if problem == flaw(quality, name, vouched=True):
            return problem
        is_guessing = True
        if not guessing(quality, HOPELESS):
            ids = backend.encode(text)
            agrees_with = vouched_by(witness_of(backend, ids, engine), root, scoring.name_of(ids))
        return flaw(quality, name, vouched=True) if agrees_with else problem

    def judge_tokens(glimpse: Glimpse) -> str | None:
        nonlocal is_guessing
        is_guessing = glimpse.is_guessing
        return flaw_at_a_glimpse(glimpse, name)

    def note_unchecked() -> None:
        nonlocal unchecked
        unchecked = True

    problem = scoring.look(backend, info, text, root, judge, judge_tokens, note_unchecked)
    return Checked(problem, is_guessing and agrees_with is None, agrees_with, unchecked)
