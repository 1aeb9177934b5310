"""Geometry of square images: from an image of any size to a square and back, and rotation.

Positive angles are counter-clockwise.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from polyp.errors import UserError

RESIZES = ("pad", "crop", "stretch")


def to_square(
    image: np.ndarray, mask: np.ndarray, size: int, resize: str, num_classes: int = 2
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """Image and mask at size×size pixels.

    Args:
        image: uint8 [H, W, C].
        mask: uint8 [H, W] of class indices, 0 for the background; or bool.
        size: side of the square, in pixels.
        resize: "pad" keeps the aspect ratio and fills up with black; "crop" keeps it and cuts
            the longer side; "stretch" distorts, so that a turned scope would see another shape.
        num_classes: of the mask, with the background.

    Returns:
        image uint8 [size, size, C], mask uint8 [size, size] and (top, bottom, left, right), the
        half-open pixel range that is image and not padding. A pixel's class is the one that covers
        most of it; if classes cover equal parts, the background is chosen last.
    """
    height, width = mask.shape
    source, inside = _source_and_target(height, width, size, resize)
    target_size = inside[3] - inside[2], inside[1] - inside[0]

    def resized(pixels: np.ndarray) -> np.ndarray:
        # Pillow's filters average over all source pixels when shrinking: no aliasing.
        return np.asarray(
            Image.fromarray(pixels).resize(target_size, Image.Resampling.BILINEAR, box=source)
        )

    channels = image.shape[2]
    square_image = np.zeros((size, size, channels), np.uint8)
    square_mask = np.zeros((size, size), np.uint8)
    window = slice(inside[0], inside[1]), slice(inside[2], inside[3])
    if channels == 3:
        square_image[window] = resized(image)
    else:
        for channel in range(channels):
            square_image[*window, channel] = resized(image[..., channel])
    shares = [
        resized((mask == label).astype(np.uint8) * 255).astype(int)
        for label in range(1, num_classes)
    ]
    background = 255 - sum(shares)
    # argmax takes the first of equals.
    square_mask[window] = (np.stack([*shares, background]).argmax(axis=0) + 1) % num_classes
    return square_image, square_mask, inside


def from_square(square: np.ndarray, height: int, width: int, resize: str) -> np.ndarray:
    """Maps a square back to the size of the image that it was made from: inverse of `to_square`.

    Args:
        square: float32 [size, size], a map such as the probabilities that a network gives.
        height, width: of the image, in pixels.
        resize: as in `to_square`.

    Returns:
        float32 [height, width], interpolated bilinearly; 0 where "crop" had cut the image off.
    """
    (left, top, right, bottom), inside = _source_and_target(height, width, len(square), resize)
    first_row, last_row, first_column, last_column = inside
    window = square[first_row:last_row, first_column:last_column]
    # "crop" may cut through the middle of a pixel: the whole ones are filled.
    rows = slice(math.ceil(top), math.floor(bottom))
    columns = slice(math.ceil(left), math.floor(right))
    x_scale, y_scale = window.shape[1] / (right - left), window.shape[0] / (bottom - top)
    box = (
        (columns.start - left) * x_scale,
        (rows.start - top) * y_scale,
        (columns.stop - left) * x_scale,
        (rows.stop - top) * y_scale,
    )
    size = columns.stop - columns.start, rows.stop - rows.start
    image = np.zeros((height, width), np.float32)
    if min(size) == 0:  # the "crop" of an image one pixel wide may hold no whole pixel
        return image
    image[rows, columns] = Image.fromarray(window).resize(size, Image.Resampling.BILINEAR, box=box)
    return image


def _source_and_target(
    height: int, width: int, size: int, resize: str
) -> tuple[tuple[float, float, float, float], tuple[int, int, int, int]]:
    """The part (left, top, right, bottom) of an image that is used, and the pixels of the square
    that it fills: (top, bottom, left, right), half-open."""
    if resize not in RESIZES:
        raise UserError(f"data.resize={resize}: must be one of {', '.join(RESIZES)}")
    source = (0.0, 0.0, float(width), float(height))
    target_height = target_width = size
    if resize == "pad":
        scale = size / max(height, width)
        target_height = max(1, round(height * scale))
        target_width = max(1, round(width * scale))
    elif resize == "crop":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        source = (left, top, left + side, top + side)
    top, left = (size - target_height) // 2, (size - target_width) // 2
    return source, (top, top + target_height, left, left + target_width)


def rotate(x: Tensor, degrees: float, mode: Literal["bicubic", "bilinear"] = "bicubic") -> Tensor:
    """Rotate floats [B,C,S,S] by `degrees`; pixels from outside the frame are zero.

    Multiples of 90° are exact (`torch.rot90`), all others are interpolated. Bicubic interpolation
    overshoots: use `rotate_image` where values have to stay in [0,1].
    """
    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise ValueError(f"rotate needs square maps [B,C,S,S], got {list(x.shape)}")
    if degrees % 90 == 0:
        return torch.rot90(x, int(degrees // 90), (2, 3))
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # The inverse rotation, in coordinates whose y axis points down.
    return _resample(x, [[cosine, -sine, 0.0], [sine, cosine, 0.0]], mode)


def shift(
    x: Tensor, rows: float, columns: float, mode: Literal["bicubic", "bilinear"] = "bicubic"
) -> Tensor:
    """Move floats [B,C,H,W] down by `rows` and right by `columns` pixels; new pixels are zero.

    Whole pixels are exact, all others are interpolated. Bicubic interpolation overshoots.
    """
    if rows % 1 == 0 and columns % 1 == 0:
        height, width = x.shape[2:]
        down, right = int(rows), int(columns)
        moved = torch.zeros_like(x)
        moved[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = x[
            ..., max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
        ]
        return moved
    inverse = [[1.0, 0.0, -2 * columns / x.shape[3]], [0.0, 1.0, -2 * rows / x.shape[2]]]
    return _resample(x, inverse, mode)


def _resample(x: Tensor, inverse: list[list[float]], mode: str) -> Tensor:
    """x [B,C,H,W] under the map whose inverse, from output to input positions, is the matrix [2,3],
    in units of half the frame. Positions have 32 bits at least: in 16 they are off by up to a
    pixel, and grid_sample gives nan."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    matrix = torch.tensor(inverse, dtype=wide.dtype, device=x.device)
    with _without_autocast(x.device.type):
        # One grid for the whole batch. (`len(x)` would fix its size in torch.export.)
        grid = F.affine_grid(matrix[None], [1, *x.shape[1:]], align_corners=False)
        grid = grid.expand(x.shape[0], -1, -1, -1)
        found = F.grid_sample(wide, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return found.to(x.dtype)


def _without_autocast(device: str) -> AbstractContextManager:
    # Nothing where it is off already: torch.export would write it into the network.
    return (
        torch.autocast(device, enabled=False)
        if torch.is_autocast_enabled(device)
        else nullcontext()
    )


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
