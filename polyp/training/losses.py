"""Losses on logits."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyp.errors import UserError


class BCEDiceLoss(nn.Module):
    """Weighted sum of binary cross-entropy and soft Dice loss.

    Cross-entropy gives gradients everywhere, Dice (Milletari et al., V-Net, 3DV 2016) makes small
    polyps count as much as large ones. Padding counts as background in the loss, although no score
    counts it: otherwise the output there would be arbitrary, and would show in a turned image,
    which has its padding elsewhere.

    Args:
        bce, dice: weights of the two.
        smooth: pixels added to both sides of the Dice ratio, which keeps the loss of an empty
            mask finite and its gradient bounded.

    Raises:
        UserError: both weights are 0.
    """

    def __init__(self, bce: float = 1.0, dice: float = 1.0, smooth: float = 1.0):
        super().__init__()
        _check_weights(bce=bce, dice=dice)
        self.bce, self.dice, self.smooth = bce, dice, smooth

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Mean loss of a batch: logits and mask are [B, 1, H, W]."""
        logits, mask = logits.float(), mask.float()
        bce = functional.binary_cross_entropy_with_logits(logits, mask)
        probability = torch.sigmoid(logits)
        both = (probability * mask).sum((1, 2, 3))
        either = probability.sum((1, 2, 3)) + mask.sum((1, 2, 3))
        dice = (2 * both + self.smooth) / (either + self.smooth)
        return self.bce * bce + self.dice * (1 - dice).mean()


class CrossEntropyDiceLoss(nn.Module):
    """Weighted sum of cross-entropy and soft Dice loss, for classes that exclude each other.

    The Dice loss is the mean over all classes but the first, the background. Padding is trained on
    as background, for the reason given in `BCEDiceLoss`.

    Args:
        cross_entropy, dice: weights of the two.
        smooth: as in `BCEDiceLoss`.

    Raises:
        UserError: both weights are 0.
    """

    def __init__(self, cross_entropy: float = 1.0, dice: float = 1.0, smooth: float = 1.0):
        super().__init__()
        _check_weights(cross_entropy=cross_entropy, dice=dice)
        self.cross_entropy, self.dice, self.smooth = cross_entropy, dice, smooth

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Mean loss of a batch: logits [B, classes, H, W], class indices [B, 1, H, W]."""
        logits, indices = logits.float(), mask[:, 0].long()
        cross_entropy = functional.cross_entropy(logits, indices)
        probability = functional.softmax(logits, dim=1)[:, 1:]
        truth = functional.one_hot(indices, logits.shape[1]).permute(0, 3, 1, 2)[:, 1:]
        both = (probability * truth).sum((2, 3))
        either = probability.sum((2, 3)) + truth.sum((2, 3))
        dice = (2 * both + self.smooth) / (either + self.smooth)
        return self.cross_entropy * cross_entropy + self.dice * (1 - dice).mean()


def _check_weights(**weights: float) -> None:
    if not any(weights.values()):
        given = ", ".join(f"{name}={weight:g}" for name, weight in weights.items())
        raise UserError(f"{given}: one of them must be above 0")
