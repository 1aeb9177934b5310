"""The figure of the benchmark: the cost per image against size, batch and rotations."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks.scaling import AXES, Curve
from polyp.style import BLUE, STYLE, VERMILLION


def scaling_figure(curves: Sequence[Curve], title: str) -> Figure:
    """Milliseconds per image against image size, batch and rotations, beside the MACs."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(15, 6))
        panels = figure.subplots(1, len(curves), sharey=True)
        for axes, curve in zip(panels, curves, strict=True):
            for seconds, colour, marker in (
                (curve.training, VERMILLION, "o"),
                (curve.inference, BLUE, "s"),
            ):
                # Through the last point: points above the line show the overhead of small networks.
                pace = seconds[-1] / curve.work[-1]
                axes.plot(
                    curve.values,
                    [1e3 * pace * w for w in curve.work],
                    color="black",
                    linestyle="--",
                    linewidth=1.8,
                )
                axes.plot(
                    curve.values,
                    [1e3 * s for s in seconds],
                    color=colour,
                    marker=marker,
                    markersize=8,
                    linewidth=2.2,
                )
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.xaxis.set_major_locator(FixedLocator(curve.values))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_title(curve.fixed, loc="left")
            axes.set_xlabel(AXES[curve.axis])
            axes.grid(axis="y", color="#E4E4E4")
            axes.set_axisbelow(True)
        panels[0].set_ylabel("milliseconds per image")
        figure.suptitle(title, fontsize=STYLE["axes.titlesize"])
        figure.legend(
            handles=[
                Line2D([], [], color=VERMILLION, marker="o", ms=8, lw=2.2, label="training step"),
                Line2D([], [], color=BLUE, marker="s", ms=8, lw=2.2, label="inference"),
                Line2D(
                    [],
                    [],
                    color="black",
                    linestyle="--",
                    linewidth=1.8,
                    label="proportional to the MACs",
                ),
            ],
            loc="outside lower center",
            ncols=3,
        )
    return figure
