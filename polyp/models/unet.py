"""The one U-Net skeleton, built from any layer family.

O. Ronneberger, P. Fischer and T. Brox, U-Net: Convolutional Networks for Biomedical Image
Segmentation, MICCAI 2015. The topology is the one of Gasparovici's slides "Group Equivariant
Convolutional Networks", as far as their parameter counts tell: convolutions without bias, each
with batch normalisation and ReLU; two a level, after a lifting convolution to half the width of
level 0; parameter-free upsampling; concatenated skips; 1×1 head with bias.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from polyp.errors import UserError
from polyp.layers import LayerFamily


class UNet(nn.Module):
    """U-Net from image [B, in_channels, H, W] to logits [B, out_channels, H, W].

    Args:
        widths: feature fields a level, from the finest to the coarsest; one less than their
            number is the depth, the times that the image is halved. The first is even, as the
            lifting convolution goes to half of it.
        layers: the layer family that all layers are taken from.
        in_channels: channels of the image.
        out_channels: channels of the logits.

    Raises:
        UserError: (a ValueError) impossible widths; in `forward`, an input that is not
            [B, in_channels, H, W], or of a size at which the network could not be equivariant.
    """

    def __init__(
        self,
        widths: Sequence[int],
        layers: LayerFamily,
        in_channels: int = 3,
        out_channels: int = 1,
    ):
        super().__init__()
        widths = list(widths)
        if not widths or any(not isinstance(w, int) or w < 1 for w in widths) or widths[0] % 2:
            raise UserError(
                f"model.widths={widths}: must be positive whole numbers, the first of them even"
            )
        self.in_channels = in_channels
        self.size_multiple = layers.size_multiple(depth=len(widths) - 1)

        def block(conv: nn.Module, fields: int) -> list[nn.Module]:
            return [conv, layers.norm(fields), layers.activation(fields)]

        def double_conv(in_fields: int, fields: int) -> nn.Sequential:
            return nn.Sequential(
                *block(layers.conv(in_fields, fields), fields),
                *block(layers.conv(fields, fields), fields),
            )

        half = widths[0] // 2
        self.lift = nn.Sequential(*block(layers.lift(in_channels, half), half))
        self.encoder = nn.ModuleList(
            double_conv(fine, coarse)
            for fine, coarse in zip([half, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.ModuleList(layers.pool(fields) for fields in widths[:-1])
        # The decoder goes from the coarsest level to the finest.
        self.upsample = nn.ModuleList(layers.upsample(fields) for fields in widths[:0:-1])
        self.decoder = nn.ModuleList(
            double_conv(coarse + fine, fine)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.project = layers.project(widths[0])
        # After the projection nothing turns any more, so only a pointwise head is equivariant.
        self.head = nn.Conv2d(widths[0], out_channels, kernel_size=1)

    def check_size(self, height: int, width: int) -> None:
        """Raises UserError, naming the nearest valid sizes, if H×W is not possible."""
        multiple = self.size_multiple
        if height > 0 and width > 0 and height % multiple == 0 and width % multiple == 0:
            return
        nearest = " and ".join(
            f"{name} {' or '.join(str(s) for s in _nearest(size, multiple))}"
            for name, size in (("height", height), ("width", width))
            if size % multiple or size < 1
        )
        raise UserError(
            f"image size {height}×{width}: this network needs multiples of {multiple}; "
            f"nearest valid: {nearest}"
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise UserError(
                f"input of shape {list(x.shape)}: this network needs [B, {self.in_channels}, H, W]"
            )
        self.check_size(x.shape[2], x.shape[3])
        x = self.encoder[0](self.lift(x))
        skips = []
        for pool, encoder in zip(self.pool, self.encoder[1:], strict=True):
            skips.append(x)
            x = encoder(pool(x))
        for upsample, decoder in zip(self.upsample, self.decoder, strict=True):
            x = decoder(torch.cat([upsample(x), skips.pop()], dim=1))
        return self.head(self.project(x))


def _nearest(size: int, multiple: int) -> list[int]:
    """The multiples next to `size`, below (if positive) and above."""
    below = size // multiple * multiple
    return [s for s in (below, below + multiple) if s > 0]
