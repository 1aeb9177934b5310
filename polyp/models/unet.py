"""The one U-Net skeleton, built from any layer family.

O. Ronneberger, P. Fischer and T. Brox, U-Net: Convolutional Networks for Biomedical Image
Segmentation, MICCAI 2015. The topology is the one of Gasparovici's slides "Group Equivariant
Convolutional Networks", as far as their parameter counts tell: convolutions without bias, each
with batch normalisation and ReLU; two per level, after a lifting convolution to half the width of
level 0; parameter-free upsampling; concatenated skips; 1×1 head with bias.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyp.errors import UserError
from polyp.layers import LayerFamily
from polyp.layers.resample import POLYPHASE
from polyp.models.segmentation_model import SegmentationModel


class UNet(SegmentationModel):
    """U-Net from image [B, in_channels, H, W] to logits [B, out_channels, H, W].

    Args:
        widths: feature fields per level, from the finest to the coarsest; one less than their
            number is the depth, the times that the image is halved. The first is even, as the
            lifting convolution goes to half of it.
        layers: the layer family that all layers are taken from.
        in_channels: channels of the image.
        out_channels: channels of the logits.
        pool: how the image is halved, as in `polyp.layers.resample.pooling`.
        upsample: how it is doubled, as in `polyp.layers.resample.upsampling`. `polyphase` goes with
            `polyphase` alone.
        margin: pixels of zeros around the image, a multiple of 2^depth; the logits there are cut
            off. Convolutions see the border of the image, where their zero padding begins, from as
            far as the kernels reach; with a margin it is farther away. It costs time and memory
            for (H + 2·margin)·(W + 2·margin) pixels.
        project: how the orientations of a field become one channel before the head: `max`, `mean`,
            or `none`, as in `polyp.layers.LayerFamily.project`.
        prior: at first the network gives the foreground this probability, above 0 and below 1, at
            every pixel; several foreground classes share it. The weights of the head are 0, and its
            bias is the logit of `prior` (T.-Y. Lin et al., Focal Loss for Dense Object Detection,
            ICCV 2017, section 4.1). The first steps then give the weights the signs that suit the
            features. None: random weights and bias, as PyTorch does it. The features are never
            negative, so a head of few fields whose random weights have one sign can only raise, or
            only lower, its bias, and the network may learn little.

    Raises:
        UserError: (a ValueError) an impossible argument; in `forward`, an input that is not
            [B, in_channels, H, W], or of a size at which the network could not be equivariant.
    """

    def __init__(
        self,
        widths: Sequence[int],
        layers: LayerFamily,
        in_channels: int = 3,
        out_channels: int = 1,
        pool: str = "max",
        upsample: str = "bilinear",
        margin: int = 0,
        project: str = "max",
        prior: float | None = None,
    ):
        widths = list(widths)
        if not widths or any(not isinstance(w, int) or w < 1 for w in widths) or widths[0] % 2:
            raise UserError(
                f"widths={widths}: must be positive whole numbers, the first of them even"
            )
        if (pool == POLYPHASE) != (upsample == POLYPHASE):
            raise UserError(f"pool={pool}, upsample={upsample}: only both can be {POLYPHASE}")
        multiple = layers.size_multiple(depth=len(widths) - 1)
        if not isinstance(margin, int) or margin < 0 or margin % multiple:
            raise UserError(f"margin={margin}: must be a multiple of {multiple} pixels, or 0")
        super().__init__(in_channels, multiple)
        self.margin = margin

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
        self.pool = nn.ModuleList(layers.pool(fields, pool) for fields in widths[:-1])
        # The decoder goes from the coarsest level to the finest.
        self.upsample = nn.ModuleList(layers.upsample(fields, upsample) for fields in widths[:0:-1])
        self.decoder = nn.ModuleList(
            double_conv(coarse + fine, fine)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.project = layers.project(widths[0], project)
        # After the projection nothing turns any more, so only a pointwise head is equivariant.
        channels = widths[0] * (layers.order if project == "none" else 1)
        self.head = nn.Conv2d(channels, out_channels, kernel_size=1)
        if prior is not None:
            _start_at(self.head, prior)

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        x = functional.pad(x, [self.margin] * 4)
        x = self.encoder[0](self.lift(x))
        skips = []
        for pool, encoder in zip(self.pool, self.encoder[1:], strict=True):
            skips.append(x)
            x = encoder(pool(x))
        for upsample, decoder in zip(self.upsample, self.decoder, strict=True):
            skip = skips.pop()
            x = decoder(torch.cat([upsample(x, skip), skip], dim=1))
        return functional.pad(self.head(self.project(x)), [-self.margin] * 4)


def _start_at(head: nn.Conv2d, prior: float) -> None:
    """Makes `prior` the probability of the foreground at every pixel."""
    if not 0 < prior < 1:
        raise UserError(f"prior={prior}: must be above 0 and below 1")
    assert head.bias is not None
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    odds = prior / (1 - prior)
    with torch.no_grad():
        if len(head.bias) == 1:  # a sigmoid
            head.bias[0] = math.log(odds)
        else:  # a softmax, with the background first
            head.bias[0] = math.log((len(head.bias) - 1) / odds)
