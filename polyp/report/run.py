"""One finished run, as its folder tells of it (outputs/README.md says what that holds)."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import OmegaConf

from polyp.errors import UserError
from polyp.runs.record import CONFIG, flat

METRICS = "metrics.json"


@dataclass(frozen=True)
class Run:
    """What a comparison needs of a run.

    images: ids of the test images. dice, iou, polyp_area: float64 [images], from scores.csv.
    angles: of the rotation sweep, in degrees, ascending. consistency: float64 [images, angles], the
    Dice of the rotated mask and the mask of the rotated image. turned_dice: float64 [images,
    angles], the Dice of the mask of the rotated image and the rotated truth. ceiling: float64
    [angles], the mean consistency over the images that a perfectly equivariant network would have.
    data: it was tested on; trained_on: another dataset, None if it is the same.
    config: as composed, flat ("model.layers.kernel_size": 3), interpolations unresolved.
    split: "random", "sequence" or "file". parts: image ids of "train" and "val".
    multiply_adds: None in runs of early versions. machine: where it was trained.
    """

    folder: Path
    model: str
    data: str
    trained_on: str | None
    augmentation: str
    split: str
    seed: int
    image_size: int
    parameters: int
    multiply_adds: int | None
    config: dict[str, Any]
    parts: dict[str, list[str]]
    images: list[str]
    dice: np.ndarray
    iou: np.ndarray
    polyp_area: np.ndarray
    angles: list[float]
    consistency: np.ndarray
    turned_dice: np.ndarray
    ceiling: np.ndarray
    training_seconds: float
    machine: str
    commit: str | None
    started: str

    def select(self, images: Sequence[str], angles: Sequence[float]) -> "Run":
        """The same run with these of its images and angles, in this order."""
        rows = [self.images.index(image) for image in images]
        columns = [self.angles.index(angle) for angle in angles]
        return replace(
            self,
            images=list(images),
            dice=self.dice[rows],
            iou=self.iou[rows],
            polyp_area=self.polyp_area[rows],
            angles=list(angles),
            consistency=self.consistency[np.ix_(rows, columns)],
            turned_dice=self.turned_dice[np.ix_(rows, columns)],
            ceiling=self.ceiling[columns],
        )


def read_run(folder: Path) -> Run:
    """Reads a run folder, or what scripts/evaluate.py leaves of a run.

    An evaluation says how it was tested, and the run that it names how it was trained. Raises
    UserError, which names the file, where something is missing or not as it should be.
    """
    if not (folder / METRICS).exists():
        raise UserError(f"{folder}: unfinished, it has no {METRICS}")
    metrics, training = (_read_json(folder / name) for name in (METRICS, "provenance.json"))
    images = _read_split(folder)["test"]
    trained = folder
    if "run" in training:
        trained = Path(training["run"])
        training = {
            **_read_json(trained / "provenance.json"),
            "started": training.get("started", ""),
        }
    parts = _read_split(trained)
    scores = _read_scores(folder / "scores.csv", images)
    angles, consistency, turned_dice = _read_sweep(folder / "equivariance.csv", images)
    try:
        curve = metrics["equivariance"]["curve"]
        ceiling = dict(zip(curve["angles"], curve["ceiling"], strict=True))
        return Run(
            folder=folder,
            **{name: str(metrics[name]) for name in ("model", "data", "augmentation", "split")},
            **{name: int(metrics[name]) for name in ("seed", "image_size", "parameters")},
            trained_on=metrics.get("trained_on"),
            multiply_adds=metrics.get("multiply_adds"),
            config=flat(_read_config(trained / CONFIG)),
            parts={part: parts[part] for part in ("train", "val")},
            images=images,
            **scores,
            angles=angles,
            consistency=consistency,
            turned_dice=turned_dice,
            ceiling=np.array([ceiling[angle] for angle in angles], dtype=float),
            training_seconds=float(training["training_seconds"]),
            machine=training.get("gpu") or training["machine"],
            commit=training.get("commit"),
            started=training["started"],
        )
    except KeyError as error:
        raise UserError(
            f"{folder}: {METRICS} or provenance.json lacks {error.args[0]!r}; scripts/evaluate.py "
            "evaluates a run again"
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: {METRICS} or provenance.json holds what it should not ({error})"
        ) from error


def _read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value


def _read_split(folder: Path) -> dict[str, list[str]]:
    path = folder / "split.json"
    split = _read_json(path)
    try:
        return {part: [str(id) for id in split[part]] for part in ("train", "val", "test")}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: not lists of train, val and test ids") from error


def _read_config(path: Path) -> dict:
    try:
        config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({reason})") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a config")
    return config


def _read_scores(path: Path, images: list[str]) -> dict[str, np.ndarray]:
    """{"dice", "iou", "polyp_area"}, each float64 [images]."""
    columns = ("dice", "iou", "polyp_area")
    rows = {}
    for image, *values in _read_csv(path, ("image", *columns)):
        if image in rows:
            raise UserError(f"{path}: has image {image!r} twice")
        rows[image] = _numbers(path, values)
    if rows.keys() != set(images):
        raise UserError(f"{path}: holds other images than the test set of split.json")
    return dict(zip(columns, np.array([rows[image] for image in images]).T, strict=True))


def _read_sweep(path: Path, images: list[str]) -> tuple[list[float], np.ndarray, np.ndarray]:
    """The angles, ascending, the consistency and the Dice on turned images [images, angles]."""
    found = {}
    for image, *values in _read_csv(path, ("image", "angle", "dice", "dice_truth")):
        angle, *scores = _numbers(path, values)
        found[image, angle] = scores
    angles = sorted({angle for _, angle in found})
    if found.keys() != {(image, angle) for image in images for angle in angles}:
        raise UserError(f"{path}: does not hold every test image of split.json at every angle")
    sweep = np.array([[found[image, angle] for angle in angles] for image in images])
    return angles, sweep[..., 0], sweep[..., 1]


def _read_csv(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """The values of these columns, a list a row."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in columns if name not in (reader.fieldnames or ())]
            if lacking:
                raise UserError(f"{path}: lacks the column {', '.join(lacking)}")
            rows = [[row[name] for name in columns] for row in reader]
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if not rows:
        raise UserError(f"{path}: holds no rows")
    return rows


def _numbers(path: Path, values: list[str]) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError) as error:  # TypeError: a row that ends early
        raise UserError(f"{path}: {values} are not all numbers") from error
    if not np.isfinite(numbers).all():
        raise UserError(f"{path}: {values} are not all finite")
    return numbers
