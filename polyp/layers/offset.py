"""A random angle for all kernels of a network: Monte Carlo integration over the rotations."""

import math

import torch
from torch import Tensor, nn

from polyp.errors import UserError

OFFSETS = ("fixed", "random")


class RandomOffset(nn.Module):
    """The angle that all kernels of a network are turned by, beside those of the group.

    As a layer it hands its input on, and in training draws a new angle, uniformly between two
    rotations of the group (Finzi et al., LieConv, ICML 2020, section 4.2: the integral over the
    group by Monte Carlo). It does not know of the other layers; they share it and read `matrix`.

    Args:
        limit: the angle between two rotations of the group, in radians.

    Attributes:
        matrix: the rotation by that angle, [2, 2], float64 on the CPU.
    """

    def __init__(self, limit: float):
        super().__init__()
        self.limit = limit
        self.matrix = torch.eye(2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            angle = self.limit * torch.rand(()).item()
            cos, sin = math.cos(angle), math.sin(angle)
            self.matrix = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
        return x


def random_offset(offset: str, rotations: int) -> RandomOffset | None:
    """What the layers of a network share with `offset=random`; None with `fixed`.

    Raises:
        UserError: `offset` is neither.
    """
    if offset not in OFFSETS:
        raise UserError(f"offset={offset}: must be fixed or random")
    return RandomOffset(2 * math.pi / rotations) if offset == "random" else None
