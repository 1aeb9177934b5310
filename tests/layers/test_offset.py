"""offset=random: one more angle for all kernels of a network, drawn in each training step."""

import copy

import numpy as np
import pytest
import torch

from polyp.errors import UserError
from polyp.layers import LieLayers, SE2Layers, SeparableSE2Layers
from polyp.layers.group_conv import GroupConv
from polyp.models import UNet, collapse
from tests.layers import test_se2
from tests.layers.definition import index_of, rotations, scale, turned
from tests.layers.family_tester import FamilyTester, float64

FAMILIES = {
    "se2": lambda **options: SE2Layers(5, 4, sigma=0.6, offset="random", **options),
    "separable": lambda **options: SeparableSE2Layers(5, 4, offset="random", **options),
    "lie": lambda **options: LieLayers(5, 4, offset="random", **options),
}


class TestRandomOffset(FamilyTester):
    group = rotations(4)
    basis = staticmethod(test_se2.TestGaussian.basis)
    window = staticmethod(test_se2.soft_disc)

    def make(self, kernel_size=5):
        return SE2Layers(kernel_size, 4, sigma=0.6, offset="random")

    @pytest.mark.parametrize("name", ["lift", "conv"])
    @pytest.mark.parametrize("kernel_size", [1, 3, 5])
    def test_equals_definition(self, name, kernel_size):
        """In evaluation, in which no angle is added."""
        with float64():
            family = self.make(kernel_size)
            fixed = SE2Layers(kernel_size, 4, sigma=0.6)
            random, expected = (getattr(f, name)(2, 3).eval() for f in (family, fixed))
        random = random[1] if name == "lift" else random
        random.load_state_dict(expected.state_dict())
        assert torch.equal(random.expand(), expected.expand())


def test_in_training_kernels_are_turned_by_the_drawn_angle():
    """ψ[c', g, c, h](v) = w[c', c, g⁻¹h]((R·g)⁻¹v), with R the rotation by one angle for all."""
    torch.manual_seed(0)
    with float64():
        family = SE2Layers(5, 4, sigma=0.6, offset="random")
        lift, conv = family.lift(1, 2), family.conv(2, 2)
        conv(lift(torch.randn(1, 1, 8, 8)))
    more = family.offset.matrix.numpy()
    angle = np.degrees(np.arctan2(more[1, 0], more[0, 0]))
    assert 1 < angle < 89
    np.testing.assert_allclose(more @ more.T, np.eye(2), atol=1e-12)

    basis, window = test_se2.TestGaussian.basis, test_se2.soft_disc
    group = rotations(4)
    moved = [more @ g for g in group]
    factor = scale(5, moved, basis, window)
    for layer, in_order in ((lift[1], 1), (conv, 4)):
        weight = factor * layer.weight.detach().numpy()
        expected = np.zeros((len(weight), 4, weight.shape[1], in_order, 5, 5))
        for out, g, c, h in np.ndindex(expected.shape[:4]):
            s = index_of(np.linalg.inv(group[g]) @ group[h], group) if in_order > 1 else 0
            expected[out, g, c, h] = turned(weight[out, c, s], moved[g], basis, window)
        found = layer.expand().detach().numpy().reshape(expected.shape)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_is_exact_at_90_degrees_in_evaluation(name, reflections):
    torch.manual_seed(0)
    model = UNet([4, 4, 6], FAMILIES[name](reflections=reflections))
    for _ in range(10):
        model(torch.randn(4, 3, 16, 16))
    image = torch.randn(2, 3, 16, 24)
    model.eval()
    with torch.no_grad():
        y = model(image)
        assert torch.equal(model(image), y)
        for turn in (lambda x: x.rot90(1, (2, 3)), lambda x: x.rot90(2, (2, 3))):
            assert (model(turn(image)) - turn(y)).abs().max() < 1e-5 * y.abs().max()
        if reflections:
            assert (model(image.flip(3)) - y.flip(3)).abs().max() < 1e-5 * y.abs().max()
        torch.testing.assert_close(collapse(model)(image), y, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_in_training_each_pass_differs_and_every_parameter_learns(name):
    torch.manual_seed(0)
    model = UNet([2, 2], FAMILIES[name]())
    image = torch.randn(2, 3, 8, 8)
    first, second = model(image), model(image)
    assert not torch.allclose(first, second, atol=1e-3)
    second.square().mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_a_copy_draws_angles_of_its_own():
    family = SE2Layers(3, 4, offset="random")
    model = UNet([2, 2], family)
    twin = copy.deepcopy(model)
    before = family.offset.matrix
    twin(torch.randn(2, 3, 8, 8))
    assert torch.equal(family.offset.matrix, before)
    offsets = {conv.drawn.args[0] for conv in twin.modules() if isinstance(conv, GroupConv)}
    assert offsets == {twin.lift[0][0]}


@pytest.mark.parametrize("layers", [SE2Layers, SeparableSE2Layers, LieLayers])
def test_bad_offset(layers):
    with pytest.raises(UserError, match=r"^offset=some: must be fixed or random"):
        layers(offset="some")
