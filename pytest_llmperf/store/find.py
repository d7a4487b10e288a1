"""Find the stored runs that a name on the command line stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .schema import Record
from .stored import StoredError, read_file, read_runs


def find_files(name: str, storage: Path) -> list[Path]:
    """Return the files that a name on the command line stands for.

    Args:
        name: a file, a folder, a glob, a stored run's number (``0007``), a commit or its beginning,
            or a run id; the last three are looked up in ``storage``.

    Raises:
        StoredError: there is no such file.
    """
    path = Path(name)
    if path.is_dir():
        files = stored_files(path)
    elif path.is_char_device() or path.is_block_device():
        raise StoredError(f"{name!r} is a device, not a file")
    elif path.exists():
        files = [path]
    elif any(letter in name for letter in "*?["):
        below = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        files = sorted(file for file in below if file.is_file())
    else:
        files = _by_identity(name, storage)
    if not files:
        raise StoredError(
            f"{name!r} does not match a file, folder, glob, run number, commit or run id in {storage}"
        )
    return files


def records_of(names: Sequence[str], storage: Path) -> tuple[list[Record], list[str]]:
    """Return the records of all the runs that names mean, in the order of the names.

    Returns:
        The records, and a line for each file that cannot be read and is left out.

    Raises:
        StoredError: a name means nothing, or no file that can be read.
    """
    records: list[Record] = []
    problems: list[str] = []
    for name in names:
        files, unreadable = find_files(name, storage), []
        for path in files:
            try:
                records += read_file(path).records
            except StoredError as error:
                unreadable.append(error)
        if len(unreadable) == len(files):
            raise unreadable[0]
        problems += map(str, unreadable)
    return records, problems


def stored_files(folder: Path) -> list[Path]:
    """Return every stored run below a folder."""
    return sorted(file for file in folder.rglob("*.json") if not file.name.startswith("."))


def _by_identity(name: str, storage: Path) -> list[Path]:
    """Search pytest-benchmark's file names, NUMBER_COMMIT_...; a run id is only in the file."""
    if not storage.is_dir():
        return []
    files = stored_files(storage)
    by_name = [
        file
        for file in files
        for number, _, rest in [file.stem.partition("_")]
        if number == name or (len(name) >= 6 and rest.startswith(name))
    ]
    if by_name:
        return by_name
    runs, _ = read_runs(files)
    return [run.path for run in runs if run.run_id == name]
