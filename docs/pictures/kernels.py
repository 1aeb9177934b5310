"""Draws a kernel of each layer family as it turns, from the layers themselves.

    python docs/pictures/kernels.py docs/images

writes kernel-NAME.png for the pages docs/maths/NAME.md.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from polyp.evaluation.figures import STYLE
from polyp.layers import (
    ExpandedConv,
    IsotropicLayers,
    LayerFamily,
    LieLayers,
    P4Layers,
    SE2Layers,
    SteerableLayers,
)

# Rows of each picture: label, a family of C_N, and its number of rotations.
FAMILIES = {
    "p4": {"p4, 5×5": (P4Layers(5), 4)},
    "se2": {
        "bilinear": (SE2Layers(7, 12, interpolation="bilinear"), 12),
        "Gaussian, σ = 0.7": (SE2Layers(7, 12), 12),
    },
    "lie": {"ω = 8": (LieLayers(7, 12), 12), "ω = 3": (LieLayers(7, 12, omega=3.0), 12)},
    "steerable": {"C₁₂": (SteerableLayers(7, 12), 12)},
    "isotropic": {"isotropic": (IsotropicLayers(7), 1)},
}
ANGLES = (0, 30, 60, 90)


def kernels(family: LayerFamily, rotations: int) -> dict[int, np.ndarray]:
    """The kernels [k, k] of one lifting convolution, by the angle in degrees."""
    torch.manual_seed(2)
    lift = family.lift(1, 1)
    assert isinstance(lift, ExpandedConv)
    turned = lift.eval().kernel().detach().numpy()[:, 0]  # [|G|, 1, k, k]
    return {360 * index // rotations: turned[index] for index in range(rotations)}


def picture(rows: dict[str, tuple[LayerFamily, int]]) -> Figure:
    """A row per family, a column per angle; below each kernel its norm, relative to the first."""
    drawn = {name: kernels(*family) for name, family in rows.items()}
    angles = [angle for angle in ANGLES if all(angle in row for row in drawn.values())]
    if len(next(iter(drawn.values()))) == 4:
        angles = [0, 90, 180, 270]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * max(len(angles), 2), 2.9 * len(rows)))
        grid = figure.subplots(len(rows), len(angles), squeeze=False)
        for axes, (name, row) in zip(grid, drawn.items(), strict=True):
            most = max(np.abs(row[angle]).max() for angle in angles)
            for cell, angle in zip(axes, angles, strict=True):
                cell.imshow(row[angle], cmap="RdBu_r", vmin=-most, vmax=most)
                cell.set_xticks([])
                cell.set_yticks([])
                norm = np.linalg.norm(row[angle]) / np.linalg.norm(row[0])
                cell.set_xlabel(f"norm {norm:.2f}")
                cell.set_title(f"{angle}°")
            axes[0].set_ylabel(name)
    return figure


if __name__ == "__main__":
    for name, rows in FAMILIES.items():
        picture(rows).savefig(Path(sys.argv[1]) / f"kernel-{name}.png")
