"""From any aspect ratio to a square."""

import numpy as np
import pytest

from polyp.errors import UserError
from polyp.geometry import from_square, to_square


def disc_image(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A white disc in the middle, of a quarter of the height."""
    y, x = np.mgrid[:height, :width]
    mask = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) < height / 4
    return np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255, mask


@pytest.mark.parametrize(("height", "width"), [(288, 384), (384, 288), (100, 100), (531, 1023)])
def test_pad_keeps_shapes_and_says_where_the_image_is(height, width):
    image = np.full((height, width, 3), 200, np.uint8)
    square, mask, (top, bottom, left, right) = to_square(
        image, disc_image(height, width)[1], 96, "pad"
    )
    assert square.shape == (96, 96, 3)
    inside = np.zeros((96, 96), bool)
    inside[top:bottom, left:right] = True
    assert (square[inside] == 200).all()
    assert (square[~inside] == 0).all()
    assert not mask[~inside].any()
    assert (bottom - top) / (right - left) == pytest.approx(height / width, rel=0.02)
    assert abs((top + bottom) - 96) <= 1
    assert abs((left + right) - 96) <= 1
    rows, columns = mask.any(1).sum(), mask.any(0).sum()
    assert abs(int(rows) - int(columns)) <= 1  # a disc stays a disc


def test_crop_keeps_shapes_and_fills_the_square():
    image, mask = disc_image(288, 384)
    square, small, inside = to_square(image, mask, 96, "crop")
    assert inside == (0, 96, 0, 96)
    assert small.any(1).sum() == small.any(0).sum() == 48
    assert square[48, 48].tolist() == [255, 255, 255]


def test_stretch_distorts():
    _, small, inside = to_square(*disc_image(288, 384), 96, "stretch")
    assert inside == (0, 96, 0, 96)
    assert small.any(0).sum() == pytest.approx(48 * 288 / 384, abs=1)
    assert small.any(1).sum() == 48


def test_image_and_mask_stay_aligned():
    image, mask = disc_image(501, 333)
    for resize in ("pad", "crop", "stretch"):
        square, small, _ = to_square(image, mask, 64, resize)
        np.testing.assert_array_equal(square[..., 0] > 127, small)


def test_shrinking_averages():
    """One-pixel stripes become grey, not a random choice of them."""
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    square, _, _ = to_square(stripes, np.zeros((256, 256), bool), 64, "pad")
    assert np.abs(square[4:-4, 4:-4].astype(int) - 127).max() <= 2


def test_unknown_resize():
    with pytest.raises(UserError, match=r"data\.resize=squash"):
        to_square(*disc_image(8, 8), 8, "squash")


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(288, 384), (501, 333), (100, 100), (30, 47)])
def test_a_map_goes_back_to_where_the_image_was(height, width, resize):
    """A disc in the middle of the image comes back where it was, but for its edge."""
    image, mask = disc_image(height, width)
    _, small, _ = to_square(image, mask, 96, resize)
    back = from_square(small.astype(np.float32), height, width, resize)
    assert back.shape == (height, width)
    assert back.dtype == np.float32
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    edge = abs(distance - height / 4) < 1.5 * max(1, max(height, width) / 96)
    np.testing.assert_array_equal((back > 0.5)[~edge], mask[~edge])


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_map_goes_back_without_shift_or_padding(resize, transposed):
    """A ramp in the image comes back as the same ramp; at an even and an odd difference."""
    for width in (70, 71):
        y, x = np.mgrid[:50, :width]
        ramp = (2 * x + y).astype(np.uint8)
        ramp = ramp.T if transposed else ramp
        square, *_ = to_square(np.repeat(ramp[..., None], 3, axis=2), ramp > 0, 200, resize)
        back = from_square(square[..., 0].astype(np.float32), *ramp.shape, resize)
        inside = np.ones(ramp.shape, bool)
        if resize == "crop":
            margin = -(-(width - 50) // 2)
            across = inside.T if transposed else inside
            across[:, :margin] = across[:, width - margin :] = False
            assert (back[~inside] == 0).all()
        assert abs(back - ramp)[inside].max() <= 1.5
        assert abs((back - ramp)[inside].mean()) < 0.1


def test_a_map_of_another_resize():
    with pytest.raises(UserError, match=r"data\.resize=squash"):
        from_square(np.zeros((8, 8), np.float32), 4, 4, "squash")


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_classes_are_resized_one_by_one(resize):
    """Where two classes lie side by side, no third one appears between them; of two classes, the
    result is that of thresholding at one half."""
    rows, columns = np.mgrid[:60, :90]
    mask = (columns // 30).astype(np.uint8)  # 0, 1, 2 from left to right
    mask[rows > 45] = 3
    image = np.zeros((60, 90, 1), np.uint8)
    square, small, _ = to_square(image, mask, 32, resize, num_classes=4)
    assert square.shape == (32, 32, 1)
    assert small.dtype == np.uint8
    assert set(np.unique(small)) <= {0, 1, 2, 3}
    row = small[16].tolist()
    assert row == sorted(row)  # 0 to 1 to 2, nothing else at the borders
    for label in (1, 2, 3):
        _, alone, _ = to_square(image, mask == label, 32, resize)
        agree = (alone == 1) == (small == label)
        assert agree.mean() > 0.97
    _, binary, _ = to_square(image, mask == 2, 32, resize)
    _, as_classes, _ = to_square(image, (mask == 2).astype(np.uint8), 32, resize, num_classes=2)
    np.testing.assert_array_equal(binary, as_classes)
