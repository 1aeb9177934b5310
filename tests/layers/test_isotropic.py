import numpy as np
import pytest
import torch

from polyp.layers import IsotropicLayers
from polyp.layers.rotation_error import rotation_error
from tests.layers.definition import rotations
from tests.layers.family_tester import FamilyTester, act_on_plane, float64
from tests.layers.test_se2 import soft_disc
from tests.models.model_tester import ModelTester

# What leaves the kernels alone: all symmetries of the square.
SQUARE = rotations(4) + [turn @ np.diag([1, -1]) for turn in rotations(4)]


class TestIsotropic(FamilyTester):
    group = SQUARE

    def make(self, kernel_size=3):
        return IsotropicLayers(kernel_size)

    @pytest.mark.parametrize("name", ["lift", "conv"])
    @pytest.mark.parametrize("kernel_size", [1, 3, 5])
    def test_equals_definition(self, name, kernel_size):
        with float64():
            conv = getattr(self.make(kernel_size), name)(2, 3)
        weight = conv.weight.detach().numpy()
        expected = np.zeros((3, 2, kernel_size, kernel_size))
        for radius in range(kernel_size // 2 + 1):
            ring = np.zeros((kernel_size, kernel_size))
            for pixel in np.ndindex(ring.shape):
                distance = np.linalg.norm(np.array(pixel) - kernel_size // 2)
                bell = np.exp(-(((distance - radius) / 0.6) ** 2) / 2)
                ring[pixel] = bell * soft_disc(distance, kernel_size)
            ring /= np.sqrt(np.sum(ring**2))
            expected += weight[:, :, radius, None, None] * ring
        np.testing.assert_allclose(conv.expand().detach().numpy(), expected, atol=1e-12)


def test_kernels_are_the_same_in_all_turns():
    kernel = IsotropicLayers(5).conv(2, 3).kernel()
    for element in SQUARE:
        torch.testing.assert_close(act_on_plane(element, kernel), kernel, atol=0, rtol=0)


def test_rotation_error():
    error = rotation_error(IsotropicLayers(5), [15, 30, 45, 90], seeds=2)
    assert (error[:3] < 0.06).all(), error
    assert error[3] < 1e-5


class TestIsotropicUNet(ModelTester):
    config = "isounet"
    parameters = 657_001
    equivariant = True
