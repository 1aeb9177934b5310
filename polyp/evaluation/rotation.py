"""Rotating square images and masks about their centre. Positive angles are counter-clockwise."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(x: Tensor, degrees: float, mode: Literal["bicubic", "bilinear"] = "bicubic") -> Tensor:
    """Rotate floats [B,C,S,S] by `degrees`; what comes from outside the frame is zero.

    Multiples of 90° are exact (`torch.rot90`), all others are interpolated. Bicubic interpolation
    overshoots: use `rotate_image` where values have to stay in [0,1].
    """
    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise ValueError(f"rotate needs square maps [B,C,S,S], got {list(x.shape)}")
    if degrees % 90 == 0:
        return torch.rot90(x, int(degrees // 90), (2, 3))
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # The inverse rotation, from output to input positions, in coordinates whose y axis points down.
    inverse = torch.tensor(
        [[cosine, -sine, 0.0], [sine, cosine, 0.0]], dtype=x.dtype, device=x.device
    )
    # One grid for the whole batch.
    grid = F.affine_grid(inverse[None], [1, *x.shape[1:]], align_corners=False)
    grid = grid.expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=False)


def rotate_image(image: Tensor, degrees: float) -> Tensor:
    """Rotate images [B,C,S,S] with values in [0,1], bicubically; the result stays in [0,1]."""
    return rotate(image, degrees, "bicubic").clamp(0, 1)


def rotate_mask(mask: Tensor, degrees: float) -> Tensor:
    """Rotate bool masks [B,C,S,S]: bilinear interpolation, then ≥ ½; exact at multiples of 90°."""
    return rotate(mask.float(), degrees, "bilinear") >= 0.5


def disc(size: int, device: torch.device | str = "cpu") -> Tensor:
    """The disc inscribed in a size × size frame, bool [1,1,S,S].

    Rotations map it onto itself, so nothing inside it ever comes from outside the frame.
    """
    # Twice the distance of each pixel centre from the image centre, which is a whole number.
    twice = 2 * torch.arange(size, device=device) - (size - 1)
    return (twice[:, None] ** 2 + twice[None, :] ** 2 <= size**2)[None, None]
