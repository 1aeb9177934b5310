"""polyp compare viewer=true: the viewer and the failed images are those of the runs."""

import base64
import io
import json
import re
import shutil
from html import unescape
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from polyp.evaluation.figures import DIFFERENCES
from polyp.runs.folder import RunFolder

LIMIT = 0.9  # all test images of the tiny runs are below it


@pytest.fixture(autouse=True)
def no_figures(monkeypatch) -> None:
    """They take time, and other tests look at them."""
    monkeypatch.setattr(import_module("polyp.report.compare"), "_figures", lambda *_: [])


@pytest.fixture
def systems(two_runs, tmp_path) -> dict[str, Path]:
    """Two trained systems, by their labels."""
    runs = {"p4 U-Net": tmp_path / "trained/one", "p4 U-Net lr=0.5": tmp_path / "trained/other"}
    for source, run in zip(two_runs, runs.values(), strict=True):
        shutil.copytree(source, run)
    set_option(runs["p4 U-Net lr=0.5"], r"  lr: .*", "  lr: 0.5")
    return runs


def set_option(run: Path, line: str, to: str) -> None:
    """Replaces a line of the run's config."""
    path = run / ".hydra" / "config.yaml"
    text, count = re.subn(line, to, path.read_text())
    assert count == 1
    path.write_text(text)


def edit_json(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def decoded(cell: str) -> np.ndarray:
    """The picture in a cell of the page, float [H, W, 3] in [0, 1]."""
    data = base64.b64decode(re.search(r'src="data:image/jpeg;base64,(.*?)"', cell)[1])
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture) / 255


def overlap(picture: np.ndarray) -> float:
    """Dice of the two masks that an overlay shows; its JPEG shifts colours a little."""
    colours = np.array([to_rgb(colour) for colour in DIFFERENCES])
    coloured = np.ptp(picture, axis=-1) > 0.3  # the rest is grey
    nearest = ((picture[..., None, :] - colours) ** 2).sum(axis=-1).argmin(axis=-1)
    both, found, truth = ((coloured & (nearest == which)).sum() for which in range(3))
    return 2 * both / (2 * both + found + truth)


def test_the_viewer_and_the_failed_images(systems, write_run, compare, capfd):
    write_run("untrained")
    again = systems["p4 U-Net"].with_name("again")  # a later evaluation, which counts
    shutil.copytree(systems["p4 U-Net"], again, ignore=shutil.ignore_patterns(".hydra", "*.ckpt"))
    edit_json(again / "provenance.json", run=str(systems["p4 U-Net"]), started="2999")
    arguments = ("runs=[trained,runs]", "output=out", f"outlier_dice={LIMIT}")
    output = compare(*arguments, "viewer=true")
    (viewer,) = output.rglob("viewer.html")
    page = unescape((output / "index.html").read_text())

    content = json.loads(re.search(r'id="content">(.*?)</script>', viewer.read_text())[1])
    table = pd.read_csv(viewer.with_name("systems.csv")).set_index("system")
    assert {each["name"]: each["dice"] for each in content["networks"]} == pytest.approx(
        table["dice"].to_dict()
    )
    assert set(table.index) == set(systems)
    assert f'<a href="{viewer.parent.name}/viewer.html">' in page

    failing = pd.read_csv(viewer.with_name("outliers.csv"))["image"].tolist()
    shown = re.search(r'class="failed">.*?</table>', page, re.S)[0]
    cells = [re.findall(r"<td.*?>(.*?)</td>", row, re.S) for row in shown.split("<tr>")[2:]]
    assert [row[0] for row in cells] == failing
    assert len(failing) > 1
    labels = re.findall(r"<th>(.+?)</th>", shown)
    assert labels == list(table.index)
    scores = RunFolder(systems["p4 U-Net"]).scores().set_index("image")["dice"]
    for id, picture, *found in cells:
        assert decoded(picture).shape == (32, 32, 3)
        dice = dict(zip(labels, (float(cell.split()[-1]) for cell in found), strict=True))
        assert dice["p4 U-Net"] == pytest.approx(scores[id], abs=5e-4)
        assert [overlap(decoded(cell)) for cell in found] == pytest.approx(
            list(dice.values()), abs=0.03
        )
        assert len(set(dice.values())) == 2

    reason = "6 test images, 64 px, padded: runs/untrained has no checkpoint"
    assert re.search(f"skipped: viewer of CVC-ClinicDB: .* {reason}", capfd.readouterr().out)
    assert reason in page

    compare(*arguments)
    assert not viewer.exists()
    assert "viewer.html" not in (output / "index.html").read_text()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda run: set_option(run, r"  root: .*dataset", "  root: nowhere"), "nowhere"),
        (lambda run: edit_json(run / "metrics.json", trained_on="cvc"), "tested on other images"),
        (lambda run: (run / "checkpoints/best.ckpt").write_bytes(b""), "best.ckpt: not a checkp"),
    ],
    ids=["no dataset", "another dataset", "damaged"],
)
def test_why_there_is_no_viewer(systems, compare, capfd, spoil, told):
    spoil(systems["p4 U-Net"])
    output = compare("runs=trained", "output=out", "viewer=true")
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("skipped: ")]
    assert any(line.startswith("skipped: viewer of folder") and told in line for line in lines)
    assert not list(output.rglob("viewer.html"))
