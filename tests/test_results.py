"""The published results follow from the published scores of each image."""

import csv
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[1] / "docs" / "results"
STUDIES = sorted(path.name for path in (RESULTS / "runs").iterdir())


def read(path: Path) -> list[list[str | float]]:
    def number(text: str) -> str | float:
        try:
            return float(text)
        except ValueError:
            return text

    with path.open(newline="", encoding="utf-8") as file:
        return [[number(cell) for cell in row] for row in csv.reader(file)]


@pytest.mark.parametrize("study", STUDIES)
def test_the_tables_are_those_of_the_scores(study, script, tmp_path, monkeypatch):
    monkeypatch.chdir(RESULTS.parents[1])  # where `make results` runs: tables name the folders
    script("compare", f"runs=docs/results/runs/{study}", f"output={tmp_path}")
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.csv"))
    assert made
    assert made == sorted(p.relative_to(RESULTS / study) for p in (RESULTS / study).rglob("*.csv"))
    for table in made:
        rows, published = read(tmp_path / table), read(RESULTS / study / table)
        assert len(rows) == len(published)
        for row, other in zip(rows, published, strict=True):
            assert row == [
                pytest.approx(cell, rel=1e-9) if isinstance(cell, float) else cell for cell in other
            ]
