"""Prediction maps of anybody, scored against a dataset's masks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from polyp.data import read_mask
from tests.evaluation.test_metrics import thresholds

METRICS = "metrics=[dice,dice_256,iou_256,mae]"


@pytest.fixture
def maps(folder_dataset: Path, tmp_path: Path) -> Path:
    """Blurred and moved masks of ten of the twelve images, one of them at half the size."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for index in range(10):
        mask = read_mask(folder_dataset / "masks" / f"polyp{index}.png")
        soft = gaussian_filter(np.roll(mask, index, axis=1).astype(float), 2)
        picture = Image.fromarray(np.round(255 * soft).astype(np.uint8))
        if index == 3:
            picture = picture.resize((24, 18))
        picture.save(folder / f"polyp{index}.png")
    return folder


def options(dataset: Path, maps: Path, output: Path) -> list[str]:
    return ["data=folder", f"data.root={dataset}", f"maps={maps}", f"output={output}"]


def test_scores_agree_with_an_independent_definition(script, folder_dataset, maps, tmp_path):
    output = tmp_path / "scores"
    script("evaluate", *options(folder_dataset, maps, output), METRICS)
    table = pd.read_csv(output / "scores.csv")
    assert list(table["image"]) == [f"polyp{index}" for index in range(10)]
    for row in table.itertuples():
        truth = read_mask(folder_dataset / "masks" / f"{row.image}.png")
        picture = Image.open(maps / f"{row.image}.png")
        grey = np.asarray(picture.resize(truth.shape[::-1], Image.Resampling.BILINEAR))
        dice, iou = thresholds(grey / 255, truth)
        assert row.dice_256 == pytest.approx(dice, abs=1e-12)
        assert row.iou_256 == pytest.approx(iou, abs=1e-12)
        assert row.mae == pytest.approx(np.abs(grey / 255 - truth).mean())
        found = grey / 255 > 0.5
        assert row.dice == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["test"]["images"], metrics["test"]["without_map"]) == (10, 2)
    for name in ("dice", "dice_256", "iou_256", "mae"):
        assert metrics["test"][name]["mean"] == pytest.approx(table[name].mean())


def test_refused(script_refused, folder_dataset, maps, tmp_path):
    output = tmp_path / "scores"
    given = options(folder_dataset, maps, output)
    assert "metrics= is missing" in script_refused("evaluate", *given)
    nowhere = [*given[:2], f"maps={tmp_path / 'nowhere'}", given[3], METRICS]
    assert "nowhere: no such folder" in script_refused("evaluate", *nowhere)
    assert "needs data= and output=" in script_refused("evaluate", f"maps={maps}", METRICS)
    Image.new("RGB", (48, 36), "red").save(maps / "polyp0.png")
    assert "polyp0.png: in colour" in script_refused("evaluate", *given, METRICS)
    assert not output.exists()
    for path in maps.iterdir():
        path.rename(path.with_stem(f"other-{path.stem}"))
    assert "no PNG in it has the name of an image" in script_refused("evaluate", *given, METRICS)


def test_maps_of_a_real_external_test_set(script, real_data, tmp_path):
    """CVC-300, frames 149 to 208 of CVC-ColonDB: one sequence-wise interval."""
    maps, output = tmp_path / "maps", tmp_path / "scores"
    maps.mkdir()
    for frame in (149, 160, 208):
        mask = read_mask(real_data / "CVC-ColonDB" / f"p{frame}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(maps / f"{frame}.png")
    script("evaluate", "data=colondb", f"maps={maps}", f"output={output}", METRICS)
    test = json.loads((output / "metrics.json").read_text())["test"]
    assert (test["images"], test["without_map"]) == (3, 343)
    assert test["dice"]["mean"] == 1
    assert test["dice_256"]["mean"] == pytest.approx(255 / 256, abs=0.002)
