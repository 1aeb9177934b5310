"""Networks, built from layer families."""

from polyp.models.collapse import collapse
from polyp.models.cost import multiply_adds
from polyp.models.unet import UNet

__all__ = ["UNet", "collapse", "multiply_adds"]
