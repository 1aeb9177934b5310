"""Any network, averaged over a group of rotations and reflections."""

import torch
from torch import Tensor

from polyp.models.segmentation_model import SegmentationModel
from polyp.models.turned import TurnedModel, turn, turn_back


class Symmetrized(TurnedModel):
    """The mean of a network's logits over a group, each turned back: 1/|G| Σ_g g⁻¹f(g·x).

    It is equivariant under the group whatever the network is, at |G| times its cost: exactly for
    `c4` and `d4`, which take pixels to pixels (S. Basu et al., Equi-Tuning, AAAI 2023, eq. 3; in
    evaluation alone it is known as test-time augmentation). For other angles images and logits are
    interpolated, and a pixel's mean is over the rotations that do not take it out of the image.

    Args:
        model: as in `TurnedModel`.
        group: as in `TurnedModel`.
        in_training: averages in training too; else the bare network is trained.

    Raises:
        UserError: (a ValueError) there is no such group; in `forward`, an impossible image.
    """

    def __init__(self, model: SegmentationModel, group: str = "c4", in_training: bool = False):
        super().__init__(model, group)
        self.in_training = in_training

    def check_size(self, height: int, width: int) -> None:
        """Raises UserError if H×W, or what it becomes when turned, is not possible."""
        self.model.check_size(height, width)
        if self.interpolates:
            self.check_square(height, width)
        self.model.check_size(width, height)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.in_training:
            return self.model(x)
        self.check_input(x)
        logits, weights = [], []
        for angle, mirrored in self.elements:
            turned = turn(x, angle, mirrored)
            logits.append(turn_back(self.model(turned), angle, mirrored))
            # How much of a pixel stays within the image when turned: the rest of it is 0.
            weights.append(turn_back(torch.ones_like(turned[:1, :1]), angle))
        return torch.stack(logits).sum(dim=0) / torch.stack(weights).sum(dim=0)
