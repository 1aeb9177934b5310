"""A few random inputs per command; `python -m tests.fuzz COMMAND 250` runs many."""

from pathlib import Path

import pytest

from tests import fuzz

COMMANDS = ["train", "evaluate", "predict", "compare", "export", "download_data"]
COMMANDS += ["archive", "view", "rotation_error", "benchmark"]


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_nonsensical_passes(finished_run, tmp_path: Path, command):
    base = fuzz.base(command, finished_run, finished_run.parent / "dataset")
    for index, drawn in enumerate(fuzz.inputs(command, base, count=3, seed=0)):
        folder = tmp_path / str(index)
        folder.mkdir()
        outcome = fuzz.run(command, drawn.overrides, folder)
        fault = outcome.fault(drawn.must_be_refused)
        assert fault is None, f"{drawn.overrides[-1]}: {fault}\n{outcome.errors}"


def test_faults_are_seen():
    assert fuzz.Outcome(2, "Traceback (most recent call last)", []).fault(False) == "traceback"
    assert fuzz.Outcome(0, "", []).fault(must_be_refused=True) == "accepted"
    assert fuzz.Outcome(1, "usage: ?", []).fault(True) == "no line that helps"
    assert fuzz.Outcome(1, "error: x=1: no", ["run"]).fault(True) == "left behind: ['run']"
    assert fuzz.Outcome(1, "error: x=1: no", []).fault(True) is None
