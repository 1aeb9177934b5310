"""What an evaluation finds on a test set, as rows, tables and a summary."""

import json

import numpy as np
import pytest
import torch

from polyp.errors import UserError
from polyp.evaluation import (
    evaluate,
    evenly_spaced,
    examples,
    extremes,
    rotation_sweep,
    scores,
    summary,
)
from polyp.evaluation.metrics import HD95, Dice, IoU, Metric, Precision, Recall
from polyp.evaluation.results import COLUMNS, Scores, make_rows
from polyp.tasks import Binary, Multiclass
from tests.evaluation.helpers import Pointwise, Shifted, blobs

METRICS = {"dice": Dice(), "iou": IoU(), "precision": Precision(), "recall": Recall()}


@pytest.fixture(scope="module")
def batches():
    first, second = blobs(4, seed=1), blobs(3, seed=2)
    return [{**first, "group": ["v1", "v1", "v2", ""]}, {**second, "group": ["v2", "v3", "v3"]}]


@pytest.fixture(scope="module")
def results(batches):
    return evaluate(Shifted(), Binary(), batches, METRICS, [0, 45, 90], "cpu")


def test_rows_hold_every_image_class_and_metric(results, batches):
    rows = results.scores.rows
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) == 7 * (len(METRICS) + 1)  # and the area
    assert set(rows["class"]) == {"polyp"}
    assert set(rows["test_set"]) == {"own"}
    assert rows["angle"].isna().all()


def test_table_of_scores(results, batches):
    table = results.scores.table()
    assert list(table) == [
        *("test_set", "group", "image"),
        *("dice", "iou", "precision", "recall", "polyp_area"),
    ]
    assert list(table["image"]) == [image for batch in batches for image in batch["id"]]
    assert list(table["group"]) == ["v1", "v1", "v2", "", "v2", "v3", "v3"]
    batch = batches[1]
    truth = batch["mask"].bool()
    expected = scores(Shifted()(batch["image"]) > 0, truth, batch["valid"])
    for name, values in expected.items():
        assert list(table[name][4:]) == values[:, 0].tolist()
    area = truth[0].sum().item() / batch["valid"][0].sum().item()
    assert table["polyp_area"][4] == area


def test_table_of_the_sweep(results, batches):
    table = results.equivariance()
    assert list(table) == [
        *("test_set", "group", "image", "angle", "dice", "dice_truth"),
        *("dice_masks", "dice_image", "dice_corners", "logit_error"),
    ]
    sweep = rotation_sweep(Shifted(), batches, [0, 45, 90], "cpu")
    assert list(table["image"][:4]) == ["blob10", "blob10", "blob10", "blob11"]
    assert list(table["angle"][:4]) == [0, 45, 90, 0]
    assert list(table["dice"]) == sweep.dice.reshape(-1).tolist()
    assert list(table["dice_truth"]) == sweep.dice_truth.reshape(-1).tolist()


def test_the_losses_stand_at_their_angles(batches):
    found = evaluate(Shifted(), Binary(), batches, METRICS, [0, 45, 90], "cpu", part_angles=[45])
    table = found.equivariance()
    assert table["dice_image"].notna().tolist() == [False, True, False] * 7
    assert list(table["dice_image"][1::3]) == found.sweep.image[:, 0, 0].tolist()
    assert list(table["dice_corners"][1::3]) == found.sweep.corners[:, 0, 0].tolist()
    assert list(table["dice_masks"]) == found.sweep.masks.reshape(-1).tolist()
    assert list(table["logit_error"]) == found.sweep.logit_error.reshape(-1).tolist()


def test_a_sample_of_the_images(batches):
    """Losses and shifts are those of a full measurement, at the images of the sample alone."""
    model, sample = Shifted(), {"blob11", "blob20"}
    angles, options = [0, 45, 90], {"part_angles": [45], "stride": 4}
    every = evaluate(model, Binary(), batches, METRICS, angles, "cpu", **options)
    model.images = 0
    some = evaluate(model, Binary(), batches, METRICS, angles, "cpu", sample=sample, **options)
    assert model.images == 7 * 3 + 2 * (2 + 5)
    inside = np.array([image in sample for image in every.sweep.ids])
    assert inside.sum() == 2
    for one, other in (
        (every.sweep.image, some.sweep.image),
        (every.sweep.corners, some.sweep.corners),
        (every.shifts.dice, some.shifts.dice),
    ):
        assert np.isnan(other[~inside]).all()
        assert np.array_equal(one[inside], other[inside])
    assert np.array_equal(every.sweep.dice, some.sweep.dice)
    # The parts are means over the same images.
    parts, dice = some.summary()["equivariance"]["parts"], some.sweep.dice[inside, 1, 0]
    assert parts["masks"] == pytest.approx(some.sweep.masks[inside, 1, 0].mean())
    lost = sum(1 - parts[name] for name in ("masks", "image"))
    assert parts["network"] == pytest.approx(dice.mean() + lost)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(None, "abcdefg"), (7, "abcdefg"), (9, "abcdefg"), (4, "aceg"), (2, "ag"), (1, "a")],
)
def test_evenly_spaced(count, expected):
    assert evenly_spaced("abcdefg", count) == set(expected)


def test_summary(results, batches):
    found = results.summary()
    assert found == json.loads(json.dumps(found))
    test = found["test"]
    assert list(test) == ["images", "groups", *METRICS]
    assert (test["images"], test["groups"]) == (7, 4)
    table = results.scores.table()
    # Intervals draw whole groups; an image without one is its own.
    units = [row.group or row.image for row in table.itertuples()]
    for name in METRICS:
        assert test[name] == summary(table[name].to_numpy(), units=units)
    assert found["equivariance"] == results.sweep.summary()


def test_without_groups_the_interval_draws_images():
    batch = blobs(5)
    found = evaluate(Shifted(), Binary(), [batch], METRICS, [90], "cpu").summary()
    values = scores(Shifted()(batch["image"]) > 0, batch["mask"].bool(), batch["valid"])["dice"]
    assert found["test"]["dice"] == summary(values[:, 0].numpy())
    assert "groups" not in found["test"]


def test_forward_passes(batches):
    model = Shifted()
    evaluate(model, Binary(), batches, METRICS, [0, 45, 90], "cpu")
    assert model.images == 7 * 3


def test_padding_never_counts():
    class MarksPadding(Pointwise):
        def forward(self, image):
            logits = super().forward(image)
            logits[:, :, :6] = 1
            return logits

    found = evaluate(MarksPadding(), Binary(), [blobs(2)], METRICS, [180], "cpu").summary()
    assert found["test"]["dice"]["mean"] == 1


def test_one_image_is_enough():
    found = evaluate(Pointwise(), Binary(), [blobs(1)], METRICS, [90], "cpu").summary()
    assert found["test"]["dice"] == {"mean": 1.0, "median": 1.0, "std": 0.0, "ci95": [1.0, 1.0]}


def test_an_empty_test_set_is_refused():
    with pytest.raises(UserError, match="test set own is empty"):
        evaluate(Pointwise(), Binary(), [], METRICS, [90], "cpu")


def test_best_median_and_worst_image_are_pictured(batches, results):
    dice = results.scores.by_image("dice")
    pictured = examples(Shifted(), Binary(), batches, extremes(dice), "cpu")
    ranked = sorted(dice)
    assert [example.label for example in pictured] == ["best", "median", "worst"]
    assert [example.dice for example in pictured] == [ranked[-1], ranked[3], ranked[0]]
    assert [example.id for example in pictured] == [
        dice.index[list(dice).index(value)] for value in (ranked[-1], ranked[3], ranked[0])
    ]
    assert [turned.angle for turned in pictured[0].turned] == [90, 45]
    sweep = results.equivariance().set_index(["image", "angle"])
    for example in pictured:
        for turned in example.turned:
            row = sweep.loc[(example.id, turned.angle)]
            assert turned.consistency == pytest.approx(row["dice"])
            assert turned.dice == pytest.approx(row["dice_truth"])


def test_several_classes_are_scored_apart_and_on_average():
    class Fixed(torch.nn.Module):
        """Finds the first class right, and of the second one half."""

        def forward(self, image):
            logits = torch.zeros(1, 3, 4, 4)
            logits[:, 1, :, :2] = 5
            logits[:, 2, :2, 2:] = 5
            return logits

    mask = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    mask[..., :2], mask[..., 2:] = 1, 2
    batch = {"image": torch.zeros(1, 3, 4, 4), "mask": mask, "id": ["a"]}
    task = Multiclass(["background", "polyp", "tool"])
    found = evaluate(Fixed(), task, [batch], {"dice": Dice(), "iou": IoU()}, [90], "cpu")
    table = found.scores.table()
    assert table["dice.polyp"][0] == 1
    assert table["dice.tool"][0] == pytest.approx(2 * 4 / (4 + 8))
    assert table["dice"][0] == pytest.approx((1 + 2 / 3) / 2)
    assert table["iou.tool"][0] == 0.5
    assert table["polyp_area"][0] == 1
    test = found.summary()["test"]
    assert test["dice"]["mean"] == table["dice"][0]
    assert test["dice"]["by_class"]["tool"]["mean"] == table["dice.tool"][0]
    assert list(found.equivariance())[-4:] == [
        *("dice.polyp", "dice_truth.polyp", "dice.tool", "dice_truth.tool")
    ]


def test_a_single_group_has_no_interval():
    batch = {**blobs(3), "group": ["v1"] * 3}
    found = evaluate(Shifted(), Binary(), [batch], METRICS, [90], "cpu").summary()["test"]
    assert (found["groups"], found["dice"]["ci95"]) == (1, None)
    assert 0 < found["dice"]["mean"] < 1


def test_undefined_values_are_counted_and_not_averaged():
    batch = {"id": ["a", "b", "c"], "group": ["", "", ""]}
    values = np.array([[1.0], [np.nan], [3.0]])
    rows = make_rows("own", batch, ["polyp"], "hd95", values)
    area = make_rows("own", batch, ["polyp"], "area", values * 0)
    import pandas as pd

    found = Scores("own", ["polyp"], pd.concat([rows, area])).summary()["hd95"]
    assert (found["mean"], found["undefined"]) == (2.0, 1)
    nothing = make_rows("own", batch, ["polyp"], "hd95", values * np.nan)
    found = Scores("own", ["polyp"], nothing).summary()["hd95"]
    assert (found["mean"], found["ci95"], found["undefined"]) == (None, None, 3)


def test_a_metric_of_ones_own(batches):
    class Pixels(Metric):
        def __call__(self, maps):
            return (maps.masks & maps.region).sum(dim=(2, 3)).double()

    metrics = {"pixels": Pixels(), "hd95": HD95()}
    found = evaluate(Shifted(), Binary(), batches, metrics, [90], "cpu")
    expected = ((Shifted()(batches[0]["image"]) > 0) & batches[0]["valid"]).sum(dim=(1, 2, 3))
    assert list(found.scores.table()["pixels"][:4]) == expected.tolist()
    assert list(found.summary()["test"]) == ["images", "groups", "pixels", "hd95"]
