"""The style of all figures: colours (colour-blind safe), sizes and file formats."""

import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Colours of Okabe and Ito (2008).
SKY, BLUE, VERMILLION, YELLOW = "#56B4E9", "#0072B2", "#D55E00", "#F0E442"
GREEN, ORANGE, PINK = "#009E73", "#E69F00", "#CC79A7"
GRID, GREY = "#E4E4E4", "#7A7A7A"

# Of curves: yellow is hard to see as a line, and black is for the reference line.
LINE_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PINK, SKY)
REFERENCE_LINE = {"color": "black", "linestyle": "--", "linewidth": 1.8}

STYLE: dict[Any, Any] = {
    "font.size": 14,
    "axes.titlesize": 16,
    "axes.labelsize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.1,
    "savefig.dpi": 150,
}
# In inches. Printed as a column of 3.5 inches, the text of such a figure has 6 points.
WIDTH = 8

# Of box plots: small and light, as there are many.
OUTLIERS = {
    "marker": ".",
    "markersize": 6,
    "markerfacecolor": "#9A9A9A",
    "markeredgecolor": "none",
    "alpha": 0.6,
}

# Formats, each with the metadata that removes the date: the same figure gives the same file.
FORMATS = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def rendered(figure: Figure, form: str) -> bytes:
    """A figure as a file of one of FORMATS."""
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "polyp"}):  # the same figure, the same file
        figure.savefig(stream, format=form, dpi=150, metadata=FORMATS[form])
    return stream.getvalue()
