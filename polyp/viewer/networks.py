"""The networks that the viewer shows, and the test images that they share."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn

from polyp.data import DataModule, Dataset
from polyp.errors import UserError
from polyp.evaluation import extremes
from polyp.models import collapse
from polyp.names import system_name
from polyp.runs.folder import RunFolder
from polyp.runs.loading import build, choose_device, load_model, load_task, use_split
from polyp.runs.test_sets import GEOMETRY, OWN, TestSet
from polyp.tasks import Task

# What the networks must share, or one picture could not stand for what each of them sees.
SHARED = [key for key in GEOMETRY if key not in ("batch_size", "cache")]


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


def shared_test_set(runs: Sequence[RunFolder], root: str | None) -> TestSet:
    """The test images of all the runs.

    Args:
        root: the folder of the dataset; None: as in the first run.

    Raises:
        UserError: the runs were tested on different images, or those are not there.
    """
    first = runs[0]
    for other in runs[1:]:
        if set(other.split()["test"]) != set(first.split()["test"]):
            raise UserError(f"runs={first} and {other}: tested on different images")
        for key in SHARED:
            here, there = (run.config.data.get(key) for run in (first, other))
            if here != there:
                raise UserError(
                    f"runs={first} and {other}: data.{key} differs, {here} and {there}; "
                    "make a page of each"
                )
    config = copy.deepcopy(first.config)
    use_split(config, first)
    config.data.augmentation = []  # of training images
    if root is not None:
        config.data.root = root
    data: DataModule = build(config, "data", (DataModule, Dataset))
    data.setup()
    return TestSet(OWN, data, "test")


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
