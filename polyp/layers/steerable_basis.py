"""Bases of the equivariant kernels of steerable convolutions.

M. Weiler and G. Cesa, General E(2)-Equivariant Steerable CNNs, NeurIPS 2019.

A kernel κ(v), a matrix from the channels of one field to those of another, is equivariant if

    κ(g·v) = ρ_out(g) κ(v) ρ_in(g)⁻¹                     (eq. 2 there)

for all g of the group. For rotations e2cnn solves this; nothing else of it is used. For rotations
and reflections e2cnn needs a version of NumPy that is too old for all else here, and regular
representations, which are permutations of the group's elements, have a solution in closed form.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyp.layers.group_conv import (
    lifting_table,
    product_table,
    rotation_matrices,
    with_reflections,
)


class SteerableBasis(NamedTuple):
    """A basis of the equivariant kernels from one field to one field.

    Attributes:
        filters: [basis, order, in_order, k, k].
        std: [basis], the standard deviation of He initialisation for a single input field.
    """

    filters: Tensor
    std: Tensor


class Profile(NamedTuple):
    """The band-limited functions of position that kernels are made of, as e2cnn chooses them.

    Attributes:
        pixels: offsets of a kernel's pixels from its middle, [2, k·k], in e2cnn's coordinates.
        keep: whether a function of some radius and frequency is one of them.
        rings: their radii, in pixels.
        widths: the standard deviation of the Gaussian about each ring, in pixels.
        frequency: the highest angular frequency.
    """

    pixels: np.ndarray
    keep: Callable[[dict], bool]
    rings: list[float]
    widths: list[float]
    frequency: int


def solve(
    kernel_size: int,
    rotations: int | None,
    reflections: bool,
    max_frequency: int,
    rings: list[float] | None,
    frequencies_cutoff: float | None,
) -> tuple[SteerableBasis, SteerableBasis]:
    """The bases for the lifting convolution and for the one from field to field.

    Args:
        kernel_size: k.
        rotations: N; None for SO(2).
        reflections: D_N instead of C_N.
        max_frequency: of the fields under SO(2).
        rings, frequencies_cutoff: as in `SteerableLayers`; None for e2cnn's defaults.
    """
    # Here, as this import takes a second and only this family needs it.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="invalid escape sequence")  # in docstrings
        from e2cnn.nn.modules.r2_conv.r2convolution import compute_basis_params

    profile = Profile(*compute_basis_params(kernel_size, frequencies_cutoff, rings))
    if reflections:
        assert rotations is not None
        group = with_reflections(rotation_matrices(rotations))
        return (
            _regular_basis(group, lifting_table(len(group)), profile),
            _regular_basis(group, product_table(group), profile),
        )
    return _by_e2cnn(rotations, max_frequency, profile)


def _regular_basis(group: Tensor, table: Tensor, profile: Profile) -> SteerableBasis:
    """Of kernels between regular representations, or from an image to one.

    The constraint says κ(v)[g, h] = κ(g⁻¹v)[e, g⁻¹h]: the row of the identity determines all
    others, and may be anything. So there is a filter for each element s = g⁻¹h and each function b:

        κ[g, h](v) = b(g⁻¹v) where g⁻¹h = s, else 0

    Args:
        group: the elements as matrices on offsets (row, column), [|G|, 2, 2].
        table: the place of g⁻¹h among the input's orientations, [|G|, in_order].
        profile: of the functions b.
    """
    x, y = torch.from_numpy(profile.pixels)
    positions = torch.stack([-y, x], dim=1) @ group  # rows (g⁻¹v)ᵀ = vᵀg, of (row, column)
    functions = _functions(positions, profile)
    # [s, b, g, h, k·k]
    meets = table == torch.arange(table.shape[1])[:, None, None]
    filters = torch.einsum("sgh,bgv->sbghv", meets.to(functions.dtype), functions).flatten(0, 1)
    size = math.isqrt(len(x))
    filters = filters.unflatten(3, (size, size)).to(torch.get_default_dtype())
    # Each filter has norm 1 in an output channel, so this keeps the variance of the input.
    std = torch.full((len(filters),), len(filters) ** -0.5)
    return SteerableBasis(filters.contiguous(), std)


def _functions(positions: Tensor, profile: Profile) -> Tensor:
    """The functions of a profile at [|G|, k·k, 2] positions: [functions, |G|, k·k].

    A Gaussian about a ring, times a cosine or sine of the angle; 0 in the middle but for frequency
    0. Each has norm 1 over the k·k pixels, averaged over the group, or is left out if it is 0
    at all pixels.
    """
    distance = positions.norm(dim=2)
    angle = torch.atan2(positions[..., 0], positions[..., 1])
    found = []
    for ring, width in zip(profile.rings, profile.widths, strict=True):
        bell = torch.exp(-((distance - ring) ** 2) / (2 * width**2))
        for frequency in range(profile.frequency + 1):
            if not profile.keep({"radius": ring, "frequency": frequency}):
                continue
            if frequency == 0:
                found.append(bell)
                continue
            waves = (frequency * angle).cos(), (frequency * angle).sin()
            found += [bell * wave * (distance > 1e-9) for wave in waves]
    functions = torch.stack(found)
    norms = functions.square().sum(dim=2).mean(dim=1).sqrt()
    kept = norms > 1e-6
    return functions[kept] / norms[kept, None, None]


def _by_e2cnn(
    rotations: int | None, max_frequency: int, profile: Profile
) -> tuple[SteerableBasis, SteerableBasis]:
    """Under C_N, or SO(2) with `rotations` None."""
    from e2cnn import group, gspaces

    if rotations is None:
        space = gspaces.Rot2dOnR2(-1, maximum_frequency=max_frequency)
        frequencies = [space.irrep(k) for k in range(max_frequency + 1)]
        field = group.directsum(frequencies, name="field")
    else:
        space = gspaces.Rot2dOnR2(rotations) if rotations > 1 else gspaces.TrivialOnR2()
        field = space.regular_repr
    kernel_size = math.isqrt(profile.pixels.shape[1])

    def basis(source: group.Representation) -> SteerableBasis:
        solution = space.build_kernel_basis(
            source,
            field,
            sigma=profile.widths,
            rings=profile.rings,
            maximum_frequency=profile.frequency,
        )
        elements = list(solution)
        filters = torch.from_numpy(solution.sample(profile.pixels)).movedim(2, 0)
        # As e2cnn does: norm 1 in each channel of the output irrep that the filter leads to, and
        # no filters that are 0 at all pixels (sin 4θ in a kernel of 3×3).
        channels = torch.tensor([element["shape"][0] for element in elements])
        norm = (filters.square().sum(dim=(1, 2, 3)) / channels).sqrt()
        kept = [i for i, element in enumerate(elements) if profile.keep(element) and norm[i] > 1e-6]
        filters = filters[kept] / norm[kept, None, None, None]
        filters = filters.unflatten(3, (kernel_size, kernel_size)).to(torch.get_default_dtype())
        return SteerableBasis(filters.contiguous(), _he_std([elements[i] for i in kept]))

    return basis(space.trivial_repr), basis(field)


def _he_std(elements: list[dict]) -> Tensor:
    """e2cnn's generalised He initialisation, for one input field.

    Each irreducible representation of the output gets equal shares of its variance from those of
    the input, each of them in equal shares from its basis filters.
    """
    pairs = [(e["in_irrep"], e["out_irrep_idx"]) for e in elements]
    filters = Counter(pairs)
    sources = Counter(out for _, out in filters)
    return torch.tensor([(sources[out] * filters[source, out]) ** -0.5 for source, out in pairs])
