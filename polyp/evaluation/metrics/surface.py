"""Distances between the edges of masks, in pixels, on the edges and distances of torchmetrics.

Two empty masks agree: the distance is 0, the surface Dice 1. If only one is empty there is no
distance (nan), and the surface Dice is 0.
"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.segmentation.utils import mask_edges, surface_distance

from polyp.errors import UserError
from polyp.evaluation.metrics.metric import ImageMetric


def edge_distances(mask: np.ndarray, truth: np.ndarray) -> tuple[Tensor, Tensor]:
    """From each edge pixel of one mask to the nearest of the other, both ways, in pixels.

    mask, truth: bool [H, W], neither empty.
    """
    edges = mask_edges(torch.from_numpy(mask), torch.from_numpy(truth))[:2]
    one, other = edges
    return surface_distance(one, other), surface_distance(other, one)


class HD95(ImageMetric):
    """95th percentile of the Hausdorff distance, in pixels: the larger one of both directions."""

    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        if not mask.any() or not truth.any():
            return 0.0 if mask.any() == truth.any() else float("nan")
        return max(float(torch.quantile(d, 0.95)) for d in edge_distances(mask, truth))


class SurfaceDice(ImageMetric):
    """The part of both edges that lies within a tolerance of the other edge.

    S. Nikolov et al., Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy,
    J. Med. Internet Res. 2021; here edge pixels are counted, not the length of the edge.

    Args:
        tolerance: in pixels.
    """

    def __init__(self, tolerance: float = 2.0):
        if not tolerance >= 0:
            raise UserError(f"metrics.surface_dice.tolerance={tolerance}: must be 0 or more pixels")
        self.tolerance = tolerance

    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        if not mask.any() or not truth.any():
            return float(mask.any() == truth.any())
        distances = torch.cat(edge_distances(mask, truth))
        return float((distances <= self.tolerance).double().mean())
