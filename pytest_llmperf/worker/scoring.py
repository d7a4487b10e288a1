"""Scores of texts, computed in the engine's process: its next-token distributions never leave it.

The distributions of the unquantized model are stored on disk as the reference. numpy comes from the
engine's environment.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.base import Backend
from ..backends.conversion import new_folder
from ..core.context import why_too_long
from ..core.engine import EngineInfo
from ..core.errors import NotSupported
from ..core.progress import Progress, silent
from ..core.workload import Request
from ..metrics.quality import DocumentQuality, Glimpse, Quality, flaw, flaw_at_a_glimpse

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Rows = NDArray[numpy.float32]
    """Log-probabilities of the next token, with the shape (positions, vocabulary)."""

_NOTES = "reference.json"
_BLOCK = 64
"""Positions that are compared at a time, to keep the memory of a comparison small."""
_SHORTER = (64, 32)
"""Tokens of a text that are looked at where an engine has no room for all of them."""
_GLIMPSES = 32
"""Places of a text at which an engine without probabilities is asked: after each of its first tokens."""


@dataclass(frozen=True)
class Reference:
    """Distributions of the unquantized model for a list of documents, stored in one folder."""

    folder: Path
    notes: Mapping[str, Any]

    @classmethod
    def find(cls, root: Path, documents: Sequence[Sequence[int]]) -> Reference | None:
        """Return the stored reference of these documents, or None.

        Args:
            root: the model's folder.
            documents: token ids; another tokenizer makes other documents.
        """
        folder = root / name_of(documents[0])
        try:
            notes = json.loads((folder / _NOTES).read_text("utf-8"))
            kept = notes["documents"][: len(documents)]
            sizes = [(folder / f"{i}.npy").stat().st_size for i in range(len(kept))]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # Missing or damaged: it will be written again.
        expected = [[name_of(ids), size] for ids, size in zip(documents, sizes, strict=False)]
        return cls(folder, notes) if kept == expected and len(kept) == len(documents) else None

    def rows(self, i: int) -> Rows:
        """Return the rows of one document; only the parts that are used are read from disk."""
        import numpy

        rows: Rows = numpy.load(self.folder / f"{i}.npy", mmap_mode="r")
        return rows


def assess(
    backend: Backend,
    info: EngineInfo,
    texts: Sequence[str],
    root: Path,
    may_keep: Mapping[str, Any] | None,
    progress: Progress,
    vouched: bool = False,
) -> Quality:
    """Score documents and compare them with the distributions of the unquantized model.

    Args:
        backend: the loaded engine.
        info: the engine's report of what it loaded.
        texts: the documents.
        root: folder of the model's references.
        may_keep: description of this engine, stored with its distributions if they become the
            reference, which happens if there is none yet; None for a quantized model.
        progress: called before each document.
        vouched: it is known that the model works, even if it knows nothing about this text.

    Raises:
        NotSupported: the engine reports no distributions.
    """
    if importlib.util.find_spec("numpy") is None:
        raise NotSupported(f"scoring needs numpy in {backend.name}'s environment")
    start = time.perf_counter()
    documents = [backend.encode(text) for text in texts]
    reference = Reference.find(root, documents)
    if reference is None and may_keep is not None:
        # The score is valid even if nothing can be stored (full disk, another user's folder).
        with suppress(OSError):
            return _kept(backend, documents, root, may_keep, progress, start, vouched)
    qualities = []
    vocabulary = info.vocabulary
    for ids in documents:
        if reason := why_too_long(len(ids), 0, info.context):
            raise ValueError(reason)
    for i, ids in enumerate(documents):
        progress("score", i + 1, len(documents))
        rows = backend.log_probabilities(ids)
        vocabulary = rows.shape[1]
        qualities.append(_document(rows, ids, reference.rows(i) if reference else None))
    notes = None if reference is None else {**reference.notes["engine"], "own": False}
    return Quality(tuple(qualities), vocabulary, time.perf_counter() - start, notes)


class _Broken(Exception):
    """The output of the unquantized model is broken, so it must not become the reference."""


def _kept(
    backend: Backend,
    documents: Sequence[Sequence[int]],
    root: Path,
    engine: Mapping[str, Any],
    progress: Progress,
    start: float,
    vouched: bool,
) -> Quality:
    """Score documents; store the distributions as the reference if a working model can make them."""
    import numpy

    qualities: list[DocumentQuality] = []
    kept: list[tuple[str, int]] = []
    vocabulary = 0
    folder = root / name_of(documents[0])
    # The existing folder is damaged, or belongs to a text with other documents after the first one.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with new_folder(folder) as part:
            for i, ids in enumerate(documents):
                progress("score", i + 1, len(documents))
                rows = backend.log_probabilities(ids)
                vocabulary = rows.shape[1]
                file = part / f"{i}.npy"
                numpy.save(file, rows)
                kept.append((name_of(ids), file.stat().st_size))
                document = _document(rows, ids, None)
                # The comparison with itself is exact.
                qualities.append(
                    replace(document, kl=0.0, agreement=1.0, reference_nll=document.nll)
                )
            notes = {"engine": dict(engine), "documents": kept}
            (part / _NOTES).write_text(json.dumps(notes), "utf-8")
            quality = Quality(tuple(qualities), vocabulary, time.perf_counter() - start, None)
            if flaw(quality, vouched=vouched):
                raise _Broken
    except _Broken:
        return quality
    return replace(quality, reference={**engine, "own": True})


def look(
    backend: Backend,
    info: EngineInfo,
    text: str,
    root: Path,
    judge: Callable[[Quality], str | None] = flaw,
    judge_tokens: Callable[[Glimpse], str | None] = flaw_at_a_glimpse,
    note_unchecked: Callable[[], None] = lambda: None,
) -> str | None:
    """Return the reason why the output cannot come from a working model, or None.

    Args:
        backend: the loaded engine.
        info: the engine's report of what it loaded.
        text: the document to look at.
        root: folder of the model's references.
        judge: returns the reason from the document's quality.
        judge_tokens: returns it from next tokens, of an engine that reports no probabilities.
        note_unchecked: called if the output cannot be looked at; the log has the error.
    """
    try:
        return judge(assess(backend, info, [text], root, None, silent))
    except NotSupported:
        pass
    except Exception:
        # A short context or a full GPU is not a flaw of the output; the log has the error.
        traceback.print_exc()
    for longest in _SHORTER:
        with suppress(Exception):
            return judge(_of_start(backend, text, root, longest))
    try:
        vocabulary = info.vocabulary if backend.computes_text else 0
        return judge_tokens(glimpse(backend, text, root, vocabulary))
    except Exception:
        traceback.print_exc()
        note_unchecked()
        return None


def _of_start(backend: Backend, text: str, root: Path, longest: int) -> Quality:
    """Return the quality of a document's first tokens, for an engine with no room for all of them."""
    ids = backend.encode(text)
    reference = Reference.find(root, [ids])
    start = ids[:longest]
    rows = backend.log_probabilities(start)
    kept = reference.rows(0)[: len(start) - 1] if reference else None
    return Quality((_document(rows, start, kept),), rows.shape[1], 0.0)


def glimpse(backend: Backend, text: str, root: Path, vocabulary: int = 0) -> Glimpse:
    """Return the next token at a few places of a text, one request each: every engine can do that."""
    ids = backend.encode(text)
    ends = range(1, min(len(ids), _GLIMPSES + 1))
    tokens = tuple(backend.continue_ids([Request(tuple(ids[:end]), 1)])[0][0] for end in ends)
    reference = Reference.find(root, [ids]) if importlib.util.find_spec("numpy") else None
    if reference is None:
        return Glimpse(tokens, None, tuple(ids[end] for end in ends), vocabulary)
    rows = reference.rows(0)
    return Glimpse(tokens, tuple(int(rows[end - 1].argmax()) for end in ends))


def scores(backend: Backend, ids: Sequence[int]) -> list[float]:
    """Return the log-likelihood of each token after the first, given all tokens before it."""
    if len(ids) < 2:
        raise ValueError("a score needs at least 2 tokens: the first one has no token before it")
    return backend.score(ids)


def _document(rows: Rows, ids: Sequence[int], reference: Rows | None) -> DocumentQuality:
    """Return the quality of one document, compared with its reference a block at a time."""
    import numpy

    targets = numpy.asarray(ids[1:])
    count = len(targets)
    if rows.shape[0] != count:
        raise ValueError(f"{rows.shape[0]} distributions for {count} positions")
    places = numpy.arange(count)
    likeliest = rows.argmax(axis=1)
    quality = DocumentQuality(
        tokens=count,
        nll=-float(rows[places, targets].mean(dtype=numpy.float64)),
        choices=len(set(likeliest.tolist())),
    )
    if reference is None:
        return quality
    divergence, agreeing = 0.0, 0
    # Some engines pad the vocabulary: tokens that only one side has count as the last shared token.
    width = min(rows.shape[1], reference.shape[1])
    for begin in range(0, count, _BLOCK):
        p, q = reference[begin : begin + _BLOCK], rows[begin : begin + _BLOCK]
        agreeing += int((p.argmax(axis=1) == likeliest[begin : begin + _BLOCK]).sum())
        divergence += float(_divergence(_folded(p, width), _folded(q, width)).sum())
    return replace(
        quality,
        kl=divergence / count,
        agreement=agreeing / count,
        reference_nll=-float(reference[places, targets].mean(dtype=numpy.float64)),
    )


def _divergence(p: Any, q: Any) -> Any:
    """Return the KL divergence of each row of log-probabilities; zero probabilities in p add nothing."""
    import numpy

    terms = numpy.exp(p)
    with numpy.errstate(invalid="ignore"):
        terms *= p - q
    terms[numpy.isneginf(p)] = 0
    return terms.sum(axis=1, dtype=numpy.float64)


def _folded(rows: Any, width: int) -> Any:
    """Return rows of a given width: the probabilities beyond it are added to the last column."""
    import numpy

    if rows.shape[1] == width:
        return rows
    last = numpy.logaddexp.reduce(rows[:, width - 1 :], axis=1)
    return numpy.concatenate([rows[:, : width - 1], last[:, None]], axis=1)


def name_of(ids: Sequence[int]) -> str:
    """Return a name for a document from its token ids."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16]
