"""Networks, built from layer families."""

from polyp.models.unet import UNet

__all__ = ["UNet"]
