"""Group convolution written out from its definition, to test the layer families against.

Nothing here is shared with `polyp.layers`: planes are correlated by SciPy, a group is a list of
2×2 matrices that act on offsets (row, column), and products are looked up by multiplying them.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import correlate2d

Matrices = list[np.ndarray]
Basis = Callable[[np.ndarray], np.ndarray]  # offsets [..., 2] → weights [...]


def rotations(order: int) -> Matrices:
    """The rotations by multiples of 360°/order, in the sense of `torch.rot90`."""
    angles = 2 * np.pi * np.arange(order) / order
    return [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]


def index_of(element: np.ndarray, group: Matrices) -> int:
    """The place of `element` in `group`."""
    return next(i for i, other in enumerate(group) if np.allclose(element, other))


def hat(offsets: np.ndarray) -> np.ndarray:
    """Bilinear interpolation: the weight of a pixel at the given offset. At pixels, 1 or 0."""
    return np.prod(np.maximum(0, 1 - np.abs(offsets)), axis=-1)


def turned(plane: np.ndarray, element: np.ndarray, basis: Basis, disc: bool) -> np.ndarray:
    """(g·ψ)(v) = ψ(g⁻¹v) at every pixel v; with `disc`, all is 0 beyond half the kernel's side."""
    size = len(plane)
    pixels = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 2, indexing="ij"), axis=-1)
    inside = np.linalg.norm(pixels, axis=-1) <= (size / 2 if disc else np.inf)
    result = np.zeros_like(plane)
    for row, column in zip(*np.nonzero(inside), strict=True):
        source = np.linalg.inv(element) @ pixels[row, column]
        result[row, column] = np.sum(plane * inside * basis(source - pixels))
    return result


def scale(size: int, group: Matrices, basis: Basis, disc: bool) -> float:
    """What makes turned kernels of unit white noise have mean square 1 where they are not 0."""
    impulses = np.eye(size**2).reshape(-1, size, size)
    kernels = np.array([[turned(w, g, basis, disc) for w in impulses] for g in group])
    variance = np.square(kernels).sum(axis=1)  # [|G|, k, k]
    return variance[:, variance[0] > 0].mean() ** -0.5


def group_convolution(
    x: np.ndarray,
    weight: np.ndarray,
    group: Matrices,
    basis: Basis = hat,
    disc: bool = False,
) -> np.ndarray:
    """y[c', g](u) = Σ_c Σ_h Σ_v x[c, h](u + v) · ψ[c', c, g⁻¹h](g⁻¹v), zero outside the image.

    Args:
        x: [C, in_order, H, W], where in_order is |G|, or 1 for the lifting convolution.
        weight: ψ, [C', C, in_order, k, k].
        group: the elements, in the order of the orientation channels.
        basis: the function that carries each weight to the offsets between the pixels.
        disc: whether kernels are 0 beyond half their side from their middle.

    Returns:
        [C', |G|, H, W].
    """
    fields, in_fields, in_order, size, _ = weight.shape
    weight = weight * scale(size, group, basis, disc)
    y = np.zeros((fields, len(group), *x.shape[2:]))
    for out, c, h in np.ndindex(fields, in_fields, in_order):
        for g, element in enumerate(group):
            s = index_of(np.linalg.inv(element) @ group[h], group) if in_order > 1 else 0
            kernel = turned(weight[out, c, s], element, basis, disc)
            y[out, g] += correlate2d(x[c, h], kernel, mode="same")
    return y
