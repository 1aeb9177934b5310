"""Shift consistency of networks whose equivariance under shifts is known."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from polyp.evaluation import evaluate
from polyp.evaluation.metrics import Dice
from polyp.evaluation.shifts import Shifts, sampled_shifts, shift_batch
from polyp.geometry import shift
from polyp.tasks import Binary
from tests.evaluation.helpers import Pointwise, blobs


class Pooling(nn.Module):
    """Finds red, four times as coarse as the image."""

    def forward(self, image):
        return functional.interpolate(functional.max_pool2d(image[:, :1] - 0.5, 4), scale_factor=4)


def measured(model: nn.Module, shifts, stride: int = 4) -> np.ndarray:
    with torch.inference_mode():
        return shift_batch(model, Binary(), blobs(3), stride, shifts).dice[..., 0]


def test_a_pointwise_network_moves_with_the_image():
    dice = measured(Pointwise(), [(1, 0), (0, -3), (2, 2), (4, 4), (0.5, 0.5)])
    assert (dice[:, :4] == 1).all()
    assert (dice[:, 4] > 0.95).all()  # interpolated, masks and image


def test_pooling_is_aligned_at_the_stride_alone():
    dice = measured(Pooling(), [(1, 0), (-2, 2), (4, 0), (-4, 4)])
    assert (dice[:, :2] < 0.95).all()
    assert (dice[:, 2:] == 1).all()


def test_a_shift_by_hand():
    batch = blobs(1)
    with torch.inference_mode():
        (dice,) = shift_batch(Pooling(), Binary(), batch, 4, [(1, 0)]).dice[0, 0]
    canvas = functional.pad(batch["image"], [8] * 4)
    valid = functional.pad(batch["valid"], [8] * 4)
    moved = canvas.roll(1, dims=2)  # nothing wraps: the margin is black
    one, other = (Pooling()(each) > 0 for each in (canvas, moved))
    one, region = one.roll(1, dims=2), valid.roll(1, dims=2)
    both = (one & other & region).sum()
    assert dice == 2 * both / ((one & region).sum() + (other & region).sum())


def test_nothing_found_says_nothing():
    assert np.isnan(
        measured(nn.Conv2d(3, 1, 1).requires_grad_(False).apply(_negative), [(1, 0)])
    ).all()


def _negative(module):
    nn.init.zeros_(module.weight)
    nn.init.constant_(module.bias, -1.0)


def test_summary():
    shifts = [(1.0, 0.0), (-5.0, 11.0), (0.5, 0.5), (16.0, 16.0)]
    dice = np.array([[0.9, 0.8, 0.7, 1.0], [0.7, 0.6, np.nan, 0.98]])[..., None]
    summary = Shifts(["a", "b"], shifts, 16, dice).summary()
    assert summary["one_pixel"] == pytest.approx(0.8)
    assert summary["half_pixel"] == pytest.approx(0.7)
    assert summary["control"] == pytest.approx(0.99)
    assert summary["mean"] == pytest.approx((np.mean([0.9, 0.8, 0.7]) + np.mean([0.7, 0.6])) / 2)
    assert summary["images"] == 2
    assert summary["curve"]["shifts"] == [list(each) for each in shifts]
    assert summary["curve"]["dice"] == pytest.approx([0.8, 0.7, 0.7, 0.99])


def test_images_outside_the_sample_are_not_measured():
    batch = blobs(4, seed=1)
    model, shifts = Pooling(), sampled_shifts(4)
    every = shift_batch(model, Binary(), batch, 4, shifts)
    some = shift_batch(model, Binary(), batch, 4, shifts, [1, 3])
    assert some.ids == every.ids
    assert np.array_equal(some.dice[[1, 3]], every.dice[[1, 3]])
    assert np.isnan(some.dice[[0, 2]]).all()
    assert (some.summary()["images"], every.summary()["images"]) == (2, 4)
    assert some.summary()["mean"] == pytest.approx(some.dice[[1, 3], :-1].mean())
    none = shift_batch(model, Binary(), batch, 4, shifts, []).summary()
    assert (none["images"], none["mean"], none["curve"]["dice"]) == (0, None, [None] * 4)


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
def test_sampled_shifts_lie_within_the_stride(stride):
    shifts = sampled_shifts(stride)
    assert (1.0, 0.0) in shifts
    assert shifts[-1] == (stride, stride)
    assert max(abs(pixels) for each in shifts for pixels in each) <= stride


def test_an_evaluation_measures_and_writes_them():
    batches = [blobs(2, seed=1), blobs(1, seed=2)]
    found = evaluate(Pooling(), Binary(), batches, {"dice": Dice()}, [90], "cpu", stride=4)
    table = found.shift_table()
    assert len(table) == 3 * len(sampled_shifts(4))
    assert list(table)[-3:] == ["rows", "columns", "dice"]
    assert list(table["dice"]) == found.shifts.dice.reshape(-1).tolist()
    assert found.summary()["shift"] == found.shifts.summary()
    without = evaluate(Pooling(), Binary(), batches, {"dice": Dice()}, [90], "cpu")
    assert without.shift_table() is None
    assert "shift" not in without.summary()


def test_shifting_maps():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    assert torch.equal(
        shift(x, 1, -2)[0, 0], torch.tensor([[0, 0, 0, 0], [2, 3, 0, 0], [6, 7, 0, 0]])
    )
    assert torch.equal(shift(x, 0, 0), x)
    half = shift(x, 0, 0.5, "bilinear")[0, 0]
    assert half[1].tolist() == pytest.approx([2.0, 4.5, 5.5, 6.5])
