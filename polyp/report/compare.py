"""Compares runs: makes the tables, figures and page of a comparison."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import DictConfig

from polyp.cli import typed_command
from polyp.errors import UserError
from polyp.evaluation.figures import DIFFERENCES
from polyp.report import output as folder
from polyp.report.comparisons import (
    Comparison,
    check_declaration,
    compare_systems,
    missing_pairs,
    missing_systems,
)
from polyp.report.figures import (
    boxes_figure,
    curves_figure,
    dice_figure,
    images_figure,
)
from polyp.report.forest import forest_figure
from polyp.report.pictures import Pictures, make_pictures
from polyp.report.render import render
from polyp.report.run import Run, read_runs
from polyp.report.sections import Section, make_sections
from polyp.report.systems import by_training_images
from polyp.report.tables import (
    Table,
    differences_table,
    equivariance_table,
    outlier_lists,
    outliers_table,
    runs_table,
    systems_table,
)
from polyp.report.tradeoff import tradeoff_figure
from polyp.runs.find import find_runs
from polyp.runs.folder import RunFolder
from polyp.style import FORMATS, rendered


def compare(config: DictConfig) -> str:
    """Compares the runs that `config.runs` names, and writes the comparison to `config.output`.

    There it leaves index.html, which holds everything; forest.png, the declared comparisons on all
    test sets; and a folder per test set: as .csv, .md and .tex the tables systems, equivariance,
    differences, outliers and runs; dice.png, equivariance.png, equivariance-boxes-N.png of two
    systems each, trade-off.png where the consistency was measured off the grid, and
    training-images.png where systems differ in the number of images that they were trained on. Each
    figure is there as .pdf and .svg too. With `viewer=true` there is also viewer.html, where it can
    be made. An earlier comparison is replaced. Everything is computed before the first file is
    written.

    Args:
        config: configs/compare.yaml.

    Returns:
        The text to print: the table of systems of each test set, and the skipped runs.

    Raises:
        UserError: there is nothing to compare, or `output` holds something else.
    """
    output = Path(str(config.output))
    folder.check(output)
    check_declaration(config.comparisons, config.measures)
    declared = config.comparisons and [(str(a), str(b)) for a, b in config.comparisons]

    runs, skipped = _read(find_runs(config.runs))
    if not runs:
        raise UserError(f"runs={config.runs}: nothing to compare; {'; '.join(skipped)}")
    shown = [str(label) for label in config.figures or []]
    sections, excluded = make_sections(runs, first=shown)
    skipped += [f"{run.folder} on {run.data}: {reason}" for run, reason in excluded]
    skipped += missing_pairs(sections, declared or [])
    skipped += missing_systems(sections, shown)
    comparisons = compare_systems(sections, declared, config.measures, config.outlier_dice)

    parts = [
        _part(section, made, config.outlier_dice, shown)
        for section, made in zip(sections, comparisons, strict=True)
    ]
    if config.viewer:
        parts, without = _with_pictures(parts, sections)
        skipped += without
    forest = _forest(sections, comparisons) if declared else []
    page = render(
        "page.html",
        generator=folder.GENERATOR,
        command=shlex.join(typed_command()),
        parts=parts,
        forest=forest,
        colours=DIFFERENCES,
        skipped=skipped,
    )
    files = {"index.html": page.encode()}
    files |= {name: data for figure in forest for name, data in figure.files.items()}
    files |= {f"{part.slug}/{name}": data for part in parts for name, data in part.files().items()}
    folder.write(output, files)

    lines = [render("table.md", table=part.tables["systems"]) for part in parts]
    lines += [f"skipped: {line}" for line in skipped]
    return "\n".join([*lines, f"the whole comparison: {output / 'index.html'}"])


def _read(found: Sequence[RunFolder]) -> tuple[list[Run], list[str]]:
    """The runs, one per test set, and a line for each that cannot be read."""
    runs, skipped = [], []
    for run in found:
        try:
            runs += read_runs(run)
        except UserError as error:
            skipped.append(str(error))
    return runs, list(dict.fromkeys(skipped))  # the runs of an archive may have the same fault


@dataclass(frozen=True)
class Drawn:
    """A figure. files: {"NAME.png": bytes}, in each format."""

    caption: str
    files: dict[str, bytes]

    @property
    def png(self) -> bytes:
        """What the page shows."""
        return next(data for name, data in self.files.items() if name.endswith(".png"))


@dataclass(frozen=True)
class Part:
    """What the page says of one test set.

    Attributes:
        tables: by the names of their files.
        outliers: by system and its counts, the images that it fails on.
        pictures: the viewer and the images that fail; None without them.
    """

    title: str
    slug: str
    notes: Sequence[str]
    tables: dict[str, Table]
    figures: Sequence[Drawn]
    outliers: dict[str, list[str]]
    outlier_dice: str
    pictures: Pictures | None = None

    def files(self) -> dict[str, bytes]:
        """What its folder holds, by name."""
        files = {name: data for figure in self.figures for name, data in figure.files.items()}
        for name, table in self.tables.items():
            files |= table.files(name)
        if self.pictures is not None:
            files["viewer.html"] = self.pictures.viewer.encode()
        return files


def _part(
    section: Section,
    comparisons: Sequence[Comparison],
    outlier_dice: float,
    shown: Sequence[str],
) -> Part:
    tables = {
        "systems": systems_table(section, outlier_dice),
        "equivariance": equivariance_table(section),
        "outliers": outliers_table(section, outlier_dice),
        "runs": runs_table(section),
    }
    if comparisons:
        tables["differences"] = differences_table(comparisons, section)
    drawn, systems = len(section.only(shown).systems), len(section.systems)
    of_figures = [f"Figures show {drawn} of the {systems} systems."] if drawn < systems else []
    return Part(
        title=section.title,
        slug=section.slug,
        notes=[*section.notes, *of_figures],
        tables=tables,
        figures=_figures(section, outlier_dice, shown),
        outliers=outlier_lists(section, outlier_dice),
        outlier_dice=f"{outlier_dice:g}",
    )


def _with_pictures(
    parts: Sequence[Part], sections: Sequence[Section]
) -> tuple[list[Part], list[str]]:
    """The parts with their pictures, and a line for each that cannot have them."""
    made, without = [], []
    for part, section in zip(parts, sections, strict=True):
        failing = [record["image"] for record in part.tables["outliers"].records]
        try:
            part = replace(part, pictures=make_pictures(section, failing))
        except UserError as error:
            without.append(f"viewer of {section.title}: {error}")
        made.append(part)
    return made, without


def _figures(section: Section, outlier_dice: float, shown: Sequence[str]) -> list[Drawn]:
    lines = by_training_images(section.systems)
    section = section.only(shown)
    systems = section.systems
    figures = [
        _drawn("dice", "Test Dice", dice_figure(section, outlier_dice)),
        _drawn(
            "equivariance",
            "Consistency by rotation angle: mean over images and seeds, its 95 % interval, and a "
            "thin line per seed",
            curves_figure(section),
        ),
    ]
    if (trade_off := tradeoff_figure(section)) is not None:
        caption = (
            "Test Dice against consistency off the grid, with 95 % intervals; the area of a point "
            "is the training time per image, and small points are single runs"
        )
        figures.append(_drawn("trade-off", caption, trade_off))
    if lines:
        caption = "Test Dice by the number of training images"
        figures.append(_drawn("training-images", caption, images_figure(lines, section)))
    for number, first in enumerate(range(0, len(systems), 2), start=1):
        pair = systems[first : first + 2]
        caption = f"Consistency by rotation angle: {', '.join(system.label for system in pair)}"
        figure = boxes_figure(pair, section.title)
        figures.append(_drawn(f"equivariance-boxes-{number}", caption, figure))
    return figures


def _forest(
    sections: Sequence[Section], comparisons: Sequence[Sequence[Comparison]]
) -> list[Drawn]:
    """The figure of the declared comparisons, if there are any."""
    made = [
        (section.title, each) for section, each in zip(sections, comparisons, strict=True) if each
    ]
    caption = "Declared comparisons: differences A − B with their 95 % intervals"
    return [_drawn("forest", caption, forest_figure(made))] if made else []


def _drawn(name: str, caption: str, figure: Figure) -> Drawn:
    return Drawn(caption, {f"{name}.{form}": rendered(figure, form) for form in FORMATS})
