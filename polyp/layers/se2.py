"""The group SE(2,N): translations and N rotations, with kernels turned by interpolation.

E. J. Bekkers et al., Roto-Translation Covariant Convolutional Networks for Medical Image
Analysis, MICCAI 2018.
"""

import math
import warnings

import torch
from torch import Tensor

from polyp.errors import UserError
from polyp.layers.group_conv import Basis, GroupLayers, bilinear, rotation_matrices


class SE2Layers(GroupLayers):
    """Convolutions whose kernels are turned by multiples of 360°/N, inside a disc.

    Between the pixels a kernel is the sum of one basis function for each weight. `bilinear` is
    the interpolation of Bekkers et al.: turned by other than multiples of 90° the kernel is
    blurred, so the rotations of one kernel differ and the network is less equivariant. The two
    smooth bases are blurred alike in all rotations; what they give up is detail in the kernel.

    Args:
        kernel_size: side of the square kernels, in pixels; odd. Weights farther than
            kernel_size/2 from the middle have no effect (the 4 corners of 5×5).
        rotations: N = |G|, at least 1. Multiples of 4 make rotations by 90° exact.
        interpolation: `bilinear`, `bspline` (cubic) or `gaussian`.
        sigma: standard deviation of the Gaussian, in pixels; the other bases ignore it.

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
    ):
        if not isinstance(rotations, int) or rotations < 1:
            raise UserError(f"model.layers.rotations={rotations}: must be a positive whole number")
        if rotations % 4:
            warnings.warn(
                f"model.layers.rotations={rotations}: rotations by 90° are not exact, as this is "
                "not a multiple of 4",
                stacklevel=2,
            )
        basis = _basis(interpolation, sigma)
        super().__init__(kernel_size, rotation_matrices(rotations), basis, disc=True)


def _basis(interpolation: str, sigma: float) -> Basis:
    if not isinstance(sigma, int | float) or not 0 < sigma < math.inf:
        raise UserError(f"model.layers.sigma={sigma}: must be a positive number of pixels")
    bases = {
        "bilinear": bilinear,
        "bspline": cubic_bspline,
        "gaussian": lambda offsets: gaussian(offsets, sigma),
    }
    if interpolation not in bases:
        raise UserError(
            f"model.layers.interpolation={interpolation}: must be one of {', '.join(bases)}"
        )
    return bases[interpolation]


def cubic_bspline(offsets: Tensor) -> Tensor:
    """The cubic B-spline along both axes: nearly a Gaussian of σ 0.58, 0 beyond 2 pixels."""
    distance = offsets.abs()
    outer = (2 - distance).clamp(min=0) ** 3
    inner = (1 - distance).clamp(min=0) ** 3
    return ((outer - 4 * inner) / 6).prod(dim=-1)


def gaussian(offsets: Tensor, sigma: float) -> Tensor:
    return torch.exp(-offsets.square().sum(dim=-1) / (2 * sigma**2))
