"""Finds run folders."""

import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import Path

from polyp.errors import UserError
from polyp.runs.archive import Archive
from polyp.runs.folder import RunFolder


def find_runs(patterns: str | Sequence[str]) -> list[RunFolder]:
    """All runs in folders that match the patterns and in their subfolders, finished or not; also
    the runs of archives.

    Subfolders of a run's folder are not searched, because they belong to that run. Links are
    followed, and each folder is searched only once.

    Args:
        patterns: folders or globs (`**` for any depth), relative to the current folder.

    Raises:
        UserError: a pattern finds no run.
    """
    found: dict[Path, RunFolder] = {}  # by absolute path, because a folder may match twice
    several = isinstance(patterns, Sequence) and not isinstance(patterns, str)
    for pattern in map(str, patterns if several else [patterns]):  # a folder may be called 2024
        matches = _matches(pattern)
        below = (folder for match in matches for folder in _folders(match, _is_closed))
        runs = [run for folder in below for run in _runs(folder)]
        if not runs:
            reason = "contains no run" if matches else "matches nothing"
            raise UserError(
                f"runs={pattern}: {reason}; give run folders or folders with runs, such as "
                "outputs or 'outputs/sweeps/*'"
            )
        found |= {run.path.resolve(): run for run in runs}
    return list(found.values())


def _matches(pattern: str) -> list[Path]:
    """The paths that match a pattern. `glob` is not used: it hangs if links form a cycle."""
    path = Path(pattern)
    if pattern and path.exists():  # also with brackets in its name, as sweeps make them
        return [path]
    found = [Path(path.anchor)] if pattern else []
    for part in path.relative_to(path.anchor).parts:
        if part == "**":
            deeper = [below for folder in found for below in _folders(folder)]
        elif has_magic(part):
            hidden = part.startswith(".")
            deeper = [
                child
                for folder in found
                if folder.is_dir()
                for child in sorted(folder.iterdir())
                if fnmatchcase(child.name, part) and hidden == child.name.startswith(".")
            ]
        else:
            deeper = [folder / part for folder in found if (folder / part).exists()]
        found = list(dict.fromkeys(deeper))
    return found


def _folders(top: Path, closed: Callable[[Path], bool] = lambda folder: False) -> Iterator[Path]:
    """A folder and its subfolders, each once, except hidden ones and those below a closed one."""
    seen = set()
    for name, below, _ in os.walk(top, followlinks=True):
        folder = Path(name)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield folder
        hidden = [child for child in below if child.startswith(".")]
        below[:] = [] if closed(folder) else sorted(set(below).difference(hidden))


def _is_closed(folder: Path) -> bool:
    """Whether a folder is a run or an archive: its subfolders are not searched."""
    return Archive(folder).exists() or _is_run(folder)


def _runs(folder: Path) -> list[RunFolder]:
    """The run in a folder, or the runs of the archive in it."""
    archive = Archive(folder)
    if archive.exists():
        return archive.runs()
    return [RunFolder(folder)] if _is_run(folder) else []


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run. Other commands write .hydra too, but without a trainer."""
    run = RunFolder(folder)
    config = folder / ".hydra" / "config.yaml"
    return run.finished or (
        config.exists() and "\ntrainer:" in config.read_text(encoding="utf-8", errors="replace")
    )
