"""The tables of a section: its systems, the tests between them, and the images they fail on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from polyp.evaluation.scores import summary
from polyp.report.render import render
from polyp.report.sections import Section
from polyp.report.statistics import PairedTest
from polyp.report.systems import System, defined_means, off_grid, turning

Record = dict[str, Any]


Columns = dict[str, Callable[[Record], str]]  # {header: the cell of a record}


@dataclass(frozen=True)
class Table:
    """A table for people and for programs.

    Attributes:
        what: it shows. of: which test set.
        records: its rows, unformatted, for CSV.
        columns: the first `words` hold words, the others numbers.
        fields: the columns of the CSV, for a table that may have no rows.
    """

    what: str
    of: str
    records: Sequence[Record]
    columns: Columns
    words: int = 1
    fields: list[str] | None = None

    @property
    def header(self) -> list[str]:
        return list(self.columns)

    @property
    def rows(self) -> list[list[str]]:
        return [[cell(record) for cell in self.columns.values()] for record in self.records]

    def files(self, name: str) -> dict[str, bytes]:
        """As NAME.csv, NAME.md and NAME.tex."""
        # As objects, or whole numbers beside a missing one would become decimal fractions.
        data = pd.DataFrame(self.records, columns=self.fields, dtype=object)
        texts = {"csv": data.to_csv(index=False, lineterminator="\n")}
        texts |= {form: render(f"table.{form}", table=self) for form in ("md", "tex")}
        return {f"{name}.{form}": text.encode() for form, text in texts.items()}


def _text(key: str) -> Callable[[Record], str]:
    return lambda record: str(record[key])


def _number(key: str, digits: int = 3) -> Callable[[Record], str]:
    return lambda record: "–" if record[key] is None else f"{record[key]:.{digits}f}"


def _signed(key: str, digits: int = 3) -> Callable[[Record], str]:
    return lambda record: f"{record[key]:+.{digits}f}".replace("-", "−")


def _p(key: str) -> Callable[[Record], str]:
    return lambda record: "< 0.001" if record[key] < 0.001 else f"{record[key]:.3f}"


def _defined(values: np.ndarray) -> float | None:
    """The mean of the values that are defined; None if there are none."""
    mean = float(defined_means(values, axis=0))
    return None if np.isnan(mean) else mean


def systems_table(section: Section, outlier_dice: float) -> Table:
    """A row per system; the page says how each number is made.

    Every metric that a system was measured by has a column.
    """
    metrics = list(dict.fromkeys(name for system in section.systems for name in system.metrics))
    metrics.remove("dice")  # it has more than a mean
    units = section.units
    records = [_record(system, units, metrics, outlier_dice) for system in section.systems]
    return Table(
        what="Systems" + _by(len(set(units)), len(units), ", intervals"),
        of=section.title,
        records=records,
        columns=_columns(metrics),
    )


def _by(units: int, images: int, what: str = "") -> str:
    """`by 27 groups`, and nothing where each image is a unit."""
    return f"{what} by {units} groups" if units < images else ""


def _record(
    system: System, units: Sequence[str], metrics: Sequence[str], outlier_dice: float
) -> Record:
    first = system.first
    dice = summary(system.dice, units=units)
    by_seed = [run.dice.mean() for run in system.runs]
    turned = off_grid(first.angles).any()
    columns = system.consistency.T
    curve = dict(zip(first.angles, map(_defined, columns), strict=True))
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
        **{f"{metric}_mean": _mean(system, metric) for metric in metrics},
        "equivariance_mean": _defined(system.equivariance),
        "equivariance_min": min((c for c in curve.values() if c is not None), default=None),
        "equivariance_at_90": curve.get(90.0),
        "consistency_off_grid": _defined(system.off_grid_consistency) if turned else None,
        "equivariance_ceiling": float(first.ceiling[turning(first.angles)].mean()),
        "turned_dice_mean": float(system.turned_dice.mean()) if turned else None,
        "outliers": _outliers(system, outlier_dice),
        "outliers_mean": float(system.outliers(outlier_dice).sum()),
        "training_seconds": float(np.mean([run.training_seconds for run in system.runs])),
    }


def _mean(system: System, metric: str) -> float | None:
    """Over the images where the metric is defined; None where there is none, or no such metric."""
    if metric not in system.metrics:
        return None
    values = system.score(metric)
    defined = np.isfinite(values)
    return float(values[defined].mean()) if defined.any() else None


def _columns(metrics: Sequence[str]) -> Columns:
    def dice(record: Record) -> str:
        spread = record["dice_std_over_seeds"]
        return f"{record['dice_mean']:.3f}" + ("" if spread is None else f" ± {spread:.3f}")

    def macs(record: Record) -> str:
        count = record["multiply_adds"]
        return "–" if count is None else f"{count / 1e9:.2f} G"

    return {
        "system": _text("system"),
        "parameters": lambda record: f"{record['parameters']:,}",
        "MACs": macs,
        "seeds": _text("seeds"),
        "Dice": dice,
        "95 % interval": lambda r: f"{r['dice_ci95_low']:.3f} to {r['dice_ci95_high']:.3f}",
        "median": _number("dice_median"),
        **{_called(metric): _number(f"{metric}_mean") for metric in metrics},
        "consistency": _number("equivariance_mean"),
        "worst angle": _number("equivariance_min"),
        "at 90°": _number("equivariance_at_90"),
        "between multiples of 90°": _number("consistency_off_grid"),
        "interpolation limit": _number("equivariance_ceiling"),
        "Dice on turned images": _number("turned_dice_mean"),
        "outliers": _text("outliers"),
        "training": lambda record: f"{record['training_seconds'] / 60:.1f} min",
    }


def _called(metric: str) -> str:
    """A metric as people write it: `Dice, polyp` of "dice.polyp"."""
    name, _, of_class = metric.partition(".")
    name = {"dice": "Dice", "iou": "IoU", "hd95": "HD95"}.get(name, name.replace("_", " "))
    return f"{name}, {of_class}" if of_class else name


def _outliers(system: System, outlier_dice: float) -> str:
    """`14, 13, 13`: how many images each run fails on."""
    return ", ".join(str((run.dice < outlier_dice).sum()) for run in system.runs)


def tests_table(tests: Sequence[PairedTest], score: str, title: str) -> Table:
    """A row per pair of systems. score: what is compared; title: the section's."""
    low, high = _signed("low"), _signed("high")
    return Table(
        what=f"Paired tests of {score}" + _by(tests[0].units, tests[0].images),
        of=title,
        records=[vars(test) for test in tests],
        columns={
            "A": _text("a"),
            "B": _text("b"),
            "A − B": _signed("difference"),
            "95 % interval": lambda record: f"{low(record)} to {high(record)}",
            "rank-biserial": _signed("effect", digits=2),
            "p": _p("p"),
            "p (Holm)": _p("p_holm"),
        },
        words=2,
    )


def outliers_table(section: Section, outlier_dice: float) -> Table:
    """A row per image on which a run fails, those that most runs fail on first; maybe no row."""
    runs = [run for system in section.systems for run in system.runs]
    failing = np.sum([run.dice < outlier_dice for run in runs], axis=0)
    dice = {system.label: system.dice for system in section.systems}
    mean = np.mean(list(dice.values()), axis=0)
    return Table(
        what=f"Images with a Dice below {outlier_dice:g} in a run, and their mean Dice",
        of=section.title,
        records=[
            {
                "image": section.images[i],
                "runs": int(failing[i]),
                **{label: float(values[i]) for label, values in dice.items()},
            }
            for i in sorted(np.flatnonzero(failing), key=lambda i: (-failing[i], mean[i]))
        ],
        columns={
            "image": _text("image"),
            "runs": lambda record: f"{record['runs']} of {len(runs)}",
            **{label: _number(label) for label in dice},
        },
        fields=["image", "runs", *dice],
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
    """Where each number comes from: a row per run."""
    records = [
        {
            "system": system.label,
            "seed": run.seed,
            "dice": float(run.dice.mean()),
            "equivariance": _defined(
                run.consistency.loc[:, turning(run.angles)].to_numpy().ravel()
            ),
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
        records=records,
        columns={
            "system": _text("system"),
            "folder": _text("folder"),
            "commit": lambda record: _short(record["commit"]),
            "machine": _text("machine"),
            "seed": _text("seed"),
            "Dice": _number("dice", digits=4),
            "consistency": _number("equivariance", digits=4),
        },
        words=4,
    )


def _short(commit: str | None) -> str:
    if commit is None:
        return "–"
    return commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")
