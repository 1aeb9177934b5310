"""Separable group convolution on SE(2,N): over fields and rotations first, then over positions.

D. M. Knigge, D. W. Romero and E. J. Bekkers, Exploiting Redundancy: Separable Group Convolutional
Networks on Lie Groups, ICML 2022; A. Lengyel and J. C. van Gemert, Exploiting Learned Symmetries in
Group Equivariant Convolutions, ICIP 2021.
"""

from collections.abc import Callable

from torch import nn

from polyp.errors import UserError
from polyp.layers.group_conv import lifting_table
from polyp.layers.se2 import SE2Layers

ORDERS = ("depthwise", "pointwise", "cheaper")


def check_first(first: str) -> None:
    """Raises UserError if `first` is no order of the two parts."""
    if first not in ORDERS:
        raise UserError(f"first={first}: must be one of {', '.join(ORDERS)}")


def separable_conv(
    first: str,
    in_fields: int,
    fields: int,
    pointwise: nn.Module,
    depthwise: Callable[[int], nn.Module],
) -> nn.Sequential:
    """Both parts in their order. `cheaper` has the depthwise part where there are fewer fields.

    Args:
        first: one of `ORDERS`.
        in_fields, fields: of the whole convolution.
        pointwise: from `in_fields` to `fields`.
        depthwise: makes this part for a number of fields.
    """
    cheaper = "depthwise" if in_fields <= fields else "pointwise"
    if (cheaper if first == "cheaper" else first) == "depthwise":
        return nn.Sequential(depthwise(in_fields), pointwise)
    return nn.Sequential(pointwise, depthwise(fields))


class SeparableSE2Layers(SE2Layers):
    """Convolutions whose kernels are products, ψ(v, θ) = ψ(v)·ψ(θ) (Knigge et al. 2022, eq. 10).

    A convolution has two parts: a pointwise group convolution, from all fields and orientations at
    a pixel to all others; and a depthwise one, with one k×k kernel per field, which is turned for
    each orientation of the field as in `SE2Layers`. From C to C' fields, with the depthwise part
    first, there are N·C·C' + k²·C weights and N²·C·C' + k²·N·C MACs per pixel; a dense convolution
    has k²·N·C·C' and k²·N²·C·C'. The lifting convolution, which has few inputs, is dense.

    Args:
        kernel_size: as in `SE2Layers`.
        rotations: as in `SE2Layers`.
        interpolation: as in `SE2Layers`.
        sigma: as in `SE2Layers`.
        reflections: as in `SE2Layers`.
        first: which part comes first, `depthwise` or `pointwise`. Random networks with the
            depthwise part first have the smaller rotation error, by a tenth to a third. `cheaper`:
            the depthwise part is where there are fewer fields, which saves a third of its work in
            a U-Net.
        offset: as in `SE2Layers`.

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
        first: str = "depthwise",
        offset: str = "fixed",
    ):
        check_first(first)
        super().__init__(kernel_size, rotations, interpolation, sigma, reflections, offset)
        self.first = first

    def conv(
        self,
        in_fields: int,
        fields: int,
        kernel_size: int | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> nn.Module:
        size = self.checked(in_fields, fields, kernel_size, stride, groups)
        # The activation comes after both parts, and the initialisation of one alone allows for it.
        pointwise = self._conv(
            in_fields, fields, 1, self.table, groups=groups, nonlinearity="linear"
        )

        def depthwise(fields: int) -> nn.Module:
            """A lifting convolution of each channel by itself."""
            channels, table = fields * self.order, lifting_table(self.order)
            return self._conv(channels, fields, size, table, stride=stride, groups=channels)

        return separable_conv(self.first, in_fields, fields, pointwise, depthwise)
