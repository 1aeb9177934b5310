"""The tables of a section: its systems, their differences, and the images on which they fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from polyp.evaluation.scores import defined_mean
from polyp.evaluation.sweep import turning
from polyp.report.comparisons import Comparison
from polyp.report.measures import MEASURES
from polyp.report.render import render
from polyp.report.sections import Section
from polyp.report.systems import System

Record = dict[str, Any]
Columns = dict[str, Callable[[Record], str]]  # {header: the cell of a record}

METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "HD95",
    "surface_dice": "surface Dice",
    "dice_256": "Dice, 256 thresholds",
    "iou_256": "IoU, 256 thresholds",
    "s_measure": "S-measure",
    "weighted_f": "weighted F",
    "e_measure": "E-measure",
    "mae": "MAE",
}


@dataclass(frozen=True)
class Table:
    """A table for people and for programs.

    Attributes:
        what: what it shows. of: the test set.
        records: its rows, unformatted, for CSV.
        columns: the first `words` columns have words, the others numbers.
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
        # As objects, because whole numbers beside a missing one would become decimal fractions.
        data = pd.DataFrame(self.records, columns=self.fields, dtype=object)
        texts = {"csv": data.to_csv(index=False, lineterminator="\n")}
        texts |= {form: render(f"table.{form}", table=self) for form in ("md", "tex")}
        return {f"{name}.{form}": text.encode() for form, text in texts.items()}


def _text(key: str) -> Callable[[Record], str]:
    return lambda record: str(record[key])


def _number(key: str, digits: int = 3) -> Callable[[Record], str]:
    def text(record: Record) -> str:
        return "–" if record[key] is None else f"{record[key]:.{digits}f}".replace("-", "−")

    return text


def _signed(key: str, digits: int = 3) -> Callable[[Record], str]:
    return lambda record: f"{record[key]:+.{digits}f}".replace("-", "−")


def _signed_interval(low: str, high: str) -> Callable[[Record], str]:
    """`−0.234 to +0.046`."""
    ends = _signed(low), _signed(high)
    return lambda r: "–" if r[low] is None else f"{ends[0](r)} to {ends[1](r)}"


def _p(key: str) -> Callable[[Record], str]:
    def text(record: Record) -> str:
        if record[key] is None:
            return "–"
        return "< 0.001" if record[key] < 0.001 else f"{record[key]:.3f}"

    return text


def systems_table(section: Section, outlier_dice: float) -> Table:
    """A row per system, with a column for every metric; the page explains the numbers."""
    metrics = list(dict.fromkeys(name for system in section.systems for name in system.metrics))
    metrics.remove("dice")  # it has more than a mean
    records = [_record(system, section.units, metrics, outlier_dice) for system in section.systems]
    return Table(
        what="Systems" + _intervals(section),
        of=section.title,
        records=records,
        columns=_columns(metrics),
    )


def _intervals(section: Section) -> str:
    """`, intervals over 27 groups`, or nothing if each image is a unit."""
    units, images = len(set(section.units)), len(section.units)
    return f", intervals over {units} groups" if units < images else ""


def _estimate(system: System, measure: str, units: Sequence[str]) -> Record:
    """{MEASURE, MEASURE_low, MEASURE_high}: the mean and its interval, None if undefined."""
    found = system.interval(measure, units)
    ends = {"": None, "_low": None, "_high": None}
    if found is not None:
        ends = {"": found.mean, "_low": _finite(found.low), "_high": _finite(found.high)}
    return {f"{measure}{end}": value for end, value in ends.items()}


def _finite(value: float) -> float | None:
    return None if isnan(value) else value


def _record(
    system: System, units: Sequence[str], metrics: Sequence[str], outlier_dice: float
) -> Record:
    first = system.first
    by_seed = [run.dice.mean() for run in system.runs]
    return {
        "system": system.label,
        "degenerate": ", ".join(map(str, system.degenerate)) or None,
        "parameters": first.parameters,
        "multiply_adds": first.multiply_adds,
        "seeds": len(system.runs),
        **_estimate(system, "dice", units),
        "dice_std_over_seeds": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None,
        "dice_median": float(np.median(system.dice)),
        **{metric: _mean(system, metric) for metric in metrics},
        **_estimate(system, "consistency_off_grid", units),
        **_estimate(system, "dice_on_turned", units),
        "outliers": _outliers(system, outlier_dice),
        "outliers_mean": float(system.outliers(outlier_dice).sum()),
        "training_seconds": float(np.mean([run.training_seconds for run in system.runs])),
        "seconds_per_image": system.seconds_per_image,
        "machine": system.machine,
    }


def _mean(system: System, metric: str) -> float | None:
    """The mean over the images for which a metric is defined; None if there are none."""
    if metric not in system.metrics:
        return None
    return defined_mean(system.score(metric))


def _columns(metrics: Sequence[str]) -> Columns:
    def dice(record: Record) -> str:
        spread = record["dice_std_over_seeds"]
        return f"{record['dice']:.3f}" + ("" if spread is None else f" ± {spread:.3f}")

    def macs(record: Record) -> str:
        count = record["multiply_adds"]
        return "–" if count is None else f"{count / 1e9:.2f} G"

    return {
        "system": _system,
        "parameters": lambda record: f"{record['parameters']:,}",
        "MACs": macs,
        "seeds": lambda record: "one run" if record["seeds"] == 1 else str(record["seeds"]),
        "Dice": dice,
        "95 % interval": _interval("dice"),
        "median": _number("dice_median"),
        **{_called(metric): _number(metric) for metric in metrics},
        "consistency off the grid": _with_interval("consistency_off_grid"),
        "Dice on turned images": _with_interval("dice_on_turned"),
        "outliers": _text("outliers"),
        "training": lambda record: f"{record['training_seconds'] / 60:.1f} min",
    }


def _system(record: Record) -> str:
    """`unet (degenerate: seed 1)`."""
    seeds = record["degenerate"]
    return record["system"] + ("" if seeds is None else f" (degenerate: seed {seeds})")


def _share(key: str) -> Callable[[Record], str]:
    return lambda record: "–" if record[key] is None else f"{100 * record[key]:.1f} %"


def _interval(key: str) -> Callable[[Record], str]:
    """`0.812 to 0.893`."""
    low, high = _number(f"{key}_low"), _number(f"{key}_high")
    return lambda r: "–" if r[f"{key}_low"] is None else f"{low(r)} to {high(r)}"


def _with_interval(key: str) -> Callable[[Record], str]:
    """`0.855 (0.812 to 0.893)`, or `–` if it was not measured."""
    mean, interval = _number(key), _interval(key)

    def text(record: Record) -> str:
        if record[key] is None:
            return "–"
        return mean(record) + ("" if record[f"{key}_low"] is None else f" ({interval(record)})")

    return text


def equivariance_table(section: Section) -> Table:
    """A row per system: the consistency under rotations and shifts, and where it is lost."""
    measures = [name for name in MEASURES if name not in ("dice", "outliers", "dice_on_turned")]
    records = [
        {
            "system": system.label,
            "degenerate": ", ".join(map(str, system.degenerate)) or None,
            **{
                key: value
                for measure in measures
                for key, value in _estimate(system, measure, section.units).items()
            },
            "worst_angle": _worst_angle(system),
            "undefined": system.undefined,
        }
        for system in section.systems
    ]
    return Table(
        what="Equivariance" + _intervals(section),
        of=section.title,
        records=records,
        columns={
            "system": _system,
            **{MEASURES[measure]: _with_interval(measure) for measure in measures},
            "worst angle": _number("worst_angle"),
            "undefined": _share("undefined"),
        },
    )


def _worst_angle(system: System) -> float | None:
    """The mean consistency at the worst angle; None if it is undefined everywhere."""
    means = [defined_mean(values) for values in system.consistency.T]
    return min((mean for mean in means if mean is not None), default=None)


def _called(metric: str) -> str:
    """The name of a metric as people write it: `Dice, polyp` for "dice.polyp"."""
    name, _, of_class = metric.partition(".")
    name = METRIC_NAMES.get(name, name.replace("_", " "))
    return f"{name}, {of_class}" if of_class else name


def _outliers(system: System, outlier_dice: float) -> str:
    """`14, 13, 13`: how many images each run fails on."""
    return ", ".join(str((run.dice < outlier_dice).sum()) for run in system.runs)


def differences_table(comparisons: Sequence[Comparison], section: Section) -> Table:
    """A row per measure and pair of systems; with p values where the pairs were declared."""
    columns: Columns = {
        "measure": lambda record: MEASURES[record["measure"]],
        "A": _text("a"),
        "B": _text("b"),
        "A − B": _signed("difference"),
        "95 % interval": _signed_interval("low", "high"),
        **({"over folds": _signed_interval("folds_low", "folds_high")} if section.folds else {}),
        "seeds": lambda r: f"{r['seeds_a']}, {r['seeds_b']}",
        "images": _text("images"),
        "equal": _text("equal"),
    }
    if comparisons[0].declared:
        columns |= {
            "p": _p("p"),
            "p (Holm)": _p("p_holm"),
            "smallest p by swapping seeds": _p("p_least"),
            "mixed model": _signed_interval("mixed_low", "mixed_high"),
        }
    return Table(
        what="Differences" + _intervals(section),
        of=section.title,
        records=[_difference(each) for each in comparisons],
        columns=columns,
        words=3,
    )


def _difference(comparison: Comparison) -> Record:
    estimate, second = comparison.estimate, comparison.second_opinion
    record = {
        "measure": comparison.measure,
        "a": comparison.a.label,
        "b": comparison.b.label,
        "difference": estimate.difference,
        "low": _finite(estimate.low),
        "high": _finite(estimate.high),
        "one_run": estimate.one_run,
        "seeds_a": estimate.seeds[0],
        "seeds_b": estimate.seeds[1],
        "units": estimate.units,
        "images": estimate.images,
        **_over_folds(comparison),
        "equal": _equal(comparison.a, comparison.b),
    }
    if comparison.declared:
        shown = second if second is not None and second.converged else None
        record |= {
            "p": comparison.p,
            "p_holm": comparison.p_holm,
            "p_least": estimate.p_least,
            "mixed_low": shown and shown.low,
            "mixed_high": shown and shown.high,
        }
    return record


def _over_folds(comparison: Comparison) -> Record:
    if comparison.over_folds is None:
        return {}
    low, high = map(_finite, comparison.over_folds)
    return {"folds_low": low, "folds_high": high}


def _equal(a: System, b: System) -> str:
    """The costs that differ by less than a tenth: `parameters, MACs`."""
    pairs = {
        "parameters": (a.first.parameters, b.first.parameters),
        "MACs": (a.first.multiply_adds, b.first.multiply_adds),
    }
    return ", ".join(
        name
        for name, (one, other) in pairs.items()
        if one and other and 10 * abs(one - other) <= max(one, other)
    )


def outliers_table(section: Section, outlier_dice: float) -> Table:
    """A row per image on which a run fails, sorted by the number of these runs; maybe no row."""
    runs = [run for system in section.systems for run in system.runs]
    failing = np.sum([run.dice < outlier_dice for run in runs], axis=0)
    dice = {system.label: system.dice for system in section.systems}
    mean = np.mean(list(dice.values()), axis=0)
    return Table(
        what=f"Images with a Dice below {outlier_dice:g} in at least one run, and their mean Dice",
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
    """{`LABEL: 14, 13`: images on which its runs fail}, and images on which all runs fail."""
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
    """A row per run, or per fold of a run, to show where each number comes from."""
    records = [
        {
            "system": system.label,
            "seed": run.seed,
            "fold": None if run.fold is None else "{}/{}".format(*run.fold),
            "dice": float(run.dice.mean()),
            "consistency": defined_mean(run.consistency.loc[:, turning(run.angles)].to_numpy()),
            "training_seconds": run.training_seconds,
            "machine": run.machine,
            "commit": run.commit,
            "folder": str(run.folder),
        }
        for system in section.systems
        for pooled in system.runs
        for run in pooled.folds or [pooled]
    ]
    folds = {"fold": _text("fold")} if any(record["fold"] for record in records) else {}
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
            **folds,
            "Dice": _number("dice", digits=4),
            "consistency": _number("consistency", digits=4),
        },
        words=4,
    )


def _short(commit: str | None) -> str:
    if commit is None:
        return "–"
    return commit[:10] + ("-dirty" if commit.endswith("-dirty") else "")
