"""The tables of a section: its systems, the tests between them, and the images they fail on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polyp.report.sections import Section
from polyp.report.statistics import PairedTest
from polyp.report.systems import System, off_grid, turning
from polyp.report.table import Table
from polyp.evaluation.scores import summary

SYSTEMS = {
    "system": "system",
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
    "seeds": "seeds",
    "dice": "Dice",
    "interval": "95 % interval",
    "median": "median",
    "iou": "IoU",
    "equivariance": "equivariance",
    "worst": "worst angle",
    "at_90": "at 90°",
    "off_grid": "consistency off grid",
    "ceiling": "ceiling",
    "turned_dice": "Dice on turned images",
    "outliers": "outliers",
    "training": "training",
}


def systems_table(section: Section, outlier_dice: float) -> Table:
    """A row a system; README.md and the page say how each number is made."""
    units = section.units
    records = [_record(system, units, outlier_dice) for system in section.systems]
    return Table(
        what="Systems" + _by(len(set(units)), len(units), ", intervals"),
        of=section.title,
        header=list(SYSTEMS.values()),
        rows=[_cells(record) for record in records],
        records=records,
    )


def _by(units: int, images: int, what: str = "") -> str:
    """`by 27 sequences`, and nothing where each image is a unit."""
    return f"{what} by {units} sequences" if units < images else ""


def _record(system: System, units: Sequence[str], outlier_dice: float) -> dict[str, Any]:
    first = system.first
    dice = summary(system.dice, units=units)
    by_seed = [run.dice.mean() for run in system.runs]
    turned = off_grid(first.angles).any()
    curve = dict(zip(first.angles, system.consistency.mean(axis=0).tolist(), strict=True))
    return {
        "system": system.label,
        "parameters": first.parameters,
        "multiply_adds": first.multiply_adds,
        "seeds": len(system.runs),
        "dice_mean": dice["mean"],
        "dice_std_over_seeds": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None,
        "dice_ci95_low": dice["ci95"][0],
        "dice_ci95_high": dice["ci95"][1],
        "dice_median": dice["median"],
        "iou_mean": float(system.iou.mean()),
        "equivariance_mean": float(system.equivariance.mean()),
        "equivariance_min": min(curve.values()),
        "equivariance_at_90": curve.get(90.0),
        "consistency_off_grid": float(system.off_grid_consistency.mean()) if turned else None,
        "equivariance_ceiling": float(first.ceiling[turning(first.angles)].mean()),
        "turned_dice_mean": float(system.turned_dice.mean()) if turned else None,
        "outliers": _outliers(system, outlier_dice),
        "outliers_mean": float(system.outliers(outlier_dice).sum()),
        "training_seconds": float(np.mean([run.training_seconds for run in system.runs])),
    }


def _cells(record: dict[str, Any]) -> list[str]:
    spread = record["dice_std_over_seeds"]
    return [
        record["system"],
        f"{record['parameters']:,}",
        "–" if record["multiply_adds"] is None else f"{record['multiply_adds'] / 1e9:.2f} G",
        str(record["seeds"]),
        f"{record['dice_mean']:.3f}" + ("" if spread is None else f" ± {spread:.3f}"),
        f"{record['dice_ci95_low']:.3f} to {record['dice_ci95_high']:.3f}",
        f"{record['dice_median']:.3f}",
        f"{record['iou_mean']:.3f}",
        f"{record['equivariance_mean']:.3f}",
        f"{record['equivariance_min']:.3f}",
        _score(record["equivariance_at_90"]),
        _score(record["consistency_off_grid"]),
        f"{record['equivariance_ceiling']:.3f}",
        _score(record["turned_dice_mean"]),
        record["outliers"],
        f"{record['training_seconds'] / 60:.1f} min",
    ]


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _outliers(system: System, outlier_dice: float) -> str:
    """`14, 13, 13`: how many images each run fails on."""
    return ", ".join(str((run.dice < outlier_dice).sum()) for run in system.runs)


def tests_table(tests: Sequence[PairedTest], score: str, title: str) -> Table:
    """A row a pair of systems. score: what is compared; title: the section's."""
    images, units = tests[0].images, tests[0].units
    return Table(
        what=f"Paired tests of {score}" + _by(units, images),
        of=title,
        header=["A", "B", "A − B", "95 % interval", "rank-biserial", "p", "p (Holm)"],
        rows=[
            [
                test.a,
                test.b,
                _signed(test.difference),
                f"{_signed(test.low)} to {_signed(test.high)}",
                _signed(test.effect, digits=2),
                _p(test.p),
                _p(test.p_holm),
            ]
            for test in tests
        ],
        records=[vars(test) for test in tests],
        words=2,
    )


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def outliers_table(section: Section, outlier_dice: float) -> Table:
    """A row an image on which a run fails, those that most runs fail on first; maybe no row."""
    runs = [run for system in section.systems for run in system.runs]
    failing = np.sum([run.dice < outlier_dice for run in runs], axis=0)
    dice = {system.label: system.dice for system in section.systems}
    mean = np.mean(list(dice.values()), axis=0)
    images = sorted(np.flatnonzero(failing), key=lambda i: (-failing[i], mean[i]))
    return Table(
        what=f"Images with a Dice below {outlier_dice:g} in a run, and their mean Dice",
        of=section.title,
        header=["image", "runs", *dice],
        rows=[
            [
                section.images[i],
                f"{failing[i]} of {len(runs)}",
                *(f"{values[i]:.3f}" for values in dice.values()),
            ]
            for i in images
        ],
        records=[
            {
                "image": section.images[i],
                "runs": int(failing[i]),
                **{label: float(values[i]) for label, values in dice.items()},
            }
            for i in images
        ],
    )


def outlier_lists(section: Section, outlier_dice: float) -> dict[str, list[str]]:
    """{`LABEL: 14, 13`: images that a run of it fails on}, and those that all runs fail on."""
    lists = {}
    for system in section.systems:
        failing = np.sum([run.dice < outlier_dice for run in system.runs], axis=0)
        lists[f"{system.label}: {_outliers(system, outlier_dice)}"] = [
            image if count == len(system.runs) else f"{image} ({count} of {len(system.runs)} runs)"
            for image, count in zip(section.images, failing, strict=True)
            if count
        ]
    if len(section.systems) > 1:
        by_all = np.all([system.outliers(outlier_dice) == 1 for system in section.systems], axis=0)
        lists[f"all runs: {by_all.sum()}"] = [section.images[i] for i in np.flatnonzero(by_all)]
    return lists


def runs_table(section: Section) -> Table:
    """Where each number comes from: a row a run."""
    records = [
        {
            "system": system.label,
            "seed": run.seed,
            "dice": float(run.dice.mean()),
            "equivariance": float(run.consistency[:, turning(run.angles)].mean()),
            "training_seconds": run.training_seconds,
            "machine": run.machine,
            "commit": run.commit,
            "folder": str(run.folder),
        }
        for system in section.systems
        for run in system.runs
    ]
    return Table(
        what="Runs",
        of=section.title,
        header=["system", "folder", "commit", "machine", "seed", "Dice", "equivariance"],
        rows=[
            [
                record["system"],
                record["folder"],
                _short(record["commit"]),
                record["machine"],
                str(record["seed"]),
                f"{record['dice']:.4f}",
                f"{record['equivariance']:.4f}",
            ]
            for record in records
        ],
        records=records,
        words=4,
    )


def _short(commit: str | None) -> str:
    if commit is None:
        return "–"
    return commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")
