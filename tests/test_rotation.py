"""Direction, exactness and error of rotations."""

import math

import pytest
import torch
import torch.nn.functional as F

from polyp.geometry import disc, rotate, rotate_image, rotate_mask


def smooth_image(size: int) -> torch.Tensor:
    noise = torch.rand(2, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, size=(size, size), mode="bilinear")


@pytest.mark.parametrize("turns", [-4, -1, 0, 1, 2, 3, 5])
@pytest.mark.parametrize("size", [7, 8])
def test_multiples_of_90_degrees_are_exact(turns, size):
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rotate(x, 90.0 * turns), torch.rot90(x, turns, (2, 3)))
    assert torch.equal(rotate_mask(x > 0.5, 90 * turns), torch.rot90(x > 0.5, turns, (2, 3)))


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("turns", [-1, 1, 2])
def test_interpolation_turns_the_same_way_as_rot90(mode, turns):
    x = smooth_image(32)[:, :, :, :32]
    almost = rotate(x, 90 * turns + 1e-4, mode)
    torch.testing.assert_close(almost, torch.rot90(x, turns, (2, 3)), atol=1e-4, rtol=0)


def test_positive_angles_are_counter_clockwise():
    mask = torch.zeros(1, 1, 33, 33, dtype=torch.bool)
    mask[..., 15:18, 27:30] = True  # to the right of the centre
    row, column = (rotate_mask(mask, 30)[0, 0].nonzero().double().mean(0) - 16).tolist()
    assert math.degrees(math.atan2(-row, column)) == pytest.approx(30, abs=1.5)


def test_outside_the_frame_is_zero():
    turned = rotate(torch.ones(1, 1, 16, 16), 45, "bilinear")
    assert turned[0, 0, 0, 0] == 0
    assert turned[0, 0, 8, 8] == 1


@pytest.mark.parametrize("angle", [7, 30, 45, 100.5])
def test_there_and_back_changes_little_inside_the_disc(angle):
    image = smooth_image(64)
    inner = disc(64) & F.pad(disc(60), (2, 2, 2, 2))
    error = (rotate(rotate(image, angle), -angle) - image).abs() * inner
    assert error.max() < 0.03
    assert error.mean() < 0.002


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_positions_are_not_rounded_to_16_bits(mode):
    image = smooth_image(256)
    expected = rotate(image, 30, mode)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rotate(image, 30, mode), expected)
    turned = rotate(image.bfloat16(), 30, mode)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.float(), expected, atol=0.01, rtol=0)


def test_bicubic_images_stay_in_range():
    edges = (torch.arange(32) // 4 % 2).float().expand(1, 3, 32, 32)
    assert rotate(edges, 30).max() > 1
    turned = rotate_image(edges, 30)
    assert turned.min() >= 0
    assert turned.max() <= 1


def test_masks_keep_their_area():
    mask = F.pad(disc(20), (10, 2, 6, 6))
    turned = rotate_mask(mask, 33)
    assert turned.dtype == torch.bool
    assert turned.sum() == pytest.approx(mask.sum().item(), rel=0.02)


def test_disc_is_inscribed():
    assert disc(2).all()
    assert disc(3).flatten().tolist() == [True] * 9  # corner centres are √2 ≤ 1.5 away
    assert disc(4).sum() == 12  # all but the corners
    for size in (64, 65):
        inside = disc(size)
        assert inside.shape == (1, 1, size, size)
        assert inside.sum() == pytest.approx(math.pi / 4 * size**2, rel=0.01)
        assert torch.equal(inside, torch.rot90(inside, 1, (2, 3)))
        assert inside[0, 0, 0].any()


def test_maps_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match=r"\[1, 3, 8, 6\]"):
        rotate(torch.zeros(1, 3, 8, 6), 30)
