"""What a run folder keeps of an evaluation."""

import csv
import json

import numpy as np
import pytest
import torch
from polyp.evaluation.rotation import disc, rotate_image, rotate_mask

from polyp.errors import UserError
from polyp.evaluation import evaluate, predictions_figure, rotation_sweep, scores
from tests.evaluation.helpers import Pointwise, Shifted, blobs


@pytest.fixture(scope="module")
def batches():
    return [blobs(4, seed=1), blobs(3, seed=2)]


@pytest.fixture(scope="module")
def run(batches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model = Shifted()
    result = evaluate(model, batches, [0, 45, 90], "cpu", folder, title="shifted")
    return folder, result, model


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_csv(run, batches):
    rows = read(run[0] / "scores.csv")
    assert list(rows[0]) == ["image", "dice", "iou", "precision", "recall", "polyp_area"]
    assert [row["image"] for row in rows] == [image for batch in batches for image in batch["id"]]
    batch = batches[1]
    prediction = Shifted()(batch["image"]) > 0
    expected = scores(prediction, batch["mask"], batch["valid"])
    for name, values in expected.items():
        assert [float(row[name]) for row in rows[4:]] == values.tolist()
    area = batch["mask"][0].sum().item() / batch["valid"][0].sum().item()
    assert float(rows[4]["polyp_area"]) == area


def test_equivariance_csv(run, batches):
    rows = read(run[0] / "equivariance.csv")
    assert list(rows[0]) == ["image", "angle", "dice", "dice_truth"]
    values = [
        (row["image"], float(row["angle"]), float(row["dice"]), float(row["dice_truth"]))
        for row in rows
    ]
    assert values == list(rotation_sweep(Shifted(), batches, [0, 45, 90], "cpu").rows())


def test_result(run, batches):
    folder, result, _ = run
    rows = read(folder / "scores.csv")
    assert result == json.loads(json.dumps(result))
    assert list(result["test"]) == ["images", "dice", "iou", "precision", "recall"]
    assert result["test"]["images"] == 7
    for name in ("dice", "iou", "precision", "recall"):
        mean = sum(float(row[name]) for row in rows) / 7
        assert result["test"][name]["mean"] == pytest.approx(mean)
    sweep = rotation_sweep(Shifted(), batches, [0, 45, 90], "cpu")
    assert result["equivariance"] == sweep.summary()


def test_files_and_forward_passes(run):
    folder, _, model = run
    assert sorted(path.name for path in folder.iterdir()) == [
        "equivariance.csv",
        "equivariance.png",
        "predictions.png",
        "scores.csv",
    ]
    # Seven images at three angles, and three pictured ones at three more.
    assert model.images == 7 * 3 + 3 * 3


def test_padding_never_counts(tmp_path):
    class MarksPadding(Pointwise):
        def forward(self, image):
            logits = super().forward(image)
            logits[:, :, :6] = 1
            return logits

    result = evaluate(MarksPadding(), [blobs(2)], [180], "cpu", tmp_path)
    assert result["test"]["dice"]["mean"] == 1


def test_one_image_is_enough(tmp_path):
    result = evaluate(Pointwise(), [blobs(1)], [90], "cpu", tmp_path / "new" / "folder")
    assert result["test"]["dice"] == {"mean": 1.0, "median": 1.0, "std": 0.0, "ci95": [1.0, 1.0]}


def test_an_empty_test_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="empty"):
        evaluate(Pointwise(), [], [90], "cpu", tmp_path)


def test_best_median_and_worst_image_are_pictured(batches, tmp_path, monkeypatch):
    pictured = []

    def spy(examples, title):
        pictured.extend(examples)
        return predictions_figure(examples, title)

    monkeypatch.setattr("polyp.evaluation.report.predictions_figure", spy)
    evaluate(Shifted(), batches, [90], "cpu", tmp_path)
    ranked = sorted(float(row["dice"]) for row in read(tmp_path / "scores.csv"))
    assert [example.label for example in pictured] == ["best", "median", "worst"]
    assert [example.dice for example in pictured] == [ranked[-1], ranked[3], ranked[0]]
    assert [turned.angle for turned in pictured[0].turned] == [90, 45]


def test_what_is_pictured_of_an_image(tmp_path, monkeypatch):
    """The masks of the image as it is and of the image turned, and their Dice."""
    pictured = []

    def spy(examples, title):
        pictured.extend(examples)
        return predictions_figure(examples, title)

    monkeypatch.setattr("polyp.evaluation.report.predictions_figure", spy)
    batch, model = blobs(3, seed=3), Shifted()
    evaluate(model, [batch], [90], "cpu", tmp_path)
    sweep = rotation_sweep(model, [batch], [90, 45], "cpu")
    dice = scores(model(batch["image"]) > 0, batch["mask"], batch["valid"])["dice"].tolist()
    for example, i in zip(pictured, np.argsort(dice)[::-1], strict=True):
        image, truth, valid = (batch[key][i : i + 1] for key in ("image", "mask", "valid"))
        prediction = model(image) > 0
        assert np.array_equal(example.image, image[0].permute(1, 2, 0))
        assert np.array_equal(example.truth, truth[0, 0])
        assert np.array_equal(example.prediction, prediction[0, 0])
        assert np.array_equal(example.valid, valid[0, 0])
        assert example.dice == dice[i]
        for column, turned in enumerate(example.turned):
            turned_image = rotate_image(image, turned.angle)
            region = disc(48, torch.device("cpu")) & rotate_mask(valid, turned.angle)
            assert np.array_equal(turned.image, turned_image[0].permute(1, 2, 0))
            assert np.array_equal(turned.rotated, rotate_mask(prediction, turned.angle)[0, 0])
            assert np.array_equal(turned.found, (model(turned_image) > 0)[0, 0])
            assert not np.array_equal(turned.rotated, turned.found)
            assert np.array_equal(turned.region, region[0, 0])
            assert turned.dice == sweep.dice[i, column]
