"""Pooling and upsampling: exact under the symmetries of the square, at even sizes."""

import itertools

import pytest
import torch

from polyp.errors import UserError
from polyp.layers import P4Layers, SteerableLayers
from polyp.layers.resample import POOLINGS, UPSAMPLINGS, pooling, upsampling
from polyp.models import UNet, collapse

TURNS = [
    lambda x: x.rot90(1, (2, 3)),
    lambda x: x.rot90(2, (2, 3)),
    lambda x: x.rot90(3, (2, 3)),
    lambda x: x.flip(3),
]


@pytest.mark.parametrize("kind", POOLINGS)
@pytest.mark.parametrize("size", [(2, 2), (8, 10), (12, 6)])
def test_pooling_commutes_with_turns(kind, size):
    torch.manual_seed(0)
    x, pool = torch.randn(3, 2, *size), pooling(kind)
    y = pool(x)
    assert y.shape == (3, 2, size[0] // 2, size[1] // 2)
    for turn in TURNS:
        torch.testing.assert_close(pool(turn(x)), turn(y), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", UPSAMPLINGS)
@pytest.mark.parametrize("size", [(1, 1), (4, 5), (6, 3)])
def test_upsampling_commutes_with_turns(kind, size):
    torch.manual_seed(0)
    x, upsample = torch.randn(3, 2, *size), upsampling(kind)
    skip = torch.randn(3, 4, 2 * size[0], 2 * size[1])
    y = upsample(x, skip)
    assert y.shape == (3, 2, 2 * size[0], 2 * size[1])
    for turn in TURNS:
        torch.testing.assert_close(upsample(turn(x), turn(skip)), turn(y), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [*POOLINGS])
def test_pooling_keeps_constants(kind):
    torch.testing.assert_close(pooling(kind)(torch.ones(1, 2, 8, 8)), torch.ones(1, 2, 4, 4))


@pytest.mark.parametrize("kind", [*UPSAMPLINGS])
def test_upsampling_keeps_constants(kind):
    y = upsampling(kind)(torch.ones(1, 2, 4, 4), torch.randn(1, 3, 8, 8))
    torch.testing.assert_close(y, torch.ones(1, 2, 8, 8))


def test_blur_by_hand():
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 3, 3] = 16  # the maxima of the four windows around it: corners 2 and 3
    expected = torch.zeros(4, 4)
    expected[1, 1], expected[1, 2], expected[2, 1], expected[2, 2] = 9, 3, 3, 1
    torch.testing.assert_close(pooling("blur")(x)[0, 0], expected)


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (2, 3)])
def test_polyphase_moves_with_the_image(shift):
    """Away from the border: what is pooled is the same, and what is put back has moved."""
    torch.manual_seed(0)
    pool, upsample = pooling("polyphase"), upsampling("polyphase")
    x = torch.zeros(1, 2, 16, 16)
    x[:, :, 4:10, 4:10] = torch.randn(2, 6, 6)
    moved = x.roll(shift, (2, 3))
    assert torch.equal(pool(x).sort().values.sum(), pool(moved).sort().values.sum())
    before, after = upsample(pool(x), x), upsample(pool(moved), moved)
    torch.testing.assert_close(after, before.roll(shift, (2, 3)), atol=1e-6, rtol=0)


def test_lowpass_keeps_slow_waves_and_removes_fast_ones():
    position = torch.arange(64.0)
    slow, fast = torch.cos(0.4 * position), torch.cos(2.8 * position)
    pool, upsample = pooling("lowpass"), upsampling("lowpass")
    for wave, limit in ((slow, 0.02), (fast, 0.02)):
        x = wave.expand(1, 1, 64, 64)
        expected = x if wave is slow else torch.zeros_like(x)
        error = (upsample(pool(x)) - expected)[..., 16:-16, 16:-16]
        assert error.abs().max() < limit
    assert pooling("max")(fast.expand(1, 1, 64, 64)).mean() > 0.5  # aliased to brightness


@pytest.mark.parametrize(
    ("pool", "upsample"),
    [
        *itertools.product(["max", "average", "blur", "lowpass"], ["bilinear", "lowpass"]),
        ("max", "nearest"),
        ("polyphase", "polyphase"),
    ],
)
@pytest.mark.parametrize("continuous", [False, True], ids=["p4", "so2"])
def test_unet_is_exact_at_90_degrees(continuous, pool, upsample):
    if continuous and pool == "blur":
        pytest.skip("refused")
    family = SteerableLayers(3, "continuous") if continuous else P4Layers()
    torch.manual_seed(0)
    model = UNet([4, 4, 6], family, pool=pool, upsample=upsample)
    for _ in range(10):
        model(torch.randn(4, 3, 16, 16))
    plain = collapse(model)
    model.eval()
    x = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        y = model(x)
        error = model(x.rot90(1, (2, 3))) - y.rot90(1, (2, 3))
        assert error.abs().max() < 1e-5 * y.abs().max()
        torch.testing.assert_close(plain(x), y, atol=1e-5, rtol=1e-4)


def test_fields_under_so2_have_no_maximum():
    with pytest.raises(UserError, match=r"^pool=blur: "):
        UNet([4, 4], SteerableLayers(3, "continuous"), pool="blur")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool": "min"}, r"^pool=min: must be one of max, average, blur, lowpass, polyphase$"),
        ({"upsample": 2}, r"^upsample=2: must be one of bilinear, nearest, lowpass, polyphase$"),
        ({"pool": "polyphase"}, r"^pool=polyphase, upsample=bilinear: only both can be"),
        ({"upsample": "polyphase"}, r"^pool=max, upsample=polyphase: only both can be"),
    ],
)
def test_bad_kind(arguments, message):
    with pytest.raises(UserError, match=message):
        UNet([4, 4], P4Layers(), **arguments)
