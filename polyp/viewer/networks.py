"""The networks that the viewer shows, and the test images that they share."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
import torch
from torch import nn

from polyp.data import DataModule, Dataset
from polyp.errors import UserError
from polyp.evaluation import extremes
from polyp.models import collapse
from polyp.names import system_name
from polyp.runs.find import find_runs
from polyp.runs.folder import RunFolder
from polyp.runs.loading import (
    build,
    choose_device,
    load_identity,
    load_model,
    load_task,
    use_split,
)
from polyp.runs.test_sets import OWN, TestSet
from polyp.tasks import Task

# Of the networks' curves, unlike those of the masks. From Okabe and Ito (2008), and black.
COLOURS = ("#0072B2", "#CC79A7", "#009E73", "#E69F00", "#000000", "#8C6D31")


@dataclass(frozen=True)
class Geometry:
    """How images are prepared for a network: the keys of the same names in the data config."""

    image_size: int
    resize: str
    channels: int


@dataclass(frozen=True)
class Network:
    """A trained network with what its run measured on its test set.

    Attributes:
        name: what the page calls it.
        run: its folder.
        model: collapsed to ordinary convolutions, on `device`.
        task: what its logits mean.
        device: where it lies.
        dice: of each test image, by id.
        consistency: of each test image, the mean over the angles, by id; nan if undefined.
    """

    name: str
    run: RunFolder
    model: nn.Module
    task: Task
    device: torch.device
    dice: pd.Series
    consistency: pd.Series


def open_network(run: RunFolder, device: str) -> Network:
    """The network of a finished run.

    Raises:
        UserError: the run is not finished or damaged.
    """
    if not run.finished:
        raise UserError(f"runs={run}: the run is not finished")
    chosen = choose_device(run, device)
    scores: Any = run.scores()  # pandas' stubs take a column for almost anything
    sweep: Any = run.equivariance()
    turned = sweep[(sweep["test_set"] == OWN) & (sweep["angle"] % 360 != 0)]
    return Network(
        name=system_name(run.choices["model"], run.config.get("name")),
        run=run,
        model=collapse(load_model(run)).to(chosen),
        task=load_task(run),
        device=chosen,
        dice=scores[scores["test_set"] == OWN].set_index("image")["dice"],
        consistency=turned.groupby("image", sort=False)["dice"].mean(),
    )


def open_runs(patterns: str | Sequence[str]) -> list[RunFolder]:
    """The runs that `runs=` names, at most as many as there are COLOURS.

    Raises:
        UserError: there is none, or there are more.
    """
    runs = [RunFolder.open(run.path) for run in find_runs(patterns)]
    if len(runs) > len(COLOURS):
        raise UserError(f"runs={patterns}: {len(runs)} runs; at most {len(COLOURS)} fit a page")
    return runs


def shared_geometry(runs: Sequence[RunFolder]) -> Geometry:
    """How images are prepared for the networks of all the runs.

    Raises:
        UserError: one picture could not stand for what each of them sees.
    """
    first, geometry = runs[0], _geometry(runs[0])
    for other in runs[1:]:
        for field in fields(Geometry):
            here, there = (getattr(each, field.name) for each in (geometry, _geometry(other)))
            if here != there:
                raise UserError(
                    f"runs={first} and {other}: data.{field.name} differs, {here} and {there}; "
                    "make a page of each"
                )
    return geometry


def _geometry(run: RunFolder) -> Geometry:
    data = run.config.data
    return Geometry(data.image_size, data.resize, data.get("channels", 3))


def shared_test_set(runs: Sequence[RunFolder], root: str | None) -> TestSet:
    """The test images of all the runs.

    Args:
        root: the folder of the dataset; None: as in the first run.

    Raises:
        UserError: the runs were tested on different images, or have other classes; or the images
            are not there.
    """
    first = runs[0]
    classes, images = load_task(first).names, _test_images(first)
    for other in runs[1:]:
        same_ids = set(other.split()["test"]) == set(first.split()["test"])
        found = _test_images(other)
        if not same_ids or (None not in (images, found) and found != images):
            raise UserError(f"runs={first} and {other}: tested on different images")
        if (names := load_task(other).names) != classes:
            raise UserError(
                f"runs={first} and {other}: the classes differ, {classes} and {names}; "
                "make a page of each"
            )
    shared_geometry(runs)
    config = copy.deepcopy(first.config)
    use_split(config, first)
    config.data.augmentation = []  # of training images
    if root is not None:
        config.data.root = root
    data: DataModule = build(config, "data", (DataModule, Dataset))
    data.setup()
    return TestSet(OWN, data, "test")


def _test_images(run: RunFolder) -> dict[str, str] | None:
    """The digest of each test image, by id; None for runs of early versions."""
    identity = load_identity(run)
    return None if identity is None else identity["split"]["test"]


def choose_images(networks: Sequence[Network], asked: Sequence[str] | None) -> dict[str, str]:
    """Ids of the images to show, by label.

    Args:
        asked: ids; None: by the mean Dice over the networks the "best", "median" and "worst", and
            of the rest the "most inconsistent", the one with the lowest consistency of a network.

    Raises:
        UserError: an id is of no test image.
    """
    dice = pd.concat([network.dice for network in networks], axis=1).mean(axis=1)
    if asked is not None:
        if unknown := [image for image in asked if image not in dice.index]:
            raise UserError(f"images={unknown[0]}: no test image of these runs has this id")
        return {image: image for image in asked}
    chosen = extremes(dice)
    consistency = pd.concat([network.consistency for network in networks], axis=1).min(axis=1)
    rest = consistency.drop(list(chosen.values()), errors="ignore").dropna()
    if len(rest):
        chosen["most inconsistent"] = str(rest.idxmin())
    return chosen
