"""Reading images and masks in all the forms they are met in."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from polyp.data import read_image, read_mask
from polyp.data.synthetic import scene
from polyp.errors import UserError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
MASK = np.zeros((6, 9), bool)
MASK[2:5, 1:4] = True


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_colour(tmp_path, suffix):
    image = read_image(save(tmp_path / f"a{suffix}", COLOUR))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLOUR)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_greyscale_becomes_rgb(tmp_path, suffix):
    image = read_image(save(tmp_path / f"a{suffix}", GREY))
    np.testing.assert_array_equal(image, np.stack([GREY] * 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_opaque_alpha_channel_is_dropped(tmp_path, suffix):
    rgba = np.dstack([COLOUR, np.full((6, 9), 255, np.uint8)])
    np.testing.assert_array_equal(read_image(save(tmp_path / f"a{suffix}", rgba)), COLOUR)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparent_pixels_are_refused(tmp_path, suffix):
    rgba = np.dstack([COLOUR, GREY])
    path = save(tmp_path / f"a{suffix}", rgba)
    with pytest.raises(UserError, match=re.escape(str(path)) + ".*transparent"):
        read_image(path)


def test_sixteen_bits_are_scaled(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    for path in (save(tmp_path / "a.png", deep), tmp_path / "a.tif"):
        if path.suffix == ".tif":
            tifffile.imwrite(path, deep)
        np.testing.assert_array_equal(read_image(path)[..., 0], GREY)


def test_palette(tmp_path):
    image = Image.fromarray(COLOUR).quantize(256)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    # What each value says must be done to the stored pixels to see the upright image (EXIF 2.3).
    upright = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: np.rot90(a, 2),
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = save(tmp_path / "a.png", COLOUR, exif=exif)
    np.testing.assert_array_equal(read_image(stored), upright(COLOUR))


def test_floating_point_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.float32))
    with pytest.raises(UserError, match=r"a\.tif.*float32"):
        read_image(tmp_path / "a.tif")


def test_several_pages_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([COLOUR, COLOUR]), photometric="rgb")
    with pytest.raises(UserError, match=r"a\.tif: has 2 pages"):
        read_image(tmp_path / "a.tif")


def test_several_frames_are_refused(tmp_path):
    frames = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1].copy())]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"a\.webp: has 2 frames"):
        read_image(tmp_path / "a.webp")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_every_truncation_is_refused_by_name_or_read_whole(tmp_path, suffix):
    whole = save(tmp_path / f"whole{suffix}", np.tile(COLOUR, (8, 8, 1))).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in range(0, len(whole) - len(whole) // 8, max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=re.escape(str(path))):
            read_image(path)
        with pytest.raises(UserError, match=f"^sent{suffix}: "):
            read_image(f"sent{suffix}", whole[:length])


def test_a_photo_with_smaller_versions_of_itself(tmp_path):
    """As some phones write it. The first one counts."""
    photo = Image.fromarray(np.tile(COLOUR, (8, 8, 1)))
    small = photo.resize((16, 16))
    photo.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[small], quality=90)
    photo.save(tmp_path / "alone.jpg", quality=90)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.n_frames == 2
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.jpg"), read_image(tmp_path / "alone.jpg")
    )


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_file_in_memory(tmp_path, suffix):
    content = save(tmp_path / f"a{suffix}", COLOUR).read_bytes()
    np.testing.assert_array_equal(read_image(f"nowhere/a{suffix}", content), COLOUR)
    bright = COLOUR[..., 0] > 127
    content = save(tmp_path / f"b{suffix}", bright * np.uint8(255)).read_bytes()
    np.testing.assert_array_equal(read_mask(f"nowhere/b{suffix}", content), bright)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_image(tmp_path / "a.png")


# --- masks


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_is_thresholded_at_half(tmp_path, dtype, suffix):
    soft = np.where(MASK, 255, 17).astype(np.uint8)
    soft[2, 1:3] = 127, 128
    grey = soft.astype(dtype) * (257 if dtype is np.uint16 else 1)
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, grey)
    else:
        save(path, grey)
    mask = read_mask(path)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, soft > 127)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
def test_masks_of_every_mode(tmp_path, mode):
    path = save(tmp_path / "a.png", MASK.astype(np.uint8) * 255, mode)
    np.testing.assert_array_equal(read_mask(path), MASK)


def test_a_black_mask_is_empty(tmp_path):
    assert not read_mask(save(tmp_path / "a.png", np.zeros((6, 9), np.uint8))).any()


def test_a_mask_of_class_numbers_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.png: its values are 0 and 1, .*foreground=1"):
        read_mask(save(tmp_path / "a.png", MASK.astype(np.uint8)))


@pytest.mark.parametrize("values", [(0, 128, 255), (0, 85, 170)])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_mask_of_several_greys_is_refused(tmp_path, values, suffix):
    grey = np.repeat(np.array(values, np.uint8), (48, 8, 40))[None].repeat(64, axis=0)
    with pytest.raises(
        UserError, match=rf"a\{suffix}: its .*values are .*{values[2]}, so it is no"
    ):
        read_mask(save(tmp_path / f"a{suffix}", grey))


def test_a_photograph_is_no_mask(tmp_path):
    with pytest.raises(UserError, match=r"a\.jpg: its \d+ values are mostly"):
        read_mask(save(tmp_path / "a.jpg", scene(0, 0, 64)[0]))


# --- the real files


def test_cvc_tiffs_equal_their_png_copies(real_data):
    tiffs = sorted((real_data / "CVC-ClinicDB-tif").glob("*/*.tif"))
    assert len(tiffs) == 16
    for tiff in tiffs:
        png = real_data / "CVC-ClinicDB" / tiff.parent.name / f"{tiff.stem}.png"
        read = read_mask if tiff.parent.name == "Ground Truth" else read_image
        np.testing.assert_array_equal(read(tiff), read(png))


def test_cvc_tiffs_are_in_colour(real_data):
    image = read_image(real_data / "CVC-ClinicDB-tif" / "Original" / "1.tif")
    assert image.shape == (288, 384, 3)
    red, green, blue = image.reshape(-1, 3).mean(axis=0)
    assert red > green > blue  # mucosa


def test_kvasir_boxes_enclose_the_masks(real_data):
    """The bounding boxes of the release are an independent account of where the polyps are."""
    import json

    boxes = json.loads((real_data / "Kvasir-SEG" / "kavsir_bboxes.json").read_text())
    for id in list(boxes)[::50]:
        mask = read_mask(real_data / "Kvasir-SEG" / "masks" / f"{id}.jpg")
        assert mask.shape == (boxes[id]["height"], boxes[id]["width"])
        boxed = np.zeros_like(mask)
        for box in boxes[id]["bbox"]:
            boxed[box["ymin"] : box["ymax"] + 1, box["xmin"] : box["xmax"] + 1] = True
        # Some masks have specks outside their boxes.
        assert (mask & boxed).sum() > 0.98 * mask.sum()
        assert mask.sum() > 0.4 * boxed.sum()
