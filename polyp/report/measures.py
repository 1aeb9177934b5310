"""The measures of an image, by name: columns of the tables, and what is compared."""

import numpy as np

from polyp.evaluation.scores import defined_means
from polyp.evaluation.sweep import decomposition, off_grid, turning
from polyp.report.run import Run

# All are between 0 and 1. Early versions did not measure those from "shift" to "logit_error".
MEASURES = {
    "dice": "Dice",
    "outliers": "share of outliers",
    "consistency": "consistency",
    "consistency_on_grid": "consistency at multiples of 90°",
    "consistency_off_grid": "consistency off the grid",
    "dice_on_turned": "Dice on turned images",
    "shift": "shift consistency",
    "shift_one_pixel": "shift consistency, one pixel",
    "shift_control": "shift consistency, control",
    "masks": "part: masks",
    "image": "part: image",
    "corners": "part: corners",
    "network": "part: network",
    "logit_error": "logit error",
}


def measured(run: Run, measure: str, outlier_dice: float) -> np.ndarray | None:
    """A measure of each image: float64 [images], nan where it is undefined.

    For several angles or shifts it is the mean over those at which it is defined, as in
    `polyp.evaluation.Sweep` and `Shifts`. None if it was not measured.
    """
    if measure == "dice":
        return run.dice
    if measure == "outliers":
        return (run.dice < outlier_dice).astype(float)
    if measure.startswith("shift"):
        return _shift(run, measure)
    turned, off = turning(run.angles), off_grid(run.angles)
    chosen = {"consistency": turned, "consistency_on_grid": turned & ~off}.get(measure, off)
    if measure.startswith("consistency"):
        values = run.consistency.to_numpy()
    elif measure == "dice_on_turned":
        values = run.turned_dice.to_numpy()
    elif measure == "logit_error":
        values = run.losses[measure].to_numpy() if measure in run.losses else None
    else:
        values = _part(run, measure)
    return defined_means(values[:, chosen]) if values is not None and chosen.any() else None


def _shift(run: Run, measure: str) -> np.ndarray | None:
    """The control is the longest shift, by the network's stride in both directions."""
    if run.shifts is None:
        return None
    pixels = np.abs(np.array(run.shifts.columns.to_list(), dtype=float))
    control = pixels.min(axis=1) == pixels.max()
    chosen = {"shift_one_pixel": pixels.max(axis=1) == 1, "shift_control": control}
    return defined_means(run.shifts.to_numpy()[:, chosen.get(measure, ~control)])


def _part(run: Run, part: str) -> np.ndarray | None:
    """A part of the decomposition, [images, angles]; nan where it was not measured."""
    if any(name not in run.losses for name in ("masks", "image", "corners")):
        return None
    losses = {name: run.losses[name].to_numpy() for name in ("masks", "image", "corners")}
    return decomposition(run.consistency.to_numpy(), **losses)[part]
