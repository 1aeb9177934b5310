"""Networks, built from layer families."""

from polyp.models.canonicalized import Canonicalized
from polyp.models.collapse import collapse
from polyp.models.cost import multiply_adds
from polyp.models.library import LibraryModel
from polyp.models.segmentation_model import SegmentationModel
from polyp.models.symmetrized import Symmetrized
from polyp.models.unet import UNet

__all__ = [
    "Canonicalized",
    "LibraryModel",
    "SegmentationModel",
    "Symmetrized",
    "UNet",
    "collapse",
    "multiply_adds",
]
