"""Run folders are found wherever a pattern leads."""

import pytest

from polyp.errors import UserError
from polyp.runs.find import find_runs


@pytest.fixture(autouse=True)
def runs(write_run, monkeypatch, tmp_path):
    """runs/unet0, runs/deep/unet1 and the unfinished runs/deep/going, as seen from tmp_path."""
    write_run("unet0")
    write_run("deep/unet1", seed=1)
    (write_run("deep/going") / "metrics.json").unlink()
    monkeypatch.chdir(tmp_path)


def names(*patterns: str) -> list[str]:
    return sorted(run.path.name for run in find_runs(patterns))


@pytest.mark.parametrize("pattern", ["runs", "r*", "runs/*", "**", ".", "**/unet*"])
def test_found_once_each(pattern):
    assert [name for name in names(pattern) if name != "going"] == ["unet0", "unet1"]


@pytest.mark.parametrize("pattern", ["runs", "**", "runs/**", "r*/*", "**/**"])
def test_links_that_lead_back_are_followed_once(tmp_path, pattern):
    for name in ("a", "b", "deep/c", "deep/d"):
        (tmp_path / "runs" / name).symlink_to(tmp_path / "runs", target_is_directory=True)
    assert len(names(pattern)) == 3


def test_a_linked_run_is_found(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "plain").symlink_to("../runs/unet0", target_is_directory=True)
    assert names("study") == names("study/*") == ["plain"]


def test_absolute_and_several_patterns(tmp_path):
    assert names(str(tmp_path / "runs" / "u*"), "runs/unet0", "runs/deep/unet1") == [
        "unet0",
        "unet1",
    ]


def test_unfinished_runs_are_found_but_not_what_other_commands_leave(tmp_path):
    other = tmp_path / "runs" / "benchmark" / ".hydra" / "config.yaml"
    other.parent.mkdir(parents=True)
    other.write_text("rounds: 10\n")
    assert names("runs") == ["going", "unet0", "unet1"]


def test_what_lies_in_a_run_is_its_own(tmp_path):
    inner = tmp_path / "runs" / "unet0" / "evaluation" / "metrics.json"
    inner.parent.mkdir()
    inner.write_text("{}")
    assert names("runs/unet0") == ["unet0"]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [("nothing*", "matches nothing"), ("runs/unet0/.hydra", "contains no run"), ("", "runs=")],
)
def test_patterns_without_a_run_are_refused(pattern, told):
    with pytest.raises(UserError, match=told):
        find_runs(["runs", pattern])
