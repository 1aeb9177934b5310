"""The U-Net of polyp/models/unet.py, built from e2cnn's modules as in its documentation.

The only other module that imports e2cnn is polyp/layers/steerable_basis.py, for its filters.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides warnings about old code in e2cnn."""
    with warnings.catch_warnings():
        for message in ("invalid escape sequence", "indexing with dtype torch.uint8"):
            warnings.filterwarnings("ignore", message=message)
        yield


with _quiet():
    from e2cnn import gspaces
    from e2cnn import nn as enn


class E2cnnUNet(nn.Module):
    """U-Net of C_N's regular fields, from image [B, 3, H, W] to logits [B, 1, H, W].

    Args:
        widths: feature fields per level, from the finest to the coarsest.
        rotations: N.
        kernel_size: side of the square kernels, in pixels; odd.
    """

    @_quiet()
    def __init__(self, widths: Sequence[int], rotations: int, kernel_size: int):
        super().__init__()
        space = gspaces.Rot2dOnR2(rotations)

        def fields(count: int) -> enn.FieldType:
            return enn.FieldType(space, count * [space.regular_repr])

        def block(source: enn.FieldType, target: enn.FieldType) -> list[enn.EquivariantModule]:
            return [
                enn.R2Conv(source, target, kernel_size, padding=kernel_size // 2, bias=False),
                enn.InnerBatchNorm(target),
                enn.ReLU(target, inplace=True),
            ]

        def double_conv(source: enn.FieldType, target: enn.FieldType) -> enn.SequentialModule:
            return enn.SequentialModule(*block(source, target), *block(target, target))

        self.image = enn.FieldType(space, 3 * [space.trivial_repr])
        half, types = fields(widths[0] // 2), [fields(width) for width in widths]
        self.lift = enn.SequentialModule(*block(self.image, half))
        self.encoder = nn.ModuleList(
            double_conv(fine, coarse)
            for fine, coarse in zip([half, *types[:-1]], types, strict=True)
        )
        self.pool = nn.ModuleList(enn.PointwiseMaxPool(type, 2) for type in types[:-1])
        self.upsample = nn.ModuleList(enn.R2Upsampling(type, 2) for type in types[:0:-1])
        self.decoder = nn.ModuleList(
            double_conv(coarse + fine, fine)
            for coarse, fine in zip(types[:0:-1], types[-2::-1], strict=True)
        )
        self.project = enn.GroupPooling(types[0])
        self.head = nn.Conv2d(widths[0], 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        invariant = _trunk(self, enn.GeometricTensor(x, self.image), enn.tensor_directsum)
        return self.head(invariant.tensor)


class Exported(nn.Module):
    """The same network for evaluation, built from the ordinary modules of e2cnn's `.export()`."""

    def __init__(self, model: E2cnnUNet):
        super().__init__()
        self.lift, self.project = model.lift.export(), model.project.export()
        for name in ("encoder", "pool", "upsample", "decoder"):
            parts = nn.ModuleList(part.export() for part in getattr(model, name))
            setattr(self, name, parts)
        self.head = model.head
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(_trunk(self, x, partial(torch.cat, dim=1)))


def _trunk(net: nn.Module, x, join: Callable):
    """All layers except the head. join: joins a list of feature maps along their channels."""
    x = net.encoder[0](net.lift(x))
    skips = []
    for pool, encoder in zip(net.pool, net.encoder[1:], strict=True):
        skips.append(x)
        x = encoder(pool(x))
    for upsample, decoder in zip(net.upsample, net.decoder, strict=True):
        x = decoder(join([upsample(x), skips.pop()]))
    return net.project(x)
