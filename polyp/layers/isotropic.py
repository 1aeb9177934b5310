"""Isotropic kernels: functions of the distance from the middle alone, equal in all directions.

Y. Du et al., SRE-Conv: Symmetric Rotation Equivariant Convolution for Biomedical Image
Classification, ISBI 2025.
"""

import math

import torch
from torch import nn

from polyp.layers.family import LayerFamily
from polyp.layers.se2 import soft_disc
from polyp.layers.steerable import SteerableConv
from polyp.layers.steerable_basis import SteerableBasis


class IsotropicLayers(LayerFamily):
    """Convolutions with one weight for each ring of a kernel; a field is a channel (|G| = 1).

    Such a kernel is the same in all rotations and reflections, so the features turn with the image,
    but a single kernel cannot tell edges of different directions apart.
    A ring is a Gaussian of σ = 0.6 pixels about each whole radius, as in steerable convolutions,
    and the kernel is faded out as in `SE2Layers`. SRE-Conv has one weight for each band of radii,
    which is less alike in all directions.

    Args:
        kernel_size: side of the square kernels, in pixels; odd.

    Raises:
        UserError: `kernel_size` is not a positive odd number.
    """

    order = 1

    def lift(self, in_channels: int, fields: int) -> nn.Module:
        return self.conv(in_channels, fields)

    def conv(
        self,
        in_fields: int,
        fields: int,
        kernel_size: int | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> nn.Module:
        size = self.checked(in_fields, fields, kernel_size, stride, groups)
        return SteerableConv(in_fields, fields, _rings(size), stride, groups)


def _rings(kernel_size: int) -> SteerableBasis:
    """Filters of norm 1 around the radii 0, 1, … kernel_size // 2."""
    steps = torch.arange(kernel_size) - kernel_size // 2
    distances = torch.cartesian_prod(steps, steps).to(torch.get_default_dtype()).norm(dim=1)
    radii = torch.arange(1 + kernel_size // 2)[:, None]
    filters = torch.exp(-((distances - radii) ** 2) / (2 * 0.6**2))
    filters = nn.functional.normalize(filters * soft_disc(distances, kernel_size), dim=1)
    std = torch.full((len(radii),), math.sqrt(2 / len(radii)))
    return SteerableBasis(filters.view(len(radii), 1, 1, kernel_size, kernel_size), std)
