"""The cost of a model."""

import copy

import torch
from torch import nn

from polyp.models.collapse import collapse


def multiply_adds(model: nn.Module, size: int) -> int:
    """MACs of the convolutions of a model for one image of size×size pixels, in evaluation.

    Args:
        model: any module on images with `model.in_channels` channels; 3 if there is no such
            attribute.
        size: side of the image, in pixels.
    """
    # On the meta device nothing is computed, and no memory taken by the expanded kernels.
    plain = collapse(copy.deepcopy(model).to("meta"))
    total = 0

    def count(
        conv: nn.Conv2d | nn.ConvTranspose2d, inputs: tuple[torch.Tensor], output: torch.Tensor
    ) -> None:
        nonlocal total
        # A transposed convolution applies its kernel at each pixel of its input.
        at = inputs[0] if isinstance(conv, nn.ConvTranspose2d) else output
        # Its weights have a group's share of the channels; an image may come several times.
        total += conv.weight.numel() * len(at) * at[0, 0].numel()

    for module in plain.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        plain(torch.empty(1, getattr(model, "in_channels", 3), size, size, device="meta"))
    return total
