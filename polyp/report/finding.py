"""Where the runs are."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from polyp.report.run import METRICS
from polyp.errors import UserError
from polyp.runs.record import CONFIG


def find_runs(patterns: Sequence[str]) -> list[Path]:
    """Run folders, finished or not, that the patterns match or that lie below what they match.

    patterns: folders or globs (`**` for any depth), relative to the current folder. Folders within
    a run's own folder are not searched: what lies there belongs to that run.

    Raises UserError for a pattern that leads to no run.
    """
    found: dict[Path, Path] = {}  # by absolute path, for a folder may be matched twice
    for pattern in patterns:
        matches = _matches(pattern)
        folders = [folder for match in matches if match.is_dir() for folder in _runs_below(match)]
        if not folders:
            reason = "holds no run" if matches else "matches nothing"
            raise UserError(
                f"runs={pattern}: {reason}; it names run folders or folders of them, as outputs "
                "or 'outputs/sweeps/*'"
            )
        found |= {folder.resolve(): folder for folder in folders}
    return list(found.values())


def _matches(pattern: str) -> list[Path]:
    if pattern and Path(pattern).exists():  # also with brackets in its name, as sweeps make them
        return [Path(pattern)]
    # Path.glob takes no absolute patterns.
    return sorted(Path(match) for match in glob.glob(pattern, recursive=True))  # noqa: PTH207


def _runs_below(folder: Path) -> Iterator[Path]:
    if (folder / METRICS).exists() or _is_unfinished_run(folder):
        yield folder
    else:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _runs_below(child)


def _is_unfinished_run(folder: Path) -> bool:
    """Other commands leave a .hydra folder too, but only a run's config has a trainer."""
    config = folder / CONFIG
    return config.exists() and "\ntrainer:" in config.read_text(encoding="utf-8", errors="replace")
