"""What a predictor says of one image: masks at its size, probabilities, and honest agreement."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from polyp.data import PairedFolders
from polyp.data.prepared import prepare
from polyp.deploy.network import Trained
from polyp.deploy.predictor import Prediction, Predictor, labels
from polyp.errors import UserError
from polyp.evaluation import rotation_sweep
from polyp.tasks import Binary, Multiclass, Task

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Logits that are positive where an image is brighter than ½."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 20 * (image.mean(dim=1, keepdim=True) - 0.5)


class UpperHalf(nn.Module):
    """Finds the upper half of whatever it is shown: as far from equivariant as can be."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.full_like(image[:, :1], -5.0)
        logits[:, :, : image.shape[2] // 2] = 5
        return logits


class Colours(nn.Module):
    """Class 1 where an image is red, class 2 where it is green, else background."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 20 * torch.cat([torch.full_like(image[:, :1], 0.5), image[:, :2]], dim=1)


class Constant(nn.Module):
    """The same logit everywhere."""

    def __init__(self, logit: float):
        super().__init__()
        self.logit = logit

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.full_like(image[:, :1], self.logit)


def predictor(
    model: nn.Module,
    angles=(),
    size: int = 64,
    resize: str = "pad",
    task: Task | None = None,
    channels: int = 3,
    threshold: float | None = None,
) -> Predictor:
    trained = Trained(model.eval(), task or Binary(), size, resize, channels)
    return Predictor(trained, angles, CPU, threshold=threshold)


def white_disc(height: int, width: int, row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.repeat((np.hypot(y - row, x - column) < radius)[..., None], 3, 2) * np.uint8(255)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(300, 400), (401, 200), (40, 50)])
def test_the_mask_lies_on_the_polyp_at_the_original_size(height, width, resize):
    radius = 0.2 * min(height, width)
    pixels = white_disc(height, width, 0.55 * height, 0.45 * width, radius)
    found = predictor(Brightness(), resize=resize)(pixels)
    assert found.labels.shape == (height, width)
    truth = pixels[..., 0] > 0
    assert overlap(found.masks[0], truth) > 0.96
    measures = found.overall()
    assert measures.area == pytest.approx(truth.mean(), rel=0.05)
    assert 0.9 < measures.confidence <= 1  # less than 1 at the edge alone
    assert measures.agreement is None
    assert found.by_class() == [measures]


def test_several_classes():
    pixels = white_disc(60, 80, 30, 20, 12) * np.array([1, 0, 0], np.uint8)
    pixels += white_disc(60, 80, 30, 60, 15) * np.array([0, 1, 0], np.uint8)
    task = Multiclass(["background", "red", "green"])
    found = predictor(Colours(), [45, 90], task=task)(pixels)
    assert found.labels.dtype == np.uint8
    for index in (0, 1):
        assert overlap(found.masks[index], pixels[..., index] > 0) > 0.95
    red, green = found.by_class()
    assert red.area + green.area == pytest.approx(found.overall().area)
    assert 0.9 < red.confidence < 1
    pixels_of_each = np.array([red.area, green.area])
    expected = (pixels_of_each * [red.confidence, green.confidence]).sum() / pixels_of_each.sum()
    assert found.overall().confidence == pytest.approx(expected)
    assert min(red.agreement, green.agreement) > 0.95
    assert found.overall().agreement == pytest.approx((red.agreement + green.agreement) / 2)


def test_a_class_that_is_nowhere_has_no_agreement_and_does_not_raise_the_mean():
    pixels = white_disc(60, 80, 30, 40, 12) * np.array([1, 0, 0], np.uint8)
    task = Multiclass(["background", "red", "green"])
    found = predictor(Colours(), [45], task=task)(pixels)
    red, green = found.by_class()
    assert green == (0, None, None)
    assert found.overall() == red


def test_masks_and_agreement_of_a_task_are_those_of_the_rotation_sweep():
    torch.manual_seed(0)
    task, model = Multiclass(["background", "a", "b"]), nn.Conv2d(3, 3, 5, padding=2)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = predictor(model, [30, 90], size=32, task=task)(pixels)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    batch = {"image": image, "mask": torch.zeros(1, 1, 32, 32, dtype=torch.uint8), "id": ["a"]}
    sweep = rotation_sweep(model, [batch], [30, 90], "cpu", task)
    expected = sweep.dice.mean(axis=1)[0]
    assert [m.agreement for m in found.by_class()] == pytest.approx(expected.tolist())
    with torch.no_grad():
        assert (found.masks == task.masks(model(image))[0].numpy()).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_a_network_sees_what_it_saw_in_training(tmp_path, channels, resize):
    seen = []

    class Spy(Brightness):
        def forward(self, image):
            seen.append(image)
            return super().forward(image)

    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    Image.fromarray(white_disc(50, 70, 25, 35, 9)).save(tmp_path / "masks" / "a.png")
    dataset = PairedFolders(str(tmp_path), "images", "masks")
    trained_on = prepare(dataset, 32, resize, None, channels).images[0]
    predictor(Spy(), size=32, resize=resize, channels=channels)(pixels)
    expected = torch.tensor(trained_on).permute(2, 0, 1)[None] / 255
    assert torch.equal(seen[0], expected)


# --- agreement


def test_agreement_tells_a_mask_that_turns_from_one_that_does_not():
    pixels = white_disc(60, 80, 30, 40, 15)

    def agreement(model, angles):
        return predictor(model, angles)(pixels).overall().agreement

    assert agreement(Brightness(), [45, 90, 180, 270]) > 0.97
    assert agreement(UpperHalf(), [180]) < 0.01
    at_90 = agreement(UpperHalf(), [90])  # half of each lies in the other
    assert at_90 == pytest.approx(0.5, abs=0.01)
    assert agreement(UpperHalf(), [90, 180]) == pytest.approx(at_90 / 2)


@pytest.mark.parametrize("shape", [(30, 40), (1, 1), (1, 50), (2, 1)])
@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("grey", [0, 255])
def test_an_image_of_one_colour_has_no_agreement(shape, resize, grey):
    pixels = np.full((*shape, 3), grey, np.uint8)
    for model in (Brightness(), UpperHalf(), Constant(1)):
        found = predictor(model, [45, 90], resize=resize)(pixels)
        assert found.labels.shape == shape
        assert found.overall().agreement is None


@pytest.mark.parametrize(("logit", "area"), [(-1.0, 0), (1.0, 1)])
def test_nothing_and_polyp_everywhere_have_no_agreement(logit, area):
    found = predictor(Constant(logit), [45, 90, 180])(white_disc(30, 40, 15, 20, 9)).overall()
    assert (found.area, found.agreement) == (area, None)
    assert (found.confidence is None) == (area == 0)


def test_angles_at_which_nothing_is_found_do_not_raise_the_agreement():
    class OnlyAbove(nn.Module):
        """Finds the bright half, but only where that is the upper one."""

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            upper, lower = (half.mean(dim=(1, 2, 3)) for half in image.chunk(2, dim=2))
            above = (upper > lower + 0.5)[:, None, None, None]
            return torch.where(above, image[:, :1] - 0.5, -1.0)

    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[16:] = 255
    # Found in none of the first three, and at 180° alone: there only one of the masks is empty.
    angles = [90, 270, 360, 180]
    assert predictor(OnlyAbove(), angles, size=32)(pixels).overall().agreement == 0
    assert predictor(OnlyAbove(), angles[:3], size=32)(pixels).overall().agreement is None


# --- threshold


def test_a_threshold():
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 256, 0).repeat(3, 2)
    areas = {}
    for threshold in (None, 0.5, 0.2, 0.9):
        found = predictor(Brightness(), size=256, threshold=threshold)(pixels)
        areas[threshold] = found.overall().area
        limit = threshold or 0.5
        np.testing.assert_array_equal(found.masks[0], found.probabilities[0] > limit)
    assert areas[None] == areas[0.5]
    assert areas[0.9] < areas[0.5] < areas[0.2]


def test_a_threshold_of_several_classes_is_that_of_the_most_probable_one():
    columns = [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.3, 0.36, 0.34], [1, 0, 0], [0.4, 0.3, 0.3]]
    probabilities = np.array(columns, np.float32).T[1:, None]  # background, a, b: of a and b

    class Given(nn.Module):
        def forward(self, image):
            logits = np.log(np.array(columns, np.float32).T[:, None] + 1e-9)
            return torch.from_numpy(np.repeat(logits, 5, axis=1))[None]

    def found(threshold):
        task = Multiclass(["background", "a", "b"])
        pixels = np.zeros((5, 5, 3), np.uint8)
        result = predictor(Given(), size=5, task=task, threshold=threshold)(pixels)
        np.testing.assert_allclose(result.probabilities[:, :1], probabilities, atol=1e-6)
        return result.labels[0].tolist()

    assert found(None) == [0, 2, 1, 0, 0]
    assert found(0.35) == [0, 2, 1, 0, 0]
    assert found(0.25) == [1, 2, 1, 0, 1]
    assert found(0.45) == [0, 2, 0, 0, 0]


def test_the_task_decides_on_masks_and_agreement():
    class Cautious(Binary):
        def decide(self, probabilities):
            return probabilities > 0.2

    pixels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 256, 0).repeat(3, 2)
    found = predictor(Brightness(), [90], size=256, task=Cautious())(pixels)
    expected = predictor(Brightness(), [90], size=256, threshold=0.2)(pixels)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.overall() == expected.overall()
    assert found.overall().area > predictor(Brightness(), size=256)(pixels).overall().area


def test_float32_is_not_rounded():
    class Recorder(Brightness):
        def forward(self, image):
            precisions.append(torch.backends.cudnn.conv.fp32_precision)
            return super().forward(image)

    precisions = []
    predictor(Recorder())(np.zeros((8, 8, 3), np.uint8))
    assert precisions == ["ieee"]


def test_of_masks_that_overlap_the_most_probable_class_is_the_label():
    probabilities = np.array([[0.9, 0.6, 0.2, 0.4]], np.float32)
    probabilities = np.stack([probabilities, np.float32([[0.8, 0.7, 0.6, 0.1]])])
    assert labels(probabilities, probabilities > 0.5).tolist() == [[1, 2, 2, 0]]


def test_the_agreement_is_of_the_masks_under_the_threshold():
    class Faint(UpperHalf):
        """Surely the disc, and with a probability of .27 the upper half."""

        def forward(self, image):
            bright = 20 * (image.mean(dim=1, keepdim=True) - 0.5)
            return torch.maximum(bright, (super().forward(image) - 5) / 5 - 1)

    pixels = white_disc(64, 64, 32, 32, 10)
    assert predictor(Faint(), [180])(pixels).overall().agreement > 0.97
    assert predictor(Faint(), [180], threshold=0.2)(pixels).overall().agreement < 0.3


# --- networks that give something else


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Constant(float("nan")), "not finite"),
        (Constant(float("inf")), "not finite"),
        (nn.Identity(), r"gives \(1, 3, 64, 64\) for its logits; \(1, 1, 64, 64\) is needed"),
        (nn.MaxPool2d(2, return_indices=True), "gives tuple for its logits"),
    ],
)
def test_an_unusable_network(model, expected):
    with pytest.raises(UserError, match=expected):
        predictor(model)(white_disc(20, 20, 10, 10, 5))


def test_a_prediction_of_nothing():
    nothing = Prediction(np.zeros((2, 4, 4), np.float32), np.zeros((4, 4), np.uint8), [None, None])
    assert nothing.overall() == (0, None, None)
    assert nothing.by_class() == [(0, None, None)] * 2
