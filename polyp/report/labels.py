"""Places the labels of points in a figure such that they cover nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

# Where a label may stand: directions from its point, and distances from its rim.
DIRECTIONS = np.arange(16) * math.pi / 8
DISTANCES = (3, 8, 14, 22, 32, 44, 60, 80, 105, 135, 170, 210)
# Costs that are added to the distance: a label covers a part of a mark, or all of it; it is nearer
# to another point than to its own; it and the line of another label cross; it covers a disc or a
# label, or leaves the frame.
MARK, HIDDEN, AMBIGUOUS, CROSSED, COVERED = 30.0, 60.0, 60.0, 150.0, 1000.0
ROUNDS = 3  # in each round, every label moves to its best place, given the others
LEADER = 20  # from this distance on, a line joins a label to its point


@dataclass(frozen=True)
class Disc:
    """A point with its label. at: in data coordinates. radius: in typographic points."""

    label: str
    colour: str
    at: tuple[float, float]
    radius: float


def place_labels(
    figure: Figure, axes: Axes, discs: Sequence[Disc], avoided: Sequence[np.ndarray]
) -> None:
    """Writes the label of each disc beside it: off all discs and labels, and off other marks if
    that is possible nearby.

    The layout of the figure is made, and stays as it is from now on. The figure needs a canvas.

    Args:
        discs: what is labelled; drawn already.
        avoided: other marks, each by points on it in data coordinates: float [points, 2].
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    page = _Page.of(axes, discs, avoided)
    choices = [page.places(n) for n in range(len(discs))]
    chosen = [places[0] for places in choices]
    for _ in range(ROUNDS):
        for n, places in enumerate(choices):
            others = [(m, place) for m, place in enumerate(chosen) if m != n]
            costs = [page.cost(n, place, others) for place in places]
            chosen[n] = places[int(np.argmin(costs))]
    for n, (disc, place) in enumerate(zip(discs, chosen, strict=True)):
        _write(axes, disc, place, leader=place.distance >= LEADER or page.nearer(n, place) > 0)


@dataclass(frozen=True)
class _Place:
    """A place for a label. offset: from the middle of its disc to its own. distance: to the rim."""

    offset: np.ndarray
    distance: float


@dataclass(frozen=True)
class _Page:
    """The contents of the axes, all in typographic points. A box is [2, 2]: its lower left and its
    upper right corner.

    centres, radii: of the discs, [discs, 2] and [discs]. sizes: of their labels, [discs, 2].
    marks: points on each of the other marks, [points, 2]. frame: the box of the axes.
    """

    centres: np.ndarray
    radii: np.ndarray
    sizes: np.ndarray
    marks: list[np.ndarray]
    frame: np.ndarray

    @classmethod
    def of(cls, axes: Axes, discs: Sequence[Disc], avoided: Sequence[np.ndarray]) -> "_Page":
        scale = 72 / axes.figure.dpi  # a pixel
        return cls(
            scale * axes.transData.transform([disc.at for disc in discs]),
            np.array([disc.radius for disc in discs]),
            scale * np.array([_pixels(axes, disc.label) for disc in discs]),
            [scale * axes.transData.transform(points) for points in avoided],
            scale * axes.get_window_extent().get_points(),
        )

    def places(self, n: int) -> list[_Place]:
        """Around disc n, the nearest first: its label touches a circle about the disc, by a corner
        or a side."""
        directions = np.stack([np.cos(DIRECTIONS), np.sin(DIRECTIONS)], axis=1)
        aside = np.clip(1.6 * directions, -1, 1) * self.sizes[n] / 2
        return [
            _Place(direction * (self.radii[n] + distance) + to_middle, distance)
            for distance in DISTANCES
            for direction, to_middle in zip(directions, aside, strict=True)
        ]

    def box(self, n: int, place: _Place) -> np.ndarray:
        middle = self.centres[n] + place.offset
        return np.stack([middle - self.sizes[n] / 2, middle + self.sizes[n] / 2])

    def leader(self, n: int, place: _Place) -> np.ndarray:
        """Points on the line from a disc to its label: [50, 2]."""
        return self.centres[n] + np.linspace(0, 1, 50)[:, None] * place.offset

    def cost(self, n: int, place: _Place, others: Sequence[tuple[int, _Place]]) -> float:
        """others: the other discs, with the places of their labels."""
        box, leader = self.box(n, place), self.leader(n, place)
        boxes = [self.box(*other) for other in others]
        covered = [*(self._gaps(box) < 0), *(_overlap(box, other) for other in boxes)]
        outside = (box[0] < self.frame[0]).any() or (box[1] > self.frame[1]).any()
        shares = [_share(mark, box) for mark in self.marks]
        crossed = [
            *(_share(leader, other) > 0 for other in boxes),
            *(_share(self.leader(*other), box) > 0 for other in others),
        ]
        return (
            place.distance
            + MARK * sum(share > 0 for share in shares)
            + HIDDEN * sum(shares)
            + AMBIGUOUS * self.nearer(n, place)
            + CROSSED * sum(crossed)
            + COVERED * (sum(covered) + outside)
        )

    def nearer(self, n: int, place: _Place) -> int:
        """How many other discs a label is nearer to than to its own, or nearly as near."""
        gaps = self._gaps(self.box(n, place))
        return int((np.delete(gaps, n) < gaps[n] + 6).sum())

    def _gaps(self, box: np.ndarray) -> np.ndarray:
        """From a box to the rims of the discs, below 0 where it covers them: [discs]."""
        nearest = np.clip(self.centres, *box)
        return np.linalg.norm(nearest - self.centres, axis=1) - self.radii


def _pixels(axes: Axes, label: str) -> tuple[float, float]:
    """Width and height of a text."""
    text = axes.text(0.5, 0.5, label, transform=axes.transAxes, ha="center", va="center")
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.minimum(a[1], b[1]) > np.maximum(a[0], b[0])).all())


def _share(points: np.ndarray, box: np.ndarray) -> float:
    """Of the points in a box."""
    return float(((points > box[0]) & (points < box[1])).all(axis=1).mean())


def _write(axes: Axes, disc: Disc, place: _Place, leader: bool) -> None:
    dark = tuple(0.65 * np.array(to_rgb(disc.colour)))  # light text is hard to read
    line = {"arrowstyle": "-", "color": dark, "shrinkA": 0, "shrinkB": disc.radius}
    axes.annotate(
        disc.label,
        disc.at,
        tuple(place.offset),
        textcoords="offset points",
        ha="center",
        va="center",
        color=dark,
        arrowprops=line if leader else None,
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=5,
    )
