"""scripts/predict.py: masks of images of any size, what the table says of them, and bad files."""

import csv
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from polyp.data import read_image, read_mask
from polyp.deploy.predict import Predictor, outlined


class Brightness(nn.Module):
    """Logits that are positive where an image is brighter than ½."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 20 * (image.mean(dim=1, keepdim=True) - 0.5)


class UpperHalf(nn.Module):
    """Finds the upper half of whatever it is shown: as far from equivariant as can be."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.full_like(image[:, :1], -5.0)
        logits[:, :, : image.shape[2] // 2] = 5
        return logits


def predictor(model: nn.Module, angles=(), size: int = 64, resize: str = "pad") -> Predictor:
    return Predictor(model, size, resize, angles, torch.device("cpu"))


def white_disc(height: int, width: int, row: float, column: float, radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.repeat((np.hypot(y - row, x - column) < radius)[..., None], 3, 2) * np.uint8(255)


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(300, 400), (401, 200), (40, 50)])
def test_the_mask_lies_on_the_polyp_at_the_original_size(height, width, resize):
    radius = 0.2 * min(height, width)
    pixels = white_disc(height, width, 0.55 * height, 0.45 * width, radius)
    found = predictor(Brightness(), resize=resize)(pixels)
    assert found.mask.shape == (height, width)
    truth = pixels[..., 0] > 0
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.96
    assert found.polyp_area == pytest.approx(truth.mean(), rel=0.05)
    assert 0.9 < found.confidence <= 1  # less than 1 at the edge alone
    assert found.agreement is None


def test_nothing_found_has_no_confidence_and_agrees_with_itself():
    found = predictor(Brightness(), [45, 90])(np.zeros((30, 40, 3), np.uint8))
    assert (found.polyp_area, found.confidence, found.agreement) == (0, None, 1)


def test_agreement_tells_a_mask_that_turns_from_one_that_does_not():
    pixels = white_disc(60, 80, 30, 40, 15)
    assert predictor(Brightness(), [45, 90, 180, 270])(pixels).agreement > 0.97
    assert predictor(UpperHalf(), [180])(pixels).agreement < 0.01
    at_90 = predictor(UpperHalf(), [90])(pixels).agreement  # half of each lies in the other
    assert at_90 == pytest.approx(0.5, abs=0.01)
    assert predictor(UpperHalf(), [90, 180])(pixels).agreement == pytest.approx(at_90 / 2)


def test_the_outline_hides_no_polyp():
    pixels = white_disc(100, 120, 50, 60, 20)
    mask = pixels[..., 0] > 0
    picture = outlined(pixels, mask)
    assert (picture[mask] == 255).all()
    line = (picture != pixels).any(axis=2)
    assert line.any()
    assert not line[~white_disc(100, 120, 50, 60, 24).any(axis=2)].any()


def test_a_folder(script, finished_run, tmp_path):
    images, output = finished_run.parent / "dataset" / "images", tmp_path / "out"
    script("predict", f"run={finished_run}", f"input={images}", f"output={output}")
    rows = table(output)
    assert list(rows) == sorted(path.name for path in images.iterdir())
    for name, row in rows.items():
        mask = read_mask(output / "masks" / name)
        assert mask.shape == read_image(output / "overlays" / f"{Path(name).stem}.jpg").shape[:2]
        assert mask.shape == (36, 48)
        assert float(row["polyp_area"]) == mask.mean()
        assert 0.5 < float(row["confidence"] or 1) <= 1
    assert not list(output.rglob(".*"))


def test_agreement_is_the_consistency_of_the_rotation_sweep(script, finished_run, tmp_path):
    images, output = finished_run.parent / "dataset" / "images", tmp_path / "out"
    with (finished_run / "equivariance.csv").open(newline="") as file:
        sweep = {
            (row["image"], float(row["angle"])): float(row["dice"]) for row in csv.DictReader(file)
        }
    options = [f"run={finished_run}", f"input={images}", f"output={output}", "angles=[45,90]"]
    script("predict", *options)
    rows = table(output)
    test = json.loads((finished_run / "split.json").read_text())["test"]
    for image in test:
        expected = (sweep[image, 45] + sweep[image, 90]) / 2
        # The collapsed network may decide otherwise on a pixel whose logit is 0 but for rounding.
        assert float(rows[f"{image}.png"]["agreement"]) == pytest.approx(expected, abs=0.01)


def test_bfloat16_has_to_be_asked_for_and_finds_nearly_the_same(script, finished_run, tmp_path):
    images = finished_run.parent / "dataset" / "images"
    found = {}
    for precision in ("float32", "bfloat16"):
        options = [f"input={images}", f"output={tmp_path / precision}", "angles=[]"]
        options += [] if precision == "float32" else [f"precision={precision}"]
        script("predict", f"run={finished_run}", *options)
        masks = sorted((tmp_path / precision / "masks").iterdir())
        found[precision] = np.stack([read_mask(path) for path in masks])
    different = (found["float32"] != found["bfloat16"]).mean()
    assert different < 0.02
    confidences = [[row["confidence"] for row in table(tmp_path / p).values()] for p in found]
    assert confidences[0] != confidences[1]


def test_bad_files_are_skipped_and_told(script_refused, finished_run, tmp_path):
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
    arguments = [f"run={finished_run}", f"input={images}", f"output={output}", "angles=[]"]
    assert script_refused("predict", *arguments) == "error: skipped 5 of 8 files, listed above"
    rows = table(output)
    assert list(rows) == ["a.png", "b.jpg", "z z.png"]
    assert {row["agreement"] for row in rows.values()} == {""}
    assert sorted(p.name for p in (output / "masks").iterdir()) == ["a.png", "b.png", "z z.png"]
    assert len(list((output / "overlays").iterdir())) == 3


def test_skipped_files_are_named(script, finished_run, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    arguments = [f"run={finished_run}", f"input={tmp_path}", f"output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit):
        script("predict", *arguments)
    captured = capsys.readouterr()
    for name in ("a.png", "b.png"):
        assert f"skipped: {tmp_path / name}: not an image file" in captured.out
    assert "none of 2 files can be used" in captured.err
    assert not list((tmp_path / "out").iterdir())


def test_memory_does_not_grow_with_the_folder(script, finished_run, tmp_path):
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
            script("predict", f"run={finished_run}", *options)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # imports
    assert peak(22) - peak(2) < 2 * pixels.nbytes


def test_a_full_disk_leaves_no_half_table(script_refused, finished_run, tmp_path, monkeypatch):
    images = finished_run.parent / "dataset" / "images"
    saved = []

    def save(image, path, **options):
        saved.append(path)
        if len(saved) > 5:
            raise OSError(28, os.strerror(28), str(path))
        path.touch()

    monkeypatch.setattr(Image.Image, "save", save)
    line = script_refused(
        "predict", f"run={finished_run}", f"input={images}", f"output={tmp_path / 'out'}"
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
        ("output=USED", "already holds predictions"),
        ("output=TEXT", "is a file; name a folder"),
        ("angles=[0,360]", "angles=[0, 360]: angles"),
        ("angles=[left]", "angles=['left']"),
        ("angles=90", "angles=90"),
        ("device=cuda:77", "device=cuda:77: there is none here"),
        ("overlay=false", "overlay"),
        ("precision=int8", "precision=int8: must be float32 or bfloat16"),
    ],
)
def test_a_wrong_option(script_refused, finished_run, tmp_path, argument, expected):
    places = {"EMPTY": tmp_path / "empty", "TEXT": tmp_path / "page.html", "USED": tmp_path / "u"}
    places["EMPTY"].mkdir()
    places["TEXT"].write_text("<html>")
    places["USED"].mkdir()
    (places["USED"] / "predictions.csv").touch()
    options = {
        "run": finished_run,
        "input": finished_run.parent / "dataset" / "images",
        "output": tmp_path / "out",
    }
    key, value = argument.split("=")
    options[key] = places.get(value, value)
    before = sorted(tmp_path.rglob("*"))
    line = script_refused("predict", *(f"{key}={value}" for key, value in options.items()))
    assert expected in line
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path not in before]
    assert not left


def test_a_config_without_an_input(script_refused, finished_run):
    line = script_refused("predict", f"run={finished_run}", "output=out")
    assert "Missing mandatory value: input" in line
