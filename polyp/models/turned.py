"""The base class of models that turn the images of another network."""

import re

from torch import Tensor

from polyp.errors import UserError
from polyp.geometry import rotate
from polyp.models.segmentation_model import SegmentationModel


class TurnedModel(SegmentationModel):
    """A network and a group of rotations and reflections for its images.

    Args:
        model: the network; it takes images and gives logits of the same height and width.
        group: `c4`, the rotations by 90°; `d4`, with reflections too; or `cN`, as `c12`, the
            rotations by 360°/N, which takes square images alone.

    Raises:
        UserError: (a ValueError) there is no such group.
    """

    def __init__(self, model: SegmentationModel, group: str = "c4"):
        if not re.fullmatch(r"d4|c[1-9]\d*", str(group)):
            raise UserError(f"group={group}: must be c4, d4, or c and a number, such as c12")
        super().__init__(model.in_channels, model.size_multiple)
        self.model = model
        self.rotations, self.reflections = int(group[1:]), group == "d4"
        self.angles = [360 * k / self.rotations for k in range(self.rotations)]
        # As in `polyp.layers.group_conv`: rotations first, then those of the mirrored image.
        self.elements = [(angle, False) for angle in self.angles]
        if self.reflections:
            self.elements += [(angle, True) for angle in self.angles]

    @property
    def interpolates(self) -> bool:
        """Whether there are rotations that do not take pixels to pixels."""
        return any(angle % 90 for angle in self.angles)

    def check_square(self, height: int, width: int) -> None:
        """Raises UserError unless the image keeps its shape when it is turned."""
        if height != width:
            raise UserError(
                f"image size {height}×{width}: must be square, to be turned by "
                f"{360 / self.rotations:g}°"
            )


def turn(x: Tensor, angle: float, mirrored: bool = False) -> Tensor:
    """Images [B, C, H, W], mirrored left to right if asked for, then turned.

    Multiples of 90° are exact, others bilinear, without overshoot.
    """
    x = x.flip(3) if mirrored else x
    if angle % 90 == 0:
        return x.rot90(int(angle // 90), (2, 3))
    return rotate(x, angle, "bilinear")


def turn_back(x: Tensor, angle: float, mirrored: bool = False) -> Tensor:
    """The inverse of `turn`."""
    x = turn(x, -angle)
    return x.flip(3) if mirrored else x
