"""scripts/predict.py: masks, overlays and maps of images, the table, and bad files and options."""

import csv
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyp.data import read_image, read_mask
from polyp.deploy.predict import outlined
from polyp.evaluation.figures import class_colours
from tests.deploy.conftest import write_trained_run
from tests.deploy.test_predictor import white_disc

CLASSES = ["polyp", "tool"]


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_the_outline_hides_no_polyp():
    pixels = white_disc(100, 120, 50, 60, 20)
    mask = pixels[..., 0] > 0
    picture = outlined(pixels, mask[None])
    assert (picture[mask] == 255).all()
    line = (picture != pixels).any(axis=2)
    assert line.any()
    assert not line[~white_disc(100, 120, 50, 60, 24).any(axis=2)].any()


def test_an_outline_per_class():
    pixels = np.zeros((100, 120, 3), np.uint8)
    discs = [white_disc(100, 120, 50, column, 15).any(axis=2) for column in (30, 90)]
    picture = outlined(pixels, np.stack(discs))
    for left, colour in zip((True, False), class_colours(2), strict=True):
        side = picture[:, :60] if left else picture[:, 60:]
        colours = np.unique(side[side.any(axis=2)], axis=0)
        assert colours.tolist() == [np.round(255 * np.array(colour)).tolist()]


def test_a_folder(script, trained_run, images, tmp_path):
    output = tmp_path / "out"
    script("predict", f"run={trained_run}", f"input={images}", f"output={output}")
    rows = table(output)
    assert list(rows) == sorted(path.name for path in images.iterdir())
    for name, row in rows.items():
        mask = read_mask(output / "masks" / name)
        assert mask.shape == read_image(output / "overlays" / f"{Path(name).stem}.jpg").shape[:2]
        assert mask.shape == (36, 48)
        assert float(row["polyp_area"]) == mask.mean()
        assert 0 < float(row["agreement"]) < 1
        assert 0.5 < float(row["confidence"] or 1) <= 1
    assert sorted(path.name for path in output.iterdir()) == [
        "masks",
        "overlays",
        "predictions.csv",
    ]
    assert not list(output.rglob(".*"))


def test_several_classes(script, multiclass_run, images, tmp_path):
    output = tmp_path / "out"
    options = ["angles=[90]", "probabilities=true"]
    script("predict", f"run={multiclass_run}", f"input={images}", f"output={output}", *options)
    for name, row in table(output).items():
        with Image.open(output / "masks" / name) as mask:
            assert mask.mode == "P"
            labels, colours = np.asarray(mask), np.asarray(mask.convert("RGB"))
        assert labels.shape == (36, 48)
        assert float(row["polyp_area"]) == (labels > 0).mean()
        assert not colours[labels == 0].any()
        for index, (label, colour) in enumerate(zip(CLASSES, class_colours(2), strict=True), 1):
            assert float(row[f"area.{label}"]) == (labels == index).mean()
            assert (colours[labels == index] == np.round(255 * np.array(colour))).all()
            assert (row[f"confidence.{label}"] == "") == (not (labels == index).any())
        values = [float(row[f"agreement.{label}"] or "nan") for label in CLASSES]
        assert float(row["agreement"]) == pytest.approx(np.nanmean(values))
        maps = [read_image(output / "probabilities" / label / name)[..., 0] for label in CLASSES]
        best = np.argmax([255 - np.sum(maps, axis=0, dtype=int), *maps], axis=0)
        assert (best == labels).mean() > 0.98  # but for rounding
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_a_network_on_grey_images(script, grey_run, images, tmp_path):
    grey = tmp_path / "grey"
    grey.mkdir()
    for path in images.iterdir():
        with Image.open(path) as image:
            image.convert("L").save(grey / path.name)
    for name, folder in (("of_colours", images), ("of_grey", grey)):
        arguments = [f"run={grey_run}", f"input={folder}", f"output={tmp_path / name}"]
        script("predict", *arguments, "angles=[90]")
    assert table(tmp_path / "of_colours") == table(tmp_path / "of_grey")
    overlay = read_image(tmp_path / "of_colours" / "overlays" / "scene0.jpg")
    assert np.ptp(overlay, axis=2).max() > 20  # on the image in its colours


LIBRARY = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 1}


def test_a_network_of_a_library(script, images, tmp_path):
    run = write_trained_run(tmp_path / "run", network=LIBRARY)
    script("predict", f"run={run}", f"input={images}", f"output={tmp_path / 'out'}", "angles=[90]")
    # What looks at single pixels turns with the image.
    assert {row["agreement"] for row in table(tmp_path / "out").values()} == {"1.0"}


def test_a_run_of_images_with_other_channels(script_refused, images, tmp_path):
    network = {**LIBRARY, "in_channels": 2}
    run = write_trained_run(tmp_path / "run", ["++data.channels=2"], network)
    output = tmp_path / "out"
    line = script_refused("predict", f"run={run}", f"input={images}", f"output={output}")
    assert "have data.channels=2; grey (1) or RGB (3) is needed" in line
    assert not output.exists()


@pytest.mark.parametrize(
    ("asked", "dtype"), [("true", np.uint8), ("8", np.uint8), ("16", np.uint16)]
)
def test_maps_of_probabilities(script, trained_run, images, tmp_path, asked, dtype):
    output = tmp_path / "out"
    arguments = [f"run={trained_run}", f"input={images}", f"output={output}", "angles=[]"]
    script("predict", *arguments, f"probabilities={asked}")
    for name, row in table(output).items():
        with Image.open(output / "probabilities" / name) as image:
            map = np.asarray(image)
        assert (map.dtype, map.shape) == (dtype, (36, 48))
        mask = read_mask(output / "masks" / name)
        np.testing.assert_array_equal(map / np.iinfo(dtype).max > 0.5, mask)
        mean = map[mask].mean() / np.iinfo(dtype).max
        assert mean == pytest.approx(float(row["confidence"]), abs=0.6 / np.iinfo(dtype).max)
        # As `evaluate maps=` reads it.
        np.testing.assert_array_equal(
            read_image(output / "probabilities" / name)[..., 0] > 127, mask
        )


def test_a_threshold(script, trained_run, images, tmp_path):
    areas = {}
    for threshold in ("null", "0.5", "0.8"):
        output = tmp_path / threshold
        arguments = [f"run={trained_run}", f"input={images}", f"output={output}", "angles=[]"]
        script("predict", *arguments, f"threshold={threshold}")
        areas[threshold] = [float(row["polyp_area"]) for row in table(output).values()]
        confidences = [float(row["confidence"] or 1) for row in table(output).values()]
        assert min(confidences) > {"null": 0.5}.get(
            threshold, float(threshold.replace("null", "0"))
        )
    assert areas["null"] == areas["0.5"]
    assert all(np.array(areas["0.8"]) < areas["0.5"])


def test_subfolders_are_kept(script, trained_run, tmp_path, capsys):
    folder, output = tmp_path / "frames", tmp_path / "frames" / "out"
    for name in ("a.png", "one/a.png", "one/two/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(white_disc(40, 40, 20, 20, 9)).save(folder / name)
    (folder / "notes.txt").touch()
    output.mkdir()
    arguments = [f"run={trained_run}", f"input={folder}", f"output={output}", "angles=[]"]
    script("predict", *arguments, "recursive=true")
    names = ["a.png", "one/a.png", "one/two/b.png"]
    assert list(table(output)) == names
    for name in names:
        assert (output / "masks" / name).is_file()
        assert (output / "overlays" / name).with_suffix(".jpg").is_file()
    told = capsys.readouterr().out
    assert "skipped (images end with" in told
    assert "notes.txt" in told
    assert "skipped (the results go there): out" in told


def test_a_pattern_and_a_list(script, trained_run, images, tmp_path):
    for name, asked in (
        ("pattern", f"input='{images}/scene[0-2].png'"),
        ("list", f"input=['{images}/scene0.png','{images}/scene[12].png']"),
    ):
        script("predict", f"run={trained_run}", asked, f"output={tmp_path / name}", "angles=[]")
        assert list(table(tmp_path / name)) == ["scene0.png", "scene1.png", "scene2.png"]


def test_paths_as_they_are_pasted(script, trained_run, images, tmp_path):
    odd = tmp_path / "model=unet,seed=0 (ü)"
    odd.mkdir()
    (odd / "run").symlink_to(trained_run)
    (odd / "frames").symlink_to(images)
    places = {"run": odd / "run", "input": odd / "frames", "output": odd / "[out]"}
    script("predict", *(f"{key}={place}" for key, place in places.items()), "angles=[]")
    assert len(table(odd / "[out]")) == len(list(images.iterdir()))
    script("export", f"run={odd / 'run'}", f"output={odd / 'a,b.pt2'}")
    assert (odd / "a,b.pt2").is_file()


def test_black_and_single_pixels_have_no_agreement(script, trained_run, tmp_path):
    folder, output = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "black.png")
    Image.new("RGB", (1, 1), "white").save(folder / "pixel.png")
    Image.new("RGBA", (40, 30), (255, 255, 255, 0)).save(folder / "transparent.png")
    script("predict", f"run={trained_run}", f"input={folder}", f"output={output}")
    rows = table(output)
    assert [row["agreement"] for row in rows.values()] == ["", "", ""]
    black, _, transparent = rows.values()
    assert black["polyp_area"] == transparent["polyp_area"]


def test_bfloat16_has_to_be_asked_for_and_finds_nearly_the_same(
    script, trained_run, images, tmp_path
):
    found = {}
    for precision in ("float32", "bfloat16"):
        options = [f"input={images}", f"output={tmp_path / precision}", "angles=[]"]
        options += [] if precision == "float32" else [f"precision={precision}"]
        script("predict", f"run={trained_run}", *options)
        masks = sorted((tmp_path / precision / "masks").iterdir())
        found[precision] = np.stack([read_mask(path) for path in masks])
    different = (found["float32"] != found["bfloat16"]).mean()
    assert different < 0.02
    confidences = [[row["confidence"] for row in table(tmp_path / p).values()] for p in found]
    assert confidences[0] != confidences[1]


def test_bad_files_are_skipped_and_told(script_refused, trained_run, tmp_path):
    images, output = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    pixels = white_disc(70, 50, 30, 25, 10)
    for name in ("a.png", "a.tif", "b.jpg", "z z.png"):
        Image.fromarray(pixels).save(images / name)
    content = (images / "a.png").read_bytes()
    (images / "half.png").write_bytes(content[: len(content) // 2])
    (images / "empty.jpg").touch()
    (images / "page.tiff").write_text("<html>")
    (images / "notes.txt").write_text("not looked at")
    (images / "sub.png").mkdir()
    arguments = [f"run={trained_run}", f"input={images}", f"output={output}", "angles=[]"]
    assert script_refused("predict", *arguments) == "error: skipped 4 of 7 files, listed above"
    rows = table(output)
    assert list(rows) == ["a.png", "b.jpg", "z z.png"]
    assert {row["agreement"] for row in rows.values()} == {""}
    assert sorted(p.name for p in (output / "masks").iterdir()) == ["a.png", "b.png", "z z.png"]
    assert len(list((output / "overlays").iterdir())) == 3


def test_skipped_files_are_named(script, trained_run, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    arguments = [f"run={trained_run}", f"input={tmp_path}", f"output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit):
        script("predict", *arguments)
    captured = capsys.readouterr()
    for name in ("a.png", "b.png"):
        assert f"skipped: {tmp_path / name}: not an image file" in captured.out
    assert "none of 2 files can be used" in captured.err
    assert not list((tmp_path / "out").iterdir())


def test_memory_does_not_grow_with_the_folder(script, trained_run, tmp_path):
    """Twenty images of 480 kB more take less memory than two of them."""
    pixels = np.full((400, 400, 3), 99, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "pixels.bmp")

    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        for i in range(count):
            (folder / f"{i}.bmp").symlink_to(tmp_path / "pixels.bmp")
        options = [f"input={folder}", f"output={tmp_path / f'out{count}'}", "angles=[]"]
        tracemalloc.start()
        try:
            script("predict", f"run={trained_run}", *options)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # imports
    assert peak(22) - peak(2) < 2 * pixels.nbytes


def test_a_full_disk_leaves_no_half_table(
    script_refused, trained_run, images, tmp_path, monkeypatch
):
    saved = []

    def save(image, path, **options):
        saved.append(path)
        if len(saved) > 5:
            raise OSError(28, os.strerror(28), str(path))
        path.touch()

    monkeypatch.setattr(Image.Image, "save", save)
    line = script_refused(
        "predict", f"run={trained_run}", f"input={images}", f"output={tmp_path / 'out'}"
    )
    assert "No space left on device" in line
    left = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert len(left) == 5
    assert not (tmp_path / "out" / "predictions.csv").exists()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("run=nowhere", "run=nowhere: not a run"),
        ("input=nowhere", "input=nowhere: no such file or folder"),
        ("input=EMPTY", "no images in it (looked for .bmp .jpeg .jpg"),
        ("input=TEXT", "page.html: not an image file"),
        ("input=[]", "input=[]: must be a path, or a list of at least one"),
        ("output=USED", "already holds predictions"),
        ("output=DATASET", "already holds masks; name another folder"),
        ("output=/proc/out", "output=/proc/out: cannot be written (No such file"),
        ("output=null", "output=null: must be a path"),
        ("output=TEXT", "is a file; name a folder"),
        ("angles=[0,360]", "angles=[0, 360]: angles"),
        ("angles=[left]", "angles=[left]: must be"),
        ("angles=90", "angles=90"),
        ("angles=0", "angles=0"),
        ("angles=[nan]", "angles=[nan]: must be"),
        ("angles=[90,inf]", "angles=[90, inf]: must be"),
        ("device=cuda:77", "device=cuda:77: not available"),
        ("overlay=false", "overlay"),
        ("precision=int8", "precision=int8: must be float32 or bfloat16"),
        ("precision=[a]", "precision=[a]: must be"),
        ("recursive=maybe", "recursive=maybe: must be true or false"),
        ("threshold=0", "threshold=0: must be a number above 0 and below 1"),
        ("threshold=1.0", "threshold=1.0: must be a number above 0 and below 1"),
        ("threshold=nan", "threshold=nan: must be a number above 0 and below 1"),
        ("threshold=half", "threshold=half: must be a number above 0 and below 1"),
        ("probabilities=12", "probabilities=12: must be true, false, 8 or 16"),
        ("probabilities=png", "probabilities=png: must be true, false, 8 or 16"),
    ],
)
def test_a_wrong_option(script_refused, trained_run, images, tmp_path, argument, expected):
    places = {
        "EMPTY": tmp_path / "empty",
        "TEXT": tmp_path / "page.html",
        "USED": tmp_path / "u",
        "DATASET": tmp_path / "dataset",
    }
    (places["DATASET"] / "masks").mkdir(parents=True)
    places["EMPTY"].mkdir()
    places["TEXT"].write_text("<html>")
    places["USED"].mkdir()
    (places["USED"] / "predictions.csv").touch()
    options = {
        "run": trained_run,
        "input": images,
        "output": tmp_path / "out",
    }
    key, value = argument.split("=")
    options[key] = places.get(value, value)
    before = sorted(tmp_path.rglob("*"))
    line = script_refused("predict", *(f"{key}={value}" for key, value in options.items()))
    assert expected in line
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path not in before]
    assert not left


def test_a_config_without_an_input(script_refused, trained_run):
    line = script_refused("predict", f"run={trained_run}", "output=out")
    assert "input= is missing" in line
