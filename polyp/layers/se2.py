"""The group SE(2,N): translations and N rotations, with kernels turned by interpolation.

E. J. Bekkers et al., Roto-Translation Covariant Convolutional Networks for Medical Image
Analysis, MICCAI 2018.
"""

import math
from functools import partial

import torch
from torch import Tensor

from polyp.errors import UserError
from polyp.layers.group_conv import GroupLayers, bilinear, rotation_group
from polyp.layers.offset import random_offset


class SE2Layers(GroupLayers):
    """Convolutions with kernels turned by multiples of 360°/N.

    Between the pixels, a kernel is a sum of basis functions, one for each weight, within a disc,
    because the corners of a square would leave the kernel when it turns. `bilinear` is the
    interpolation of Bekkers et al., in a disc with a sharp edge. At angles that are not multiples
    of 90° such a kernel is blurred and its edge falls on other pixels; so the rotations of one
    kernel differ, and the network is less equivariant. The rotations of the smooth bases, in a disc
    with a soft edge, differ far less, but these kernels have less fine detail.

    Args:
        kernel_size: side of the square kernels, in pixels; odd.
        rotations: N, at least 1; |G| = N. Multiples of 4 make rotations by 90° exact.
        interpolation: `bilinear`, `bspline` (cubic) or `gaussian`.
        sigma: standard deviation of the Gaussian, in pixels; the other bases ignore it. Wider is
            more equivariant and less detailed.
        reflections: with each rotation also the one of the mirrored kernel: |G| = 2N.
        offset: `fixed` takes the N rotations alone; with `random`, all kernels of a network are
            turned by one more angle, drawn anew for each forward pass in training.

    Raises:
        UserError: an argument is none of these.

    Warns:
        UserWarning: N is not a multiple of 4.
    """

    def __init__(
        self,
        kernel_size: int = 5,
        rotations: int = 12,
        interpolation: str = "gaussian",
        sigma: float = 0.7,
        reflections: bool = False,
        offset: str = "fixed",
    ):
        group = rotation_group(rotations, reflections)
        if not isinstance(sigma, int | float) or not 0 < sigma < math.inf:
            raise UserError(f"sigma={sigma}: must be a positive number of pixels")
        choices = {
            "bilinear": (bilinear, hard_disc),
            "bspline": (cubic_bspline, soft_disc),
            "gaussian": (partial(gaussian, sigma=sigma), soft_disc),
        }
        if interpolation not in choices:
            raise UserError(f"interpolation={interpolation}: must be one of {', '.join(choices)}")
        basis, window = choices[interpolation]
        super().__init__(kernel_size, group, basis, window, random_offset(offset, rotations))


def cubic_bspline(offsets: Tensor) -> Tensor:
    """The cubic B-spline along both axes: nearly a Gaussian of σ 0.58, 0 beyond 2 pixels."""
    distance = offsets.abs()
    outer = (2 - distance).clamp(min=0) ** 3
    inner = (1 - distance).clamp(min=0) ** 3
    return ((outer - 4 * inner) / 6).prod(dim=-1)


def gaussian(offsets: Tensor, sigma: float) -> Tensor:
    return torch.exp(-offsets.square().sum(dim=-1) / (2 * sigma**2))


def hard_disc(distances: Tensor, kernel_size: int) -> Tensor:
    """1 within half the kernel's side, 0 beyond: without effect are the 4 corners of 5×5."""
    return (distances <= kernel_size / 2).to(distances.dtype)


def soft_disc(distances: Tensor, kernel_size: int) -> Tensor:
    """1 out to the outermost pixel of the middle row, and 0 from 1.1 pixels farther on."""
    # 1.1 had the least rotation error over kernels of 3×3, 5×5 and 7×7; 1.0 and 1.2 are close.
    beyond = ((distances - kernel_size // 2) / 1.1).clamp(0, 1)
    return (1 + torch.cos(math.pi * beyond)) / 2
