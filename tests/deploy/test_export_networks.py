"""ONNX of every family of layers, every way to pool and upsample, and of networks around networks.

They are exported side by side, as one network whose channels are their logits: that is fast.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from polyp.deploy.export import TOLERANCE, _quiet, _write_onnx
from polyp.deploy.network import ordinary
from polyp.layers import (
    IsotropicLayers,
    LieLayers,
    P4Layers,
    PlainLayers,
    SE2Layers,
    SeparableSE2Layers,
    SteerableLayers,
)
from polyp.layers.resample import POOLINGS, UPSAMPLINGS
from polyp.models import Canonicalized, LibraryModel, Symmetrized, UNet

FAMILIES = {
    "plain": PlainLayers(3),
    "p4m": P4Layers(3, reflections=True),
    "se2, mirrored": SE2Layers(3, 4, reflections=True),
    "se2, random offset": SE2Layers(3, 8, offset="random"),
    "separable": SeparableSE2Layers(3, 8, offset="random"),
    "lie": LieLayers(3, 4, offset="random", hidden=4),
    "lie, separable": LieLayers(3, 4, separable=True, hidden=4),
    "steerable, mirrored": SteerableLayers(3, 4, reflections=True),
    "continuous": SteerableLayers(3, "continuous"),
    "isotropic": IsotropicLayers(3),
}


def unet(family=FAMILIES["plain"], **options) -> UNet:
    model = UNet([2, 2], family, **options)
    nn.init.normal_(model.head.weight, std=5)
    return model


def bare() -> LibraryModel:
    """A single convolution: what is around it makes the graph large enough."""
    return LibraryModel(nn.Conv2d(3, 1, 3, padding=1))


OPTIONS = [
    {"pool": "average", "upsample": "nearest", "project": "mean"},
    {"pool": "blur", "upsample": "bilinear", "project": "none"},
    {"pool": "lowpass", "upsample": "lowpass"},
    {"pool": "polyphase", "upsample": "polyphase"},
    {"pool": "max", "margin": 4},
]
GROUPS = {
    "families": {name: lambda family=f: unet(family) for name, f in FAMILIES.items()},
    "resampling": {
        str(options): lambda options=options: unet(P4Layers(3), **options) for options in OPTIONS
    },
    "around": {
        **{f"symmetrized {g}": lambda g=g: Symmetrized(bare(), g) for g in ("d4", "c8")},
        **{f"canonicalized {g}": lambda g=g: Canonicalized(bare(), g, 2) for g in ("d4", "c8")},
    },
}


class SideBySide(nn.Module):
    def __init__(self, networks: list[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x):
        return torch.cat([network(x) for network in self.networks], dim=1)


def test_every_way_to_pool_and_upsample_is_exported():
    assert {options["pool"] for options in OPTIONS} == set(POOLINGS)
    assert {options.get("upsample", "bilinear") for options in OPTIONS} == set(UPSAMPLINGS)


@pytest.mark.parametrize("group", GROUPS)
@torch.no_grad()
def test_onnx_gives_the_logits(group, tmp_path):
    torch.manual_seed(0)
    names = list(GROUPS[group])
    model = SideBySide([make() for make in GROUPS[group].values()])
    for _ in range(5):
        model(torch.rand(4, 3, 16, 16))
    model.eval()
    plain = ordinary(model).to(memory_format=torch.contiguous_format)
    example = {
        "args": (torch.rand(2, 3, 16, 16),),
        "dynamic_shapes": ({0: torch.export.Dim("batch")},),
    }
    with _quiet():
        network = _write_onnx(copy.deepcopy(plain), example, tmp_path / "all.onnx", {})
    for batch in (1, 5):
        image = torch.rand(batch, 3, 16, 16)
        expected, found = model(image).numpy(), network(image).numpy()
        for channel, name in enumerate(names):
            assert expected[:, channel].std() > 0.01, name
            np.testing.assert_allclose(
                found[:, channel], expected[:, channel], rtol=0, atol=TOLERANCE, err_msg=name
            )
