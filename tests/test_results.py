"""The published results follow from the published scores of each image."""

import csv
import re
from importlib import import_module
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
    # Only the tables are compared, and drawing takes longer than all the rest.
    monkeypatch.setattr(import_module("polyp.report.compare"), "_figures", lambda *_: [])
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


# The words of the READMEs and the summary for what the tables call otherwise.
NETWORKS = {
    "plain": "plain U-Net",
    "p4": "p4 U-Net",
    "SE(2,12) bilinear": "bilinear SE(2) U-Net",
    "SE(2,12) Gaussian": "SE(2) U-Net",
    "steerable": "steerable U-Net",
}
VARIANTS = {
    "`rotate`": "augmentation=rotate",
    "`rot90`": "augmentation=rot90",
    "60 epochs": "max_epochs=60",
    "unseen": "train_and_val_set=neighbours-unseen",
    "50 %": "train_fraction=0.5",
    "25 %": "train_fraction=0.25",
    "10 %": "train_fraction=0.1",
}
# Columns of the READMEs' tables of systems, as keys of systems.csv.
SCORES = {
    "Dice": ["dice", "dice_std_over_seeds", "dice_low", "dice_high"],
    "consistency off grid": [
        "consistency_off_grid",
        "consistency_off_grid_low",
        "consistency_off_grid_high",
    ],
    "Dice on turned images": ["dice_on_turned", "dice_on_turned_low", "dice_on_turned_high"],
    "outliers": ["outliers"],
}
# Of their tables of differences, as measures in differences.csv.
MEASURES = {
    "Dice": "dice",
    "consistency off grid": "consistency_off_grid",
    "Dice on turned images": "dice_on_turned",
    "outliers": "outliers",
}


def label(name: str) -> str:
    """`p4, 60 epochs` as the tables have it: `p4 U-Net max_epochs=60`."""
    network, *variants = name.split(", ")
    return " ".join([NETWORKS[network], *(VARIANTS[variant] for variant in variants)])


def shown_tables(text: str) -> list[list[list[str]]]:
    """The cells of each Markdown table whose header names a folder: `Dice: [split, epochs]`."""
    tables = [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    cells = [[line.strip("| ").split(" | ") for line in table] for table in tables]
    return [table for table in cells if any(": [" in cell for cell in table[0])]


def numbers(cell: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in re.findall(r"[+−]?\d*\.\d+|\d+", cell)]


def published(folder: Path, name: str, score: str) -> list[float] | None:
    """What the tables of a folder say of a system, or of `A − B`; None if they say nothing."""
    if " − " in name:
        a, b = map(label, name.split(" − "))
        for row in records(folder / "differences.csv"):
            if row["measure"] == MEASURES[score]:
                values = [float(row[key]) for key in ("difference", "low", "high")]
                if (row["a"], row["b"]) == (a, b):
                    return values
                if (row["a"], row["b"]) == (b, a):
                    return [-values[0], -values[2], -values[1]]
        return None
    for system in records(folder / "systems.csv"):
        if system["system"] == label(name):
            return [number for key in SCORES[score] for number in numbers(system[key])]
    return None


def one_run(folder: Path, name: str) -> bool:
    """Whether a system, or one of the two of `A − B`, has one run in the tables of a folder."""
    labels = [label(each) for each in name.split(" − ")]
    systems = records(folder / "systems.csv")
    return any(system["seeds"] == "1" for system in systems if system["system"] in labels)


def records(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "readme", [RESULTS / "README.md", RESULTS / "summary.md", RESULTS.parents[1] / "README.md"]
)
def test_the_readmes_show_what_the_tables_say(readme):
    text = readme.read_text(encoding="utf-8")
    folders = dict(re.findall(r"^\[(.+)\]: (\S+)$", text, re.MULTILINE))
    tables = shown_tables(text)
    assert tables
    for header, _, *rows in tables:
        for name, *cells in rows:
            for column, cell in zip(header[1:], cells, strict=True):
                if column == "parameters":
                    assert cell == parameters(name)
                    continue
                score, link = column.removesuffix("]").split(": [")
                values = published(readme.parent / folders[link], name, score)
                shown = None if cell == "–" else numbers(cell)
                expected = values and [round(value, 3) for value in values]
                assert shown == expected, (readme, name, column)
                if shown is not None:
                    assert cell.endswith("†") == one_run(readme.parent / folders[link], name)


def parameters(name: str) -> str:
    folder = RESULTS / "sixty-epochs/cvc-random-96px"
    (count,) = (
        int(system["parameters"])
        for system in records(folder / "systems.csv")
        if system["system"] == label(name)
    )
    return f"{count:,}"
