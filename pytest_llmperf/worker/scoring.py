"""Scores texts beside the engine: its next-token distributions never leave its process.

The unquantized model's distributions are kept on disk once they are known. numpy comes with the engine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.base import Backend
from ..backends.conversion import new_folder
from ..core.engine import EngineInfo
from ..core.errors import NotSupported
from ..core.progress import Progress, silent
from ..core.workload import Request
from ..metrics.quality import DocumentQuality, Glimpse, Quality, flaw, flaw_at_a_glimpse

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Rows = NDArray[numpy.float32]
    """(positions, vocabulary): log-probabilities of the next token."""

_NOTES = "reference.json"
_BLOCK = 64
"""Positions at a time: what is compared at once stays small beside the engine."""
_GLIMPSES, _GLIMPSE_LONGEST = 16, 48


@dataclass(frozen=True)
class Reference:
    """Distributions of the unquantized model for some documents, in a folder of their own."""

    folder: Path
    notes: Mapping[str, Any]

    @classmethod
    def find(cls, root: Path, documents: Sequence[Sequence[int]]) -> Reference | None:
        """Return the one that was kept for these documents, or None.

        Args:
            root: the model's folder.
            documents: token ids; another tokenizer's are other documents.
        """
        folder = root / _name(documents[0])
        try:
            notes = json.loads((folder / _NOTES).read_text("utf-8"))
            kept = notes["documents"][: len(documents)]
            sizes = [(folder / f"{i}.npy").stat().st_size for i in range(len(kept))]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # Not there, or damaged: it is made anew.
        wanted = [[_name(ids), size] for ids, size in zip(documents, sizes, strict=False)]
        return cls(folder, notes) if kept == wanted and len(kept) == len(documents) else None

    def rows(self, i: int) -> Rows:
        """Return the rows of one document, read from disk as far as they are looked at."""
        import numpy

        found: Rows = numpy.load(self.folder / f"{i}.npy", mmap_mode="r")
        return found


def assess(
    backend: Backend,
    info: EngineInfo,
    texts: Sequence[str],
    root: Path,
    may_keep: Mapping[str, Any] | None,
    progress: Progress,
) -> Quality:
    """Score documents, and compare them with the unquantized model's distributions.

    Args:
        root: folder of the model's references.
        may_keep: what to note of this engine when its distributions become the reference, which they do
            where there is none yet; None for a quantized model.

    Raises:
        NotSupported: the engine reports no distributions.
    """
    if importlib.util.find_spec("numpy") is None:
        raise NotSupported(f"scoring needs numpy in {backend.name}'s environment")
    start = time.perf_counter()
    documents = [backend.encode(text) for text in texts]
    reference = Reference.find(root, documents)
    if reference is None and may_keep is not None:
        # Where nothing can be kept (a full disk, another's folder) the score is good all the same.
        with suppress(OSError):
            return _kept(backend, documents, root, may_keep, progress, start)
    found = []
    vocabulary = info.vocabulary
    for i, ids in enumerate(documents):
        progress("score", i + 1, len(documents))
        rows = backend.log_probabilities(ids)
        vocabulary = rows.shape[1]
        found.append(_document(rows, ids, reference.rows(i) if reference else None))
    notes = None if reference is None else {**reference.notes["engine"], "own": False}
    return Quality(tuple(found), vocabulary, time.perf_counter() - start, notes)


class _Broken(Exception):
    """The unquantized model's own output is broken: its folder must not appear."""


def _kept(
    backend: Backend,
    documents: Sequence[Sequence[int]],
    root: Path,
    engine: Mapping[str, Any],
    progress: Progress,
    start: float,
) -> Quality:
    """Score, and keep the distributions as the reference if a working model can have made them."""
    import numpy

    found: list[DocumentQuality] = []
    kept: list[tuple[str, int]] = []
    vocabulary = 0
    folder = root / _name(documents[0])
    # What is there is damaged, or of a text that has changed behind its first document.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with new_folder(folder) as part:
            for i, ids in enumerate(documents):
                progress("score", i + 1, len(documents))
                rows = backend.log_probabilities(ids)
                vocabulary = rows.shape[1]
                file = part / f"{i}.npy"
                numpy.save(file, rows)
                kept.append((_name(ids), file.stat().st_size))
                alone = _document(rows, ids, None)
                # Against itself: known to the last bit.
                found.append(replace(alone, kl=0.0, agreement=1.0, reference_nll=alone.nll))
            notes = {"engine": dict(engine), "documents": kept}
            (part / _NOTES).write_text(json.dumps(notes), "utf-8")
            quality = Quality(tuple(found), vocabulary, time.perf_counter() - start, None)
            if flaw(quality):
                raise _Broken
    except _Broken:
        return quality
    return replace(quality, reference={**engine, "own": True})


def look(backend: Backend, info: EngineInfo, text: str, root: Path) -> str | None:
    """Return why the output cannot come from a working model, or None."""
    try:
        return flaw(assess(backend, info, [text], root, None, silent))
    except NotSupported:
        pass
    except Exception:
        # A short context, a full GPU: no flaw of the output. The log has it.
        traceback.print_exc()
    try:
        return flaw_at_a_glimpse(glimpse(backend, text, root))
    except Exception:
        traceback.print_exc()
        return None


def glimpse(backend: Backend, text: str, root: Path) -> Glimpse:
    """Return the next token at a few places of a text, one by one: any engine has room for that."""
    ids = backend.encode(text)
    longest = min(len(ids) - 1, _GLIMPSE_LONGEST)
    ends = sorted({max(1, longest * (i + 1) // _GLIMPSES) for i in range(_GLIMPSES)})
    tokens = [backend.continue_ids([Request(tuple(ids[:end]), 1)])[0][0] for end in ends]
    reference = Reference.find(root, [ids]) if importlib.util.find_spec("numpy") else None
    if reference is None:
        return Glimpse(tuple(tokens))
    rows = reference.rows(0)
    return Glimpse(tuple(tokens), tuple(int(rows[end - 1].argmax()) for end in ends))


def scores(backend: Backend, ids: Sequence[int]) -> list[float]:
    """Return the log-likelihood of each token after the first, given those before it."""
    if len(ids) < 2:
        raise ValueError("a score needs at least 2 tokens: the first one has nothing before it")
    return backend.score(ids)


def _document(rows: Rows, ids: Sequence[int], reference: Rows | None) -> DocumentQuality:
    """Compare the distributions of one document, some positions at a time."""
    import numpy

    targets = numpy.asarray(ids[1:])
    count = len(targets)
    if rows.shape[0] != count:
        raise ValueError(f"{rows.shape[0]} distributions for {count} positions")
    places = numpy.arange(count)
    likeliest = rows.argmax(axis=1)
    alone = DocumentQuality(
        tokens=count,
        nll=-float(rows[places, targets].mean(dtype=numpy.float64)),
        choices=len(set(likeliest.tolist())),
    )
    if reference is None:
        return alone
    divergence, agreeing = 0.0, 0
    # Some engines pad the vocabulary: what only one of them has is counted with the last shared token.
    width = min(rows.shape[1], reference.shape[1])
    for begin in range(0, count, _BLOCK):
        p, q = reference[begin : begin + _BLOCK], rows[begin : begin + _BLOCK]
        agreeing += int((p.argmax(axis=1) == likeliest[begin : begin + _BLOCK]).sum())
        divergence += float(_divergence(_folded(p, width), _folded(q, width)).sum())
    return replace(
        alone,
        kl=divergence / count,
        agreement=agreeing / count,
        reference_nll=-float(reference[places, targets].mean(dtype=numpy.float64)),
    )


def _divergence(p: Any, q: Any) -> Any:
    """Return the KL divergence of each row of log-probabilities; what p never gives adds nothing."""
    import numpy

    terms = numpy.exp(p)
    with numpy.errstate(invalid="ignore"):
        terms *= p - q
    terms[numpy.isneginf(p)] = 0
    return terms.sum(axis=1, dtype=numpy.float64)


def _folded(rows: Any, width: int) -> Any:
    """Return rows of a width: what lies beyond is added to the last column."""
    import numpy

    if rows.shape[1] == width:
        return rows
    last = numpy.logaddexp.reduce(rows[:, width - 1 :], axis=1)
    return numpy.concatenate([rows[:, : width - 1], last[:, None]], axis=1)


def _name(ids: Sequence[int]) -> str:
    """Return a name for a document from its token ids."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16]
