"""Figures of few and many systems with long names are drawn without covering anything."""

from dataclasses import replace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from polyp.comparison.figures import boxes_figure, curves_figure, dice_figure, images_figure
from polyp.comparison.run import read_run
from polyp.comparison.systems import System
from polyp.evaluation import summary

LONG = "steerableunet rotations=continuous widths=[8,16,32,64,128] frequencies_cutoff=null"


@pytest.fixture
def systems(write_run):
    run = read_run(write_run("0", angles=range(0, 360, 10)))

    def make(number: int) -> list[System]:
        return [
            System(f"{LONG} #{i}" if i % 2 else "unet", [replace(run, dice=run.dice * 0.9**i)], i)
            for i in range(number)
        ]

    return make


def texts(figure):
    """Boxes of all that is written beside the axes, by what it is."""
    axes = figure.axes[0]
    low, high = sorted(axes.get_ylim())
    shown = [text for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
    return {
        "title": axes.title.get_window_extent(),
        "legend": figure.legends[0].get_window_extent(),
        "plot": axes.get_window_extent(),
        **{f"y{i}": text.get_window_extent() for i, text in enumerate(shown)},
    }


@pytest.mark.parametrize("number", [1, 2, 5, 10])
@pytest.mark.parametrize("draw", ["dice", "curves", "boxes"])
def test_nothing_overlaps_or_leaves_the_figure(systems, number, draw):
    shown = systems(number)
    figure = {
        "dice": lambda: dice_figure(shown, "cvc", 0.5),
        "curves": lambda: curves_figure(shown, "cvc"),
        "boxes": lambda: boxes_figure(shown[-2:], "cvc"),
    }[draw]()
    FigureCanvasAgg(figure).draw()
    boxes = texts(figure)
    for name, box in boxes.items():
        others = [other for key, other in boxes.items() if key != name]
        assert not any(box.overlaps(other) for other in others), name
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= figure.bbox.width, name
        assert box.y1 <= figure.bbox.height, name
    for label in figure.axes[0].get_xticklabels() + figure.axes[0].get_yticklabels():
        assert label.get_fontsize() >= 12


def test_the_line_of_each_way_to_train_has_a_point_a_number_of_images(write_run):
    run = read_run(write_run("0"))

    def system(name: str, images: int) -> System:
        parts = {"train": [f"t{i}" for i in range(images)], "val": ["v"]}
        return System(name, [replace(run, parts=parts)])

    lines = [[system(name, images) for images in (10, 40)] for name in ("p4unet", "unet")]
    axes = images_figure(lines, "cvc", run.images).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10", "40"]
    assert [len(bars.lines[0].get_xdata()) for bars in axes.containers] == [2, 2]
    assert axes.containers[0].lines[0].get_ydata() == pytest.approx([run.dice.mean()] * 2)


@pytest.mark.parametrize(("units", "drawn"), [("abcdef", "images"), ("aaabbc", "sequences")])
def test_intervals_by_training_images_draw_the_units(write_run, units, drawn):
    run = read_run(write_run("0"))
    axes = images_figure([[System("unet", [run])] * 2], "cvc", list(units)).axes[0]
    bars = axes.containers[0].lines[2][0].get_segments()
    assert bars[0][:, 1] == pytest.approx(summary(run.dice, units=list(units))["ci95"])
    assert axes.get_ylabel().endswith(f"over the {drawn}")
