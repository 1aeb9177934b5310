"""Distances between the edges of masks, in pixels.

Two empty masks agree: the distance is 0, the surface Dice 1. If only one is empty there is no
distance (nan), and the surface Dice is 0.
"""

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from polyp.errors import UserError
from polyp.evaluation.metrics.metric import ImageMetric


def edge_distances(mask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From each edge pixel of one mask to the nearest of the other, both ways, in pixels.

    mask, truth: bool [H, W], neither empty. An edge pixel is one of the mask with a neighbour
    beside, above or below it that is not, or that lies outside the image.
    """
    one, other = (each & ~binary_erosion(each) for each in (mask, truth))
    to_other, to_one = (np.asarray(distance_transform_edt(~each)) for each in (other, one))
    return to_other[one], to_one[other]


class HD95(ImageMetric):
    """95th percentile of the Hausdorff distance, in pixels: the larger one of both directions."""

    def image(self, probability: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> float:
        if not mask.any() or not truth.any():
            return 0.0 if mask.any() == truth.any() else float("nan")
        return max(float(np.quantile(d, 0.95)) for d in edge_distances(mask, truth))


class SurfaceDice(ImageMetric):
    """The share of both edges that lies within a tolerance of the other edge.

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
        return float((np.concatenate(edge_distances(mask, truth)) <= self.tolerance).mean())
