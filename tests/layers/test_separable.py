import numpy as np
import pytest
import torch

from polyp.errors import UserError
from polyp.layers import SeparableSE2Layers
from polyp.layers.rotation_error import rotation_error
from polyp.models import UNet, multiply_adds
from tests.layers import test_se2
from tests.layers.definition import rotations, separable_convolution
from tests.layers.family_tester import FamilyTester, float64
from tests.models.model_tester import ModelTester


class SeparableTester(FamilyTester):
    first: str
    group = rotations(12)
    basis = staticmethod(test_se2.TestGaussian.basis)
    window = staticmethod(test_se2.soft_disc)

    def make(self, kernel_size=5):
        return SeparableSE2Layers(kernel_size, rotations=12, sigma=0.6, first=self.first)

    def order_of_parts(self, in_fields: int, fields: int) -> str:
        return self.first

    @pytest.mark.parametrize("fields", [(2, 3), (3, 2), (2, 2)])
    @pytest.mark.parametrize("kernel_size", [1, 3, 5])
    def test_conv_equals_definition(self, kernel_size, fields):
        torch.manual_seed(0)
        in_fields, out_fields = fields
        first = self.order_of_parts(in_fields, out_fields)
        with float64():
            conv = self.make(kernel_size).conv(in_fields, out_fields)
            order = len(self.group)
            x = torch.randn(1, in_fields * order, 6, 7)
        parts = list(conv) if first == "pointwise" else list(conv)[::-1]
        pointwise, depthwise = (part.weight.detach() for part in parts)
        expected = separable_convolution(
            x.reshape(in_fields, order, 6, 7).numpy(),
            pointwise.reshape(out_fields, in_fields, order).numpy(),
            depthwise.reshape(-1, kernel_size, kernel_size).numpy(),
            self.group,
            self.basis,
            self.window,
            first,
        )
        y = conv(x).detach().reshape(expected.shape).numpy()
        np.testing.assert_allclose(y, expected, atol=1e-12)

    # The definition of the dense convolution is that of the lifting one alone.
    @pytest.mark.parametrize("name", ["lift"])
    @pytest.mark.parametrize("kernel_size", [1, 3, 5])
    def test_equals_definition(self, name, kernel_size):
        super().test_equals_definition(name, kernel_size)


class TestPointwiseFirst(SeparableTester):
    first = "pointwise"


class TestDepthwiseFirst(SeparableTester):
    first = "depthwise"


class TestCheaper(SeparableTester):
    first = "cheaper"

    def order_of_parts(self, in_fields, fields):
        return "pointwise" if fields < in_fields else "depthwise"


class TestReflections(SeparableTester):
    first = "depthwise"
    group = rotations(4) + [turn @ np.diag([1, -1]) for turn in rotations(4)]

    def make(self, kernel_size=5):
        return SeparableSE2Layers(kernel_size, rotations=4, sigma=0.6, reflections=True)


class TestSeparableSE2UNet(ModelTester):
    config = "se2unet_separable"
    parameters = 671_041
    equivariant = True


def test_depthwise_first_is_more_equivariant():
    errors = {
        first: rotation_error(SeparableSE2Layers(first=first), [15, 30, 45, 90], seeds=2)
        for first in ("pointwise", "depthwise")
    }
    assert (errors["depthwise"][:3] < errors["pointwise"][:3]).all()
    assert errors["depthwise"][3] < 1e-5
    assert (errors["depthwise"][:3] < torch.tensor([0.17, 0.08, 0.17])).all()


def test_bad_order_of_the_parts():
    with pytest.raises(
        UserError, match=r"^first=both: must be one of depthwise, pointwise, cheaper"
    ):
        SeparableSE2Layers(first="both")


def test_the_cheaper_order_has_the_fewest_macs():
    widths = [4, 8, 16]
    macs = {
        first: multiply_adds(UNet(widths, SeparableSE2Layers(first=first)).eval(), 32)
        for first in ("depthwise", "pointwise", "cheaper")
    }
    assert macs["cheaper"] < min(macs["depthwise"], macs["pointwise"])
