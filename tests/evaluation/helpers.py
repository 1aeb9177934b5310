"""Models whose equivariance is known, and a small set of smooth images for them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pointwise(nn.Module):
    """Thresholds the red channel. Looks at one pixel at a time, so it is equivariant."""

    def __init__(self):
        super().__init__()
        self.images = 0

    def forward(self, image: Tensor) -> Tensor:
        self.images += len(image)
        return image[:, :1] - 0.5


class Shifted(Pointwise):
    """Moves its answer six pixels to the right, whichever way the image is turned."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).roll(6, dims=3)


def blobs(images: int, size: int = 48, seed: int = 0) -> dict[str, Tensor]:
    """A batch of round blobs with padding above and below, red above ½ exactly in the mask."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * 2, indexing="ij")
    centres = (torch.rand(images, 2, 1, 1, generator=generator) - 0.5) * size / 4
    radii = size * (0.12 + 0.1 * torch.rand(images, 1, 1, generator=generator))
    distance = ((x - centres[:, 0]) ** 2 + (y - centres[:, 1]) ** 2).sqrt()
    red = torch.sigmoid((radii - distance) / 2)[:, None]
    valid = torch.zeros(images, 1, size, size, dtype=torch.bool)
    valid[:, :, size // 8 : -size // 8] = True
    return {
        "image": F.pad(red, (0, 0, 0, 0, 0, 2), value=0.2) * valid,
        "mask": ((red > 0.5) & valid).byte(),
        "valid": valid,
        "id": [f"blob{seed}{i}" for i in range(images)],
    }
