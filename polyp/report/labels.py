"""Labels beside the points of a figure, where they cover nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

# Where a label may stand: distances from the rim of its point, in points, and directions.
DISTANCES = (3, 8, 14, 22, 32, 44, 60, 80, 105, 135, 170)
DIRECTIONS = np.arange(16) * math.pi / 8
ROUNDS = 3  # in which each label takes the best place beside the others
WITH_LEADER = 20  # distance from which a line leads from the label to its point
# What it costs, in points of distance, to cover a line or a small point; and anything that must
# not be covered, such as another label, by the covered square point.
LINE, COVERED = 12.0, 10.0


@dataclass(frozen=True)
class Disc:
    """A point with its label. at: in data coordinates. radius: in typographic points."""

    label: str
    at: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class _Place:
    """Of a label, in typographic points: its middle from that of its disc, and its distance."""

    offset: np.ndarray
    distance: float


def place_labels(
    axes: Axes,
    discs: Sequence[Disc],
    lines: Sequence[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    """Writes the label of each disc beside it: off all discs and labels, and off lines if possible.

    The layout of the figure is made, and stays as it is from now on.

    Args:
        discs: the points of the axes, drawn already.
        lines: further ones that should not be covered, by their ends in data coordinates.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    scale = 72 / figure.dpi  # from pixels to points

    def in_points(places: Sequence[tuple[float, float]]) -> np.ndarray:
        return scale * axes.transData.transform(np.array(places, dtype=float).reshape(-1, 2))

    centres = in_points([disc.at for disc in discs])
    radii = np.array([disc.radius for disc in discs])
    sizes = np.array([_size(axes, disc.label) for disc in discs]) * scale
    along = np.linspace(0, 1, 60)[:, None]
    ends = in_points([end for line in lines for end in line]).reshape(-1, 2, 2)
    dotted = [a + along * (b - a) for a, b in ends[np.isfinite(ends).all(axis=(1, 2))]]
    frame = np.array(axes.get_window_extent().get_points()) * scale

    choices = [_choices(size, radius) for size, radius in zip(sizes, radii, strict=True)]
    chosen = [places[0] for places in choices]
    for _ in range(ROUNDS):
        for i, places in enumerate(choices):
            others = [
                _box(centres[j] + chosen[j].offset, sizes[j]) for j in range(len(discs)) if j != i
            ]

            def cost(place: _Place, i: int = i, others: list[np.ndarray] = others) -> float:
                box = _box(centres[i] + place.offset, sizes[i])
                leader = centres[i] + along * place.offset
                return (
                    place.distance
                    + COVERED * sum(_overlap(box, other) for other in others)
                    + COVERED * sum(map(lambda c, r: _overlap(box, _box(c, 2 * r)), centres, radii))
                    + COVERED * _outside(box, frame)
                    + LINE * sum(_inside(line, box).any() for line in dotted)
                    + LINE * sum(_inside(leader, other).any() for other in others)
                )

            chosen[i] = min(places, key=cost)
    for disc, place in zip(discs, chosen, strict=True):
        _write(axes, disc, place)


def _size(axes: Axes, label: str) -> tuple[float, float]:
    """Width and height in pixels."""
    text = axes.text(0.5, 0.5, label, transform=axes.transAxes, ha="center", va="center")
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _choices(size: np.ndarray, radius: float) -> list[_Place]:
    """Places around a disc, the nearest first: the label touches a circle about it, by the middle
    of a side or by a corner, or in between."""
    directions = np.stack([np.cos(DIRECTIONS), np.sin(DIRECTIONS)], axis=1)
    return [
        _Place(direction * (radius + distance) + np.clip(1.6 * direction, -1, 1) * size / 2, distance)
        for distance in DISTANCES
        for direction in directions
    ]


def _write(axes: Axes, disc: Disc, place: _Place) -> None:
    leader = {"arrowstyle": "-", "color": "black", "linewidth": 0.8, "shrinkB": disc.radius}
    axes.annotate(
        disc.label,
        disc.at,
        place.offset,
        textcoords="offset points",
        ha="center",
        va="center",
        arrowprops=leader if place.distance >= WITH_LEADER else None,
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=5,
    )


def _box(centre: np.ndarray, size: np.ndarray | float) -> np.ndarray:
    """Its lower left and upper right corners: [2, 2]."""
    return np.stack([centre - np.asarray(size) / 2, centre + np.asarray(size) / 2])


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The area that two boxes share."""
    sides = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])
    return float(np.clip(sides, 0, None).prod())


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    """The area of a box outside the frame."""
    return float((box[1] - box[0]).prod()) - _overlap(box, frame)


def _inside(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Which of the points are in the box: bool [points]."""
    return ((points > box[0]) & (points < box[1])).all(axis=1)
