import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from polyp.errors import UserError
from polyp.layers import PlainLayers
from polyp.models import Symmetrized, UNet, collapse, multiply_adds
from tests.models.model_tester import CONFIGS


def make(group: str, **arguments) -> Symmetrized:
    torch.manual_seed(0)
    model = UNet([4, 4, 6], PlainLayers())
    for _ in range(10):
        model(2 * torch.randn(4, 3, 16, 16) + 1)
    return Symmetrized(model, group, **arguments).eval()


@torch.no_grad()
def error(model, act, image) -> float:
    y = model(image)
    return ((model(act(image)) - act(y)).abs().max() / y.abs().max()).item()


@pytest.mark.parametrize("group", ["c4", "d4", "c8"])
@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
def test_is_exact_under_its_group(group, size):
    if group == "c8" and size[0] != size[1]:
        pytest.skip("takes square images alone")
    model, image = make(group), torch.randn(2, 3, *size)
    for quarters in (1, 2, 3):
        assert error(model, lambda x, q=quarters: x.rot90(q, (2, 3)), image) < 1e-5
        assert error(model.model, lambda x, q=quarters: x.rot90(q, (2, 3)), image) > 1e-2
    mirrored = error(model, lambda x: x.flip(2), image)
    assert mirrored < 1e-5 if group == "d4" else mirrored > 1e-2


def test_c4_by_hand():
    model, image = make("c4"), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        turns = [model.model(image.rot90(k, (2, 3))).rot90(-k, (2, 3)) for k in range(4)]
        torch.testing.assert_close(model(image), torch.stack(turns).mean(dim=0))


def test_pixels_that_leave_the_image_do_not_count():
    """Of constant logits the mean is the constant, in the corners too."""
    model = make("c8")
    torch.nn.init.zeros_(model.model.head.weight)
    torch.nn.init.constant_(model.model.head.bias, 3)
    with torch.no_grad():
        y = model(torch.randn(1, 3, 16, 16))
    torch.testing.assert_close(y, torch.full_like(y, 3))


@pytest.mark.parametrize("in_training", [False, True])
def test_in_training(in_training):
    model, image = make("c4", in_training=in_training).train(), torch.randn(2, 3, 16, 16)
    assert torch.equal(model(image), model.model(image)) == (not in_training)


def test_collapse_and_cost():
    model = make("c4")
    image = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(collapse(model)(image), model(image), atol=1e-5, rtol=1e-5)
    assert multiply_adds(model, 16) == 4 * multiply_adds(model.model, 16)


def test_sizes():
    assert make("c4").size_multiple == 4  # shifts are measured with the stride of what it wraps
    with pytest.raises(UserError, match="multiples of 4"):
        make("c4")(torch.randn(1, 3, 16, 18))
    with pytest.raises(UserError, match="16×24: must be square, to be turned by 45°"):
        make("c8").check_size(16, 24)
    with pytest.raises(UserError, match=r"needs \[B, 3, H, W\]"):
        make("c4")(torch.randn(1, 2, 16, 16))


@pytest.mark.parametrize("group", ["c0", "d8", "so2", None, "c4x"])
def test_bad_group(group):
    with pytest.raises(UserError, match=f"^group={group}: must be "):
        Symmetrized(UNet([4, 4], PlainLayers()), group)


def test_config():
    with initialize_config_dir(str(CONFIGS.parent), version_base="1.3"):
        options = ["model=symmetrized", "model@model.model=p4unet_small", "model.group=d4"]
        model = instantiate(compose("train", options).model)
    assert isinstance(model, Symmetrized)
    assert sum(p.numel() for p in model.parameters()) == 491_263
