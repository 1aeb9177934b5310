"""The equivariance error of a layer family: one number per angle."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyp.geometry import rotate
from polyp.layers.family import LayerFamily

SIZE = 65  # of the image; odd, so that its middle is a pixel
FADE = 0.85  # the image is 0 beyond 1 and faded from here on, as fractions of half its size
INSIDE = 0.6  # errors count within this radius; what leaves the image does not come in


@torch.no_grad()
def rotation_error(family: LayerFamily, angles: Sequence[float], seeds: int = 3) -> Tensor:
    """The relative error ‖rot f(x) − f(rot x)‖ / ‖f(rot x)‖ of random networks f of a family.

    f is a lifting and three group convolutions to 6 fields each, with random weights, each
    followed by normalisation (with the statistics of its input) and activation; then the
    projection to invariant maps. x is noise of 3 channels and 65×65 pixels, smoothed by a
    Gaussian of σ 2 pixels and faded out towards its border. Rotation is bicubic.

    Args:
        family: takes its kernel size and number of rotations from here.
        angles: in degrees.
        seeds: how many networks and images the error is averaged over. From one to the next it
            varies by a tenth to a fifth.

    Returns:
        The mean error at each angle, [angles].
    """
    errors = torch.zeros(len(angles))
    for seed in range(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, image = _network(family), _smooth_noise()
        output = network(image)
        inside = _radius() <= INSIDE
        for i, angle in enumerate(angles):
            rotated_after = rotate(output, angle)[..., inside]
            rotated_before = network(rotate(image, angle))[..., inside]
            errors[i] += (rotated_after - rotated_before).norm() / rotated_before.norm()
    return errors / seeds


def _network(family: LayerFamily, fields: int = 6) -> nn.Module:
    convs = [family.lift(3, fields), *(family.conv(fields, fields) for _ in range(3))]
    norms = [family.norm(fields) for _ in convs]
    layers = [
        layer
        for conv, norm in zip(convs, norms, strict=True)
        for layer in (conv, norm, family.activation(fields))
    ]
    network = nn.Sequential(*layers, family.project(fields)).eval()  # no random offset
    for norm in norms:
        norm.train()
    return network


def _smooth_noise(sigma: float = 2.0) -> Tensor:
    """[1, 3, SIZE, SIZE]"""
    steps = torch.arange(-8, 9)
    bell = torch.exp(-steps.square() / (2 * sigma**2))
    kernel = (bell[:, None] * bell).expand(3, 1, -1, -1)
    noise = torch.randn(1, 3, SIZE, SIZE)
    smooth = functional.conv2d(noise, kernel, padding="same", groups=3)
    return smooth * ((1 - _radius()) / (1 - FADE)).clamp(0, 1)


def _radius() -> Tensor:
    """The distance of each pixel from the middle; 1 at the middle of each side."""
    line = torch.linspace(-1, 1, SIZE)
    return torch.hypot(line[:, None], line)
