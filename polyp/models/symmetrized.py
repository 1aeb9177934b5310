"""Any network, averaged over a group of rotations and reflections."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from polyp.errors import UserError
from polyp.geometry import rotate
from polyp.models.segmentation_model import SegmentationModel


class Symmetrized(SegmentationModel):
    """The mean of a network's logits over a group, each turned back: 1/|G| Σ_g g⁻¹f(g·x).

    It is equivariant under the group whatever the network is, at |G| times its cost: exactly for
    `c4` and `d4`, which take pixels to pixels (S. Basu et al., Equi-Tuning, AAAI 2023, eq. 3; in
    evaluation alone it is known as test-time augmentation). For other angles images and logits are
    interpolated, and a pixel's mean is over the rotations that do not take it out of the image.

    Args:
        model: a network from images to logits of the same height and width.
        group: `c4`, the rotations by 90°; `d4`, with reflections too; or `cN`, as `c12`, the
            rotations by 360°/N, which takes square images alone.
        in_training: averages in training too; else the bare network is trained.

    Raises:
        UserError: (a ValueError) there is no such group; in `forward`, an impossible image.
    """

    def __init__(self, model: nn.Module, group: str = "c4", in_training: bool = False):
        if not re.fullmatch(r"d4|c[1-9]\d*", str(group)):
            raise UserError(f"group={group}: must be c4, d4, or c and a number, as c12")
        super().__init__(getattr(model, "in_channels", 3))
        self.model: Any = model  # which has a check_size too
        self.angles = [360 * k / int(group[1:]) for k in range(int(group[1:]))]
        self.mirrors = (False, True) if group == "d4" else (False,)
        self.in_training = in_training

    def check_size(self, height: int, width: int) -> None:
        """Raises UserError if H×W, or what it becomes when turned, is not possible."""
        self.model.check_size(height, width)
        if height == width:
            return
        if any(angle % 90 for angle in self.angles):
            raise UserError(
                f"image size {height}×{width}: must be square, to be turned by {self.angles[1]:g}°"
            )
        self.model.check_size(width, height)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.in_training:
            return self.model(x)
        self.check_input(x)
        logits, weights = [], []
        for angle in self.angles:
            for mirrored in self.mirrors:
                turned = _turn(x.flip(3) if mirrored else x, angle)
                back = _turn(self.model(turned), -angle)
                logits.append(back.flip(3) if mirrored else back)
                # How much of a pixel stays within the image when turned: the rest of `back` is 0.
                weights.append(_turn(torch.ones_like(turned[:1, :1]), -angle))
        return torch.stack(logits).sum(dim=0) / torch.stack(weights).sum(dim=0)


def _turn(x: Tensor, angle: float) -> Tensor:
    """Multiples of 90° exactly, of images of any shape; others bilinearly, without overshoot."""
    if angle % 90 == 0:
        return x.rot90(int(angle // 90), (2, 3))
    return rotate(x, angle, "bilinear")
