import pytest
import torch
from torch import nn

from polyp.layers import P4Layers, PlainLayers, SE2Layers, SteerableLayers
from polyp.models import UNet, collapse, multiply_adds

FAMILIES = {
    "plain": PlainLayers,
    "p4": P4Layers,
    "se2": lambda: SE2Layers(5, rotations=8),
    "steerable": lambda: SteerableLayers(3, rotations=4),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("arguments", [{"groups": 2}, {"stride": 2}, {"kernel_size": 1}])
def test_groups_stride_and_size_stay(name, arguments):
    torch.manual_seed(0)
    family = FAMILIES[name]()
    model = nn.Sequential(family.conv(4, 6, **arguments), family.norm(6)).eval()
    plain = collapse(model)
    assert [type(layer) for layer in plain] == [nn.Conv2d]
    x = torch.randn(2, 4 * family.order, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), model(x), atol=1e-5, rtol=1e-5)


def test_nested_sequences_become_one():
    layers = PlainLayers()
    inner = nn.Sequential(layers.conv(3, 4), nn.Conv2d(4, 4, 3), layers.norm(4))
    chain = nn.Sequential(inner, nn.ReLU())
    assert [type(layer) for layer in collapse(chain)] == [nn.Conv2d, nn.Conv2d, nn.ReLU]


def test_networks_of_other_libraries_stay_as_they_are():
    """They may use the parts of a sequence by name or index, or have a `forward` of their own."""

    class Pooled(nn.Sequential):
        def forward(self, x):
            return super().forward(x.mean(dim=(2, 3), keepdim=True)).expand_as(x)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            stage = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
            self.stages = nn.Sequential(stage, nn.Sequential(nn.Conv2d(3, 3, 1)))
            self.named = nn.Sequential()
            self.named.add_module("last", Pooled(nn.Conv2d(3, 3, 1)))

        def forward(self, x):
            skip = self.stages[0](x)
            return self.named.last(self.stages[1](skip)) + skip

    model = Network().eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(collapse(model)(x), model(x))


def test_multiply_adds_of_a_transposed_convolution():
    model = nn.Sequential(nn.Conv2d(3, 8, 2, 2), nn.ConvTranspose2d(8, 1, 2, 2))
    assert multiply_adds(model, 32) == 16 * 16 * (3 * 8 * 4 + 8 * 4)


@pytest.mark.parametrize("groups", [1, 2])
def test_multiply_adds_of_groups_by_hand(groups):
    model = P4Layers(3).conv(4, 6, groups=groups)
    model.in_channels = 16
    assert multiply_adds(model, 8) == 16 * 24 * 9 * 64 // groups


def test_multiply_adds_of_other_channels():
    few, many = (multiply_adds(UNet([4, 6], PlainLayers(), channels), 8) for channels in (1, 5))
    assert many - few == 4 * 2 * 9 * 64
