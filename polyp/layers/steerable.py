"""Steerable convolutions: kernels from the space of all equivariant kernels.

M. Weiler and G. Cesa, General E(2)-Equivariant Steerable CNNs, NeurIPS 2019.

A basis of that space is found once per family, in `steerable_basis.py`. A kernel is a learned sum
of the basis filters, and all the rest is ordinary PyTorch on plain tensors.
"""

import functools
import math
import warnings
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from polyp.errors import UserError
from polyp.layers.expanded_conv import ExpandedConv
from polyp.layers.family import LayerFamily
from polyp.layers.irreps import FieldNorm, Gate, IrrepBatchNorm
from polyp.layers.steerable_basis import SteerableBasis, solve


class SteerableLayers(LayerFamily):
    """Steerable convolutions under N rotations (C_N, with reflections D_N) or all of them (SO(2)).

    Under C_N, a field is the regular representation: one channel for each of the N rotations, as
    in the other families (`order` is N). All layers but the convolutions are theirs. Under D_N the
    rotations are followed by as many reflections (`order` is 2N), also as there.

    Under SO(2), a field is the sum of the irreducible representations of the frequencies 0 to
    `max_frequency`: one channel that does not change under rotation, and two for each further
    frequency k, which turn by k·θ (`order`, the channels of one field, is 2·max_frequency + 1).
    Such a field has neither orientations to take a maximum of nor channels to apply ReLU to; the
    norm, nonlinearity and projection that take their place are in `irreps.py`, and pooling is the
    average where it is asked for the maximum.

    Args:
        kernel_size: side of the square kernels, in pixels; odd.
        rotations: N, or "continuous" for SO(2).
        max_frequency: of the fields under SO(2); without effect under C_N. The default is the
            highest frequency in kernels of 3×3 and 5×5 pixels, so the highest that the lifting
            convolution gives.
        rings: radii in pixels, in increasing order, around which the basis filters lie. By default
            0, 1, … up to the border of the kernel.
        frequencies_cutoff: the basis filters on a ring have at most this angular frequency per
            pixel of its radius. By default e2cnn's choice: 2r or 2r − 1, but 2 on the outermost
            ring, which the kernel's border cuts.
        reflections: D_N, equivariant under mirroring too. There is none with SO(2).

    Raises:
        UserError: an argument is none of these.

    Warns:
        UserWarning: N is not a multiple of 4.
    """

    def __init__(
        self,
        kernel_size: int = 5,
        rotations: int | str = 12,
        max_frequency: int = 2,
        rings: Sequence[float] | None = None,
        frequencies_cutoff: float | None = None,
        reflections: bool = False,
    ):
        super().__init__(kernel_size)
        self.continuous = rotations == "continuous"
        if not self.continuous and (not isinstance(rotations, int) or rotations < 1):
            raise UserError(
                f'rotations={rotations}: must be a positive whole number or "continuous"'
            )
        if self.continuous and reflections:
            raise UserError("reflections=true: needs a number of rotations, not continuous")
        if not isinstance(max_frequency, int) or max_frequency < 1:
            raise UserError(f"max_frequency={max_frequency}: must be a positive whole number")
        if rings is not None:
            _check_rings(rings, kernel_size)
        self.rings = rings
        if frequencies_cutoff is not None and not _is_non_negative(frequencies_cutoff):
            raise UserError(f"frequencies_cutoff={frequencies_cutoff}: must be a number from 0 up")
        count = None if isinstance(rotations, str) else rotations
        if count is not None and count % 4:
            warnings.warn(
                f"rotations={rotations}: rotations by 90° are not exact, as this is "
                "not a multiple of 4",
                stacklevel=2,
            )
        self.max_frequency = max_frequency
        if count is None:
            self.order = 2 * max_frequency + 1
        else:
            self.order = 2 * count if reflections else count
        # The bases for kernels of a size, solved for once.
        self._solved = functools.cache(
            functools.partial(
                solve,
                rotations=count,
                reflections=reflections,
                max_frequency=max_frequency,
                rings=None if rings is None else [float(r) for r in rings],
                frequencies_cutoff=(
                    None if frequencies_cutoff is None else float(frequencies_cutoff)
                ),
            )
        )
        self.lift_basis, self.conv_basis = self._solved(kernel_size)

    def lift(self, in_channels: int, fields: int) -> nn.Module:
        return SteerableConv(in_channels, fields, self.lift_basis)

    def conv(
        self,
        in_fields: int,
        fields: int,
        kernel_size: int | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> nn.Module:
        size = self.checked(in_fields, fields, kernel_size, stride, groups)
        if self.rings is not None:
            _check_rings(self.rings, size)
        _, basis = self._solved(size)
        return SteerableConv(in_fields, fields, basis, stride, groups)

    def norm(self, fields: int) -> nn.Module:
        if self.continuous:
            return IrrepBatchNorm(fields, self.max_frequency)
        return super().norm(fields)

    def activation(self, fields: int) -> nn.Module:
        return Gate(self.order) if self.continuous else super().activation(fields)

    def pool(self, fields: int, kind: str = "max") -> nn.Module:
        # A maximum of each channel would depend on the frame that vectors are written in.
        if self.continuous and kind == "blur":
            raise UserError("pool=blur: takes a maximum, which fields under SO(2) do not have")
        return super().pool(fields, "average" if self.continuous and kind == "max" else kind)

    def project(self, fields: int, kind: str = "max") -> nn.Module:
        if not self.continuous:
            return super().project(fields, kind)
        if kind != "max":
            raise UserError(f"project={kind}: irreps have no orientations; leave it at max")
        return FieldNorm(self.order)


class SteerableConv(ExpandedConv):
    """Convolution with sums of basis filters: [B, C·in_order, H, W] → [B, C'·order, H, W].

    The weight has the shape [C', C, basis]; flattened, it is that of e2cnn's `R2Conv`.

    Args:
        in_fields: C.
        fields: C'.
        basis: of the kernels from one field to one field.
        stride: pixels from one output to the next.
        groups: of fields; with more than one, C in the weight's shape is that of each of them.
    """

    filters: Tensor

    def __init__(
        self,
        in_fields: int,
        fields: int,
        basis: SteerableBasis,
        stride: int = 1,
        groups: int = 1,
    ):
        super().__init__(stride, groups)
        # Not in checkpoints: it follows from the config.
        self.register_buffer("filters", basis.filters, persistent=False)
        self.weight = nn.Parameter(
            torch.randn(fields, in_fields // groups, len(basis.std))
            * basis.std
            / math.sqrt(in_fields // groups)
        )

    def expand(self) -> Tensor:
        # Two passes over the kernel: a matrix product, and a copy that puts g next to o, h to i.
        kernel = torch.einsum("oib,bghyx->ogihyx", self.weight, self.filters)
        return kernel.flatten(2, 3).flatten(0, 1)

    def extra_repr(self) -> str:
        fields, in_fields, basis = self.weight.shape
        _, order, in_order, kernel_size, _ = self.filters.shape
        return (
            f"{in_fields}, {fields}, kernel_size={kernel_size}, in_order={in_order}, "
            f"order={order}, basis={basis}"
        )


def _is_non_negative(number) -> bool:
    return isinstance(number, int | float) and 0 <= number < math.inf


def _check_rings(rings: Sequence[float], kernel_size: int) -> None:
    corner = math.sqrt(2) * (kernel_size // 2)
    if (
        not isinstance(rings, Sequence)
        or len(rings) == 0
        or not all(_is_non_negative(r) and r <= corner for r in rings)
        or any(r >= following for r, following in pairwise(rings))
    ):
        raise UserError(
            f"rings={rings}: must be a list of increasing radii from 0 to "
            f"{corner:.2f}, the corner of a kernel of {kernel_size}×{kernel_size} pixels"
        )
