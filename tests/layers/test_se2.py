import warnings

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from polyp.errors import UserError
from polyp.layers import P4Layers, SE2Layers, operator_entries
from tests.layers.definition import rotations
from tests.layers.family_tester import FamilyTester


def hard_disc(distances, size):
    return np.where(distances <= size / 2, 1.0, 0.0)


def soft_disc(distances, size):
    beyond = distances - (size - 1) / 2
    fade = np.cos(np.pi / 2 * beyond / 1.1) ** 2
    return np.select([beyond <= 0, beyond < 1.1], [1.0, fade], 0.0)


class TestBilinear(FamilyTester):
    group = rotations(8)
    window = staticmethod(hard_disc)

    def make(self, kernel_size=5):
        return SE2Layers(kernel_size, rotations=8, interpolation="bilinear")


class TestBSpline(FamilyTester):
    group = rotations(4)
    window = staticmethod(soft_disc)

    @staticmethod
    def basis(offsets):
        spline = BSpline.basis_element(range(-2, 3), extrapolate=False)
        return np.prod(np.nan_to_num(spline(offsets)), axis=-1)

    def make(self, kernel_size=5):
        return SE2Layers(kernel_size, rotations=4, interpolation="bspline")


class TestGaussian(FamilyTester):
    group = rotations(12)
    window = staticmethod(soft_disc)

    @staticmethod
    def basis(offsets):
        return np.exp(-0.5 * np.square(np.linalg.norm(offsets, axis=-1) / 0.6))

    def make(self, kernel_size=5):
        return SE2Layers(kernel_size, rotations=12, interpolation="gaussian", sigma=0.6)


@pytest.mark.filterwarnings("ignore:rotations=6 ")
class TestSixRotations(TestBilinear):
    group = rotations(6)

    def make(self, kernel_size=5):
        return SE2Layers(kernel_size, rotations=6, interpolation="bilinear")


class TestReflections(TestBilinear):
    group = rotations(4) + [turn @ np.diag([1, -1]) for turn in rotations(4)]

    def make(self, kernel_size=5):
        return SE2Layers(kernel_size, rotations=4, interpolation="bilinear", reflections=True)


def test_four_rotations_of_3x3_kernels_are_p4():
    p4 = P4Layers(3).conv(2, 3).eval()
    se2 = SE2Layers(3, rotations=4, interpolation="bilinear").conv(2, 3).eval()
    se2.load_state_dict(p4.state_dict())
    assert torch.equal(se2.kernel(), p4.kernel())


def test_one_rotation_is_an_ordinary_convolution():
    with pytest.warns(UserWarning, match=r"rotations=1 "):
        conv = SE2Layers(3, rotations=1, interpolation="bilinear").conv(2, 3)
    assert torch.equal(conv.kernel(), conv.weight[:, :, 0])


@pytest.mark.parametrize("interpolation", ["bilinear", "bspline", "gaussian"])
def test_operator_turns_exactly_by_90_degrees(interpolation):
    """To the last bit: each map is that of 90° less, on a turned target."""
    operator = SE2Layers(5, 12, interpolation).conv(1, 1).operator.unflatten(1, (5, 5))
    assert torch.equal(operator.roll(-3, 0), operator.rot90(1, (1, 2)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bspline", "gaussian"])
def test_kernels_are_zero_outside_the_disc(interpolation):
    kernel = SE2Layers(7, 12, interpolation).lift(1, 1).kernel()
    assert torch.equal(kernel[:, 0, ::6, ::6], torch.zeros(12, 2, 2))
    assert (kernel[:, 0, 2:5] != 0).all()


def test_operator_entries():
    family = SE2Layers(5, rotations=12)
    model = torch.nn.Sequential(family.lift(3, 2), family.conv(2, 4), torch.nn.ReLU())
    assert operator_entries(model) == 2 * 7500


def test_multiples_of_four_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SE2Layers(3, rotations=4)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("rotations", 0),
        ("rotations", -4),
        ("rotations", 4.0),
        ("rotations", "continuous"),
        ("interpolation", "nearest"),
        ("interpolation", None),
        ("sigma", 0),
        ("sigma", -0.5),
        ("sigma", float("nan")),
        ("sigma", "wide"),
    ],
)
def test_wrong_argument(argument, value):
    with pytest.raises(UserError, match=rf"{argument}={value}: must be "):
        SE2Layers(**{argument: value})
