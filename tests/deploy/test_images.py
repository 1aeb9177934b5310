"""Which files a user means by `input=`, and images with transparency."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyp.data import read_image
from polyp.deploy.images import Search, read_on_black
from polyp.errors import UserError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch) -> Path:
    """Images and other files in folders, in the working directory."""
    for name in ("a.png", "b.JPG", "notes.txt", ".hidden.png", "one/a.png", "one/two/c.tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "odd [1], = ü").mkdir()
    (tmp_path / "odd [1], = ü" / "d.png").touch()
    (tmp_path / "one" / "up").symlink_to(tmp_path)  # a cycle
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(asked, recursive=False, without="out") -> list[str]:
    return [image.name for image in Search(recursive, Path(without))(asked)]


@pytest.mark.parametrize(
    ("asked", "recursive", "expected"),
    [
        ("a.png", False, ["a.png"]),
        ("notes.txt", False, ["notes.txt"]),  # a file by its name is tried, whatever its ending
        (".", False, ["a.png", "b.JPG"]),
        (".", True, ["a.png", "b.JPG", "odd [1], = ü/d.png", "one/a.png", "one/two/c.tif"]),
        ("one", True, ["a.png", "two/c.tif"]),
        ("*.png", False, ["a.png"]),
        ("one/*/*.tif", False, ["two/c.tif"]),
        ("**/*.png", False, ["a.png", "odd [1], = ü/d.png", "one/a.png"]),
        ("on*", True, ["one/a.png", "one/two/c.tif"]),
        ("odd [1], = ü", False, ["d.png"]),  # a name comes before a pattern
        (["b.JPG", "one"], False, ["b.JPG", "a.png"]),
        (["a.png", ".", "*.png"], False, ["a.png", "b.JPG"]),  # each image once
    ],
)
def test_what_is_found(tree, asked, recursive, expected):
    assert sorted(names(asked, recursive)) == sorted(expected)
    if not isinstance(asked, str) or "**" in asked:
        return
    absolute = str(tree / asked)
    assert sorted(names(absolute, recursive)) == sorted(expected)


def test_results_are_not_taken_for_images(tree):
    assert names("one", recursive=True, without="one/two") == ["a.png"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("nowhere", "input=nowhere: no such file or folder"),
        ("nowhere/*.png", r"input=nowhere/\*.png: no file or folder matches"),
        ("**a", r"input=\*\*a: (no file|not a pattern)"),
        ("*.txt", r"input=\*.txt: no images in it .looked for .bmp .*recursive=true"),
        (["a.png", "nowhere"], "input=nowhere: no such"),
        ([], r"input=\[\]: must name at least one"),
        ("", "input='': must be a file"),
        (None, "input=None: must be a file"),
        ({"a": 1}, "must be a file"),
    ],
)
def test_what_is_refused(tree, asked, expected):
    with pytest.raises(UserError, match=expected):
        names(asked)


def test_skipped_files_are_logged_by_reason(tree, caplog):
    for index in range(10):
        (tree / "one" / f"{index}.json").touch()
    with caplog.at_level(logging.INFO):
        search = Search(False, Path("out"))
        search(".")
        search.log_skipped()
        recursive = Search(True, Path("out"))
        recursive("one")
        recursive.log_skipped()
    assert caplog.messages == [
        "skipped (images end with .bmp .jpeg .jpg .png .tif .tiff .webp): notes.txt",
        "skipped (use recursive=true to read subfolders): odd [1], = ü, one",
        "skipped (images end with .bmp .jpeg .jpg .png .tif .tiff .webp): "
        "0.json, 1.json, 2.json, 3.json, 4.json and 5 more",
        "skipped (links to folders are not followed): up",
    ]


# --- transparency


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGBA", "a.png"),
        ("RGBA", "a.tif"),
        ("RGBA", "a.webp"),
        ("LA", "a.png"),
        ("P", "a.png"),
    ],
)
def test_black_shines_through(tmp_path, mode, name):
    pixels = np.full((6, 8, 4), 200, np.uint8)
    pixels[..., 3] = 255
    pixels[:2, :, 3] = 0
    if mode != "P":
        pixels[2:4, :, 3] = 51  # a fifth
    image = Image.fromarray(pixels)
    if mode == "P":
        image = image.quantize()
    elif mode != "RGBA":
        image = image.convert(mode)
    image.save(tmp_path / name, lossless=True)
    found = read_on_black(tmp_path / name)
    assert (found.shape, found.dtype) == ((6, 8, 3), np.uint8)
    assert (found[:2] == 0).all()
    assert np.abs(found[4:].astype(int) - 200).max() <= 1
    if mode != "P":
        assert np.abs(found[2:4].astype(int) - 40).max() <= 1


def test_images_without_transparency_are_read_as_ever(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "opaque.png")
    Image.fromarray(pixels[..., :3]).save(tmp_path / "colour.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_on_black(path), read_image(path))


def test_a_damaged_image_with_transparency(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.png: cannot be decoded"):
        read_on_black(tmp_path / "a.png")
