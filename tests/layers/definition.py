"""Group convolution written out from its definition, to test the layer families against.

Nothing here is shared with `polyp.layers`: planes are correlated by SciPy, a group is a list of
2×2 matrices that act on offsets (row, column), and products are looked up by multiplying them.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import correlate2d

Matrices = list[np.ndarray]
Basis = Callable[[np.ndarray], np.ndarray]  # offsets [..., 2] → weights [...]
Window = Callable[[np.ndarray, int], np.ndarray]  # distances [...], kernel size → factors [...]


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


def square(distances: np.ndarray, size: int) -> np.ndarray:
    """The window that takes nothing away."""
    return np.ones_like(distances)


def turned(plane: np.ndarray, element: np.ndarray, basis: Basis, window: Window) -> np.ndarray:
    """(g·ψ)(v) = ψ(g⁻¹v) at every pixel v; the window is applied to both planes."""
    size = len(plane)
    pixels = np.stack(np.meshgrid(*[np.arange(size) - size // 2] * 2, indexing="ij"), axis=-1)
    left = window(np.linalg.norm(pixels, axis=-1), size)
    result = np.zeros_like(plane)
    for row, column in np.ndindex(size, size):
        source = np.linalg.inv(element) @ pixels[row, column]
        result[row, column] = np.sum(plane * left * basis(source - pixels))
    return result * left


def scale(size: int, group: Matrices, basis: Basis, window: Window) -> float:
    """What makes turned kernels of white noise keep their mean square, over all elements."""
    impulses = np.eye(size**2).reshape(-1, size, size)
    kernels = np.array([[turned(w, g, basis, window) for w in impulses] for g in group])
    return size * np.sqrt(len(group) / np.sum(kernels**2))


def group_convolution(
    x: np.ndarray,
    weight: np.ndarray,
    group: Matrices,
    basis: Basis = hat,
    window: Window = square,
) -> np.ndarray:
    """y[c', g](u) = Σ_c Σ_h Σ_v x[c, h](u + v) · ψ[c', c, g⁻¹h](g⁻¹v), zero outside the image.

    Args:
        x: [C, in_order, H, W], where in_order is |G|, or 1 for the lifting convolution.
        weight: ψ, [C', C, in_order, k, k].
        group: the elements, in the order of the orientation channels.
        basis: the function that carries each weight to the offsets between the pixels.
        window: what is left of kernels at a distance from their middle.

    Returns:
        [C', |G|, H, W].
    """
    fields, in_fields, in_order, size, _ = weight.shape
    weight = weight * scale(size, group, basis, window)
    y = np.zeros((fields, len(group), *x.shape[2:]))
    for out, c, h in np.ndindex(fields, in_fields, in_order):
        for g, element in enumerate(group):
            s = index_of(np.linalg.inv(element) @ group[h], group) if in_order > 1 else 0
            kernel = turned(weight[out, c, s], element, basis, window)
            y[out, g] += correlate2d(x[c, h], kernel, mode="same")
    return y


def separable_convolution(
    x: np.ndarray,
    pointwise: np.ndarray,
    depthwise: np.ndarray,
    group: Matrices,
    basis: Basis,
    window: Window,
    first: str,
) -> np.ndarray:
    """z[c', g] = Σ_c Σ_h x[c, h] · φ[c', c, g⁻¹h] and y[c, g](u) = Σ_v x[c, g](u + v) · ψ[c](g⁻¹v).

    Args:
        x: [C, |G|, H, W].
        pointwise: φ, [C', C, |G|].
        depthwise: ψ, [C' or C, k, k].
        group, basis, window: as in `group_convolution`.
        first: the part that comes first, "pointwise" or "depthwise".

    Returns:
        [C', |G|, H, W].
    """

    def over_fields(x: np.ndarray) -> np.ndarray:
        z = np.zeros((len(pointwise), *x.shape[1:]))
        for out, c in np.ndindex(*pointwise.shape[:2]):
            for g, h in np.ndindex(len(group), len(group)):
                relative = index_of(np.linalg.inv(group[g]) @ group[h], group)
                z[out, g] += x[c, h] * pointwise[out, c, relative]
        return z

    def over_positions(x: np.ndarray) -> np.ndarray:
        scaled = depthwise * scale(depthwise.shape[-1], group, basis, window)
        y = np.zeros_like(x)
        for c, g in np.ndindex(*x.shape[:2]):
            y[c, g] = correlate2d(x[c, g], turned(scaled[c], group[g], basis, window), mode="same")
        return y

    if first == "pointwise":
        return over_positions(over_fields(x))
    return over_fields(over_positions(x))
