"""The forest plot: declared differences between systems, with their intervals."""

import textwrap
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from polyp.report.comparisons import Comparison
from polyp.report.figures import MARKERS, tint
from polyp.report.measures import MEASURES
from polyp.style import GREY, GRID, LINE_COLOURS, STYLE, WIDTH

# Heights in inches.
LINE, MARK, GAP = 0.23, 0.19, 0.09


def forest_figure(test_sets: Sequence[tuple[str, Sequence[Comparison]]]) -> Figure:
    """Differences with their 95 % intervals: a panel per measure; below the name of each pair of
    systems a mark per test set, hollow where a system has one run only. A light bar is the interval
    over folds. All panels have one scale.

    test_sets: the title of each, and its comparisons.
    """
    comparisons = [each for _, made in test_sets for each in made]
    measures = list(dict.fromkeys(each.measure for each in comparisons))
    pairs = list(dict.fromkeys((each.a.label, each.b.label) for each in comparisons))
    names = [textwrap.fill(f"{a} − {b}", 68) for a, b in pairs]
    tops, height = [], 0.0  # of the pairs, from above
    for name in names:
        tops.append(height)
        height += LINE * (name.count("\n") + 1) + MARK * len(test_sets) + GAP
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.6 + height + 0.3 * (len(test_sets) + 2)))
        panels = figure.subplots(1, len(measures), sharex=True, sharey=True, squeeze=False)[0]
        for axes, measure in zip(panels, measures, strict=True):
            axes.axvline(0, color=GREY, linewidth=1)
            for number, (_, made) in enumerate(test_sets):
                for each in made:
                    if each.measure == measure:
                        row = pairs.index((each.a.label, each.b.label))
                        lines = names[row].count("\n") + 1
                        position = tops[row] + LINE * lines + MARK * (number + 0.5)
                        _mark(axes, each, position, number)
            axes.set_title(
                textwrap.fill(MEASURES[measure], max(44 // len(measures), 11)),
                fontsize=STYLE["font.size"],
            )
            axes.xaxis.set_major_locator(
                MaxNLocator(nbins=max(12 // len(measures), 3), steps=[1, 2, 5, 10])
            )
            axes.xaxis.set_major_formatter(lambda value, _: _short(value))
            axes.grid(axis="x", color=GRID)
            axes.set_axisbelow(True)
            axes.tick_params(left=False, labelleft=False)
            axes.spines["left"].set_visible(False)
        panels[0].set_ylim(height, 0)
        for name, top in zip(names, tops, strict=True):
            _write(figure, panels[0], name, top)
        figure.legend(handles=_legend(test_sets), loc="outside lower center")
    return figure


def _write(figure: Figure, axes: Axes, name: str, top: float) -> None:
    """The name of a pair, across all panels: on white, so that no line crosses it."""
    across = blended_transform_factory(figure.transFigure, axes.transData)
    text = figure.text(0.02, top, name, transform=across, va="top", linespacing=1.1)
    text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})
    text.set_in_layout(False)


def _legend(test_sets: Sequence[tuple[str, Sequence[Comparison]]]) -> list[Line2D | Patch]:
    comparisons = [each for _, made in test_sets for each in made]
    entries: list[Line2D | Patch] = [
        Line2D([], [], **_mark_style(number), linestyle="none", label=textwrap.fill(title, 66))
        for number, (title, _) in enumerate(test_sets)
    ]
    if any(each.estimate.one_run for each in comparisons):
        entries.append(
            Line2D(
                [],
                [],
                color=GREY,
                marker="o",
                markerfacecolor="white",
                linestyle="none",
                label="hollow: a system has one run",
            )
        )
    if any(each.over_folds for each in comparisons):
        entries.append(Patch(color=tint(GREY), label="light: interval over folds"))
    return entries


def _mark(axes: Axes, comparison: Comparison, position: float, number: int) -> None:
    estimate, style = comparison.estimate, _mark_style(number)
    if comparison.over_folds:
        axes.plot(
            comparison.over_folds,
            [position] * 2,
            color=tint(style["color"]),
            linewidth=6,
            solid_capstyle="butt",
        )
    axes.plot([estimate.low, estimate.high], [position] * 2, color=style["color"], linewidth=2)
    if estimate.one_run:
        style["markerfacecolor"] = "white"
    axes.plot(estimate.difference, position, **style, markersize=7, markeredgewidth=1.8)


def _mark_style(number: int) -> dict:
    """Of a test set."""
    return {
        "color": LINE_COLOURS[number % len(LINE_COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def _short(value: float) -> str:
    """`−.2`: panels are narrow."""
    size = f"{abs(value):g}"
    return ("−" if value < 0 else "") + (size.removeprefix("0") if 0 < abs(value) < 1 else size)
