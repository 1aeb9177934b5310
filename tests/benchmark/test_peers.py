"""e2cnn's network is the same one as ours."""

import pytest
import torch
from omegaconf import OmegaConf

from benchmarks.peers import peer_of
from polyp.layers import SteerableLayers
from polyp.models import UNet

WIDTHS, ROTATIONS, KERNEL = (4, 6), 4, 5


@pytest.fixture(scope="module")
def networks() -> tuple:
    from benchmarks.e2cnn_unet import E2cnnUNet

    torch.manual_seed(0)
    return E2cnnUNet(WIDTHS, ROTATIONS, KERNEL), UNet(WIDTHS, SteerableLayers(KERNEL, ROTATIONS))


def test_with_our_weights_e2cnns_network_gives_our_output(networks):
    peer, ours = networks
    with torch.no_grad():
        for theirs, weights in zip(peer.parameters(), ours.parameters(), strict=True):
            theirs.copy_(weights.reshape(theirs.shape))
        image = torch.rand(2, 3, 16, 16)
        expected = ours.train()(image)
        torch.testing.assert_close(peer.train()(image), expected, rtol=1e-4, atol=1e-5)


def test_exported_it_gives_the_same_output(networks):
    from benchmarks.e2cnn_unet import Exported

    image = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        peer = networks[0].eval()
        torch.testing.assert_close(Exported(peer)(image), peer(image), rtol=1e-4, atol=1e-5)


def layers(family: str, **options) -> dict:
    return {"widths": [4, 8], "layers": {"_target_": f"polyp.layers.{family}", **options}}


@pytest.mark.parametrize(
    ("model", "peer"),
    [
        (layers("P4Layers", kernel_size=3), ((4, 8), 4, 3)),
        (layers("SE2Layers", kernel_size=5, rotations=8), ((4, 8), 8, 5)),
        (layers("P4Layers", kernel_size=3, reflections=True), None),
        (layers("SteerableLayers", kernel_size=5, rotations="continuous"), None),
    ],
)
def test_the_peer_has_the_same_group(model, peer):
    assert peer_of(OmegaConf.create(model)) == peer


def test_every_model_beside_e2cnn(measured):
    rows = measured("peers", "~models.steerableunet", "models.p4unet.layers.reflections=true")
    assert list(rows) == [
        f"se2unet: {what}, e2cnn / ours"
        for what in (
            "construction",
            "training step in float32",
            "training step in bfloat16",
            "inference in float32",
            "inference in bfloat16",
        )
    ]
    assert [row["target"] for row in rows.values()] == ["≥ 5", *["≥ 1.5"] * 2, *["≥ 2.5"] * 2]
