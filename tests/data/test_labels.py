"""Masks of several classes, in the forms they are stored in."""

import numpy as np
import pytest
import tifffile
from omegaconf import OmegaConf
from PIL import Image

from polyp.data import Labels, PairedFolders
from polyp.errors import UserError
from tests.conftest import write_pairs

CLASSES = np.random.default_rng(0).integers(0, 3, (6, 9), dtype=np.uint8)
NAMES = ["background", "polyp", "instrument"]
VALUES = dict(zip(NAMES, [0, 128, 255], strict=True))
COLOURS = dict(zip(NAMES, [[0, 0, 0], [255, 0, 0], [0, 0, 255]], strict=True))


def stored(classes: np.ndarray, values: dict) -> np.ndarray:
    return np.array(list(values.values()), np.uint8)[classes]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("values", [dict(zip(NAMES, range(3), strict=True)), VALUES, COLOURS])
def test_values_and_colours(tmp_path, values, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(stored(CLASSES, values)).save(path)
    for labels in (Labels(values), Labels(OmegaConf.create(values))):
        mask = labels.read(path)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, CLASSES)


def test_a_list_of_names_is_of_indices(tmp_path):
    Image.fromarray(CLASSES).save(tmp_path / "a.png")
    np.testing.assert_array_equal(Labels(NAMES).read(tmp_path / "a.png"), CLASSES)
    np.testing.assert_array_equal(Labels(OmegaConf.create(NAMES)).read(tmp_path / "a.png"), CLASSES)


@pytest.mark.parametrize("labels", [NAMES, COLOURS])
def test_a_palette_is_read_as_indices_or_colours(tmp_path, labels):
    image = Image.fromarray(CLASSES)
    image.putpalette([part for colour in COLOURS.values() for part in colour])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(Labels(labels).read(tmp_path / "a.png"), CLASSES)


def test_sixteen_bits_are_not_scaled(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", CLASSES.astype(np.uint16) * 1000)
    labels = Labels(dict(zip(NAMES, [0, 1000, 2000], strict=True)))
    np.testing.assert_array_equal(labels.read(tmp_path / "a.tif"), CLASSES)


def test_one_bit_is_0_and_1(tmp_path):
    Image.fromarray(CLASSES == 1).save(tmp_path / "a.png")
    mask = Labels(["background", "polyp"]).read(tmp_path / "a.png")
    np.testing.assert_array_equal(mask, CLASSES == 1)


def test_a_grey_mask_that_is_stored_as_rgb(tmp_path):
    Image.fromarray(CLASSES).convert("RGB").save(tmp_path / "a.png")
    np.testing.assert_array_equal(Labels(NAMES).read(tmp_path / "a.png"), CLASSES)


@pytest.mark.parametrize(
    ("labels", "pixels", "expected"),
    [
        (NAMES, CLASSES + 1, r"a\.png: holds 3, which no class has; labels are {'background': 0"),
        (NAMES[:2], np.arange(54, dtype=np.uint8).reshape(6, 9), "holds 2, 3, 4, 5, 6, 7 and 46 m"),
        (VALUES, CLASSES, "holds 1, 2, which no class has"),
        (COLOURS, stored(CLASSES, COLOURS) // 2, r"holds \[0, 0, 127\], \[127, 0, 0\], which no"),
        (NAMES, stored(CLASSES, COLOURS), "a mask in colours; labels have to give each class a"),
    ],
)
def test_unknown_values_are_refused(tmp_path, labels, pixels, expected):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=expected) as error:
        Labels(labels).read(tmp_path / "a.png")
    assert "\n" not in str(error.value)


def test_jpeg_is_told_as_the_cause(tmp_path):
    Image.fromarray(stored(CLASSES, VALUES)).save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="JPEG changes values, store masks as PNG"):
        Labels(VALUES).read(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("polyp", "must be a list of names"),
        (3, "must be a list of names"),
        (["background"], "1 classes; 2 to 256 are needed"),
        (["a", "b", "a"], "two classes have the name a"),
        ({"a": 0, "b": 0}, "two classes have the value 0"),
        ({"a": 0, "b": [255, 0, 0]}, "or each a colour"),
        ({"a": 0, "b": -1}, "must give each class a whole number"),
        ({"a": 0, "b": "red"}, "must give each class a whole number"),
        ({"a": [0, 0, 0], "b": [1, 2]}, "must give each class a whole number"),
    ],
)
def test_wrong_labels(labels, expected):
    with pytest.raises(UserError, match=expected):
        Labels(labels)


def test_a_folder_of_label_masks(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"], shape=(6, 9))
    for path in (tmp_path / "masks").iterdir():
        Image.fromarray(CLASSES).save(path)
    dataset = PairedFolders(tmp_path, labels=NAMES)
    assert dataset.num_classes == 3
    np.testing.assert_array_equal(dataset.read(dataset.samples()[0])[1], CLASSES)
    assert dataset.fingerprint() != PairedFolders(tmp_path, labels=NAMES[::-1]).fingerprint()


def test_a_binary_folder_of_0_and_1(folder_dataset):
    binary = PairedFolders(folder_dataset)
    expected = [binary.read(sample)[1] for sample in binary.samples()]
    for path in (folder_dataset / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 255).save(path)
    dataset = PairedFolders(folder_dataset, foreground=1)
    assert dataset.num_classes == 2
    for sample, mask in zip(dataset.samples(), expected, strict=True):
        np.testing.assert_array_equal(dataset.read(sample)[1], mask)
    with pytest.raises(UserError, match=r"foreground=1: for binary masks only"):
        PairedFolders(folder_dataset, foreground=1, labels=NAMES)
