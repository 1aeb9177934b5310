"""The metrics of the polyp literature, computed by pysodmetrics.

D.-P. Fan et al., PraNet: Parallel Reverse Attention Network for Polyp Segmentation, MICCAI 2020,
whose evaluation made them usual. All but MAE take the probability map, not the mask. PraNet
stretches each map to [0, 1] first; nothing is stretched here, so maps that were saved stretched
give PraNet's numbers.
"""

from typing import Any

import numpy as np
import py_sod_metrics as sod

from polyp.evaluation.metrics.metric import ImageMetric


def levels(probability: np.ndarray) -> np.ndarray:
    """Probabilities in 256 steps, as in an 8-bit image: the library floors value · 255, and an
    8-bit value must come back as itself."""
    return np.floor(probability * 255 + 1e-6) / 255 + 1e-9


class _Thresholds(ImageMetric):
    """The mean of a score over the thresholds 0, 1/255, …, 1 of the probability map; 0 at those
    where nothing is hit."""

    handler: Any

    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        measure = sod.FmeasureV2({"score": self.handler(with_dynamic=True, with_adaptive=False)})
        measure.step(levels(probability).clip(0, 1), truth, normalize=False)
        return float(measure.get_results()["score"]["dynamic"].mean())


class Dice256(_Thresholds):
    """Dice averaged over 256 thresholds, "meanDic" of the PraNet evaluation."""

    handler = sod.DICEHandler


class IoU256(_Thresholds):
    """IoU averaged over 256 thresholds, "meanIoU" of the PraNet evaluation."""

    handler = sod.IOUHandler


class SMeasure(ImageMetric):
    """Structure measure S_α with α = ½ (D.-P. Fan et al., ICCV 2017)."""

    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        measure = sod.Smeasure()
        measure.step(probability, truth, normalize=False)
        return float(measure.get_results()["sm"])


class WeightedF(ImageMetric):
    """Weighted F-measure F_β^w with β = 1 (R. Margolin et al., CVPR 2014)."""

    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        measure = sod.WeightedFmeasure()
        measure.step(probability, truth, normalize=False)
        return float(measure.get_results()["wfm"])


class EMeasure(ImageMetric):
    """Enhanced-alignment measure E_φ (D.-P. Fan et al., IJCAI 2018), mean over 256 thresholds.

    The PraNet paper prints the maximum over the thresholds of the mean over the images, which no
    single image has.
    """

    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        measure = sod.Emeasure()
        measure.step(levels(probability).clip(0, 1), truth, normalize=False)
        return float(measure.get_results()["em"]["curve"].mean())


class MAE(ImageMetric):
    """Mean absolute error of the probabilities."""

    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        return float(np.abs(probability - truth).mean())
