"""Halving and doubling the resolution: pooling and upsampling, of any family of layers.

R. Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019; A. Chaman and I. Dokmanić,
Truly Shift-Invariant Convolutional Neural Networks, CVPR 2021; T. Karras et al., Alias-Free
Generative Adversarial Networks, NeurIPS 2021.

On an even number of pixels all of these look the same from either end of a row, so they commute
with rotations by 90° exactly. None of them mixes channels, and all channels are treated alike.

An upsampling layer is called with its input [B, C, H, W] and with what the pooling of the same
level was given, [B, C', 2H, 2W].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyp.errors import UserError
from polyp.layers.corner_maximum import corner_maximum

POLYPHASE = "polyphase"


def pooling(kind: str) -> nn.Module:
    """A layer that halves H and W.

    Args:
        kind: `max` and `average`, of 2×2 pixels; `blur`, the maximum of 2×2 pixels around every
            corner, then a binomial filter at every other one (Zhang 2019, MaxBlurPool); `lowpass`,
            a band-limiting filter (Karras et al. 2021, section 3.2); `polyphase`, every other pixel
            in the one of the four ways that has the largest norm (Chaman & Dokmanić 2021, eq. 2).

    Raises:
        UserError: `kind` is none of these.
    """
    return _choice("pool", kind, POOLINGS)()


def upsampling(kind: str) -> nn.Module:
    """A layer without parameters that doubles H and W.

    Args:
        kind: `bilinear`, `nearest`; `lowpass`, band-limited interpolation; `polyphase`, which puts
            pixels back to where `polyphase` pooling took them from, and interpolates linearly.

    Raises:
        UserError: `kind` is none of these.
    """
    return _choice("upsample", kind, UPSAMPLINGS)()


def _choice(name: str, kind: str, choices: dict):
    if kind not in choices:
        raise UserError(f"{name}={kind}: must be one of {', '.join(choices)}")
    return choices[kind]


class Upsample(nn.Upsample):
    """Interpolation between the pixels of the input alone."""

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        return super().forward(x)


class CornerMaximum(nn.Module):
    """The maximum of the 2×2 pixels around every corner: [B, C, H, W] → [B, C, H - 1, W - 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return corner_maximum(x)


class FilteredPool(nn.Module):
    """Every other pixel of a filtered map; the map goes on beyond its border as it ends there.

    Args:
        taps: of the filter along rows and columns, symmetric, with sum 1. Their number is odd for
            maps of odd size, and even for those of even size.
    """

    taps: Tensor

    def __init__(self, taps: Tensor):
        super().__init__()
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels, pad = x.shape[1], (len(self.taps) - 1) // 2
        taps = self.taps.to(x.dtype).expand(channels, 1, 1, -1)
        x = functional.pad(x, (pad, pad, pad, pad), mode="replicate")
        x = functional.conv2d(x, taps, stride=(1, 2), groups=channels)
        return functional.conv2d(x, taps.mT, stride=(2, 1), groups=channels)


class LowpassUpsample(nn.Module):
    """Zeros between the pixels, then a filter (Karras et al. 2021, section 3.2).

    Args:
        taps: as in `FilteredPool`; their number is a multiple of 4.
    """

    taps: Tensor

    def __init__(self, taps: Tensor):
        super().__init__()
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        channels, count = x.shape[1], len(self.taps)
        pad, crop = count // 4, count - 1
        taps = 2 * self.taps.to(x.dtype).expand(channels, 1, 1, -1)
        x = functional.pad(x, (pad, pad, pad, pad), mode="replicate")
        x = functional.conv_transpose2d(x, taps, stride=(1, 2), padding=(0, crop), groups=channels)
        return functional.conv_transpose2d(
            x, taps.mT, stride=(2, 1), padding=(crop, 0), groups=channels
        )


class PolyphasePool(nn.Module):
    """Every other row and column: of the four ways, for each image that of the largest norm.

    If the image moves by a pixel, another way is taken, and the output has the same values.
    """

    def forward(self, x: Tensor) -> Tensor:
        return (_ways(x) * _chosen(x)[:, :, None, None, None]).sum(dim=1)


class PolyphaseUpsample(nn.Module):
    """Puts pixels to where `PolyphasePool` took them from; those between are linear in them.

    Which way that was is seen from what was pooled. At the border, pixels with no neighbour on one
    side take the value of the other.
    """

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        ways = _chosen(skip)[:, :, None, None]
        # [B, C, 4, H, W], zero in three ways, to [B, C, 2H, 2W]; likewise which pixels are given.
        placed = functional.pixel_shuffle((x[:, :, None] * ways[:, None]).flatten(1, 2), 2)
        given = functional.pixel_shuffle(ways * torch.ones_like(x[:, :1]), 2)
        return _triangle(placed) / _triangle(given)


def _ways(x: Tensor) -> Tensor:
    """The four maps of every other row and column: [B, C, H, W] → [B, 4, C, H/2, W/2]."""
    return functional.pixel_unshuffle(x, 2).unflatten(1, (x.shape[1], 4)).transpose(1, 2)


def _chosen(x: Tensor) -> Tensor:
    """1 for the one of the four maps that has the largest norm, 0 for the others: [B, 4]."""
    norms = _ways(x).float().square().sum(dim=(2, 3, 4))
    largest = norms.argmax(dim=1, keepdim=True)
    return (largest == torch.arange(4, device=x.device)).to(x.dtype)


def _triangle(x: Tensor) -> Tensor:
    """The filter ½, 1, ½ along rows and columns, zero outside."""
    taps = x.new_tensor([0.5, 1, 0.5]).expand(x.shape[1], 1, 1, -1)
    x = functional.conv2d(x, taps, padding=(0, 1), groups=x.shape[1])
    return functional.conv2d(x, taps.mT, padding=(1, 0), groups=x.shape[1])


def _lowpass_taps(count: int = 12) -> Tensor:
    """A sinc that halves the bandwidth, in a Kaiser window, which damps beyond by some 40 dB."""
    offsets = torch.arange(count) - (count - 1) / 2
    taps = torch.sinc(offsets / 2) * torch.kaiser_window(count, periodic=False, beta=3.4)
    return taps / taps.sum()


POOLINGS = {
    "max": lambda: nn.MaxPool2d(2),
    "average": lambda: nn.AvgPool2d(2),
    "blur": lambda: nn.Sequential(CornerMaximum(), FilteredPool(torch.tensor([0.25, 0.5, 0.25]))),
    "lowpass": lambda: FilteredPool(_lowpass_taps()),
    POLYPHASE: PolyphasePool,
}
UPSAMPLINGS = {
    "bilinear": lambda: Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    "nearest": lambda: Upsample(scale_factor=2, mode="nearest"),
    "lowpass": lambda: LowpassUpsample(_lowpass_taps()),
    POLYPHASE: PolyphaseUpsample,
}
