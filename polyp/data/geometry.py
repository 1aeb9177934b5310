"""From an image of any size to the square that a network sees, and which part of it is image."""

import numpy as np
from PIL import Image

from polyp.errors import UserError

RESIZES = ("pad", "crop", "stretch")


def to_square(
    image: np.ndarray, mask: np.ndarray, size: int, resize: str
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """Image and mask at size×size pixels.

    Args:
        image: uint8 [H, W, 3].
        mask: bool [H, W].
        size: side of the square, in pixels.
        resize: "pad" keeps the aspect ratio and fills up with black; "crop" keeps it and cuts
            the longer side; "stretch" distorts, so that a turned scope would see another shape.

    Returns:
        image uint8 [size, size, 3], mask bool [size, size] and (top, bottom, left, right), the
        half-open pixel range that is image and not padding.
    """
    if resize not in RESIZES:
        raise UserError(f"data.resize={resize}: must be one of {', '.join(RESIZES)}")
    height, width = mask.shape
    source = (0.0, 0.0, float(width), float(height))  # left, top, right, bottom
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
    inside = (top, top + target_height, left, left + target_width)

    def resized(pixels: np.ndarray) -> np.ndarray:
        # Pillow's filters average over all source pixels when shrinking: no aliasing.
        return np.asarray(
            Image.fromarray(pixels).resize(
                (target_width, target_height), Image.Resampling.BILINEAR, box=source
            )
        )

    square_image = np.zeros((size, size, 3), np.uint8)
    square_mask = np.zeros((size, size), bool)
    window = slice(inside[0], inside[1]), slice(inside[2], inside[3])
    square_image[window] = resized(image)
    square_mask[window] = resized(mask.astype(np.uint8) * 255) > 127
    return square_image, square_mask, inside
