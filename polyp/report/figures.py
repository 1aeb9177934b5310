"""The figures of a comparison. Each function takes systems and returns a matplotlib Figure."""

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

from polyp.evaluation.scores import defined_means
from polyp.evaluation.sweep import off_grid
from polyp.report.bootstrap import hierarchical_interval
from polyp.report.sections import Section
from polyp.report.systems import System
from polyp.style import GREY, GRID, LINE_COLOURS, OUTLIERS, REFERENCE_LINE, STYLE, WIDTH

# Systems beyond the sixth repeat the colours with another line and marker.
LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
MARKERS = ("o", "s", "^")
REFERENCE = "true masks turned there and back"
CONSISTENCY = "consistency"
BAND_RESAMPLES = 2_000  # at each angle: a band need not be exact to the pixel


def dice_figure(section: Section, outlier_dice: float) -> Figure:
    """Test Dice: a box per system, one below the other, for names of any length."""
    systems = section.systems
    names = [textwrap.fill(system.label, 24) for system in systems]
    lines = max(name.count("\n") + 1 for name in names)
    with matplotlib.rc_context(STYLE):
        height = 2.8 + len(systems) * max(0.62, 0.12 + 0.24 * lines)
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_subplot()
        positions = np.arange(len(systems))
        for position, system in zip(positions, systems, strict=True):
            colour, dice = colour_of(system), system.dice
            _boxes(axes, [dice], [position], 0.55, colour, orientation="horizontal")
            axes.plot(dice.mean(), position, "D", color="white", markeredgecolor="black", ms=8)
            axes.text(1.03, position, f"{dice.mean():.3f}", va="center")
        axes.text(1.03, -0.75, "mean", va="center")
        axes.axvline(outlier_dice, color=GREY, linestyle=":", linewidth=1.8, zorder=0)
        axes.set_yticks(positions, names)
        axes.set_ylim(len(systems) - 0.45, -0.55)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("Dice of a test image, averaged over seeds")
        axes.xaxis.set_major_locator(MultipleLocator(0.2))
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        add_title(figure, section.title)
        figure.legend(
            handles=[
                Patch(facecolor=GRID, edgecolor=GREY, label="quartiles"),
                Line2D([], [], color=GREY, linewidth=2.5, label="median"),
                Line2D([], [], marker="D", color="white", mec="black", ms=8, label="mean"),
                Line2D(
                    [],
                    [],
                    color=GREY,
                    linestyle=":",
                    linewidth=1.8,
                    label=f"outliers: Dice below {outlier_dice:g}",
                ),
            ],
            loc="outside lower center",
            ncols=4,
            columnspacing=1,
        )
    return figure


def curves_figure(section: Section) -> Figure:
    """Mean consistency against the rotation angle, with the true masks turned there and back.

    Per system a curve with a band, the 95 % interval over seeds and units, and where it has
    several seeds a thin line for each.
    """
    systems = section.systems
    shown = _shown_angles(systems)
    angles = np.array(section.angles)[shown]
    lowest = []
    with matplotlib.rc_context(STYLE):
        rows = (len(systems) + 2) // 2
        figure = Figure(figsize=(WIDTH, 5.4 + 0.3 * rows))
        axes = figure.add_subplot()
        reference = systems[0].first.ceiling.to_numpy()[shown]
        axes.plot(angles, reference, **REFERENCE_LINE, label=REFERENCE)
        for index, system in enumerate(systems):
            mean, low, high = _curve(system, section.units)[:, shown]
            axes.fill_between(angles, low, high, color=colour_of(system), alpha=0.15, linewidth=0)
            runs = [defined_means(run.consistency.to_numpy().T)[shown] for run in system.runs]
            for run in runs if len(runs) > 1 else []:
                axes.plot(angles, run, color=colour_of(system), linewidth=0.7, alpha=0.7)
            axes.plot(
                angles,
                mean,
                **_line(system),
                # Not all on top of each other where curves meet, as at multiples of 90°.
                markevery=(index % 3, 3) if len(angles) > 18 else 1,
                markersize=7,
                linewidth=2.2,
                label=textwrap.fill(f"{system.label}, {_seeds(system)}", 30),
            )
            lowest += [mean, low, *runs]
        axes.set_xlabel("rotation angle (degrees)")
        axes.set_ylabel(CONSISTENCY)
        _from_lowest(axes, np.concatenate([*lowest, reference]))
        _angle_axis(axes)
        add_title(figure, section.title)
        figure.legend(loc="outside lower center", ncols=2, columnspacing=1.2)
    return figure


def _curve(system: System, units: Sequence[str]) -> np.ndarray:
    """Mean, low and high end of the consistency at each angle: float64 [3, angles].

    Of the images where it is defined under each seed; nan where there is none.
    """
    values = np.stack([run.consistency for run in system.runs])
    ends = np.full((3, values.shape[2]), np.nan)
    for index in range(values.shape[2]):
        defined = np.isfinite(values[:, :, index]).all(axis=0)
        if defined.any():
            found = hierarchical_interval(
                values[:, defined, index], np.array(units)[defined], resamples=BAND_RESAMPLES
            )
            ends[:, index] = found.mean, found.low, found.high
    return ends


def images_figure(lines: Sequence[Sequence[System]], section: Section) -> Figure:
    """Mean test Dice against the number of training images, a line for each list of systems."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 5.4 + 0.3 * len(lines)))
        axes = figure.add_subplot()
        for index, line in enumerate(lines):
            images = np.array([system.training_images for system in line])
            found = [system.interval("dice", section.units) for system in line]
            mean, low, high = np.array([(f.mean, f.low, f.high) for f in found if f]).T
            axes.errorbar(
                images * 1.015 ** (index - (len(lines) - 1) / 2),  # bars beside each other
                mean,
                (mean - low, high - mean),
                **_line(line[-1]),
                markersize=9,
                linewidth=2.2,
                capsize=5,
                label=textwrap.fill(line[-1].label, 60),
            )
        counts = sorted({system.training_images for line in lines for system in line})
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("training images")
        axes.set_ylabel("test Dice: mean and 95 % interval")
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        add_title(figure, section.title)
        figure.legend(loc="outside lower center")
    return figure


def boxes_figure(systems: Sequence[System], title: str) -> Figure:
    """Consistency against the angle for some systems, one below the other: a box per angle."""
    shown = _shown_angles(systems)
    angles = np.array(systems[0].first.angles)[shown]
    span = max(np.ptp(angles), 10.0)
    # Boxes side by side, but no hairlines where two angles are close, and no slabs where few are.
    width = np.clip(0.6 * np.diff(angles, append=np.inf).min(), 0.006 * span, 0.03 * span)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.6 + 3.6 * len(systems)))
        panels = figure.subplots(len(systems), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        consistency = [system.consistency[:, shown] for system in systems]
        for axes, system, values in zip(panels, systems, consistency, strict=True):
            defined = [column[~np.isnan(column)] for column in values.T]
            _boxes(axes, defined, angles, width, colour_of(system))
            axes.plot(angles, system.first.ceiling.to_numpy()[shown], **REFERENCE_LINE)
            axes.plot(angles, defined_means(values.T), color="black", linewidth=2.2)
            axes.set_title(textwrap.fill(system.label, 60), loc="left")
            axes.set_ylabel(CONSISTENCY)
            axes.set_xlim(angles[0] - width, angles[-1] + width)
            _angle_axis(axes)
        _from_lowest(panels[0], np.concatenate([values.ravel() for values in consistency]))
        panels[-1].set_xlabel("rotation angle (degrees)")
        add_title(figure, title)
        figure.legend(
            handles=[
                Line2D([], [], color="black", linewidth=2.2, label="mean"),
                Patch(facecolor=GRID, edgecolor=GREY, label="quartiles of the images"),
                Line2D([], [], **REFERENCE_LINE, label=REFERENCE),
            ],
            loc="outside lower center",
            ncols=2,
            columnspacing=1.2,
        )
    return figure


def _shown_angles(systems: Sequence[System]) -> np.ndarray:
    """One quarter turn, where the sweep has other angles beyond it only for networks that are exact
    at multiples of 90°, and so repeat themselves; or else all angles: bool [angles]."""
    angles = np.array(systems[0].first.angles)
    quarter, off = (angles >= 0) & (angles <= 90), off_grid(angles)
    repeated = not (off & ~quarter).any() or all(system.exact for system in systems)
    return quarter if repeated and (off & quarter).any() else np.ones_like(quarter)


def _seeds(system: System) -> str:
    count = len(system.runs)
    return "one run" if count == 1 else f"{count} seeds"


def add_title(figure: Figure, title: str) -> None:
    figure.suptitle(textwrap.fill(title, 72), fontsize=STYLE["font.size"])


def _from_lowest(axes: Axes, values: np.ndarray) -> None:
    """From the tenth below the lowest value to 1, or what matters would be squeezed."""
    defined = values[np.isfinite(values)]
    lowest = max(0.0, np.floor(10 * defined.min()) / 10) if defined.size else 0.0
    margin = 0.02 * (1 - lowest) + 1e-6
    axes.set_ylim(lowest - margin, 1 + margin)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


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
    axes.boxplot(
        list(values),
        positions=positions,
        widths=width,
        orientation=orientation,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": tint(colour), "edgecolor": colour},
        medianprops={"color": colour, "linewidth": 2.5},
        whiskerprops={"color": colour},
        capprops={"color": colour},
        flierprops=OUTLIERS,
    )


def colour_of(system: System) -> str:
    return LINE_COLOURS[system.style % len(LINE_COLOURS)]


def tint(colour: str) -> tuple[float, float, float]:
    """A light shade of it."""
    red, green, blue = (1 - 0.35 * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def _line(system: System) -> dict:
    beyond = system.style // len(LINE_COLOURS)
    return {
        "color": colour_of(system),
        "linestyle": LINES[beyond % len(LINES)],
        "marker": MARKERS[beyond % len(MARKERS)],
    }
