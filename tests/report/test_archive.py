"""polyp archive: what it writes, and that it reads as the runs themselves do."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from polyp.commands import archive
from polyp.runs.find import find_runs
from polyp.runs.folder import RunFolder
from tests.report.conftest import write_csv

pytest.importorskip("pyarrow")


@pytest.fixture
def archived(write_run, tmp_path, monkeypatch) -> Path:
    """Three runs in an archive: of one, shifts were measured; one is unfinished; and a later
    evaluation of the first."""
    first = write_run("deep/a", columns={"dice.polyp": [0.5, "", 1, 0, 0.25, 1 / 3]})
    second = write_run("b", seed=1, groups=["007", "007", "1", "1", "", ""])
    rows = [("own", "007", image, 1, 0, 0.5) for image in "abcdef"]
    write_csv(second / "shifts.csv", "test_set,group,image,rows,columns,dice", rows)
    (write_run("c", seed=2) / "metrics.json").unlink()
    again = write_run("again")
    (again / "provenance.json").write_text(json.dumps({"run": str(first), "started": "2026"}))
    (again / ".hydra" / "config.yaml").unlink()
    monkeypatch.chdir(tmp_path)
    run("runs=runs", "output=archive")
    return tmp_path / "archive"


def run(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["archive.py", *arguments])
        archive.main()


def test_an_archive_is_two_files(archived, capsys):
    assert sorted(path.name for path in archived.iterdir()) == ["manifest.json", "results.parquet"]
    table = pd.read_parquet(archived / "results.parquet")
    assert set(table["run"]) == {"a", "b", "again"}
    assert len(table[(table["run"] == "b") & (table["table"] == "shifts.csv")]) == 6


def test_it_reads_as_the_runs_do(archived):
    read = {run.path.relative_to("archive").as_posix(): run for run in find_runs("archive")}
    assert sorted(read) == ["a", "again", "b"]
    for name, run in read.items():
        original = RunFolder(archived.parent / "runs" / ("deep/a" if name == "a" else name))
        assert run.finished
        assert_frame_equal(run.scores(), original.scores())
        assert_frame_equal(run.equivariance(), original.equivariance())
        assert run.split() == original.split()
        assert run.json("metrics.json") == original.json("metrics.json")
        assert run.trained.flat_config() == original.trained.flat_config()
    shifts = read["b"].shifts()
    assert shifts is not None
    assert_frame_equal(shifts, RunFolder(archived.parent / "runs" / "b").shifts())
    assert read["a"].shifts() is None
    assert list(shifts["group"].unique()) == ["007"]
    assert read["again"].trained.path == Path("archive/a")
    again = read["again"].json("provenance.json")
    assert again == {"run": "a", "started": "2026"}, "no path of this machine"


def test_splits_are_kept_once(archived):
    manifest = json.loads((archived / "manifest.json").read_text())
    assert len(manifest["splits"]) == 1
    assert len({entry["split"] for entry in manifest["runs"].values()}) == 1


def test_a_comparison_of_the_archive_is_that_of_the_runs(archived, compare):
    tables = []
    for source in ("runs", "archive"):
        out = compare(f"runs={source}", f"output={source}-compared")
        tables.append(
            {
                path.name: path.read_text()
                for path in out.parent.glob(f"{source}-compared/*/systems.csv")
            }
        )
    assert tables[0]
    assert tables[0] == tables[1]


def test_an_archive_of_an_archive_is_the_same(archived):
    run("runs=archive", "output=second")
    for name in ("manifest.json", "results.parquet"):
        assert (archived / name).read_bytes() == Path("second", name).read_bytes()


def test_runs_are_named_by_the_ends_of_their_paths(archived, write_run):
    write_run("more/d")
    write_run("more/b")
    run("runs=[archive,runs/more]", "output=second")
    names = set(json.loads(Path("second", "manifest.json").read_text())["runs"])
    assert names == {"a", "archive/b", "more/b", "again", "d"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs=nothing", "output=new"], "runs=nothing: matches nothing"),
        (["runs=runs/c", "output=new"], "runs=runs/c: no run is finished"),
        (
            ["runs=runs", "output=runs"],
            "output=runs: contains again, which is not part of",
        ),
        (["runs=runs/again", "output=new"], "add that run to runs="),
    ],
    ids=["nothing", "unfinished", "a folder of something else", "without what it evaluates"],
)
def test_refused(archived, capfd, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 1
    assert message in capfd.readouterr().err
    assert not Path("new").exists()


def test_damaged(archived, compare, capfd):
    (archived / "results.parquet").write_bytes(b"PAR1")
    with pytest.raises(SystemExit):
        compare("runs=archive", "output=new")
    printed = capfd.readouterr().err
    assert printed.count("results.parquet: not the results of an archive") == 1  # not for each run
