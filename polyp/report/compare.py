"""Runs in, tables, figures and a page out."""

import io
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from omegaconf import DictConfig

from polyp.cli import told
from polyp.errors import UserError
from polyp.report import output as folder
from polyp.report.figures import boxes_figure, curves_figure, dice_figure, images_figure
from polyp.report.find import find_runs
from polyp.report.render import render
from polyp.report.run import Run, read_runs
from polyp.report.sections import Section, make_sections
from polyp.report.statistics import paired_tests
from polyp.report.systems import System, by_training_images, off_grid
from polyp.report.tables import (
    Table,
    outlier_lists,
    outliers_table,
    runs_table,
    systems_table,
    tests_table,
)
from polyp.runs.folder import RunFolder


def compare(config: DictConfig) -> str:
    """Compares the runs that `config.runs` names, and writes the comparison to `config.output`.

    There it leaves index.html, which holds everything, and a folder per test set: as .csv, .md and
    .tex the tables systems, outliers, runs, and dice_tests, equivariance_tests, off_grid_tests,
    turned_dice_tests and outliers_tests; dice.png, equivariance.png, equivariance-boxes-N.png of
    two systems each, and training-images.png where systems differ in the number of images that they
    were trained on. An earlier comparison there is replaced.
    Everything is computed before the first file is written.

    Args:
        config: configs/compare.yaml.

    Returns:
        What to print: the table of systems of each test set, and which runs were left out.

    Raises:
        UserError: there is nothing to compare, or `output` holds something else.
    """
    output, outlier_dice = Path(str(config.output)), config.outlier_dice
    folder.check(output)
    runs, left_out = _read(find_runs(config.runs))
    if not runs:
        raise UserError(f"runs={config.runs}: nothing to compare; {'; '.join(left_out)}")
    sections, excluded = make_sections(runs)
    left_out += [f"{run.folder} on {run.data}: {reason}" for run, reason in excluded]

    parts = [_part(section, outlier_dice) for section in sections]
    files = {f"{part.slug}/{name}": data for part in parts for name, data in part.files().items()}
    page = render(
        "page.html",
        generator=folder.GENERATOR,
        command=shlex.join(told()),
        parts=parts,
        left_out=left_out,
    )
    folder.write(output, {**files, "index.html": page.encode()})

    lines = [render("table.md", table=part.tables["systems"]) for part in parts]
    lines += [f"left out: {line}" for line in left_out]
    return "\n".join([*lines, f"the whole comparison: {output / 'index.html'}"])


def _read(found: Sequence[RunFolder]) -> tuple[list[Run], list[str]]:
    """The runs, one per test set, and a line for each that cannot be read."""
    runs, left_out = [], []
    for run in found:
        try:
            runs += read_runs(run)
        except UserError as error:
            left_out.append(str(error))
    return runs, left_out


@dataclass(frozen=True)
class Drawn:
    """A figure as NAME.png."""

    name: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Part:
    """What the page says of one test set.

    Attributes:
        tables: by the names of their files.
        outliers: by system and its counts, the images that it fails on.
    """

    title: str
    slug: str
    notes: Sequence[str]
    tables: dict[str, Table]
    figures: Sequence[Drawn]
    outliers: dict[str, list[str]]
    outlier_dice: str

    @property
    def tests(self) -> list[Table]:
        return [table for name, table in self.tables.items() if name.endswith("_tests")]

    def files(self) -> dict[str, bytes]:
        """What its folder holds, by name."""
        files = {f"{figure.name}.png": figure.png for figure in self.figures}
        for name, table in self.tables.items():
            files |= table.files(name)
        return files


def _part(section: Section, outlier_dice: float) -> Part:
    systems = section.systems
    tables = {
        "systems": systems_table(section, outlier_dice),
        "outliers": outliers_table(section, outlier_dice),
        "runs": runs_table(section),
    }
    if len(systems) > 1:
        for name, (score, values) in _scores(section, outlier_dice).items():
            by_label = {system.label: values(system) for system in systems}
            if tests := paired_tests(by_label, section.units):
                tables[f"{name}_tests"] = tests_table(tests, score, section.title)
    return Part(
        title=section.title,
        slug=section.slug,
        notes=section.notes,
        tables=tables,
        figures=_figures(section, outlier_dice),
        outliers=outlier_lists(section, outlier_dice),
        outlier_dice=f"{outlier_dice:g}",
    )


def _scores(
    section: Section, outlier_dice: float
) -> dict[str, tuple[str, Callable[[System], np.ndarray]]]:
    """{file name: (what it is, float64 [images] of a system)} of each score that is tested."""
    scores: dict[str, tuple[str, Callable[[System], np.ndarray]]] = {
        "dice": ("Dice", lambda system: system.dice),
        "equivariance": ("consistency", lambda system: system.equivariance),
    }
    if off_grid(section.angles).any():
        scores["off_grid"] = (
            "consistency between multiples of 90°",
            lambda system: system.off_grid_consistency,
        )
        scores["turned_dice"] = ("Dice on turned images", lambda system: system.turned_dice)
    scores["outliers"] = (
        f"a Dice below {outlier_dice:g}",
        lambda system: system.outliers(outlier_dice),
    )
    return scores


def _figures(section: Section, outlier_dice: float) -> list[Drawn]:
    systems, title = section.systems, section.title

    def draw(name: str, caption: str, figure: Figure) -> Drawn:
        return Drawn(name, caption, _png(figure))

    figures = [
        draw("dice", "Test Dice", dice_figure(systems, title, outlier_dice)),
        draw(
            "equivariance",
            "Consistency by rotation angle, means over the test images",
            curves_figure(systems, title),
        ),
    ]
    if lines := by_training_images(systems):
        caption = "Test Dice by the number of training images"
        figures.append(draw("training-images", caption, images_figure(lines, title, section.units)))
    for number, first in enumerate(range(0, len(systems), 2), start=1):
        pair = systems[first : first + 2]
        caption = f"Consistency by rotation angle: {', '.join(system.label for system in pair)}"
        figures.append(draw(f"equivariance-boxes-{number}", caption, boxes_figure(pair, title)))
    return figures


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
