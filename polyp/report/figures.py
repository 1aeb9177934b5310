"""The figures of a section. Each function takes systems and returns a matplotlib Figure."""

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator, NullLocator

from polyp.evaluation.figures import BLUE, OUTLIERS, SKY, STYLE, VERMILLION
from polyp.evaluation.scores import summary
from polyp.report.systems import System, defined_means

# Six of the colours of Okabe and Ito (2008): yellow is hard to see as a line, black is the limit.
COLOURS = (BLUE, VERMILLION, "#009E73", "#E69F00", "#CC79A7", SKY)
# Systems beyond the sixth repeat the colours with another line and marker.
LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
MARKERS = ("o", "s", "^")
LIMIT = {"color": "black", "linestyle": "--", "linewidth": 1.8}
GRID = "#E4E4E4"
CONSISTENCY = "consistency: Dice(rotated mask, mask of rotated image)"


def dice_figure(systems: Sequence[System], title: str, outlier_dice: float) -> Figure:
    """Test Dice: a box per system, one below the other, for names of any length."""
    names = [textwrap.fill(system.label, 30) for system in systems]
    lines = max(name.count("\n") + 1 for name in names)
    with matplotlib.rc_context(STYLE):
        height = 2.6 + len(systems) * max(0.62, 0.12 + 0.24 * lines)
        figure = Figure(figsize=(12, height))
        axes = figure.add_subplot()
        positions = np.arange(len(systems))
        for position, system in zip(positions, systems, strict=True):
            colour, dice = _colour(system), system.dice
            _boxes(axes, [dice], [position], 0.55, colour, orientation="horizontal")
            axes.plot(dice.mean(), position, "D", color="white", markeredgecolor="black", ms=8)
            axes.text(1.03, position, f"{dice.mean():.3f}", va="center")
        axes.text(1.03, -0.75, "mean", va="center")
        axes.axvline(outlier_dice, color="#7A7A7A", linestyle=":", linewidth=1.8, zorder=0)
        axes.set_yticks(positions, names)
        axes.set_ylim(len(systems) - 0.45, -0.55)
        axes.set_xlim(-0.02, 1.02)
        axes.set_title(title, loc="left", pad=24)
        axes.set_xlabel("Dice of a test image, averaged over seeds")
        axes.xaxis.set_major_locator(MultipleLocator(0.2))
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        figure.legend(
            handles=[
                Patch(facecolor="#E4E4E4", edgecolor="#7A7A7A", label="quartiles"),
                Line2D([], [], color="#7A7A7A", linewidth=2.5, label="median"),
                Line2D([], [], marker="D", color="white", mec="black", ms=8, label="mean"),
                Line2D(
                    [],
                    [],
                    color="#7A7A7A",
                    linestyle=":",
                    linewidth=1.8,
                    label=f"{outlier_dice:g}: outliers lie below",
                ),
            ],
            loc="outside lower center",
            ncols=4,
        )
    return figure


def curves_figure(systems: Sequence[System], title: str) -> Figure:
    """Mean consistency against the rotation angle: a curve per system, and the limit."""
    angles = systems[0].first.angles
    limit = systems[0].first.ceiling
    curves = [defined_means(system.consistency, axis=0) for system in systems]
    names = [textwrap.fill(system.label, 30) for system in systems]
    lines = sum(name.count("\n") + 1 for name in names)
    with matplotlib.rc_context(STYLE):
        # Room for the whole legend, however many and long the names.
        figure = Figure(figsize=(14, max(7, 1 + 0.24 * lines + 0.17 * len(names))))
        axes = figure.add_subplot()
        axes.plot(angles, limit, **LIMIT, label="interpolation limit\n(perfectly equivariant)")
        for index, (system, name, curve) in enumerate(zip(systems, names, curves, strict=True)):
            axes.plot(
                angles,
                curve,
                **_line(system),
                # Not all on top of each other where curves meet, as at multiples of 90°.
                markevery=(index % 3, 3) if len(angles) > 20 else 1,
                markersize=7,
                linewidth=2.2,
                label=name,
            )
        axes.set_title(title, loc="left")
        axes.set_xlabel("rotation angle (degrees)")
        axes.set_ylabel(CONSISTENCY)
        # From the tenth below the lowest point, or curves that matter would lie on each other.
        lowest = np.floor(10 * np.nanmin([*curves, limit])) / 10
        axes.set_ylim(lowest - 0.02 * (1 - lowest) - 1e-6, 1 + 0.02 * (1 - lowest) + 1e-6)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        _angle_axis(axes)
        figure.legend(loc="outside right upper", labelspacing=0.8)
    return figure


def images_figure(lines: Sequence[Sequence[System]], title: str, units: Sequence[str]) -> Figure:
    """Mean test Dice against the number of training images, a line for each list of systems.

    units: what each test image belongs to, see Section; the intervals draw these.
    """
    drawn = "groups" if len(set(units)) < len(units) else "images"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 7))
        axes = figure.add_subplot()
        for index, line in enumerate(lines):
            images = np.array([system.training_images for system in line])
            scores = [summary(system.dice, units=units) for system in line]
            mean = np.array([score["mean"] for score in scores])
            low, high = np.array([score["ci95"] for score in scores]).T
            axes.errorbar(
                images * 1.015 ** (index - (len(lines) - 1) / 2),  # bars beside each other
                mean,
                (mean - low, high - mean),
                **_line(line[-1]),
                markersize=9,
                linewidth=2.2,
                capsize=5,
                label=textwrap.fill(line[-1].label, 30),
            )
        counts = sorted({system.training_images for line in lines for system in line})
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(title, loc="left")
        axes.set_xlabel("training images")
        axes.set_ylabel(f"test Dice: mean and 95 % interval over the {drawn}")
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        axes.legend(loc="lower right")
    return figure


def boxes_figure(systems: Sequence[System], title: str) -> Figure:
    """Consistency against the angle for two systems side by side, or one: a box per angle."""
    angles = np.array(systems[0].first.angles)
    span = max(np.ptp(angles), 10.0)
    # Boxes side by side, but no hairlines where two angles are close, and no slabs where few are.
    width = np.clip(0.6 * np.diff(angles, append=np.inf).min(), 0.006 * span, 0.03 * span)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(16, 6.5))
        panels = figure.subplots(1, len(systems), sharey=True, squeeze=False)[0]
        for axes, system in zip(panels, systems, strict=True):
            consistency, limit = system.consistency, system.first.ceiling
            defined = [column[~np.isnan(column)] for column in consistency.T]
            _boxes(axes, defined, angles, width, _colour(system))
            axes.plot(angles, limit, **LIMIT)
            axes.plot(angles, defined_means(consistency, axis=0), color="black", linewidth=2.2)
            axes.set_title(textwrap.fill(system.label, 110 // len(systems)), loc="left")
            axes.set_xlabel("rotation angle (degrees)")
            axes.set_xlim(angles[0] - width, angles[-1] + width)
            axes.set_ylim(-0.02, 1.02)
            axes.yaxis.set_major_locator(MultipleLocator(0.2))
            _angle_axis(axes)
        panels[0].set_ylabel(CONSISTENCY)
        figure.suptitle(title, fontsize=STYLE["axes.titlesize"])
        figure.legend(
            handles=[
                Line2D([], [], color="black", linewidth=2.2, label="mean"),
                Line2D([], [], **LIMIT, label="interpolation limit (perfectly equivariant)"),
                Patch(facecolor="#E4E4E4", edgecolor="#7A7A7A", label="quartiles of the images"),
            ],
            loc="outside lower center",
            ncols=3,
        )
    return figure


def _angle_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 1.5, 3, 4.5, 10]))
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)


def _boxes(
    axes: Axes,
    values: Sequence[np.ndarray],
    positions: Sequence[float],
    width: float,
    colour: str,
    orientation: str = "vertical",
) -> None:
    """A box for each array of values, tinted with the colour."""
    tint = tuple(1 - 0.35 * (1 - np.array(to_rgb(colour))))
    axes.boxplot(
        list(values),
        positions=positions,
        widths=width,
        orientation=orientation,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": tint, "edgecolor": colour},
        medianprops={"color": colour, "linewidth": 2.5},
        whiskerprops={"color": colour},
        capprops={"color": colour},
        flierprops=OUTLIERS,
    )


def _colour(system: System) -> str:
    return COLOURS[system.style % len(COLOURS)]


def _line(system: System) -> dict:
    beyond = system.style // len(COLOURS)
    return {
        "color": _colour(system),
        "linestyle": LINES[beyond % len(LINES)],
        "marker": MARKERS[beyond % len(MARKERS)],
    }
