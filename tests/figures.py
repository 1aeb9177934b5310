"""What a figure shows, read back from what matplotlib has drawn."""

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats


def assert_boxes(
    axes: Axes,
    values: Sequence[np.ndarray],
    positions: Sequence[float],
    horizontal: bool = False,
) -> None:
    """The box plots of the axes are those of the values: quartiles, median, whiskers, outliers.

    Args:
        values: an array for each box.
        positions: where the boxes stand on the other axis.
        horizontal: whether the boxes lie, with the values on the x axis.
    """
    along, across = (0, 1) if horizontal else (1, 0)
    lines = [line.get_xydata() for line in axes.lines if line.get_label() == "_nolegend_"]
    assert len(axes.patches) == len(values)
    assert len(lines) == 6 * len(values)  # a box has two whiskers, two caps, median and outliers
    for i, (array, position) in enumerate(zip(values, positions, strict=True)):
        (expected,) = boxplot_stats(array)
        box = axes.patches[i].get_path().vertices
        low, high, _, _, median, outliers = lines[6 * i : 6 * i + 6]
        assert (box[:, across].min() + box[:, across].max()) / 2 == pytest.approx(position)
        assert box[:, along].min() == pytest.approx(expected["q1"])
        assert box[:, along].max() == pytest.approx(expected["q3"])
        assert median[:, along] == pytest.approx([np.median(array)] * 2)
        assert low[1, along] == pytest.approx(expected["whislo"])
        assert high[1, along] == pytest.approx(expected["whishi"])
        assert sorted(outliers[:, along]) == pytest.approx(sorted(expected["fliers"]))
