"""Overlap of masks. Two empty masks agree: all four are 1. If only one is empty, all are 0."""

from torch import Tensor

from polyp.evaluation.metrics.metric import Maps, Metric
from polyp.evaluation.scores import scores


class _Overlap(Metric):
    name: str

    def __call__(self, maps: Maps) -> Tensor:
        return scores(maps.masks, maps.truth, maps.region)[self.name]


class Dice(_Overlap):
    """2 |A ∩ B| / (|A| + |B|) of the predicted and the true mask (Dice, 1945)."""

    name = "dice"


class IoU(_Overlap):
    """|A ∩ B| / |A ∪ B| of the predicted and the true mask (Jaccard, 1912)."""

    name = "iou"


class Precision(_Overlap):
    """The share of the predicted mask that is correct."""

    name = "precision"


class Recall(_Overlap):
    """The share of the true mask that is found."""

    name = "recall"
