"""Maximum of the 2×2 pixels around every corner, which is faster on CPUs.

`functional.max_pool2d` looks at each window by itself, and on CPUs it does so without vector
instructions. Here the maximum of two whole maps is taken, first of neighbours in a row, then in a
column.
"""

import torch
from torch import Tensor
from torch.nn import functional

COLUMNS, ROWS = 3, 2
BEFORE = {COLUMNS: (1, 0), ROWS: (0, 0, 1, 0)}  # one pixel, as `functional.pad` takes it
AFTER = {COLUMNS: (0, 1), ROWS: (0, 0, 0, 1)}


def corner_maximum(x: Tensor) -> Tensor:
    """`functional.max_pool2d(x, 2, stride=1)`: [B, C, H, W] → [B, C, H - 1, W - 1].

    The gradient is the same too: of equal pixels, the first one gets it. While a network is
    compiled or exported, and on other devices, it is torch's own operation.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
        return functional.max_pool2d(x, 2, stride=1)
    return _PairMaximum.apply(_PairMaximum.apply(x, COLUMNS), ROWS)


class _PairMaximum(torch.autograd.Function):
    """Of each pixel and the next one along a dimension, which becomes one shorter."""

    @staticmethod
    def forward(ctx, x: Tensor, dim: int) -> Tensor:
        pixels, following = _pairs(x, dim)
        ctx.dim = dim
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(following > pixels)
        return torch.maximum(pixels, following)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        # Of operations that autograd knows, so it finds the second derivative by itself.
        (following_is_larger,) = ctx.saved_tensors
        of_following = gradient * following_is_larger
        of_pixels = gradient - of_following
        pad = functional.pad
        return pad(of_following, BEFORE[ctx.dim]) + pad(of_pixels, AFTER[ctx.dim]), None


def _pairs(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """All pixels but the last along a dimension, and all but the first."""
    return x.narrow(dim, 0, x.shape[dim] - 1), x.narrow(dim, 1, x.shape[dim] - 1)
