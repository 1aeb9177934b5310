"""The figure of test Dice against consistency, with what a system costs in training."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from polyp.evaluation.scores import defined_mean
from polyp.report.bootstrap import Interval
from polyp.report.figures import add_title, colour_of, tint
from polyp.report.labels import Disc, place_labels
from polyp.report.measures import MEASURES, measured
from polyp.report.sections import Section
from polyp.report.systems import System
from polyp.style import GREY, GRID, STYLE, WIDTH

X, Y = "consistency_off_grid", "dice"
LARGEST = 700  # area of the largest point, in square points
RUN = 30  # of a single run: the square of its diameter
UNKNOWN = 80  # of a point whose time is not known; it is a square


@dataclass(frozen=True)
class _Point:
    """A system with its means and intervals. runs: float64 [runs, 2], x and y of each of them."""

    system: System
    x: Interval
    y: Interval
    runs: np.ndarray

    @property
    def seconds(self) -> float | None:
        return self.system.seconds_per_image


def tradeoff_figure(section: Section) -> Figure | None:
    """Mean test Dice against mean consistency off the grid: a point per system.

    The area of a point is in proportion to the seconds of training per image. Lines are 95 %
    intervals, and small points the single runs (each fold of a run). A point is hollow where the
    system has one run. None if no system has a consistency off the grid.
    """
    points = [point for system in section.systems if (point := _point(system, section))]
    if not points:
        return None
    seconds = [point.seconds for point in points if point.seconds is not None]
    scale = LARGEST / max(seconds) if seconds else 1.0
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 7.2 + 0.35 * max(0, len(points) - 6)))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        # The largest first, so that no point is hidden behind a larger one.
        points.sort(key=lambda point: -(point.seconds or 0))
        discs = [_draw(axes, p, scale, zorder=2 + i / 100) for i, p in enumerate(points)]
        axes.margins(0.09, 0.11)
        # Intervals of two runs may be wider than the scale.
        axes.set_xlim(*np.clip(axes.get_xlim(), -0.02, 1.03))
        axes.set_ylim(*np.clip(axes.get_ylim(), -0.02, 1.03))
        axes.set_xlabel(f"{MEASURES[X]}: mean and 95 % interval")
        axes.set_ylabel("test Dice: mean and 95 % interval")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        add_title(figure, section.title)
        _legend(figure, points, scale)
        place_labels(figure, axes, discs, [mark for point in points for mark in _marks(point)])
    return figure


def _marks(point: _Point) -> list[np.ndarray]:
    """What labels should not cover: the lines by points along them, and the small points."""
    x, y = point.x, point.y
    steps = np.linspace(0, 1, 100)
    return [
        np.stack([x.low + steps * (x.high - x.low), np.full(100, y.mean)], axis=1),
        np.stack([np.full(100, x.mean), y.low + steps * (y.high - y.low)], axis=1),
        *point.runs[:, None],
    ]


def _point(system: System, section: Section) -> _Point | None:
    x, y = (system.interval(measure, section.units) for measure in (X, Y))
    if x is None or y is None:
        return None
    runs = [fold for run in system.runs for fold in run.folds or [run]]
    means = np.array(
        [[_mean(run, measure, section) for measure in (X, Y)] for run in runs], dtype=float
    )
    return _Point(system, x, y, means)


def _mean(run, measure: str, section: Section) -> float | None:
    values = measured(run.select(run.images, section.angles), measure, 0.5)
    return None if values is None else defined_mean(values)


def _draw(axes: Axes, point: _Point, scale: float, zorder: float) -> Disc:
    x, y, colour = point.x, point.y, colour_of(point.system)
    known = point.seconds is not None
    area = UNKNOWN if point.seconds is None else scale * point.seconds
    axes.scatter(
        x.mean,
        y.mean,
        # The square of the diameter, or of the side.
        s=area * 4 / math.pi if known else area,
        marker="o" if known else "s",
        facecolor="white" if x.one_run else tint(colour),
        edgecolor=colour,
        linewidths=2,
        zorder=zorder,
    )
    lines = {"color": colour, "linewidth": 1.2, "zorder": zorder}
    axes.plot([x.low, x.high], [y.mean] * 2, **lines)
    axes.plot([x.mean] * 2, [y.low, y.high], **lines)
    if len(point.runs) > 1:
        axes.scatter(*point.runs.T, s=RUN, color=colour, alpha=0.45, linewidths=0, zorder=zorder)
    return Disc(_label(point.system), colour, (x.mean, y.mean), math.sqrt(area / math.pi) + 1)


def _label(system: System) -> str:
    return textwrap.fill(system.label, 24)


def _legend(figure: Figure, points: Sequence[_Point], scale: float) -> None:
    """A key of areas above, and what the other marks are below."""
    seconds = [point.seconds for point in points if point.seconds is not None]
    sizes = [
        Line2D(
            [],
            [],
            marker="o",
            linestyle="none",
            color=GREY,
            markerfacecolor="white",
            markeredgewidth=2,
            markersize=math.sqrt(scale * size * 4 / math.pi),
            label=_time(size),
        )
        for size in key_sizes(seconds)
    ]
    marks = [Line2D([], [], color=GREY, linewidth=1.2, label="95 % interval")]
    if any(point.x.one_run for point in points):
        marks.append(_mark("o", 9, "white", "hollow: one run"))
    if any(len(point.runs) > 1 for point in points):
        folds = any(len(run.folds) > 1 for point in points for run in point.system.runs)
        name = "single training" if folds else "single run"
        marks.append(_mark("o", math.sqrt(RUN) - 1.8, GREY, name))
    if len(seconds) < len(points):
        marks.append(_mark("s", math.sqrt(UNKNOWN), "white", "time not known"))
    empty = Line2D([], [], color="none", label=" ")
    pairs = zip_longest(sizes, marks, fillvalue=empty)  # legends are filled column by column
    figure.legend(
        handles=list(chain.from_iterable(pairs)),
        loc="outside lower center",
        title="area: training time per image, validation included" if sizes else None,
        ncols=max(len(sizes), len(marks)),
        labelspacing=0.9,
        handlelength=2.2,
        columnspacing=1.6,
    )


def _mark(marker: str, size: float, face: str, label: str) -> Line2D:
    style = {"color": GREY, "markerfacecolor": face, "markeredgewidth": 1.8, "markersize": size}
    return Line2D([], [], marker=marker, linestyle="none", label=label, **style)


def key_sizes(seconds: Sequence[float]) -> list[float]:
    """Up to three round numbers (1, 2 or 5 times a power of ten) that span the given ones."""
    if not seconds:
        return []
    low, high = min(seconds), max(seconds)
    return sorted({_round_below(each) for each in (low, math.sqrt(low * high), high)})


def _round_below(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above the value."""
    power = math.floor(math.log10(value))
    return max(d * 10.0**power for d in (1, 2, 5) if d * 10.0**power <= value * (1 + 1e-9))


def _time(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{1000 * seconds:g} ms"
