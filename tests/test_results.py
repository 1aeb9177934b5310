"""The published results follow from the published scores of each image."""

import csv
import re
import sys
from collections.abc import Callable, Collection, Iterable
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from polyp.commands import compare

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
STUDIES = sorted(path.name for path in (RESULTS / "runs").iterdir())
NUMBER = r"[+−]?\d*\.\d+|\d+"


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a comparison such as "architectures", made again from its archive."""

    @cache
    def make(study: str) -> Path:
        output = tmp_path_factory.mktemp(study)
        arguments = [f"runs=docs/results/runs/{study}", f"output={output}"]
        declared = study.split("-")[0]
        if (ROOT / "configs" / "study" / f"{declared}.yaml").exists():
            arguments.append(f"study={declared}")
        with pytest.MonkeyPatch.context() as patch:
            # Only the tables are compared, and drawing takes longer than all the rest.
            patch.setattr(import_module("polyp.report.compare"), "_figures", lambda *_: [])
            patch.chdir(ROOT)
            patch.setattr(sys, "argv", ["compare.py", *arguments])
            compare.main()
        return output

    return make


@pytest.mark.parametrize("study", STUDIES)
def test_the_tables_are_those_of_the_archive(study, compared):
    made = compared(study)
    here = RESULTS / study
    published, expected = (
        sorted(path.relative_to(folder) for path in folder.glob("*/*.md") if path.name != "runs.md")
        for folder in (here, made)
    )
    assert published
    assert published == expected
    for table in published:
        one, other = ((folder / table).read_text() for folder in (made, here))
        assert re.sub(NUMBER, "", one) == re.sub(NUMBER, "", other)
        # The last digit of a rounded number may differ on another processor.
        assert numbers(one) == pytest.approx(numbers(other), abs=2e-3)


def test_no_archive_names_a_path_of_a_machine():
    for manifest in RESULTS.glob("runs/*/manifest.json"):
        assert not re.search(r'"/|=/', manifest.read_text(encoding="utf-8")), manifest


# Names of networks in the pages, with their names in the tables of a comparison.
NETWORKS = {
    "plain": "plain U-Net",
    "plain + rotation": "plain U-Net + rotation",
    "plain over C4": "plain U-Net over C4",
    "plain of equal compute": "plain U-Net of equal compute",
    "plain for 60 epochs": "plain U-Net for 60 epochs",
    "p4": "p4 U-Net",
    "p4 + rotation": "p4 U-Net + rotation",
    "p4 for 60 epochs": "p4 U-Net for 60 epochs",
    "p4 without projection": "p4 U-Net without projection",
    "p4 + blur pooling": "p4 U-Net with blur pooling",
    "p4 + polyphase pooling": "p4 U-Net with polyphase pooling",
    "p4, mean projection": "p4 U-Net with mean projection",
    "p4m": "p4m U-Net",
    "SE(2,12)": "SE(2,12) U-Net",
    "bilinear SE(2,12)": "bilinear SE(2,12) U-Net",
    "separable SE(2,12)": "separable U-Net",
    "steerable of equal widths": "steerable U-Net of equal widths",
    "SO(2)": "SO(2) U-Net",
    "Lie": "Lie U-Net",
    "Lie + blur pooling": "Lie U-Net with blur pooling",
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
    "`lieunet_small`": "precision=bf16-auto lr=0.01",
}
# Columns of the pages' tables, as measures.
MEASURES = {
    "Dice": "dice",
    "consistency on the grid": "consistency_on_grid",
    "consistency off the grid": "consistency_off_grid",
    "Dice on turned images": "dice_on_turned",
    "shift consistency": "shift",
    "shift by 16 px": "shift_control",
    **{f"part {part}": part for part in ("masks", "image", "corners", "network")},
    "outliers": "outliers",
}


def label(name: str) -> str:
    """The name in the tables: `p4, 60 epochs` is `p4 U-Net max_epochs=60` there."""
    if name in NETWORKS:
        return NETWORKS[name]
    network, *variants = name.split(", ")
    return " ".join([NETWORKS[network], *(VARIANTS[variant] for variant in variants)])


def shown_tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """The results tables of a page, each as the paragraph above it and its cells."""
    found = re.findall(r"((?:^[^|\n].*\n)+)\n((?:^\|.*\n)+)", text, re.MULTILINE)
    tables = [
        (caption, [line.strip("| ").split(" | ") for line in table.splitlines()])
        for caption, table in found
    ]
    return [(caption, cells) for caption, cells in tables if cells[0][0] in ("U-Net", "A − B")]


def column_source(column: str, caption: str, links: Collection[str]) -> tuple[str, str]:
    """The score and the link name of a column, such as ("Dice", "Kvasir-SEG").

    Its header names both ("Dice: Kvasir-SEG"); or the score only, and the caption has the link; or
    the link's name only, and the caption has the score in bold.
    """
    score, _, link = column.rpartition(": ")
    if score:
        return score, link
    if column in links:
        (score,) = [bold for bold in re.findall(r"\*\*(.+?)\*\*", caption) if bold in MEASURES]
        return score, column
    named = re.findall(r"\[(.+?)\]", caption.replace("\n", " "))
    (link,) = [name for name in named if name in links]
    return column, link


def numbers(cell: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in re.findall(NUMBER, cell)]


OVER_FOLDS = "over folds"  # in the caption of a table with these intervals alone


def published(folder: Path, name: str, score: str, caption: str = "") -> list[float] | None:
    """The numbers of a system, or of `A − B`, in the tables of a folder; None if there are none."""
    if " − " in name:
        a, b = map(label, name.split(" − "))
        for row in records(folder / "differences.csv"):
            if row["measure"] == MEASURES[score]:
                if OVER_FOLDS in caption and (row["a"], row["b"]) == (a, b):
                    return [float(row["folds_low"]), float(row["folds_high"])]
                values = [float(row[key]) for key in ("difference", "low", "high")]
                if (row["a"], row["b"]) == (a, b):
                    return values
                if (row["a"], row["b"]) == (b, a):
                    return [-values[0], -values[2], -values[1]]
        return None
    measure = MEASURES[score]
    keys = [measure, *(["dice_std_over_seeds"] if measure == "dice" else [])]
    keys += [] if measure == "outliers" else [f"{measure}_low", f"{measure}_high"]
    tables = (records(folder / f"{table}.csv") for table in ("systems", "equivariance"))
    for of_system, more in zip(*tables, strict=True):
        if of_system["system"] == label(name):
            system = {**more, **of_system}
            return [number for key in keys for number in numbers(system[key])]
    return None


def one_run(folder: Path, name: str) -> bool:
    """Whether a system, or one of the two of `A − B`, has one run in the tables of a folder."""
    labels = [label(each) for each in name.split(" − ")]
    systems = records(folder / "systems.csv")
    return any(system["seeds"] == "1" for system in systems if system["system"] in labels)


def records(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


PAGES = sorted(path for path in RESULTS.glob("*.md") if path.name != "method.md")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_the_numbers_in_the_pages_are_those_of_the_tables(page, compared):
    text = page.read_text(encoding="utf-8")
    reference = r"^\[(.+)\]: (?:docs/results/)?([\w-]+)/([\w-]+)/systems\.md$"
    links = re.findall(reference, text, re.MULTILINE)
    folders = {name: (study, section) for name, study, section in links}
    tables = shown_tables(text)
    assert len(tables) == len(re.findall(r"^\| (?:U-Net|A − B) \|", text, re.MULTILINE)) > 0
    for caption, (header, _, *rows) in tables:
        for name, *cells in rows:
            for column, cell in zip(header[1:], cells, strict=True):
                if column == "parameters":
                    made = (compared(study) / section for study, section in folders.values())
                    assert cell == parameters(name, made)
                    continue
                score, link = column_source(column, caption, folders)
                study, section = folders[link]
                folder = compared(study) / section
                values = published(folder, name, score, caption)
                shown = None if cell == "–" else numbers(cell)
                assert (shown is None) == (values is None), (page, name, column)
                if shown is None:
                    continue
                # The last digit of a rounded number may differ on another processor.
                expected = [round(value, 3) for value in values or []]
                assert shown == pytest.approx(expected, abs=1.5e-3), (page, name, column)
                if OVER_FOLDS not in caption:
                    assert cell.endswith("†") == one_run(folder, name)


def test_the_p_values_in_the_page_are_those_of_the_table(compared):
    text = (RESULTS / "method.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^\| corrected p \| (.+) \|\n.*\n((?:^\|.*\n)+)", text, re.MULTILINE)
    pairs = [tuple(map(label, name.split(" − "))) for name in shown[0].split(" | ")]
    rows = [row.strip("| ").split(" | ") for row in shown[1].splitlines()]
    printed = {
        (*pair, MEASURES[measure]): p
        for measure, *values in rows
        for pair, p in zip(pairs, values, strict=True)
    }
    table = records(compared("folds-5") / "cvc-cross-validation-5-folds-96px" / "differences.csv")
    tested = {(row["a"], row["b"], row["measure"]): row["p_holm"] for row in table if row["p_holm"]}
    assert printed.keys() == tested.keys()
    for key, p in printed.items():
        value = float(tested[key])
        if p == "< .001":
            assert value < 0.001
        else:
            assert float(p) == pytest.approx(value, abs=5e-3)


def parameters(name: str, folders: Iterable[Path]) -> str:
    """Of a network, in the first folder that has it."""
    systems = (system for folder in folders for system in records(folder / "systems.csv"))
    return next(f"{int(row['parameters']):,}" for row in systems if row["system"] == label(name))
