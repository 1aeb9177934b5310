"""The base class of layer families: all layers of a network that depend on the symmetry group."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from polyp.errors import UserError
from polyp.layers.resample import pooling, upsampling

PROJECTIONS = ("max", "mean", "none")


class LayerFamily(ABC):
    """The layers of one group of rotations (and perhaps reflections), to build networks from.

    Feature fields are plain tensors [B, C·|G|, H, W], field-major: the |G| orientations of one
    field are neighbours. A skip connection is therefore `torch.cat`, and the layout is that of the
    regular representation in e2cnn.

    Args:
        kernel_size: side of the square kernels, in pixels; odd.

    Raises:
        UserError: `kernel_size` is not a positive odd number.
    """

    order: int  # |G|: the channels of one feature field

    def __init__(self, kernel_size: int = 3):
        self.kernel_size = _checked_size(kernel_size)

    @abstractmethod
    def lift(self, in_channels: int, fields: int) -> nn.Module:
        """Lifting convolution: image [B, in_channels, H, W] → fields [B, fields·|G|, H, W]."""

    @abstractmethod
    def conv(
        self,
        in_fields: int,
        fields: int,
        kernel_size: int | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> nn.Module:
        """Group convolution: [B, in_fields·|G|, H, W] → [B, fields·|G|, H, W].

        Args:
            in_fields: feature fields of the input.
            fields: feature fields of the output.
            kernel_size: side of the kernels, in pixels; odd. None: that of the family.
            stride: pixels from one output to the next. A stride s above 1 is exactly equivariant
                under rotations by 90° where H and W are multiples of s, plus 1: the outputs then
                lie symmetrically about the middle of the image.
            groups: the number of parts into which the fields are divided, as in `nn.Conv2d`.

        Raises:
            UserError: (a ValueError) an impossible argument.
        """

    def checked(
        self, in_fields: int, fields: int, kernel_size: int | None, stride: int, groups: int
    ) -> int:
        """The side of the kernels of `conv`; UserError if its arguments are impossible."""
        for name, value in (("stride", stride), ("groups", groups)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name}={value}: must be a positive whole number")
        if in_fields % groups or fields % groups:
            raise UserError(
                f"groups={groups}: must divide the {in_fields} fields of the input and the "
                f"{fields} of the output"
            )
        return self.kernel_size if kernel_size is None else _checked_size(kernel_size)

    def norm(self, fields: int) -> nn.Module:
        """Normalisation of feature fields."""
        return FieldBatchNorm(fields, self.order)

    def activation(self, fields: int) -> nn.Module:
        """Nonlinearity on feature fields; pointwise for regular representations."""
        return nn.ReLU(inplace=True)

    def pool(self, fields: int, kind: str = "max") -> nn.Module:
        """Halves H and W, both even; `kind` as in `polyp.layers.resample.pooling`."""
        return pooling(kind)

    def upsample(self, fields: int, kind: str = "bilinear") -> nn.Module:
        """Doubles H and W, without parameters; `kind` as in `polyp.layers.resample.upsampling`."""
        return upsampling(kind)

    def project(self, fields: int, kind: str = "max") -> nn.Module:
        """Rotation-invariant maps: [B, fields·|G|, H, W] → [B, fields, H, W].

        Args:
            fields: feature fields of the input.
            kind: `max` or `mean` over the orientations of each field; or `none`, which keeps all
                fields·|G| channels: a network is then not equivariant.

        Raises:
            UserError: (a ValueError) another kind, or one that the family does not have.
        """
        if kind not in PROJECTIONS:
            raise UserError(f"project={kind}: must be one of {', '.join(PROJECTIONS)}")
        return nn.Identity() if kind == "none" else RotationPool(self.order, kind)

    def size_multiple(self, depth: int) -> int:
        """H and W must be multiples of this for a network that pools `depth` times.

        At other sizes pooling drops the last row and column, on one side only, and the network is
        not equivariant: its outputs differ in the first digit.
        """
        return 2**depth


def _checked_size(kernel_size: int) -> int:
    if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
        raise UserError(
            f"kernel_size={kernel_size}: must be a positive odd number, as the kernel turns about "
            "its middle pixel"
        )
    return kernel_size


class Norm(nn.Module, ABC):
    """Normalisation of feature fields, as `polyp.models.collapse` needs it."""

    @abstractmethod
    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Its effect in evaluation: y = scale · x + shift, with one scale and shift per channel."""


class FieldBatchNorm(Norm):
    """Batch normalisation of feature fields [B, C·|G|, H, W].

    Statistics and affine parameters are one pair per field, shared by its orientations: with one
    pair per channel, the orientations would be scaled differently and equivariance lost.
    """

    def __init__(self, fields: int, order: int):
        super().__init__()
        self.order = order
        # A part and not a base class, for nn.SyncBatchNorm to take its place on several GPUs.
        self.batch_norm = nn.BatchNorm2d(fields)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        by_field = x.reshape(batch, self.batch_norm.num_features, self.order * height, width)
        return self.batch_norm(by_field).view(x.shape)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        norm = self.batch_norm
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        return scale.repeat_interleave(self.order), shift.repeat_interleave(self.order)


class RotationPool(nn.Module):
    """Maximum or mean over the orientations of each field: [B, C·|G|, H, W] → [B, C, H, W]."""

    def __init__(self, order: int, kind: str):
        super().__init__()
        self.order, self.kind = order, kind

    def forward(self, x: Tensor) -> Tensor:
        orientations = x.unflatten(1, (x.shape[1] // self.order, self.order))
        return orientations.amax(dim=2) if self.kind == "max" else orientations.mean(dim=2)

    def extra_repr(self) -> str:
        return f"order={self.order}, kind={self.kind}"
