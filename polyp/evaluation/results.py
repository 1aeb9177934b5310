"""The results of measuring a network on a test set, as rows and as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from polyp.evaluation.scores import defined_means, summary
from polyp.evaluation.shifts import Shifts
from polyp.evaluation.sweep import Sweep

AREA = "area"  # the part of an image that a class covers; told of every image, but no score
COLUMNS = ("test_set", "group", "image", "class", "angle", "metric", "value")


def make_rows(
    test_set: str,
    batch: dict,
    classes: Sequence[str],
    metric: str,
    values: Tensor | np.ndarray,
    angle: float | None = None,
) -> pd.DataFrame:
    """Rows of one metric on a batch of images.

    Args:
        test_set: its name.
        batch: with the ids of the images, "id", and where known their groups, "group".
        classes: names of the foreground classes.
        metric: its name.
        values: [images, classes].
        angle: by which the images were turned, in degrees; None: not at all, over all of the frame.

    Returns:
        The columns of COLUMNS, images × classes rows.
    """
    images, groups = list(batch["id"]), list(batch.get("group", [""] * len(batch["id"])))
    return pd.DataFrame(
        {
            "test_set": test_set,
            "group": np.repeat(groups, len(classes)),
            "image": np.repeat(images, len(classes)),
            "class": np.tile(list(classes), len(images)),
            "angle": np.nan if angle is None else float(angle),
            "metric": metric,
            "value": np.asarray(values, dtype=np.float64).reshape(-1),
        }
    )


@dataclass(frozen=True)
class Scores:
    """The scores of the images of one test set.

    Attributes:
        test_set: its name; "own" is the test part of the run's own split.
        classes: names of the foreground classes.
        rows: the columns of COLUMNS.
    """

    test_set: str
    classes: list[str]
    rows: pd.DataFrame

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order in which they were measured."""
        return [name for name in self.rows["metric"].unique() if name != AREA]

    def images(self) -> pd.DataFrame:
        """A row per image: test_set, group, image."""
        rows = self.rows.drop_duplicates("image")[["test_set", "group", "image"]]
        return rows.reset_index(drop=True)

    def units(self) -> list[str] | None:
        """What each image belongs to: its group, or itself. None if no group is known."""
        images = self.images()
        if not images["group"].astype(bool).any():
            return None
        return [row.group or row.image for row in images.itertuples()]

    def by_image(self, metric: str, name: str | None = None) -> pd.Series:
        """A metric of each image, by id: of the class of that name, or the mean over the classes.

        A class in which the metric is undefined does not count.
        """
        rows = self.rows[self.rows["metric"] == metric]
        if name is not None:
            rows = rows[rows["class"] == name]
        return rows.groupby("image", sort=False)["value"].mean()

    def table(self) -> pd.DataFrame:
        """scores.csv: a row per image with its metrics, and where there are several classes the
        metrics of each, as `dice.polyp`. polyp_area is the part of the image that is no background.
        """
        table = self.images()
        for metric in self.metrics:
            table[metric] = self.by_image(metric).to_numpy()
        area = self.rows[self.rows["metric"] == AREA]
        table["polyp_area"] = area.groupby("image", sort=False)["value"].sum().to_numpy()
        if len(self.classes) > 1:
            for metric in self.metrics:
                for name in self.classes:
                    table[f"{metric}.{name}"] = self.by_image(metric, name).to_numpy()
        return table

    def summary(self, seed: int = 0) -> dict:
        """ "test" in metrics.json: {"images", "groups" where known, a `summary` per metric}.

        Intervals draw whole groups where groups are known. seed: of the bootstrap.
        """
        units = self.units()
        test: dict = {"images": len(self.images())}
        if units is not None:
            test["groups"] = len(set(units))
        for metric in self.metrics:
            test[metric] = _summary(self.by_image(metric), units, seed)
            if len(self.classes) > 1:
                test[metric]["by_class"] = {
                    name: _summary(self.by_image(metric, name), units, seed)
                    for name in self.classes
                }
        return test


@dataclass(frozen=True)
class Results:
    """What was measured on one test set: the scores of its images, the rotation sweep and, if it
    was asked for, the shift consistency."""

    scores: Scores
    sweep: Sweep
    shifts: Shifts | None = None

    @property
    def test_set(self) -> str:
        return self.scores.test_set

    def equivariance(self) -> pd.DataFrame:
        """equivariance.csv: a row per image and angle.

        dice is the consistency (empty where undefined), dice_truth the Dice on the turned image,
        dice_masks, dice_image and dice_corners what is lost without the network's fault (the last
        two are measured at some angles only), logit_error the relative error of the logits. Where
        there are several classes, the first two of each follow, as `dice.polyp`.
        """
        sweep, count = self.sweep, len(self.sweep.ids)
        table = _repeated(self.scores.images(), len(sweep.angles))
        table["angle"] = np.tile(sweep.angles, count)
        for name, values in (
            ("dice", defined_means(sweep.dice)),
            ("dice_truth", sweep.dice_truth.mean(axis=2)),
            ("dice_masks", defined_means(sweep.masks)),
            ("dice_image", self._at_part_angles(sweep.image)),
            ("dice_corners", self._at_part_angles(sweep.corners)),
            ("logit_error", sweep.logit_error),
        ):
            table[name] = values.reshape(-1)
        if len(sweep.classes) > 1:
            for index, name in enumerate(sweep.classes):
                table[f"dice.{name}"] = sweep.dice[..., index].reshape(-1)
                table[f"dice_truth.{name}"] = sweep.dice_truth[..., index].reshape(-1)
        return table

    def _at_part_angles(self, values: np.ndarray) -> np.ndarray:
        """[images, part_angles, classes] as [images, angles], nan where nothing was measured."""
        table = np.full((len(values), len(self.sweep.angles)), np.nan)
        for index, angle in enumerate(self.sweep.part_angles):
            if angle in self.sweep.angles:
                column = self.sweep.angles.index(angle)
                table[:, column] = defined_means(values[:, index : index + 1])[:, 0]
        return table

    def shift_table(self) -> pd.DataFrame | None:
        """shifts.csv: a row per image and shift, with the rows and columns in pixels, and the
        consistency, `dice`. None if no shifts were measured."""
        if self.shifts is None:
            return None
        rows, columns = zip(*self.shifts.shifts, strict=True)
        count = len(self.shifts.ids)
        table = _repeated(self.scores.images(), len(rows))
        table["rows"], table["columns"] = np.tile(rows, count), np.tile(columns, count)
        table["dice"] = defined_means(self.shifts.dice).reshape(-1)
        return table

    def summary(self, seed: int = 0) -> dict:
        """What metrics.json says of the test set: {"test": …, "equivariance": …, "shift": …}."""
        shift = {} if self.shifts is None else {"shift": self.shifts.summary()}
        return {
            "test": self.scores.summary(seed),
            "equivariance": self.sweep.summary(),
            **shift,
        }


def _repeated(images: pd.DataFrame, times: int) -> pd.DataFrame:
    return images.loc[images.index.repeat(times)].reset_index(drop=True)


def _summary(values: pd.Series, units: Sequence[str] | None, seed: int) -> dict:
    """`summary` of the images where the metric is defined; the others are counted."""
    defined = values.notna().to_numpy()
    undefined = int((~defined).sum())
    if undefined == len(values):
        return {"mean": None, "median": None, "std": None, "ci95": None, "undefined": undefined}
    kept = None if units is None else list(np.array(units)[defined])
    result = summary(values.to_numpy()[defined], seed, kept)
    if kept is not None and len(set(kept)) == 1:
        result["ci95"] = None  # a single group says nothing about others
    return {**result, "undefined": undefined} if undefined else result
