"""Group convolution for any finite group of rotations and reflections of the plane.

A group is the tensor of its elements as matrices [|G|, 2, 2], which act on pixel offsets (row,
column) from the middle of a kernel. Turning a kernel of k×k weights is a linear map, the
operator [|G|, k², k²], made once; which orientation of the kernel meets which orientation of the
input is the group's product table [|G|, |G|]. Every convolution turns its weights by the two.

T. S. Cohen and M. Welling, Group Equivariant Convolutional Networks, ICML 2016;
E. J. Bekkers et al., Roto-Translation Covariant Convolutional Networks for Medical Image
Analysis, MICCAI 2018.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from polyp.errors import UserError
from polyp.layers.expanded_conv import ExpandedConv
from polyp.layers.family import LayerFamily
from polyp.layers.offset import RandomOffset

# What a weight contributes at the given offsets from its pixel: [..., 2] → [...].
Basis = Callable[[Tensor], Tensor]
# How much of a kernel is left at the given distances from its middle: ([...], kernel_size) → [...].
Window = Callable[[Tensor, int], Tensor]


def rotation_matrices(count: int) -> Tensor:
    """The rotations by multiples of 360°/count, in the sense of `torch.rot90`: [count, 2, 2]."""
    angles = 2 * math.pi / count * torch.arange(count, dtype=torch.float64)
    # Rounded, or the cosine of 90° is 6e-17, and turning by 90° no longer exact to the last bit.
    cos, sin = angles.cos().round(decimals=12), angles.sin().round(decimals=12)
    return torch.stack([cos, -sin, sin, cos], dim=1).view(count, 2, 2)


def rotation_group(rotations: int, reflections: bool = False) -> Tensor:
    """The matrices of N rotations, and with reflections as many more: [|G|, 2, 2].

    Raises:
        UserError: N is not a positive whole number.

    Warns:
        UserWarning: N is not a multiple of 4.
    """
    if not isinstance(rotations, int) or rotations < 1:
        raise UserError(f"rotations={rotations}: must be a positive whole number")
    if rotations % 4:
        warnings.warn(
            f"rotations={rotations} is not a multiple of 4: rotations by 90° are not in the group, "
            "so they are no longer exact",
            stacklevel=3,
        )
    group = rotation_matrices(rotations)
    return with_reflections(group) if reflections else group


def with_reflections(group: Tensor) -> Tensor:
    """Rotations, and after them each of them on a plane mirrored left to right: [2·count, 2, 2]."""
    mirror = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=group.dtype)
    return torch.cat([group, group @ mirror])


def bilinear(offsets: Tensor) -> Tensor:
    """Bilinear interpolation between pixels: a hat over each of them, 1 at its own pixel."""
    return (1 - offsets.abs()).clamp(min=0).prod(dim=-1)


def square(distances: Tensor, kernel_size: int) -> Tensor:
    """The window of ordinary kernels: all of the square."""
    return torch.ones_like(distances)


def kernel_operator(group: Tensor, kernel_size: int, basis: Basis, window: Window) -> Tensor:
    """The linear maps that turn kernels of k×k weights: [|G|, k², k²], float64.

    Weights w carry the continuous kernel ψ(v) = Σ_j w_j window(|j|) basis(v − j). Map g samples
    the turned one at every pixel v, ψ(g⁻¹v) window(|v|). One factor for the whole operator makes
    it keep the norm of random weights, averaged over the group, so the usual initialisation and
    learning rate fit any basis. (For p4 it is 1.)
    """
    steps = torch.arange(kernel_size, dtype=torch.float64) - kernel_size // 2
    pixels = torch.cartesian_prod(steps, steps)
    sources = pixels @ group  # rows (g⁻¹v)ᵀ = vᵀg, as the matrices are orthogonal
    left = window(pixels.norm(dim=1), kernel_size)
    operator = basis(sources[:, :, None] - pixels) * left[:, None] * left
    return operator * kernel_size / operator.square().sum(dim=(1, 2)).mean().sqrt()


def product_table(group: Tensor) -> Tensor:
    """The place of g⁻¹h in the group, for each g and h: [|G|, |G|], int64."""
    # Of all elements f, the one nearest to gᵀh has the largest inner product with it.
    return torch.einsum("gba,hbc,fac->ghf", group, group, group).argmax(dim=2)


def lifting_table(order: int) -> Tensor:
    """The product table of the lifting convolution, [|G|, 1].

    Its input has one orientation, so each g meets the only one there is.
    """
    return torch.zeros(order, 1, dtype=torch.int64)


class GroupLayers(LayerFamily):
    """The layers of a finite group of rotations and reflections.

    Args:
        kernel_size: side of the square kernels, in pixels; odd.
        group: the elements as matrices on offsets (row, column), [|G|, 2, 2].
        basis: what carries the weights of a kernel to positions between the pixels.
        window: what is left of a kernel towards its border.
        offset: turns all kernels by one more angle in training, if there is one.

    Raises:
        UserError: `kernel_size` is not a positive odd number.
    """

    def __init__(
        self,
        kernel_size: int,
        group: Tensor,
        basis: Basis = bilinear,
        window: Window = square,
        offset: RandomOffset | None = None,
    ):
        super().__init__(kernel_size)
        self.order = len(group)
        self.table = product_table(group)
        self.offset = offset
        turn = functools.partial(kernel_operator, basis=basis, window=window)
        self._operator = functools.cache(functools.partial(turn, group))
        self._drawn_operator = functools.partial(_drawn_operator, offset, group, turn)

    def lift(self, in_channels: int, fields: int) -> nn.Module:
        conv = self._conv(in_channels, fields, self.kernel_size, lifting_table(self.order))
        return conv if self.offset is None else nn.Sequential(self.offset, conv)

    def conv(
        self,
        in_fields: int,
        fields: int,
        kernel_size: int | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> nn.Module:
        size = self.checked(in_fields, fields, kernel_size, stride, groups)
        return self._conv(in_fields, fields, size, self.table, stride=stride, groups=groups)

    def _conv(
        self, in_fields: int, fields: int, kernel_size: int, table: Tensor, **arguments: Any
    ) -> "GroupConv":
        drawn = None
        if self.offset is not None:
            drawn = functools.partial(self._drawn_operator, kernel_size)
        operator = self._operator(kernel_size)
        return GroupConv(in_fields, fields, operator, table, drawn=drawn, **arguments)


def _drawn_operator(
    offset: RandomOffset, group: Tensor, turn: Callable[..., Tensor], kernel_size: int
) -> Tensor:
    """The operator of the group turned by the angle that was drawn last."""
    return turn(offset.matrix @ group, kernel_size)


class GroupConv(ExpandedConv):
    """Lifting or group convolution, [B, C·in_order, H, W] → [B, C'·|G|, H, W], without bias.

    The weight ψ has the shape [C', C, in_order, k, k], with in_order 1 (lifting) or |G|. Output
    orientation g is (Cohen & Welling 2016, eq. 10 and 11; Bekkers et al. 2018, eq. 4 and 6)

        y[c', g](u) = Σ_c Σ_h Σ_v x[c, h](u + v) · ψ[c', c, g⁻¹h](g⁻¹v)

    an ordinary convolution with the weights turned by every element.

    Args:
        in_fields: C.
        fields: C'.
        operator: turns kernels, [|G|, k², k²].
        table: the place of g⁻¹h among the input's orientations, [|G|, in_order].
        stride: pixels from one output to the next.
        groups: of fields; with more than one, C in the weight's shape is that of each of them.
        nonlinearity: what follows, for He initialisation: "relu" or "linear".
        drawn: gives the operator to use in training, if it is not the same one.
    """

    operator: Tensor
    rows: Tensor

    def __init__(
        self,
        in_fields: int,
        fields: int,
        operator: Tensor,
        table: Tensor,
        stride: int = 1,
        groups: int = 1,
        nonlinearity: str = "relu",
        drawn: Callable[[], Tensor] | None = None,
    ):
        super().__init__(stride, groups)
        self.drawn = drawn
        order, in_order = table.shape
        self.order = order
        kernel_size = math.isqrt(operator.shape[1])
        self.weight = nn.Parameter(
            torch.empty(fields, in_fields // groups, in_order, kernel_size, kernel_size)
        )
        nn.init.kaiming_normal_(self.weight, nonlinearity=nonlinearity)
        # Row (g, c, h) of a kernel is plane s = g⁻¹h of input field c, turned by g: row (c, s, g)
        # of the product of weight and operator.
        g = torch.arange(order)[:, None, None]
        c = torch.arange(in_fields // groups)[:, None]
        rows = ((c * in_order + table[:, None]) * order + g).flatten()
        # Not in checkpoints: both follow from the config.
        self.register_buffer("operator", operator.to(self.weight.dtype), persistent=False)
        self.register_buffer("rows", rows, persistent=False)

    def expand(self) -> Tensor:
        fields, in_fields, in_order, size, _ = self.weight.shape
        # For torch.compile, which else takes shapes of buffers for variable, and hangs.
        assert self.operator.shape == (self.order, size**2, size**2)
        assert self.rows.shape == (in_fields * in_order * self.order,)
        operator = self.operator
        if self.training and self.drawn is not None:
            operator = self.drawn().to(operator)
        # Two passes over the kernel: one product and one copy.
        turned = self.weight.flatten(3) @ operator.flatten(0, 1).T
        turned = turned.view(fields, in_fields * in_order * self.order, size**2)
        kernel = _PermuteRows.apply(turned, self.rows)
        return kernel.view(fields * self.order, in_fields * in_order, size, size)

    def extra_repr(self) -> str:
        fields, in_fields, in_order, kernel_size, _ = self.weight.shape
        return (
            f"{in_fields}, {fields}, kernel_size={kernel_size}, in_order={in_order}, "
            f"order={self.order}"
        )


class _PermuteRows(torch.autograd.Function):
    """x.index_select(1, order) of a permutation. The gradient is the inverse one, a single copy;
    that of `index_select` allows for repeated rows and takes three times as long."""

    @staticmethod
    def forward(x: Tensor, order: Tensor) -> Tensor:
        return x.index_select(1, order)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (order,) = ctx.saved_tensors
        return _PermuteRows.apply(gradient, order.argsort()), None


def operator_entries(model: nn.Module) -> int:
    """The entries |G|·k²·k² of the operators of all group convolutions in a model, added up.

    They are fixed, not trained, and not in `model.parameters()`. Some publications count them as
    parameters: 12·25·25 = 7,500 for each of the 19 convolutions of the SE(2,12) U-Net.
    """
    return sum(m.operator.numel() for m in model.modules() if isinstance(m, GroupConv))
