"""Overlap scores of binary masks, and how a set of them is summarised."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

RESAMPLES = 10_000


def scores(prediction: Tensor, truth: Tensor, region: Tensor) -> dict[str, Tensor]:
    """Dice, IoU, precision and recall of each mask, over the pixels in `region`.

    prediction, truth: bool [B, K, H, W] of K classes; region: bool, broadcastable to them.
    Returns {"dice", "iou", "precision", "recall"}, each float64 [B, K] on the CPU, in [0, 1].

    Two empty masks agree: all four scores are 1. If only one mask is empty, all four are 0, also
    the one that would be 0/0 (precision without predicted pixels, recall without true ones).
    """
    both, predicted, true = _counts(prediction, truth, region)
    neither = ((predicted == 0) & (true == 0)).double()

    def ratio(part: Tensor, whole: Tensor) -> Tensor:
        return torch.where(whole == 0, neither, part / whole.clamp(min=1))

    return {
        "dice": ratio(2 * both, predicted + true),
        "iou": ratio(both, predicted + true - both),
        "precision": ratio(both, predicted),
        "recall": ratio(both, true),
    }


def dice(prediction: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Dice alone, float64 [B, K] on the CPU; shapes and empty masks as in `scores`."""
    return scores(prediction, truth, region)["dice"]


def _counts(prediction: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Pixels in both masks, in the prediction and in the truth: float64 [3, B, K] on the CPU."""
    masks = torch.stack([prediction & truth, prediction, truth]) & region
    # Not converted on the device, because Apple's GPUs have no float64.
    return masks.sum(dim=(3, 4)).cpu().double()


def summary(
    values: Sequence[float] | np.ndarray, seed: int = 0, units: Sequence[str] | None = None
) -> dict:
    """Summarise one score over the images of a test set.

    units: what each image belongs to (a video sequence) where images are not independent of each
    other; the bootstrap then draws whole units.

    Returns {"mean", "median", "std", "ci95": [low, high]} as plain floats. std is that of the
    sample (n − 1; 0 for a single value). ci95 is the percentile bootstrap interval of the mean
    (Efron, 1979), from 10,000 resamples drawn with `seed`. It says how far the mean would move with
    other test images, not with another training run.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        raise ValueError("summary needs at least one value, got none")
    _, unit = np.unique(range(len(values)) if units is None else units, return_inverse=True)
    sums, counts = np.bincount(unit, values), np.bincount(unit)
    generator = np.random.default_rng(seed)
    means = []
    # A hundred resamples at a time: all at once would take 10,000 × n indices.
    for _ in range(RESAMPLES // 100):
        drawn = generator.integers(len(sums), size=(100, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "std": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "ci95": np.percentile(np.concatenate(means), [2.5, 97.5]).tolist(),
    }


def defined_mean(values: np.ndarray) -> float | None:
    """The mean of the values that are not nan; None if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def image_means(values: np.ndarray) -> np.ndarray:
    """The mean of each image over its classes, then over its angles or shifts: [images].

    values: [images, angles or shifts, classes]; nan where undefined, which does not count.
    """
    return defined_means(defined_means(values))


def defined_means(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of the values that are defined, nan where none is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=-1)
    sums = np.where(defined, values, 0).sum(axis=-1)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)
