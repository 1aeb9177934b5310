"""A run and its results on one test set, as a comparison needs them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyp.errors import UserError
from polyp.runs.folder import RunFolder

# Columns of equivariance.csv that runs of early versions do not have.
LOSSES = {
    "masks": "dice_masks",
    "image": "dice_image",
    "corners": "dice_corners",
    "logit_error": "logit_error",
}


@dataclass(frozen=True)
class Run:
    """A finished run and its results on one of its test sets.

    Attributes:
        folder: folder of the run, or of a later evaluation.
        data: the dataset that it was tested on. trained_on: the dataset that it was trained on.
        split: how the test images were chosen: "random", "sequence", "file", "all images", …
        part: the part of the dataset that was tested: "test", "all", "train" or "val".
        multiply_adds: MACs for one image; None in runs of early versions.
        config: the composed config, flat ("model.layers.kernel_size": 3), not resolved.
        parts: image ids of "train" and "val".
        scores: a row per test image, by its id, and a column per metric; also polyp_area and, if
            there are several classes, columns such as "dice.polyp".
        groups: the video sequence or patient of each image; "" if unknown.
        consistency: images × angles (in degrees, ascending), the Dice of the rotated mask and the
            mask of the rotated image; nan where it is undefined.
        turned_dice: images × angles, the Dice of the mask of the rotated image and the rotated
            truth.
        losses: images × angles of "masks", "image", "corners" and "logit_error" (see
            `polyp.evaluation.Sweep`); nan at angles at which they were not measured.
        shifts: images × (rows, columns) in pixels, the consistency under shifts; None if it was
            not measured.
        ceiling: the upper bound at each angle: the mean Dice of the true masks turned there and
            back, and the true masks.
        epochs: of training; None if unknown. training_seconds: with validation.
        machine: the machine on which it was trained: the processor with its threads, or the GPU.
        folds: the runs that were pooled, see `polyp.report.folds`.
    """

    folder: Path
    model: str
    data: str
    trained_on: str
    augmentation: str
    split: str
    part: str
    seed: int
    image_size: int
    parameters: int
    multiply_adds: int | None
    config: dict[str, Any]
    parts: dict[str, list[str]]
    scores: pd.DataFrame
    groups: pd.Series
    consistency: pd.DataFrame
    turned_dice: pd.DataFrame
    losses: dict[str, pd.DataFrame]
    shifts: pd.DataFrame | None
    ceiling: pd.Series
    epochs: int | None
    training_seconds: float
    machine: str
    commit: str | None
    started: str
    folds: tuple["Run", ...] = ()

    @property
    def fold(self) -> tuple[int, int] | None:
        """The fold in which it was trained, such as (1, 5): the first of five."""
        found = re.fullmatch(r"(\d+)/(\d+)", str(self.config.get("data.fold")))
        return (int(found[1]), int(found[2])) if found else None

    @property
    def tests_own_fold(self) -> bool:
        """Whether the test images are those of its fold."""
        return self.part == "test" and self.split == f"fold {self.config.get('data.fold')}"

    @property
    def images(self) -> list[str]:
        return list(self.scores.index)

    @property
    def angles(self) -> list[float]:
        return list(self.consistency.columns)

    @property
    def dice(self) -> np.ndarray:
        """The Dice of each image: float64 [images]."""
        return self.scores["dice"].to_numpy()

    @property
    def seconds_per_image(self) -> float | None:
        """The training time per image: the seconds of an epoch, with its validation, divided by the
        images of an epoch. For folds, their mean. None if the number of epochs is unknown."""
        if self.folds:
            return mean_seconds_per_image(self.folds)
        # An epoch has as many images as with the whole training set: a smaller one is repeated.
        fraction = float(self.config.get("data.train_fraction") or 1)
        images = round(len(self.parts["train"]) / fraction)
        return self.training_seconds / (self.epochs * images) if self.epochs else None

    def select(self, images: Sequence[str], angles: Sequence[float]) -> "Run":
        """The same run with these of its images and angles, in this order."""
        return replace(
            self,
            scores=self.scores.loc[images],
            groups=self.groups[images],
            consistency=self.consistency.loc[images, angles],
            turned_dice=self.turned_dice.loc[images, angles],
            losses={name: table.loc[images, angles] for name, table in self.losses.items()},
            shifts=None if self.shifts is None else self.shifts.loc[images],
            ceiling=self.ceiling[angles],
        )


def mean_seconds_per_image(runs: Sequence["Run"]) -> float | None:
    """The mean of `Run.seconds_per_image`; None if it is unknown for a run."""
    found = [run.seconds_per_image for run in runs]
    known = [seconds for seconds in found if seconds is not None]
    return sum(known) / len(known) if len(known) == len(found) else None


def machines(runs: Sequence["Run"]) -> str:
    """The machines on which runs were trained, each once: "A; B"."""
    return "; ".join(sorted({run.machine for run in runs}))


def read_runs(folder: RunFolder) -> list[Run]:
    """Reads a run, or a later evaluation: a `Run` per test set.

    For a later evaluation, the facts about training are those of the evaluated run.

    Raises:
        UserError: a file is missing or damaged; the message names it.
    """
    path = folder.path
    if not folder.finished:
        raise UserError(f"{folder}: unfinished, it has no metrics.json")
    metrics, training = folder.json("metrics.json"), folder.json("provenance.json")
    own, trained = folder.split()["test"], folder.trained
    if trained is not folder:
        training = {**trained.json("provenance.json"), "started": training.get("started", "")}
    split, config = trained.split(), trained.flat_config()
    if "resize" in metrics:  # an evaluation of images that were resized in another way
        config = {**config, "data.resize": metrics["resize"]}
    scores, sweep = folder.scores(), folder.equivariance()
    shifts = folder.shifts()
    first, *others = scores["test_set"].unique()
    if set(scores["image"][scores["test_set"] == first]) != set(own):
        raise UserError(f"{path / 'scores.csv'}: has other images than the test set in split.json")
    try:
        common: dict[str, Any] = {
            "folder": path,
            "trained_on": str(metrics.get("trained_on") or metrics["data"]),
            **{name: str(metrics[name]) for name in ("model", "augmentation")},
            **{name: int(metrics[name]) for name in ("seed", "image_size", "parameters")},
            "multiply_adds": metrics.get("multiply_adds"),
            "config": config,
            "parts": {part: split[part] for part in ("train", "val")},
            "epochs": metrics.get("epochs"),
            "training_seconds": float(training["training_seconds"]),
            "machine": _machine(training),
            "commit": training.get("commit"),
            "started": training["started"],
        }
        tested = {first: {name: str(metrics[name]) for name in ("data", "split")}}
        tested[first]["part"] = str(metrics.get("part", "test"))
        for name in others:
            stored = metrics["test_sets"][name]
            if "part" not in stored and trained is folder:  # of an early version, or "all"
                stored = {key: config.get(f"test_sets.{name}.{key}") for key in ("part", "split")}
            part = stored.get("part") or "all"
            chosen = "all images" if part == "all" else stored["split"] or ""
            tested[name] = {"data": name, "split": chosen, "part": part}
        curves = {first: metrics["equivariance"]["curve"]}
        curves |= {name: metrics["test_sets"][name]["equivariance"]["curve"] for name in others}
        return [
            Run(**common, **tested[name], **_measured(scores, sweep, shifts, name, curve, path))
            for name, curve in curves.items()
        ]
    except KeyError as error:
        raise UserError(
            f"{path}: {error.args[0]!r} is missing in metrics.json or provenance.json; evaluate "
            "the run again with polyp evaluate"
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: metrics.json or provenance.json has an invalid value ({error})"
        ) from error


def _machine(training: dict[str, Any]) -> str:
    """The GPU, or the processor (which early versions did not record), system and threads."""
    processor = training.get("processor")
    return training.get("gpu") or ", ".join(filter(None, (processor, training["machine"])))


def _measured(
    scores: pd.DataFrame,
    sweep: pd.DataFrame,
    shifts: pd.DataFrame | None,
    test_set: str,
    curve: dict,
    path: Path,
) -> dict[str, Any]:
    """The scores, groups, consistency, turned_dice, losses, shifts and ceiling of a test set."""
    rows = scores[scores["test_set"] == test_set].set_index("image")
    turned = sweep[sweep["test_set"] == test_set].pivot(index="image", columns="angle")
    if set(turned.index) != set(rows.index) or turned["dice_truth"].isna().to_numpy().any():
        raise UserError(
            f"{path / 'equivariance.csv'}: does not have every test image at every angle"
        )
    moved = None
    if shifts is not None and test_set in set(shifts["test_set"]):
        of_set = shifts[shifts["test_set"] == test_set]
        moved = of_set.pivot(index="image", columns=["rows", "columns"], values="dice")
        if set(moved.index) != set(rows.index) or len(of_set) != moved.size:
            raise UserError(f"{path / 'shifts.csv'}: does not have every test image at every shift")
        moved = moved.loc[rows.index]
    ceiling = dict(zip(curve["angles"], curve["ceiling"], strict=True))
    angles = turned["dice"].columns
    return {
        "scores": rows.drop(columns=["test_set", "group"]),
        "groups": rows["group"],
        "consistency": turned["dice"].loc[rows.index],
        "turned_dice": turned["dice_truth"].loc[rows.index],
        "losses": {
            name: turned[column].loc[rows.index]
            for name, column in LOSSES.items()
            if column in turned.columns.get_level_values(0)
        },
        "shifts": moved,
        "ceiling": pd.Series([ceiling[angle] for angle in angles], angles, dtype=float),
    }
