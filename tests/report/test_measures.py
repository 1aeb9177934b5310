"""What is measured of each image, against the files of the run."""

import numpy as np
import pandas as pd
import pytest

from polyp.evaluation.results import Results, Scores, make_rows
from polyp.evaluation.scores import defined_mean
from polyp.evaluation.shifts import Shifts
from polyp.evaluation.sweep import Sweep
from polyp.report.measures import MEASURES, measured
from polyp.runs.folder import RunFolder
from tests.report.runs import read_run

ANGLES = [0.0, 45.0, 60.0, 90.0, 180.0]
NEW = {"shift", "shift_one_pixel", "shift_control", "logit_error"}
NEW |= {"masks", "image", "corners", "network"}


@pytest.fixture
def folder(write_run):
    return write_run("0", angles=ANGLES, instrument=True)


def test_each_is_the_mean_of_its_own_angles_or_shifts(folder):
    run = read_run(folder)
    sweep = pd.read_csv(folder / "equivariance.csv").set_index("image")
    shifts = pd.read_csv(folder / "shifts.csv").set_index("image")

    def mean(table: pd.DataFrame, column: str) -> list[float]:
        return table[column].groupby(level=0).mean().tolist()

    on, off = sweep[sweep["angle"].isin([90, 180])], sweep[sweep["angle"].isin([45, 60])]
    at_parts = sweep[sweep["angle"] == 45]
    lost = sum(1 - at_parts[f"dice_{part}"] for part in ("masks", "image"))
    expected = {
        "dice": run.dice,
        "outliers": run.dice < 0.7,
        "consistency": mean(sweep[sweep["angle"] != 0], "dice"),
        "consistency_on_grid": mean(on, "dice"),
        "consistency_off_grid": mean(off, "dice"),
        "dice_on_turned": mean(off, "dice_truth"),
        "logit_error": mean(off, "logit_error"),
        "masks": mean(at_parts, "dice_masks"),
        "image": mean(at_parts, "dice_image"),
        "corners": mean(at_parts, "dice_corners"),
        "network": (at_parts["dice"] + lost).tolist(),
        "shift": mean(shifts[shifts["rows"] != 16], "dice"),
        "shift_one_pixel": mean(shifts[shifts["rows"] == 1], "dice"),
        "shift_control": mean(shifts[shifts["rows"] == 16], "dice"),
    }
    assert expected.keys() == MEASURES.keys()
    for name, values in expected.items():
        assert measured(run, name, 0.7) == pytest.approx(np.array(values, float)), name


def test_old_runs_have_what_they_measured(write_run):
    run = read_run(write_run("0", angles=ANGLES))
    lacking = {name for name in MEASURES if measured(run, name, 0.5) is None}
    assert lacking == NEW


def test_quarter_turns_alone_have_nothing_off_the_grid(write_run):
    run = read_run(write_run("0", angles=[0, 90, 180], instrument=True))
    assert measured(run, "consistency_off_grid", 0.5) is None
    assert measured(run, "consistency_on_grid", 0.5) is not None


def test_undefined_values_are_not_averaged(folder):
    run = read_run(folder)
    run.consistency.loc["a", 45.0] = np.nan
    run.consistency.loc["b", [45.0, 60.0]] = np.nan
    values = measured(run, "consistency_off_grid", 0.5)
    assert values[0] == run.consistency.loc["a", 60.0]
    assert np.isnan(values[1])


def test_a_comparison_takes_the_means_of_metrics_json(folder):
    """With two classes, values that are undefined, and losses and shifts of a sample alone."""
    rng = np.random.default_rng(0)
    images, classes = read_run(folder).images, ["polyp", "tool"]
    count, angles, part_angles = len(images), [0.0, 45.0, 60.0, 90.0, 180.0], [45.0, 90.0]

    def random(*shape, undefined=0.3):
        values = rng.random((count, *shape))
        return np.where(rng.random(values.shape) < undefined, np.nan, values)

    image, corners = random(2, 2), random(2, 2)
    dice = random(4, 2)
    for values in (image, corners, dice):
        values[1::2] = np.nan
    sweep = Sweep(
        ids=images,
        classes=classes,
        angles=angles,
        dice=random(5, 2),
        dice_truth=random(5, 2, undefined=0),
        masks=random(5, 2, undefined=0),
        logit_error=random(5, undefined=0),
        part_angles=part_angles,
        image=image,
        corners=corners,
    )
    shifts = Shifts(images, [(1.0, 0.0), (-5.0, 11.0), (0.5, 0.5), (16.0, 16.0)], 16, dice)
    rows = [
        make_rows("own", {"id": images}, classes, metric, random(2, undefined=0))
        for metric in ("dice", "iou", "precision", "recall", "area")
    ]
    results = Results(Scores("own", classes, pd.concat(rows)), sweep, shifts)
    RunFolder(folder).write_results([results], {})
    run, found = read_run(folder), results.summary()

    turned, shift = found["equivariance"], found["shift"]
    expected = {
        "dice": found["test"]["dice"]["mean"],
        "consistency": turned["mean"],
        "consistency_off_grid": turned["off_grid"],
        "dice_on_turned": turned["dice_truth"],
        "logit_error": turned["logit_error"],
        **turned["parts"],
        "shift": shift["mean"],
        "shift_one_pixel": shift["one_pixel"],
        "shift_control": shift["control"],
    }
    for name, mean in expected.items():
        assert defined_mean(measured(run, name, 0.5)) == pytest.approx(mean), name
