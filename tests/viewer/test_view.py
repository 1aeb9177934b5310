"""`polyp view`: which images it shows, and that its numbers and masks are those of the runs."""

import base64
import io
import shutil
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from polyp.evaluation import Turned
from polyp.runs.folder import RunFolder
from polyp.viewer.networks import Network, choose_images, open_network, shared_geometry
from polyp.viewer.view import COMPARED, TRUTH, pixels

ANGLES = list(range(0, 360, 30))


def unpacked(found: dict, size: int) -> np.ndarray:
    """Pixels [angles, S, S]."""
    data = zlib.decompress(base64.b64decode(found["masks"]))
    return np.frombuffer(data, np.uint8).reshape(-1, size, size)


def measured(run) -> pd.DataFrame:
    """equivariance.csv by image and angle."""
    return RunFolder(run).equivariance().set_index(["image", "angle"])


def test_the_numbers_are_those_of_the_runs(content, two_runs):
    assert content["angles"] == ANGLES
    table, scores = measured(two_runs[0]), RunFolder(two_runs[0]).scores().set_index("image")
    for image in content["images"]:
        found = image["found"][0]
        for angle in (0, 90):
            expected = table.loc[(image["id"], angle)]
            shown = found["consistency"][ANGLES.index(angle)]
            assert (np.nan if shown is None else shown) == pytest.approx(
                expected["dice"], nan_ok=True
            )
            assert found["dice"][ANGLES.index(angle)] == pytest.approx(expected["dice_truth"])
    network = content["networks"][0]
    assert network["name"] == "p4 U-Net (run)"
    assert content["networks"][1]["name"] == "p4 U-Net (other)"
    assert network["images"] == len(scores)
    assert network["dice"] == pytest.approx(scores["dice"].mean())
    turned = table["dice"][table.index.get_level_values("angle") != 0]
    assert network["consistency"] == pytest.approx(turned.groupby("image").mean().mean())


def test_the_masks_give_the_numbers_beside_them(content):
    """Consistency and Dice, computed again from the pixels that the page draws."""
    size = content["size"]
    for image in content["images"]:
        for found in image["found"]:
            for index, frame in enumerate(unpacked(found, size)):
                which, truth = frame & 3, (frame & TRUTH) > 0
                compared = (frame & COMPARED) > 0
                assert not which[~compared].any()
                both, only_found, only_rotated = ((which == value).sum() for value in (1, 2, 3))
                if (expected := found["consistency"][index]) is not None:
                    pixel_dice = 2 * both / (2 * both + only_found + only_rotated)
                    assert pixel_dice == pytest.approx(expected)
                in_mask = ((which == 1) | (which == 2)) & compared
                total = in_mask.sum() + (truth & compared).sum()
                overlap = 2 * (in_mask & truth).sum() / total if total else 1
                assert overlap == pytest.approx(found["dice"][index])
    # The two networks do find something, and not the same.
    assert not np.array_equal(*(unpacked(found, size) for found in content["images"][0]["found"]))


def test_the_picture_is_the_test_image(content):
    image = content["images"][0]
    data = base64.b64decode(image["picture"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (content["size"],) * 2
        assert np.asarray(picture).std() > 10


def test_the_page_asks_for_nothing(page):
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert text.replace("http://www.w3.org/2000/svg", "").count("http") == 1  # http-equiv


def test_pixels_of_two_classes():
    def masks(*rows):
        return np.array(rows, bool)[:, None]  # [K, 1, S]

    turned = Turned(
        angle=90,
        image=np.zeros((1, 5, 3)),
        found=masks([1, 1, 0, 0, 1], [0, 0, 0, 0, 0]),
        rotated=masks([1, 0, 0, 0, 1], [0, 1, 1, 0, 0]),
        truth=masks([0, 0, 0, 0, 1], [0, 0, 1, 0, 0]),
        region=np.array([[1, 1, 1, 1, 0]], bool),
        consistency=0,
        dice=0,
    )
    # In both; of another class; only rotated; in neither; not compared.
    expected = [1 + COMPARED, 2 + COMPARED, 3 + COMPARED + TRUTH, COMPARED, TRUTH]
    assert pixels(turned).tolist() == [expected]


def network(dice: dict[str, float], consistency: dict[str, float]) -> Network:
    return Network("", None, None, None, None, pd.Series(dice), pd.Series(consistency))


def test_the_images_are_chosen_over_all_networks():
    one = network(
        {"a": 0.9, "b": 0.5, "c": 0.6, "d": 0.75, "e": 0.1},
        {"a": 0.1, "b": 0.9, "c": 0.8, "d": 0.7, "e": np.nan},
    )
    other = network(
        {"a": 0.9, "b": 0.5, "c": 0.8, "d": 0.75, "e": 0.3},
        {"a": 0.9, "b": 0.3, "c": 0.8, "d": 0.9, "e": 0.9},
    )
    chosen = choose_images([one, other], None)
    # "a" is less consistent than "b", but it is the best one already.
    assert chosen == {"best": "a", "median": "c", "worst": "e", "most inconsistent": "b"}
    assert choose_images([one, other], ["d"]) == {"d": "d"}


# --- mistakes


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["output=page.png"], "output=page.png: must be a file that ends with .html"),
        (["output=p.html", "step=7"], "step=7: must be 1, 2, 3, 5, 6, 9, 10, 15, 18, 30, 45 or 90"),
        (["output=p.html", "images=[nosuch]"], "images=nosuch: no test image of these runs"),
        (["output=p.html", "data.root=nowhere"], "nowhere"),
    ],
)
def test_mistakes_in_options(script_refused, finished_run, tmp_path, monkeypatch, options, line):
    monkeypatch.chdir(tmp_path)
    assert line in script_refused("view", f"runs={finished_run}", *options)
    assert not list(tmp_path.iterdir())


def test_runs_on_different_images(script_refused, two_runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(two_runs[1], other)
    split = (other / "split.json").read_text()
    (other / "split.json").write_text(split.replace('"test": [', '"test": ["x",'))
    line = script_refused("view", f"runs=[{two_runs[0]},{other}]", f"output={tmp_path / 'p.html'}")
    assert "tested on different images" in line


def test_runs_on_other_images_with_the_same_ids(script_refused, two_runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(two_runs[1], other)
    path = other / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    test = checkpoint["identity"]["split"]["test"]
    test[next(iter(test))] = "another image"
    torch.save(checkpoint, path)
    line = script_refused("view", f"runs=[{two_runs[0]},{other}]", f"output={tmp_path / 'p.html'}")
    assert "tested on different images" in line


def test_runs_with_other_classes(script_refused, two_runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(two_runs[1], other)
    config = other / ".hydra" / "config.yaml"
    old, new = "Binary\n  classes: null", "Binary\n  classes: [background, tumour]"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    line = script_refused("view", f"runs=[{two_runs[0]},{other}]", f"output={tmp_path / 'p.html'}")
    assert "the classes differ, ['background', 'polyp'] and ['background', 'tumour']" in line


def test_runs_with_other_metrics(finished_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished_run, other)
    pd.read_csv(other / "scores.csv").drop(columns="iou").to_csv(other / "scores.csv", index=False)
    network = open_network(RunFolder.open(other), "cpu")
    assert network.dice.equals(open_network(RunFolder.open(finished_run), "cpu").dice)


def test_runs_from_before_grey_images(two_runs):
    early = RunFolder.open(two_runs[1])
    del early.config.data.channels
    assert shared_geometry([RunFolder.open(two_runs[0]), early]).channels == 3


def test_an_unfinished_run(script_refused, finished_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished_run, other)
    (other / "metrics.json").unlink()
    line = script_refused("view", f"runs={other}", f"output={tmp_path / 'p.html'}")
    assert line == f"error: runs={other}: the run is not finished"
