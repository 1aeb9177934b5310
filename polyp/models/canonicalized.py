"""Any network, on images that a small equivariant network turns upright first.

S.-O. Kaba, A. K. Mondal, Y. Zhang, Y. Bengio and S. Ravanbakhsh, Equivariance with Learned
Canonicalization Functions, ICML 2023; A. K. Mondal, S. S. Panigrahi, S.-O. Kaba, S. Rajeswar and
S. Ravanbakhsh, Equivariant Adaptation of Large Pretrained Models, NeurIPS 2023.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyp.geometry import disc
from polyp.layers import SE2Layers
from polyp.models.segmentation_model import SegmentationModel
from polyp.models.turned import TurnedModel, turn, turn_back

GRID = 32  # side of the image that the orientation is read from, in pixels


class Canonicalized(TurnedModel):
    """φ(x) = h(x)·f(h(x)⁻¹·x) (Kaba et al. 2023), where h(x) is a rotation or reflection.

    f is any network. h is the element of the group with the largest score; the scores are one field
    of a small SE(2,N) network, averaged over positions. If the image turns, they change places, so
    what f sees stays the same. φ is therefore equivariant whatever f is, at little more than f's
    cost: exactly for `c4` and `d4`, which take pixels to pixels. For other angles the image is
    interpolated, on a canvas that is large enough for its corners, of 2 to 3 times as many pixels.
    An image with two largest scores, as a symmetric one has, has no h, and φ is not equivariant
    there.

    The largest score has no gradient. In training it gets that of the softmax, the straight-through
    estimator of both papers; it reaches the scores by the images of all elements, before f, and
    their logits, after it.

    Args:
        model: f, as in `TurnedModel`.
        group: as in `TurnedModel`.
        fields: feature fields of the network that gives the scores.

    Raises:
        UserError: (a ValueError) there is no such group; in `forward`, an impossible image.

    Warns:
        UserWarning: N is not a multiple of 4.
    """

    def __init__(self, model: SegmentationModel, group: str = "c4", fields: int = 8):
        super().__init__(model, group)
        layers = SE2Layers(rotations=self.rotations, reflections=self.reflections)

        def block(conv: nn.Module) -> list[nn.Module]:
            return [conv, layers.norm(fields), layers.activation(fields), layers.pool(fields)]

        self.scores = nn.Sequential(
            *block(layers.lift(self.in_channels, fields)),
            *block(layers.conv(fields, fields)),
            layers.conv(fields, 1),
        )

    def check_size(self, height: int, width: int) -> None:
        """Raises UserError if H×W is not possible."""
        self.model.check_size(height, width)
        # The images of a batch are turned by different angles, and all have one shape.
        self.check_square(height, width)

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        chosen = self.orientation(x)
        margin = self._margin(x.shape[2])
        x = functional.pad(x, [margin] * 4)
        upright = [turn_back(x, *element) for element in self.elements]
        logits = self.model(_weighted(chosen, upright))
        turned = [turn(logits, *element) for element in self.elements]
        size = x.shape[2] - margin
        return _weighted(chosen, turned)[..., margin:size, margin:size]

    def orientation(self, x: Tensor) -> Tensor:
        """h(x) of square images [B, C, S, S]: 1 for the chosen element, else 0: [B, |G|]."""
        # The corners do not turn with an image.
        small = functional.adaptive_avg_pool2d(x, GRID) * disc(GRID, x.device)
        # In 16 bits means are often equal, though scores are not.
        scores = self.scores(small).float().mean(dim=(2, 3))
        best = scores.argmax(dim=1, keepdim=True)
        chosen = (best == torch.arange(len(self.elements), device=x.device)).to(scores.dtype)
        if not self.training:
            return chosen
        soft = scores.softmax(dim=1)
        return chosen + (soft - soft.detach())

    def _margin(self, size: int) -> int:
        """What is added to each side so that nothing leaves the image when it turns, in pixels."""
        if not self.interpolates:
            return 0
        least = (math.sqrt(2) - 1) / 2 * size
        return math.ceil(least / self.size_multiple) * self.size_multiple


def _weighted(weights: Tensor, images: list[Tensor]) -> Tensor:
    """Σ_g weights[b, g]·images[g][b], of weights [B, |G|] and |G| images [B, C, S, S]."""
    return torch.einsum("bg,gbchw->bchw", weights.to(images[0].dtype), torch.stack(images))
