"""Runs in, tables, figures and a page out."""

import io
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import DictConfig, ListConfig, OmegaConf

from polyp.report.figures import boxes_figure, curves_figure, dice_figure, images_figure
from polyp.report.finding import find_runs
from polyp.report.page import Part, page
from polyp.report.run import Run, read_run
from polyp.report.sections import Section, make_sections
from polyp.report.statistics import paired_tests
from polyp.report.systems import by_training_images, off_grid
from polyp.report.tables import (
    outlier_lists,
    outliers_table,
    runs_table,
    systems_table,
    tests_table,
)
from polyp.errors import UserError
from polyp.files import atomic_path


def compare(config: DictConfig) -> str:
    """Compares the runs that `config.runs` names, and writes the comparison to `config.output`.

    There it leaves index.html, which holds everything, and a folder a test set: as .csv, .md and
    .tex the tables systems, outliers, runs, and dice_tests, equivariance_tests, off_grid_tests,
    turned_dice_tests and outliers_tests; dice.png, equivariance.png, equivariance-boxes-N.png of
    two systems each, and training-images.png where systems differ in the number of images that they
    were trained on.
    Everything is computed before the first file is written.

    Returns what to print: the table of systems of each test set, and which runs were left out.
    """
    patterns, output, outlier_dice = _checked(config)
    runs, left_out = _read(find_runs(patterns))
    if not runs:
        raise UserError(f"runs={', '.join(patterns)}: nothing to compare; {'; '.join(left_out)}")
    sections, excluded = make_sections(runs)
    left_out += [f"{run.folder}: {reason}" for run, reason in excluded]

    parts, files = [], {}
    for section in sections:
        part, others = _part(section, outlier_dice)
        parts.append(part)
        files |= {f"{section.slug}/{name}": content for name, content in others.items()}
    command = shlex.join(["python", *sys.argv])
    files["index.html"] = page(parts, left_out, command).encode()
    for name, content in files.items():
        with atomic_path(output / name) as temporary:
            temporary.write_bytes(content)

    lines = [part.systems.markdown() for part in parts]
    lines += [f"left out: {line}" for line in left_out]
    return "\n".join([*lines, f"the whole comparison: {output / 'index.html'}"])


def _checked(config: DictConfig) -> tuple[list[str], Path, float]:
    missing = OmegaConf.missing_keys(config) & {"runs", "output"}
    if missing:
        raise UserError(
            f"{' and '.join(sorted(missing))} missing: "
            "python scripts/compare.py runs=GLOB output=FOLDER"
        )
    patterns = list(config.runs) if isinstance(config.runs, ListConfig) else [config.runs]
    output = Path(str(config.output))
    existing = next(path for path in (output, *output.parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"output={output}: {existing} is a file; name a folder")
    outlier_dice = config.outlier_dice
    if not isinstance(outlier_dice, int | float) or not 0 <= outlier_dice <= 1:
        raise UserError(f"outlier_dice={outlier_dice}: must be a number from 0 to 1")
    return [str(pattern) for pattern in patterns], output, outlier_dice


def _read(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs, and a line for each that cannot be read."""
    runs, left_out = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError as error:
            left_out.append(str(error))
    return runs, left_out


def _part(section: Section, outlier_dice: float) -> tuple[Part, dict[str, bytes]]:
    """What the page says of a section, and the contents of its files by name."""
    systems = section.systems
    tables = {
        "systems": systems_table(section, outlier_dice),
        "outliers": outliers_table(section, outlier_dice),
        "runs": runs_table(section),
    }
    if len(systems) > 1:
        for name, (score, values) in _scores(section, outlier_dice).items():
            by_label = {system.label: values(system) for system in systems}
            tests = paired_tests(by_label, section.units)
            tables[f"{name}_tests"] = tests_table(tests, score, section.title)
    figures = _figures(section, outlier_dice)

    part = Part(
        title=section.title,
        notes=section.notes,
        systems=tables["systems"],
        figures={caption: png for _, caption, png in figures},
        tests=[table for name, table in tables.items() if name.endswith("_tests")],
        outliers=outlier_lists(section, outlier_dice),
        outlier_dice=outlier_dice,
        runs=tables["runs"],
    )
    files = {f"{name}.png": png for name, _, png in figures}
    for name, table in tables.items():
        files[f"{name}.csv"] = table.csv().encode()
        files[f"{name}.md"] = table.markdown().encode()
        files[f"{name}.tex"] = table.latex().encode()
    return part, files


def _scores(section: Section, outlier_dice: float) -> dict[str, tuple[str, Callable]]:
    """{file name: (what it is, float64 [images] of a system)} of each score that is tested."""
    scores = {
        "dice": ("Dice", lambda system: system.dice),
        "equivariance": ("equivariance", lambda system: system.equivariance),
    }
    if off_grid(section.angles).any():
        scores["off_grid"] = ("consistency off grid", lambda system: system.off_grid_consistency)
        scores["turned_dice"] = ("Dice on turned images", lambda system: system.turned_dice)
    scores["outliers"] = (
        f"a Dice below {outlier_dice:g}",
        lambda system: system.outliers(outlier_dice),
    )
    return scores


def _figures(section: Section, outlier_dice: float) -> list[tuple[str, str, bytes]]:
    """(name, caption, PNG) of each figure."""
    systems, title = section.systems, section.title
    figures = [
        ("dice", "Test Dice", _png(dice_figure(systems, title, outlier_dice))),
        (
            "equivariance",
            "Equivariance by rotation angle, means over the test images",
            _png(curves_figure(systems, title)),
        ),
    ]
    if lines := by_training_images(systems):
        caption = "Test Dice by the number of training images"
        figures.append(
            ("training-images", caption, _png(images_figure(lines, title, section.units)))
        )
    for first in range(0, len(systems), 2):
        pair = systems[first : first + 2]
        figures.append(
            (
                f"equivariance-boxes-{first // 2 + 1}",
                f"Equivariance by rotation angle: {', '.join(system.label for system in pair)}",
                _png(boxes_figure(pair, title)),
            )
        )
    return figures


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()
