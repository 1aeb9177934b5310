"""Scores against their definitions, counted pixel by pixel."""

import math

import numpy as np
import pytest
import torch

from polyp.evaluation import dice, scores, summary


def by_definition(prediction, truth, region) -> dict[str, float]:
    """The four scores of one image, from nested lists."""
    both = predicted = true = either = 0
    for prediction_row, truth_row, region_row in zip(prediction, truth, region, strict=True):
        for p, t, inside in zip(prediction_row, truth_row, region_row, strict=True):
            if inside:
                both += p and t
                predicted += p
                true += t
                either += p or t
    if predicted == 0 and true == 0:
        return {"dice": 1, "iou": 1, "precision": 1, "recall": 1}
    return {
        "dice": 2 * both / (predicted + true),
        "iou": both / either,
        "precision": both / predicted if predicted else 0,
        "recall": both / true if true else 0,
    }


def test_scores_follow_their_definition():
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(16, 1, 5, 5, generator=generator) < 0.4
    truth = torch.rand(16, 1, 5, 5, generator=generator) < 0.5
    region = torch.rand(16, 1, 5, 5, generator=generator) < 0.8
    prediction[0], truth[1] = False, False  # one of the two is empty
    prediction[2], truth[2] = False, False  # both are
    region[3] = False
    result = scores(prediction, truth, region)
    assert list(result) == ["dice", "iou", "precision", "recall"]
    for i in range(16):
        expected = by_definition(
            prediction[i, 0].tolist(), truth[i, 0].tolist(), region[i, 0].tolist()
        )
        assert {name: values[i, 0].item() for name, values in result.items()} == pytest.approx(
            expected
        )
    assert torch.equal(dice(prediction, truth, region), result["dice"])


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"), [(0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0), (1, 1, 1.0)]
)
def test_empty_masks(prediction, truth, expected):
    ones = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    for values in scores(ones & bool(prediction), ones & bool(truth), ones).values():
        assert values.tolist() == [[expected]]


def test_region_is_broadcast_and_pixels_outside_do_not_count():
    truth = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    truth[:, :, :2] = True
    region = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    region[..., :2, :] = True
    everywhere = torch.ones_like(truth)
    assert dice(everywhere, truth, region).tolist() == [[1], [1]]
    assert dice(everywhere, truth, ~region).tolist() == [[0], [0]]


def test_summary_of_known_values():
    result = summary([0.2, 0.4, 0.9])
    assert result["mean"] == pytest.approx(0.5)
    assert result["median"] == 0.4
    assert result["std"] == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 2))
    assert all(type(result[name]) is float for name in ("mean", "median", "std"))
    assert [type(bound) for bound in result["ci95"]] == [float, float]


def test_bootstrap_interval_is_near_the_normal_one():
    values = np.random.default_rng(0).normal(0.8, 0.1, size=400)
    low, high = summary(values)["ci95"]
    margin = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert low == pytest.approx(values.mean() - margin, abs=0.05 * margin)
    assert high == pytest.approx(values.mean() + margin, abs=0.05 * margin)


def test_bootstrap_is_seeded():
    values = [0.1, 0.5, 0.6, 0.9]
    assert summary(values, seed=1) == summary(values, seed=1)
    skewed = np.random.default_rng(0).beta(8, 1, size=50)
    assert summary(skewed, seed=1)["ci95"] != summary(skewed, seed=2)["ci95"]


def test_copies_of_an_image_do_not_narrow_the_interval_of_units():
    values = np.random.default_rng(0).beta(8, 2, size=20)
    copied, units = np.repeat(values, 10), np.repeat([f"video {i:02}" for i in range(20)], 10)
    assert summary(copied, units=units)["ci95"] == pytest.approx(summary(values)["ci95"])
    assert np.ptp(summary(copied)["ci95"]) < 0.5 * np.ptp(summary(values)["ci95"])


def test_units_of_different_size_count_by_their_images():
    result = summary([1.0, 0.0, 0.0, 0.0], units=["a", "b", "b", "b"])
    assert result["mean"] == 0.25
    assert result["ci95"] == [0.0, 1.0]


def test_summary_of_one_value_and_of_none():
    assert summary([0.7]) == {"mean": 0.7, "median": 0.7, "std": 0.0, "ci95": [0.7, 0.7]}
    with pytest.raises(ValueError, match="at least one"):
        summary([])
