"""Measuring the equivariance of a network that knows nothing of this project."""

import numpy as np
import pytest
import torch
from torch import nn

import polyp.evaluation
from polyp.evaluation import equivariance
from polyp.tasks import Multiclass
from tests.evaluation.helpers import Pointwise, Shifted, blobs

ANGLES = [0, 45, 90]


def test_arrays_in_a_table_and_a_figure_out():
    batch = blobs(5)
    images, masks = batch["image"].numpy(), batch["mask"][:, 0].numpy()
    result = polyp.evaluation.equivariance(Shifted(), images, masks, ANGLES, batch_size=2)
    table = result.table()
    assert list(table) == ["angle", "consistency", "std", "logit_error", "dice_on_turned"]
    assert list(table["angle"]) == ANGLES
    assert table["consistency"][0] == 1 > 0.9 > table["consistency"][1]
    summary = result.summary()
    assert summary["off_grid"] == pytest.approx(table["consistency"][1])
    assert summary["dice_truth"] == pytest.approx(table["dice_on_turned"][1])
    figure = result.plot("shifted")
    assert figure.axes[0].get_title(loc="left") == "shifted"


def test_without_truth_nothing_is_said_of_it():
    result = equivariance(Pointwise(), blobs(2)["image"], angles=ANGLES)
    assert "dice_on_turned" not in result.table()
    assert not {"dice_truth", "ceiling", "parts"} & result.summary().keys()
    assert result.summary()["mean"] > 0.95


def test_shifts_and_several_classes():
    network = nn.Conv2d(1, 3, 3, padding=1)
    task = Multiclass(["background", "a", "b"])
    images = np.random.default_rng(0).random((3, 1, 32, 32))
    result = equivariance(network, images, angles=[90], task=task, stride=8)
    assert result.sweep.classes == ["a", "b"]
    assert result.summary()["shift"]["control"] == 1
    assert network.training


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (np.zeros((2, 3, 8, 9)), None, r"\[2, 3, 8, 9\]"),
        (np.zeros((3, 8, 8)), None, r"\[3, 8, 8\]"),
        (np.zeros((0, 3, 8, 8)), None, "at least 1"),
        (np.zeros((2, 3, 8, 8)), np.zeros((2, 9, 9)), r"got \[2, 9, 9\]"),
    ],
)
def test_refused_arrays(images, masks, message):
    with pytest.raises(ValueError, match=message):
        equivariance(Pointwise(), images, masks)


def test_agrees_with_the_sweep_of_a_run():
    batch = blobs(4)
    alone = equivariance(Shifted(), batch["image"], batch["mask"][:, 0], ANGLES).sweep
    del batch["valid"]
    swept = polyp.evaluation.rotation_sweep(Shifted(), [batch], ANGLES, "cpu")
    assert np.array_equal(alone.dice, swept.dice)
    assert torch.tensor(alone.logit_error).equal(torch.tensor(swept.logit_error))
