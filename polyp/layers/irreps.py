"""Layers on fields of SO(2): sums of its irreducible representations (Weiler & Cesa 2019).

A field [order = 2F + 1, H, W] holds one channel of frequency 0, a scalar, which does not change
when the image turns, and for each frequency k = 1 … F two channels, a vector that turns by k·θ.
So scalars may be shifted, but vectors only be scaled: all that is done here.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyp.layers.family import Norm


class IrrepBatchNorm(Norm):
    """Batch normalisation of fields [B, C·(2F + 1), H, W], per field and frequency.

    Scalars have mean 0 and variance 1 over the batch, then are scaled and shifted. Vectors have
    mean square 1 in each component, then are scaled; their mean is left as it is.

    The parameters have one dimension, as in every other norm: `weight` [C·(F + 1)], `bias` [C].
    """

    def __init__(self, fields: int, max_frequency: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.fields, self.max_frequency = fields, max_frequency
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(fields * (max_frequency + 1)))
        self.bias = nn.Parameter(torch.zeros(fields))
        self.register_buffer("running_mean", torch.zeros(fields))
        self.register_buffer("running_var", torch.ones(fields, max_frequency + 1))

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means [C] of the scalars and variances [C, F + 1], of x [B, C, 2F + 1, H, W]."""
        var, mean = torch.var_mean(x[:, :, 0], dim=(0, 2, 3), correction=0)
        vectors = x[:, :, 1:].unflatten(2, (self.max_frequency, 2))
        power = vectors.square().mean(dim=(0, 3, 4, 5))
        return mean, torch.cat([var[:, None], power], dim=1)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        scale, shift = self._scale_and_shift(self.running_mean, self.running_var)
        return scale.flatten(), shift.flatten()

    def _scale_and_shift(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """What channels are multiplied by and what is added then: [C, 2F + 1] each."""
        scale = self.weight.view_as(var) * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale[:, 0]
        scale = torch.cat([scale[:, :1], scale[:, 1:].repeat_interleave(2, dim=1)], dim=1)
        return scale, functional.pad(shift[:, None], (0, 2 * self.max_frequency))

    def forward(self, x: Tensor) -> Tensor:
        # Statistics in the precision of the parameters, also where autocast has made x 16-bit.
        fields = x.unflatten(1, (self.fields, -1)).to(self.weight.dtype)
        if self.training:
            mean, var = self.statistics(fields)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        scale, shift = self._scale_and_shift(mean, var)
        y = fields * scale[:, :, None, None] + shift[:, :, None, None]
        return y.to(x.dtype).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"{self.fields}, max_frequency={self.max_frequency}"


class Gate(nn.Module):
    """Gated nonlinearity: all channels of a field are multiplied by the sigmoid of its scalar.

    Of the field's own scalar, where Weiler & Cesa (2019) compute another one for each gate: so
    convolutions need no further channels. To the scalar itself this does x·σ(x), which is SiLU.
    """

    def __init__(self, order: int):
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        fields = x.unflatten(1, (-1, self.order))
        return (fields * fields[:, :, :1].sigmoid()).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"order={self.order}"


class FieldNorm(nn.Module):
    """Length of each field, which no rotation changes: [B, C·order, H, W] → [B, C, H, W]."""

    def __init__(self, order: int):
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x.unflatten(1, (-1, self.order)), dim=2)

    def extra_repr(self) -> str:
        return f"order={self.order}"
