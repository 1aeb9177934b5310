"""Helpers of the tests of polyp.report."""

from pathlib import Path

from polyp.report.run import Run, read_runs


def read_run(folder: Path) -> Run:
    """A run with one test set."""
    (run,) = read_runs(folder)
    return run
