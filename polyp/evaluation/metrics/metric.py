"""The base classes of metrics."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Maps:
    """The predictions of a network for a batch of images, and the truth; K foreground classes.

    Attributes:
        probabilities: float [B, K, H, W] in [0, 1].
        masks: bool [B, K, H, W], the network's decision.
        truth: bool [B, K, H, W].
        region: bool [B, 1, H, W], the pixels that count: a rectangle without padding.
    """

    probabilities: Tensor
    masks: Tensor
    truth: Tensor
    region: Tensor


class Metric(ABC):
    """A number per image and class."""

    @abstractmethod
    def __call__(self, maps: Maps) -> Tensor:
        """float64 [B, K] on the CPU; nan where the metric is undefined."""


class ImageMetric(Metric):
    """A metric that is computed with NumPy arrays, image by image and class by class."""

    @abstractmethod
    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        """The metric of one image and class: float64, bool and bool [H, W], without padding."""

    def __call__(self, maps: Maps) -> Tensor:
        values = torch.zeros(maps.masks.shape[:2], dtype=torch.float64)
        for image, region in enumerate(maps.region[:, 0].cpu()):
            rows, columns = (torch.where(region.any(dim=side))[0] for side in (1, 0))
            if not len(rows):
                raise ValueError("a metric needs at least one pixel that counts, got none")
            window = (
                slice(int(rows[0]), int(rows[-1]) + 1),
                slice(int(columns[0]), int(columns[-1]) + 1),
            )
            for number in range(values.shape[1]):
                values[image, number] = self.image(
                    *(
                        each[image, number][window].cpu().numpy()
                        for each in (maps.probabilities.double(), maps.masks, maps.truth)
                    )
                )
        return values
