import functools
import json

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn
from torch.nn import functional

from polyp.errors import UserError
from polyp.geometry import disc
from polyp.layers import PlainLayers
from polyp.models import Canonicalized, LibraryModel, UNet, multiply_adds
from tests.conftest import TINY_SYNTHETIC
from tests.models.model_tester import CONFIGS, ModelTester


@functools.cache
def composed() -> DictConfig:
    with initialize_config_dir(str(CONFIGS.parent), version_base="1.3"):
        return compose("train", ["model=canonicalized"])


SQUARES = [(4, 4), (8, 8), (16, 16), (20, 20)]


class TestCanonicalizedUNet(ModelTester):
    config = "canonicalized"
    parameters = 1_965_049 + 8 * 3 * 25 + 8 * 8 * 4 * 25 + 8 * 4 * 25 + 2 * 2 * 8
    equivariant = True

    def make(self, widths=None):
        torch.manual_seed(0)
        config = composed().copy()
        if widths is not None:
            config.model.model.widths = widths
        return instantiate(config.model)

    @pytest.mark.parametrize("size", SQUARES)
    def test_valid_size(self, size):
        super().test_valid_size(size)

    @pytest.mark.parametrize("size", SQUARES)
    def test_rotation_by_90_degrees(self, size):
        super().test_rotation_by_90_degrees(size)


def make(group: str) -> Canonicalized:
    """A network as after some training, around one that is not equivariant."""
    torch.manual_seed(0)
    model = Canonicalized(UNet([4, 4, 6], PlainLayers()), group, fields=4)
    for _ in range(10):
        model(2 * torch.randn(4, 3, 16, 16) + 1)
    return model.eval()


@pytest.mark.parametrize("group", ["c4", "d4", "c8"])
@torch.no_grad()
def test_is_exact_under_its_group(group):
    model, image = make(group), torch.randn(6, 3, 24, 24)
    y, inner = model(image), model.model(image)
    assert len(set(model.orientation(image).argmax(dim=1).tolist())) > 2  # not one for all images
    for quarters in (1, 2, 3):
        for mirrored in (False, True):

            def act(x, quarters=quarters, mirrored=mirrored):
                return (x.flip(3) if mirrored else x).rot90(quarters, (2, 3))

            error = (model(act(image)) - act(y)).abs().max() / y.abs().max()
            assert error < 1e-5 if group == "d4" or not mirrored else error > 1e-2
            assert (model.model(act(image)) - act(inner)).abs().max() > 1e-2 * inner.abs().max()


@pytest.mark.parametrize("group", ["c4", "d4", "c12"])
def test_the_orientation_turns_with_the_image(group):
    """h(g·x) = g·h(x): the scores change places as the elements do."""
    model, image = make(group), torch.randn(6, 3, 32, 32)
    before, after = (
        model.orientation(x).argmax(dim=1).tolist() for x in (image, image.rot90(1, (2, 3)))
    )
    for old, new in zip(before, after, strict=True):
        angle, mirrored = model.elements[old]
        assert model.elements[new] == ((angle + 90) % 360, mirrored)


@torch.no_grad()
def test_in_16_bits_too():
    """A mean of 8 significant bits is often the same for two elements."""
    model = make("c4").bfloat16()
    image = functional.interpolate(torch.rand(400, 3, 4, 4), 32, mode="bilinear").bfloat16()
    before, after = (model.orientation(x).argmax(dim=1) for x in (image, image.rot90(1, (2, 3))))
    assert torch.equal((before + 1) % 4, after)


def test_by_hand():
    """Each image is turned back by its own angle, and its logits by that angle."""
    model, image = make("c4"), torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        expected = [
            model.model(x[None].rot90(-k, (2, 3))).rot90(k, (2, 3))[0]
            for x, k in zip(image, model.orientation(image).argmax(dim=1).tolist(), strict=True)
        ]
        torch.testing.assert_close(model(image), torch.stack(expected), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_between_the_pixels_the_whole_image_is_seen():
    """A network that hands its input on gives the image back, in the corners too: a linear one
    exactly, but for two pixels at the border, where it ends."""
    torch.manual_seed(0)
    model = Canonicalized(LibraryModel(nn.Identity()), "c12").eval()
    line = torch.linspace(0, 1, 64)
    slopes = torch.randn(4, 3, 2, 1, 1)
    image = slopes[:, :, 0] * line[:, None] + slopes[:, :, 1] * line
    angles = [model.elements[int(i)][0] for i in model.orientation(image).argmax(dim=1)]
    assert any(angle % 90 for angle in angles)
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(model(image)[inside], image[inside], atol=1e-4, rtol=0)


def test_the_gradient_is_that_of_the_softmax():
    torch.manual_seed(0)
    model, image = make("c4").train(), torch.randn(3, 3, 16, 16)
    choice = model.orientation(image)
    weights = torch.randn(3, 4)
    (choice * weights).sum().backward()
    assert torch.equal(choice.detach().max(dim=1).values, torch.ones(3))
    found = model.scores[-1].weight.grad.clone()
    model.zero_grad()
    small = functional.adaptive_avg_pool2d(image, 32) * disc(32)
    (model.scores(small).mean(dim=(2, 3)).softmax(dim=1) * weights).sum().backward()
    torch.testing.assert_close(found, model.scores[-1].weight.grad)


def test_cost_is_little_more_than_that_of_the_network():
    model = Canonicalized(UNet([16, 32, 64, 128, 256], PlainLayers()))
    assert multiply_adds(model, 256) < 1.02 * multiply_adds(model.model, 256)


def test_sizes():
    with pytest.raises(UserError, match="multiples of 4"):
        make("c4")(torch.randn(1, 3, 16, 18))
    with pytest.raises(UserError, match="16×24: must be square, to be turned by 90°"):
        make("c4")(torch.randn(1, 3, 16, 24))


@pytest.mark.parametrize("group", ["c0", "d8", "so2", None])
def test_bad_group(group):
    with pytest.raises(UserError, match=f"^group={group}: must be "):
        Canonicalized(UNet([4, 4], PlainLayers()), group)


class UpperHalf(nn.Module):
    """Calls the upper half of any image polyp."""

    def forward(self, x):
        rows = torch.linspace(3, -3, x.shape[2])[:, None]
        return rows.expand(len(x), 1, *x.shape[2:])


def test_the_orientation_is_learned():
    """The network around the turn never changes: only the turn can put its half to the polyp."""
    torch.manual_seed(0)
    model = Canonicalized(LibraryModel(UpperHalf()), fields=2).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    bright = torch.zeros(8, 1, 16, 16)
    bright[:, :, :, 8:] = 1
    sides = torch.cat([image[None].rot90(k % 4, (2, 3)) for k, image in enumerate(bright)])
    losses = []
    for _ in range(30):
        image = sides + 0.1 * torch.randn(8, 3, 16, 16)
        loss = functional.binary_cross_entropy_with_logits(model(image), sides)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 1
    assert losses[-1] < 0.5
    assert model.eval()(sides.expand(-1, 3, -1, -1)).gt(0).float().equal(sides)


def test_from_training_to_shifts_by_the_command_line(command_line):
    tiny = [option.replace("model.widths", "model.model.widths") for option in TINY_SYNTHETIC]
    options = ["model@model.model=unet_small", *tiny, "trainer.max_epochs=1"]
    run = command_line("model=canonicalized", *options)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["equivariance"]["at_90"] == pytest.approx(1)
    # The stride is that of the U-Net inside.
    assert {max(map(abs, shift)) for shift in metrics["shift"]["curve"]["shifts"]} == {0.5, 1, 2}
