"""Figures are drawn without warnings and without covering anything."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from polyp.evaluation import (
    Example,
    Sweep,
    Turned,
    equivariance_figure,
    overlay,
    predictions_figure,
)


def draw(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def fake_sweep(angles, images):
    """Consistency as of a p4 network: high at multiples of 90°, lowest between them."""
    shape = (images, len(angles))
    mean = 0.97 - 0.2 * np.abs(np.sin(2 * np.radians(angles)))
    dice = np.random.default_rng(0).beta(8 * mean, 8 * (1 - mean), size=shape)
    ids = [str(i) for i in range(images)]
    return Sweep(ids, [float(a) for a in angles], dice, dice, np.full(shape, 0.99))


@pytest.mark.parametrize(
    "angles",
    [[30], [0, 45, 90], range(0, 360, 10), range(91), [180, 0, 2.5, 5, 45, 90]],
    ids=["1", "3", "36", "91", "uneven"],
)
@pytest.mark.parametrize("images", [1, 20])
def test_equivariance_figure(angles, images):
    figure = draw(equivariance_figure(fake_sweep(angles, images), "p4"))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "rotation angle (degrees)"
    assert axes.get_ylabel() == "Dice(rotated mask, mask of rotated image)"
    for label in axes.get_xticklabels() + axes.get_yticklabels() + figure.legends[0].get_texts():
        assert label.get_fontsize() >= 12
    assert not figure.legends[0].get_window_extent().overlaps(axes.get_tightbbox())


def test_curves_follow_the_angles_also_when_those_are_unsorted():
    sweep = fake_sweep([90, 0, 45], 5)
    lines = equivariance_figure(sweep, "").axes[0].lines
    mean = next(line for line in lines if line.get_marker() == "o")
    assert mean.get_xdata().tolist() == [0, 45, 90]
    assert mean.get_ydata().tolist() == sweep.dice.mean(axis=0)[[1, 2, 0]].tolist()


def test_predictions_figure():
    generator = np.random.default_rng(0)

    def mask():
        return generator.random((16, 16)) < 0.5

    def image():
        return generator.random((16, 16, 3))

    examples = [
        Example(
            label,
            image(),
            mask(),
            mask(),
            np.ones((16, 16), bool),
            0.5,
            [Turned(angle, image(), mask(), mask(), mask(), 0.25) for angle in (90, 45)],
        )
        for label in ("best", "median", "worst")
    ]
    figure = draw(predictions_figure(examples, "p4 on synthetic"))
    assert len(figure.axes) == 3 * 7
    assert [axes.get_ylabel() for axes in figure.axes[::7]] == ["best", "median", "worst"]
    titles = [axes.get_title() for axes in figure.axes[:7]]
    assert titles[3:] == ["rotated by 90°", "masks at 90°", "rotated by 45°", "masks at 45°"]
    captions = [axes.get_xlabel() for axes in figure.axes[:7]]
    assert captions == ["", "", "Dice 0.500", "", "Dice 0.250", "", "Dice 0.250"]
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [figure.legends[0].get_window_extent()]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_overlay_tells_the_masks_apart_inside_the_region_only():
    found = np.array([[1, 1, 0, 0, 1]], dtype=bool)
    reference = np.array([[1, 0, 1, 0, 1]], dtype=bool)
    region = np.array([[1, 1, 1, 1, 0]], dtype=bool)
    both, extra, missed, background, outside = overlay(
        np.ones((1, 5, 3)), found, reference, region
    )[0]
    assert both.argmax() == 2  # blue
    assert extra[0] > 0.8 > 0.6 > extra[2]  # yellow: red and green
    assert extra[1] > 0.8 > 0.5 > missed[1]  # vermillion: red alone
    assert background.tolist() == [0.75] * 3
    assert outside.tolist() == pytest.approx([0.3] * 3)
