"""Metrics against definitions written out independently."""

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from scipy import ndimage

from polyp.errors import UserError
from polyp.evaluation import metrics
from polyp.evaluation.metrics import Maps, Metric
from tests.conftest import CONFIGS


def maps(probability: np.ndarray, truth: np.ndarray) -> Maps:
    """Of one image and class."""
    probability, truth = torch.from_numpy(probability)[None, None], torch.from_numpy(truth)
    region = torch.ones(1, 1, *truth.shape, dtype=torch.bool)
    return Maps(probability, probability > 0.5, truth[None, None], region)


def measured(metric: Metric, probability: np.ndarray, truth: np.ndarray) -> float:
    (((value,),)) = metric(maps(probability, truth)).tolist()
    return value


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """8-bit probabilities around a blob that lies a bit beside the true one."""
    y, x = np.mgrid[:40, :50]
    distance = np.hypot(y - 18, x - 27)
    noise = np.random.default_rng(0).normal(0, 0.05, distance.shape)
    probability = np.round(255 * np.clip(1.2 - distance / 14 + noise, 0, 1)) / 255
    return probability, np.hypot(y - 20, x - 24) < 9


def thresholds(probability: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean Dice and IoU over the 256 thresholds, as the literature defines them."""
    dice, iou = [], []
    for level in range(256):
        found = np.round(probability * 255) >= level
        hit = (found & truth).sum()
        dice.append(2 * hit / (found.sum() + truth.sum()) if hit else 0.0)
        iou.append(hit / (found | truth).sum() if hit else 0.0)
    return float(np.mean(dice)), float(np.mean(iou))


def test_dice_and_iou_over_256_thresholds(scene):
    dice, iou = thresholds(*scene)
    assert measured(metrics.Dice256(), *scene) == pytest.approx(dice, abs=1e-12)
    assert measured(metrics.IoU256(), *scene) == pytest.approx(iou, abs=1e-12)
    assert 0.2 < iou < dice < 0.95


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_every_8_bit_level_counts_at_its_own_threshold(level):
    truth = np.ones((2, 2), bool)
    probability = np.full((2, 2), level / 255)
    expected = (level + 1) / 256  # found at the thresholds 0 to level
    assert measured(metrics.Dice256(), probability, truth) == pytest.approx(expected, abs=1e-12)
    single = probability.astype(np.float32).astype(np.float64)  # as a network's probabilities are
    assert measured(metrics.Dice256(), single, truth) == pytest.approx(expected, abs=1e-12)


def test_maps_are_not_stretched(scene):
    probability, truth = scene
    dice, _ = thresholds(np.round(probability * 100) / 255, truth)
    assert measured(metrics.Dice256(), np.round(probability * 100) / 255, truth) == pytest.approx(
        dice, abs=1e-12
    )


def test_mae(scene):
    probability, truth = scene
    expected = np.abs(probability - truth).mean()
    assert measured(metrics.MAE(), *scene) == pytest.approx(expected)


def test_s_measure_of_known_cases(scene):
    _, truth = scene
    metric = metrics.SMeasure()
    assert measured(metric, truth.astype(float), truth) == pytest.approx(1, abs=1e-6)
    # Without a polyp it is one minus the mean of the map (Fan et al. 2017, as they implement it).
    empty = np.zeros_like(truth)
    assert measured(metric, np.full(truth.shape, 0.3), empty) == pytest.approx(0.7)


def test_e_measure_and_weighted_f_of_known_cases(scene):
    _, truth = scene
    assert measured(metrics.WeightedF(), truth.astype(float), truth) == pytest.approx(1, abs=1e-6)
    assert measured(metrics.WeightedF(), np.zeros(truth.shape), truth) == pytest.approx(0, abs=1e-6)
    # All thresholds but 0 find exactly the truth; at 0 everything is found.
    perfect = measured(metrics.EMeasure(), truth.astype(float), truth)
    assert 0.99 < perfect <= 1.001
    assert measured(metrics.EMeasure(), 1 - truth.astype(float), truth) < 0.3


def edges(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def test_hd95_and_surface_dice(scene):
    probability, truth = scene
    found, true = edges(probability > 0.5), edges(truth)
    points, true_points = np.argwhere(found), np.argwhere(true)
    distances = np.linalg.norm(points[:, None] - true_points[None], axis=2)
    there, back = distances.min(axis=1), distances.min(axis=0)
    expected = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    assert measured(metrics.HD95(), *scene) == pytest.approx(expected, rel=1e-5)
    near = np.concatenate([there, back]) <= 2
    assert measured(metrics.SurfaceDice(2), *scene) == pytest.approx(near.mean())
    assert 1 < expected < 10
    assert 0.1 < near.mean() < 0.9


def test_distances_of_empty_masks(scene):
    _, truth = scene
    nothing, empty = np.zeros(truth.shape), np.zeros_like(truth)
    assert measured(metrics.HD95(), nothing, empty) == 0
    assert np.isnan(measured(metrics.HD95(), nothing, truth))
    assert measured(metrics.SurfaceDice(), nothing, empty) == 1
    assert measured(metrics.SurfaceDice(), nothing, truth) == 0
    with pytest.raises(UserError, match="tolerance=-1"):
        metrics.SurfaceDice(-1)


def test_padding_does_not_count(scene, configured):
    probability, truth = scene
    whole = maps(probability, truth)
    padded = Maps(
        *(
            torch.nn.functional.pad(each, (3, 4, 5, 6), value=value)
            for each, value in (
                (whole.probabilities, 0.9),
                (whole.masks, True),
                (whole.truth, False),
                (whole.region, False),
            )
        )
    )
    for name in ("dice", "iou_256", "s_measure", "hd95", "mae", "e_measure"):
        assert configured[name](padded).tolist() == configured[name](whole).tolist()


NAMES = sorted(path.stem for path in (CONFIGS / "metrics").glob("*.yaml"))


@pytest.fixture(scope="module")
def configured() -> dict[str, Metric]:
    """All that there are, from their configs."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return instantiate(compose("train", [f"metrics=[{','.join(NAMES)}]"]).metrics)


def test_every_config_names_a_metric(scene, configured):
    assert list(configured) == NAMES
    assert len(NAMES) == 12
    for metric in configured.values():
        assert np.isfinite(measured(metric, *scene))
