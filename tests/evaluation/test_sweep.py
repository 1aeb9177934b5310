"""The rotation sweep of models whose equivariance is known."""

import numpy as np
import pytest
import torch
from torch import nn

from polyp.errors import UserError
from polyp.evaluation import Sweep, check_angles, rotation_sweep
from polyp.geometry import disc
from polyp.tasks import Multiclass
from tests.evaluation.helpers import Pointwise, Shifted, blobs

ANGLES = [0, 30, 45, 90, 180, 222.5, 270]


@pytest.fixture(scope="module")
def batches():
    return [blobs(4, seed=1), blobs(3, seed=2)]


def test_an_equivariant_model_loses_only_what_interpolation_takes(batches):
    sweep = rotation_sweep(Pointwise(), batches, ANGLES, "cpu")
    assert sweep.dice.shape == sweep.dice_truth.shape == sweep.masks.shape == (7, len(ANGLES), 1)
    quarter = np.array(sweep.angles) % 90 == 0
    for values in (sweep.dice, sweep.dice_truth, sweep.masks):
        assert (values[:, quarter] == 1).all()
        assert (values[:, ~quarter] > 0.95).all()
    assert sweep.summary()["mean"] == pytest.approx(sweep.summary()["ceiling"], abs=0.01)


def test_a_model_that_is_not_equivariant_scores_lower(batches):
    sweep = rotation_sweep(Shifted(), batches, ANGLES, "cpu")
    curve = sweep.curve()
    assert curve["dice"][0] == 1
    assert max(curve["dice"][1:]) < 0.9
    assert max(curve["dice_truth"]) < 0.9
    assert min(curve["ceiling"]) > 0.95


def test_values_of_one_image_at_90_degrees_by_hand():
    batch = blobs(1)
    noise = torch.rand(2, 1, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    batch["image"][:, :1], batch["mask"] = (
        noise[0],
        (noise[1] > 0.5).byte(),
    )  # so that every pixel matters
    sweep = rotation_sweep(Shifted(), [batch], [90], "cpu")

    size, middle = 48, 23.5
    red = batch["image"][0, 0].numpy()
    truth, valid = batch["mask"][0, 0].bool().numpy(), batch["valid"][0, 0].numpy()

    def turn(picture):  # a quarter turn counter-clockwise: right goes up, up goes left
        return np.array([[picture[i][size - 1 - j] for i in range(size)] for j in range(size)])

    def model(picture):
        return np.array([[row[(j - 6) % size] > 0.5 for j in range(size)] for row in picture])

    rotated, found, turned_truth = turn(model(red)), model(turn(red)), turn(truth)
    region = turn(valid)
    for i in range(size):
        for j in range(size):
            region[i][j] &= (i - middle) ** 2 + (j - middle) ** 2 <= (size / 2) ** 2

    def dice(a, b):
        return 2 * (a & b & region).sum() / ((a & region).sum() + (b & region).sum())

    assert sweep.dice[0, 0, 0] == dice(rotated, found) < 0.9
    assert sweep.dice_truth[0, 0, 0] == dice(found, turned_truth)


@pytest.mark.parametrize("angles", [[0, 360], [90, 450], [45, 45], [-90, 270], [0, float("nan")]])
def test_a_rotation_counts_once(angles):
    with pytest.raises(UserError, match="angles"):
        check_angles(angles)


@pytest.mark.parametrize(("angles", "passes"), [(ANGLES, 7), ([90, 45], 3), ([0, 90], 2)])
def test_forward_passes(batches, angles, passes):
    model = Pointwise()
    rotation_sweep(model, batches, angles, "cpu")
    assert model.images == 7 * passes


def test_padding_never_counts():
    class MarksPadding(Pointwise):
        """Calls the upper padding polyp, however the image is turned."""

        def forward(self, image):
            logits = super().forward(image)
            logits[:, :, :6] = 1
            return logits

    batch = blobs(3)
    sweep = rotation_sweep(MarksPadding(), [batch], [180], "cpu")
    assert (sweep.dice == 1).all()
    assert (sweep.dice_truth == 1).all()
    del batch["valid"]
    sweep = rotation_sweep(MarksPadding(), [batch], [180], "cpu")
    assert (sweep.dice < 1).all()


def test_empty_masks_say_nothing():
    batch = {
        "image": torch.zeros(1, 3, 16, 16),
        "mask": torch.zeros(1, 1, 16, 16).bool(),
        "id": ["a"],
    }
    sweep = rotation_sweep(Pointwise(), [batch], [0, 30], "cpu")
    assert np.isnan(sweep.dice).all()
    assert np.isnan(sweep.masks).all()
    summary = sweep.summary()
    assert (summary["ceiling"], summary["curve"]["ceiling"]) == (None, [None, None])
    assert (summary["mean"], summary["min"], summary["off_grid"]) == (None, None, None)
    assert summary["undefined"] == 1
    assert summary["curve"]["dice"] == [None, None]


def test_full_masks_say_nothing():
    class Everything(nn.Module):
        def forward(self, image):
            return torch.ones_like(image[:, :1])

    batch = blobs(2)
    sweep = rotation_sweep(Everything(), [batch], [30, 90], "cpu")
    assert np.isnan(sweep.dice).all()


def test_undefined_images_are_counted_and_not_averaged():
    dice = np.array([[1.0, 0.5], [np.nan, np.nan]])[..., None]
    sweep = swept(["a", "b"], [90.0, 45.0], dice)
    summary = sweep.summary()
    assert summary["mean"] == 0.75
    assert (summary["off_grid"], summary["undefined"]) == (0.5, 0.5)


def swept(ids, angles, dice, classes=("polyp",), **other) -> Sweep:
    """A sweep of given consistency, with ones for the rest."""
    ones = np.ones_like(dice)
    fields = {
        "dice_truth": ones,
        "masks": ones,
        "logit_error": ones[..., 0] * 0,
        "part_angles": [],
        "image": ones[:, :0],
        "corners": ones[:, :0],
    }
    return Sweep(ids=ids, classes=list(classes), angles=angles, dice=dice, **{**fields, **other})


@pytest.mark.parametrize("training", [True, False])
def test_every_module_keeps_its_mode(batches, training):
    class Recording(Pointwise):
        def __init__(self):
            super().__init__()
            self.frozen = nn.Dropout()

        def forward(self, image):
            assert not self.training
            assert not torch.is_grad_enabled()
            return super().forward(image)

    model = Recording().train(training)
    model.frozen.eval()
    rotation_sweep(model, batches, [90], "cpu")
    assert model.training == training
    assert not model.frozen.training


def test_the_mode_is_kept_when_the_model_fails(batches):
    class Failing(nn.Module):
        def forward(self, image):
            raise ValueError("size 48 is impossible")

    model = Failing()
    with pytest.raises(ValueError, match="impossible"):
        rotation_sweep(model, batches, [90], "cpu")
    assert model.training


def test_weights_that_a_layer_expands_on_eval_are_ordinary_tensors(batches):
    class Expanding(Pointwise):
        """Like e2cnn's layers: .eval() computes the filter from the weight and keeps it."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def train(self, mode=True):
            if not mode:
                self.filter = 2 * self.weight
            return super().train(mode)

        def forward(self, image):
            assert not self.filter.is_inference()
            assert not self.filter.requires_grad
            return super().forward(image) * self.filter

    rotation_sweep(Expanding(), batches, [90], "cpu")


def test_summary():
    dice = np.array([[1.0, 0.5, 0.25], [1.0, 0.75, 0.5]])[..., None]
    error = np.array([[0.0, 0.0, 0.2], [0.0, 0.0, 0.4]])
    sweep = swept(["a", "b"], [0.0, 90.0, 10.5], dice, dice_truth=dice / 2, logit_error=error)
    assert sweep.summary() == {
        "mean": 0.5,
        "min": 0.375,
        "at_90": 0.625,
        "off_grid": 0.375,
        "ceiling": 1.0,
        "dice_truth": 0.1875,
        "logit_error": pytest.approx(0.3),
        "undefined": 0.0,
        "parts": None,
        "curve": {
            "angles": [0.0, 90.0, 10.5],
            "dice": [1.0, 0.625, 0.375],
            "dice_truth": [0.5, 0.3125, 0.1875],
            "ceiling": [1.0, 1.0, 1.0],
            "logit_error": pytest.approx([0.0, 0.0, 0.3]),
        },
    }
    lone = swept(["a"], [180.0], np.ones((1, 1, 1))).summary()
    assert (lone["at_90"], lone["off_grid"], lone["dice_truth"]) == (None, None, None)


def test_summary_of_several_classes():
    dice = np.array([[[1.0, 1.0], [0.5, 0.7]], [[1.0, 1.0], [0.3, 0.9]]])
    summary = swept(["a", "b"], [0.0, 45.0], dice, ["polyp", "tool"]).summary()
    assert summary["mean"] == summary["min"] == pytest.approx(0.6)
    assert summary["by_class"]["polyp"] == {
        "mean": 0.4,
        "min": 0.4,
        "at_90": None,
        "off_grid": 0.4,
    }
    assert summary["by_class"]["tool"]["mean"] == pytest.approx(0.8)
    assert summary["curve"]["dice"] == pytest.approx([1.0, 0.6])


def test_the_parts_of_what_is_lost():
    """Only angles off the grid count, and the network is accused of the rest."""
    angles, part_angles = [90.0, 30.0, 45.0], [30.0, 90.0]
    dice = np.array([[0.9, 0.8, 0.1]])[..., None]
    sweep = swept(
        ["a"],
        angles,
        dice,
        masks=np.array([[1.0, 0.98, 0.5]])[..., None],
        part_angles=part_angles,
        image=np.array([[0.97, 0.2]])[..., None],
        corners=np.array([[0.96, 0.2]])[..., None],
    )
    assert sweep.parts() == {
        "masks": 0.98,
        "image": 0.97,
        "corners": 0.96,
        "network": pytest.approx(0.8 + 0.02 + 0.03),
    }
    assert swept(["a"], [90.0], np.ones((1, 1, 1)), part_angles=[90.0]).parts() is None


def test_an_equivariant_network_is_accused_of_nothing(batches):
    sweep = rotation_sweep(Pointwise(), batches, [0, 30, 45], "cpu", part_angles=[30, 45])
    parts = sweep.parts()
    assert min(parts["masks"], parts["image"]) > 0.95
    assert parts["corners"] == 1  # it sees no corner from within the disc
    assert parts["network"] == pytest.approx(1, abs=0.01)
    moved = rotation_sweep(Shifted(), batches, [0, 30, 45], "cpu", part_angles=[30, 45]).parts()
    assert moved["network"] < 0.9


def test_a_loss_by_the_corners_is_not_the_networks():
    """Its masks depend on the mean of the frame, and so on corners outside of the disc."""

    class SeesTheFrame(nn.Module):
        def forward(self, image):
            return 8 * (image[:, :1] - image.mean(dim=(1, 2, 3), keepdim=True))

    batch = blobs(4)
    side = torch.arange(batch["image"].shape[-1]) - (batch["image"].shape[-1] - 1) / 2
    outside = torch.hypot(side[:, None], side) > len(side) / 2 - 1
    batch["image"] = nn.functional.avg_pool2d(batch["image"], 9, 1, 4) + 0.6 * outside
    batch["valid"][:] = True
    sweep = rotation_sweep(SeesTheFrame(), [batch], [45], "cpu", part_angles=[45])
    parts = sweep.parts()
    assert parts["corners"] < 0.9
    assert parts["image"] == pytest.approx(parts["corners"], abs=0.03)
    assert parts["network"] == pytest.approx(1, abs=0.03)


def test_corners_are_taken_from_the_image_alone():
    """A network that looks at a corner, and paints the disc by what it sees there."""

    class LooksAtTheCorner(nn.Module):
        def forward(self, image):
            corner = image[:, :1, :2, :2].mean(dim=(2, 3), keepdim=True)
            logits = torch.full_like(image[:, :1], -1.0)
            logits[..., 20:28, 20:28] = 1
            logits[..., 10:20, 20:28] = 2 * (corner - 0.25)
            return logits

    batch = blobs(1)
    batch["image"][:, :, :4, :4] = 1
    batch["valid"][:] = True
    sweep = rotation_sweep(LooksAtTheCorner(), [batch], [45], "cpu", part_angles=[45])
    expected = 2 * 64 / (64 + 144)
    assert sweep.corners.item() == pytest.approx(expected)
    assert sweep.image.item() == pytest.approx(expected)  # turning there and back loses it too


def test_logit_error_of_one_image_by_hand(batches):
    batch = blobs(1)
    model = Shifted()
    sweep = rotation_sweep(model, [batch], [90], "cpu")
    one = torch.rot90(model(batch["image"]), 1, (2, 3))
    other = model(torch.rot90(batch["image"], 1, (2, 3)))
    region = disc(48) & torch.rot90(batch["valid"], 1, (2, 3))
    expected = (one - other)[region].norm() / other[region].norm()
    assert sweep.logit_error.item() == pytest.approx(expected.item(), rel=1e-5)


def test_classes_are_measured_apart():
    """A network that finds one class equivariantly, and moves the other."""

    class TwoClasses(nn.Module):
        def forward(self, image):
            first, second = Pointwise()(image), Shifted()(image.flip(2))
            return torch.cat([torch.zeros_like(first), first, second - 2 * (first > 0)], dim=1)

    batch = blobs(3)
    task = Multiclass(["background", "polyp", "tool"])
    sweep = rotation_sweep(TwoClasses(), [batch], [90, 180], "cpu", task)
    assert sweep.classes == ["polyp", "tool"]
    assert (sweep.dice[..., 0] == 1).all()
    assert sweep.dice[..., 1].mean() < 0.9


def test_a_class_that_is_absent_does_not_raise_the_upper_bound():
    batch = blobs(4)
    alone = rotation_sweep(Pointwise(), [batch], [45], "cpu", part_angles=[45]).summary()

    class Polyp(nn.Module):
        def forward(self, image):
            polyp = Pointwise()(image)
            return torch.cat([torch.zeros_like(polyp), polyp, polyp - 99], dim=1)

    task = Multiclass(["background", "polyp", "tool"])
    summary = rotation_sweep(Polyp(), [batch], [45], "cpu", task, part_angles=[45]).summary()
    assert alone["ceiling"] < 1
    assert summary["ceiling"] == alone["ceiling"]
    assert summary["parts"] == alone["parts"]


def test_angles_without_a_rotation_and_empty_sets_are_refused(batches):
    with pytest.raises(UserError, match=r"\[0.0, 360.0\]"):
        rotation_sweep(Pointwise(), batches, [0, 360], "cpu")
    with pytest.raises(UserError, match="empty"):
        rotation_sweep(Pointwise(), [], [90], "cpu")
