"""What every layer family must satisfy: one tester, of which each family's test is a subclass.

class TestP4(FamilyTester):
    group = rotations(4)

    def make(self, kernel_size=3):
        return P4Layers(kernel_size)
"""

import contextlib
import copy

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from polyp.errors import UserError
from polyp.layers import LayerFamily
from tests.layers.definition import (
    Basis,
    Matrices,
    Window,
    group_convolution,
    hat,
    index_of,
    square,
)

IN_FIELDS, FIELDS = 2, 3

# Each layer of a family, as (name, fields that go in, how to make it).
LAYERS = {
    "lift": (None, lambda family: family.lift(3, FIELDS)),
    "conv": (IN_FIELDS, lambda family: family.conv(IN_FIELDS, FIELDS)),
    "norm": (FIELDS, lambda family: family.norm(FIELDS)),
    "activation": (FIELDS, lambda family: family.activation(FIELDS)),
    "pool": (FIELDS, lambda family: family.pool(FIELDS)),
    "upsample": (FIELDS, lambda family: family.upsample(FIELDS)),
    "project": (FIELDS, lambda family: family.project(FIELDS)),
}
SIZES = {"pool": (4, 5), "upsample": (16, 20), "project": (8, 10)}  # of the output for 8×10


def act_on_plane(element: np.ndarray, x: Tensor) -> Tensor:
    """(g·f)(u) = f(g⁻¹u) for a matrix that takes pixels to pixels: [..., H, W], by flips."""
    rows, columns = element.round()
    x = x.mT if rows[0] == 0 else x
    x = x.flip(-2) if rows.sum() < 0 else x
    return x.flip(-1) if columns.sum() < 0 else x


@contextlib.contextmanager
def float64():
    """Modules and tensors made in here are of type float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


class FamilyTester:
    group: Matrices  # the elements, in the order of the orientation channels
    basis: Basis = staticmethod(hat)
    window: Window = staticmethod(square)

    def make(self, kernel_size: int = 3) -> LayerFamily:
        raise NotImplementedError

    def act(self, element: np.ndarray, x: Tensor, order: int) -> Tensor:
        """(g·f)[h](u) = f[g⁻¹h](g⁻¹u) on [B, C·order, H, W]; images and invariants: order 1."""
        if order > 1:
            inverse = np.linalg.inv(element)
            moved = [index_of(inverse @ h, self.group) for h in self.group]
            x = x.unflatten(1, (-1, order))[:, :, moved].flatten(1, 2)
        return act_on_plane(element, x)

    def layer(self, name: str, dtype: torch.dtype = torch.float32):
        """A layer in evaluation mode, the order of its input and output, and an input."""
        torch.manual_seed(0)
        family = self.make()
        in_fields, build = LAYERS[name]
        layer = build(family).to(dtype)
        in_order, order = (
            1 if name == "lift" else family.order,
            1 if name == "project" else family.order,
        )
        x = torch.randn(2, 3 if in_fields is None else in_fields * in_order, 8, 10, dtype=dtype)
        layer(x.clone())  # in training mode: BatchNorm gets statistics other than 0 and 1
        return layer.eval(), in_order, order, x

    @pytest.mark.parametrize("name", LAYERS)
    def test_shape(self, name):
        layer, _, order, x = self.layer(name)
        assert layer(x).shape == (2, FIELDS * order, *SIZES.get(name, (8, 10)))

    @pytest.mark.parametrize("name", LAYERS)
    @pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
    def test_commutes_with_the_group(self, name, dtype, limit):
        layer, in_order, order, x = self.layer(name, dtype)
        with torch.no_grad():
            y = layer(x.clone())
            for element in self.group:
                if np.allclose(element, element.round()):  # takes pixels to pixels
                    acted_first = layer(self.act(element, x, in_order).clone())
                    error = acted_first - self.act(element, y, order)
                    assert error.abs().max() < limit * y.abs().max()

    @pytest.mark.parametrize("name", ["lift", "conv"])
    @pytest.mark.parametrize("kernel_size", [1, 3, 5])
    def test_equals_definition(self, name, kernel_size):
        torch.manual_seed(0)
        with float64():
            family = self.make(kernel_size)
            conv = getattr(family, name)(2, 2)
            in_order = 1 if name == "lift" else family.order
            x = torch.randn(1, 2 * in_order, 6, 7)
        expected = group_convolution(
            x.reshape(2, in_order, 6, 7).numpy(),
            conv.weight.detach().reshape(2, 2, in_order, kernel_size, kernel_size).numpy(),
            self.group,
            self.basis,
            self.window,
        )
        y = conv(x).detach().reshape(expected.shape).numpy()
        np.testing.assert_allclose(y, expected, atol=1e-12)

    @pytest.mark.parametrize(
        "arguments",
        [{"kernel_size": 1}, {"kernel_size": 5}, {"stride": 2}, {"groups": 2}],
        ids=lambda arguments: "-".join(f"{k}={v}" for k, v in arguments.items()),
    )
    def test_arguments_of_conv(self, arguments):
        torch.manual_seed(0)
        family = self.make()
        conv = family.conv(4, 6, **arguments).double()
        x = torch.randn(2, 4 * family.order, 9, 11, dtype=torch.float64)
        with torch.no_grad():
            y = conv(x)
            stride = arguments.get("stride", 1)
            assert y.shape == (2, 6 * family.order, 1 + 8 // stride, 1 + 10 // stride)
            for element in self.group:
                if np.allclose(element, element.round()):
                    acted_first = conv(self.act(element, x, family.order))
                    error = acted_first - self.act(element, y, family.order)
                    assert error.abs().max() < 1e-12 * y.abs().max()

    def test_groups_are_convolutions_beside_each_other(self):
        torch.manual_seed(0)
        family = self.make()
        conv = family.conv(4, 6, groups=2)
        x = torch.randn(1, 4 * family.order, 8, 8)
        halves = []
        for half, part in enumerate(x.chunk(2, dim=1)):
            alone = family.conv(2, 3)
            state = {  # of the fields of its half; what is shared by all fields stays
                name: tensor.chunk(2)[half] if len(tensor) in (4, 6) else tensor
                for name, tensor in conv.state_dict().items()
            }
            alone.load_state_dict(state)
            halves.append(alone(part))
        torch.testing.assert_close(conv(x), torch.cat(halves, dim=1))

    @pytest.mark.parametrize(
        "arguments",
        [{"kernel_size": 2}, {"stride": 0}, {"stride": 1.5}, {"groups": 4}, {"groups": 0}],
    )
    def test_bad_argument_of_conv(self, arguments):
        (name, value), *_ = arguments.items()
        with pytest.raises(UserError, match=rf"^{name}={value}: must "):
            self.make().conv(4, 6, **arguments)

    @pytest.mark.parametrize("name", ["lift", "conv"])
    def test_gradients(self, name):
        torch.manual_seed(0)
        family = self.make()
        conv = getattr(family, name)(1, 1).double().eval()
        x = torch.randn(
            1, 1 if name == "lift" else family.order, 3, 3, dtype=torch.float64, requires_grad=True
        )
        assert torch.autograd.gradcheck(lambda x, *_: conv(x), (x, *conv.parameters()))

    def test_norm_shares_statistics_and_parameters(self):
        family = self.make()
        norm = family.norm(FIELDS)
        # All but the count of batches is one number a field.
        assert {tuple(tensor.shape) for tensor in norm.state_dict().values()} == {(FIELDS,), ()}
        scales = torch.arange(1.0, 1 + FIELDS * family.order).view(1, -1, 1, 1)
        x = scales * torch.randn(4, FIELDS * family.order, 8, 8) + scales
        fields = x.view(4, FIELDS, family.order * 8, 8)
        expected = functional.batch_norm(fields, None, None, training=True).view(x.shape)
        torch.testing.assert_close(norm(x), expected)

    def test_kernel_weights_have_the_scale_of_he_initialisation(self):
        """A convolution and ReLU keep the mean square of what goes in, within a factor of 2."""
        torch.manual_seed(0)
        family = self.make(5)
        x = torch.randn(2, 16 * family.order, 24, 24)
        y = family.conv(16, 16)(x)[:, :, 4:-4, 4:-4]
        assert 0.5 < 0.5 * y.square().mean() < 2

    @pytest.mark.parametrize("name", ["lift", "conv"])
    def test_copy_and_state_dict(self, name):
        layer, _, _, x = self.layer(name)
        with torch.no_grad():
            y = layer(x)
            torch.testing.assert_close(copy.deepcopy(layer)(x), y, atol=0, rtol=0)
            other = LAYERS[name][1](self.make()).eval()
            assert not torch.equal(other(x), y)
            other.load_state_dict(layer.state_dict())
            torch.testing.assert_close(other(x), y, atol=0, rtol=0)

    @pytest.mark.parametrize("kernel_size", [0, -3, 2, 4, 3.0, "3", None])
    def test_bad_kernel_size(self, kernel_size):
        with pytest.raises(UserError, match=rf"^kernel_size={kernel_size}: must be "):
            self.make(kernel_size)
