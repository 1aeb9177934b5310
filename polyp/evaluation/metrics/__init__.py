"""Metrics of predicted masks, chosen by `metrics=[dice,iou,…]`."""

from polyp.evaluation.metrics.metric import Maps, Metric
from polyp.evaluation.metrics.overlap import Dice, IoU, Precision, Recall
from polyp.evaluation.metrics.saliency import (
    MAE,
    Dice256,
    EMeasure,
    IoU256,
    SMeasure,
    WeightedF,
)
from polyp.evaluation.metrics.surface import HD95, SurfaceDice

__all__ = [
    "HD95",
    "MAE",
    "Dice",
    "Dice256",
    "EMeasure",
    "IoU",
    "IoU256",
    "Maps",
    "Metric",
    "Precision",
    "Recall",
    "SMeasure",
    "SurfaceDice",
    "WeightedF",
]
