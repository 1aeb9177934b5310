"""Helpers of the tests of polyp.report."""

from pathlib import Path

from polyp.report.run import Run, read_runs
from polyp.runs.folder import RunFolder


def read_run(folder: Path) -> Run:
    """A run with one test set."""
    (run,) = read_runs(RunFolder(folder))
    return run
