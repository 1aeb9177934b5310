"""Figures show the numbers of the runs, and with many systems and long names nothing is covered."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color

from polyp.evaluation import summary
from polyp.report.figures import boxes_figure, curves_figure, dice_figure, images_figure
from polyp.report.sections import make_sections
from polyp.report.systems import System
from tests.figures import assert_boxes
from tests.report.runs import read_run

LONG = "steerableunet rotations=continuous widths=[8,16,32,64,128] frequencies_cutoff=null"


@pytest.fixture
def systems(write_run):
    run = read_run(write_run("0", angles=range(0, 360, 10)))

    def make(number: int) -> list[System]:
        return [
            System(
                f"{LONG} #{i}" if i % 2 else "unet", [replace(run, scores=run.scores * 0.9**i)], i
            )
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


# --- what they show


ANGLES = [0.0, 45.0, 90.0, 135.0]
CEILING = [1.0, 0.97, 0.98, 0.96]
DICE = {
    "unet": [[0.95, 0.9, 0.86, 0.85, 0.7, 0.1], [0.9, 0.8, 0.6, 0.85, 0.75, 0.2]],
    "p4unet": [[0.97, 0.9, 0.92, 0.8, 0.88, 0.3], [0.93, 0.96, 0.9, 0.84, 0.8, 0.4]],
    "se2unet": [[0.5, 0.4, 0.3, 0.6, 0.7, 0.8]],
}


@pytest.fixture
def measured(write_run) -> list[System]:
    """Three systems with one or two seeds, the best first. No score is like another."""
    curve = {"angles": ANGLES, "ceiling": CEILING}
    runs = [
        write_run(
            f"{model}{seed}", model, seed, dice=dice, angles=ANGLES, equivariance={"curve": curve}
        )
        for model, seeds in DICE.items()
        for seed, dice in enumerate(seeds)
    ]
    (section,), _ = make_sections([read_run(folder) for folder in runs])
    assert [system.label for system in section.systems] == ["p4unet", "unet", "se2unet"]
    return section.systems


def dice_of(system: System) -> np.ndarray:
    """Of each image, as it was written."""
    return np.mean(DICE[system.label], axis=0)


def test_dice_figure_shows_the_dice_of_the_images(measured):
    figure = dice_figure(measured, "cvc", 0.55)
    axes = figure.axes[0]
    dice = [dice_of(system) for system in measured]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["p4unet", "unet", "se2unet"]
    assert axes.get_yticks().tolist() == [0, 1, 2]
    assert_boxes(axes, dice, [0, 1, 2], horizontal=True)
    means = [line for line in axes.lines if line.get_marker() == "D"]
    assert [line.get_ydata()[0] for line in means] == [0, 1, 2]
    assert [line.get_xdata()[0] for line in means] == pytest.approx([d.mean() for d in dice])
    written = [text for text in axes.texts if text.get_text() != "mean"]
    assert [text.get_position()[1] for text in written] == [0, 1, 2]
    assert [text.get_text() for text in written] == [f"{d.mean():.3f}" for d in dice]
    (threshold,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert list(threshold.get_xdata()) == [0.55, 0.55]
    assert "0.55: outliers lie below" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_curves_figure_shows_the_means_over_the_images(measured):
    figure = curves_figure(measured, "cvc")
    ceiling, *curves = figure.axes[0].lines
    assert list(ceiling.get_xdata()) == ANGLES
    assert list(ceiling.get_ydata()) == CEILING
    assert [curve.get_label() for curve in curves] == ["p4unet", "unet", "se2unet"]
    for curve, system in zip(curves, measured, strict=True):
        runs = [run.consistency for run in system.runs]
        assert list(curve.get_xdata()) == ANGLES
        assert curve.get_ydata() == pytest.approx(np.concatenate(runs).mean(axis=0))
    low, high = figure.axes[0].get_ylim()
    assert low < min(curve.get_ydata().min() for curve in curves)
    assert high > 1


@pytest.mark.parametrize("number", [1, 2])
def test_boxes_figure_shows_the_consistency_of_the_images(measured, number):
    shown = measured[1 : 1 + number]
    figure = boxes_figure(shown, "cvc")
    assert figure.get_suptitle() == "cvc"
    for axes, system in zip(figure.axes, shown, strict=True):
        consistency = np.mean([run.consistency for run in system.runs], axis=0)
        assert axes.get_title(loc="left") == system.label
        assert_boxes(axes, consistency.T, ANGLES)
        ceiling, mean = axes.lines[-2:]
        assert (ceiling.get_linestyle(), mean.get_linestyle()) == ("--", "-")
        assert list(ceiling.get_xdata()) == list(mean.get_xdata()) == ANGLES
        assert list(ceiling.get_ydata()) == CEILING
        assert mean.get_ydata() == pytest.approx(consistency.mean(axis=0))


def test_a_system_has_one_colour_in_all_figures(measured):
    curves = curves_figure(measured, "cvc").axes[0].lines[1:]
    colours = [curve.get_color() for curve in curves]
    assert len(set(colours)) == 3
    edges = [box.get_edgecolor() for box in dice_figure(measured, "cvc", 0.5).axes[0].patches]
    panels = boxes_figure(measured[:2], "cvc").axes
    assert all(map(same_color, edges, colours))
    for axes, colour in zip(panels, colours[:2], strict=True):
        assert all(same_color(box.get_edgecolor(), colour) for box in axes.patches)


def test_images_figure_shows_mean_dice_by_training_images(write_run):
    def system(name: str, images: int, dice: list[float]) -> System:
        path = write_run(f"{name}{images}", name, dice=dice, train=[f"t{i}" for i in range(images)])
        return System(name, [read_run(path)], style=("unet", "p4unet").index(name))

    few, many = [0.1, 0.5, 0.4, 0.3, 0.2, 0.9], [0.8, 0.9, 0.4, 0.6, 0.9, 0.95]
    lines = [
        [system("unet", 10, few), system("unet", 40, many)],
        [system("p4unet", 10, many), system("p4unet", 20, few), system("p4unet", 40, many)],
    ]
    figure = images_figure(lines, "cvc", list("abcdef"))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["unet", "p4unet"]
    for bars, images, dice in zip(
        axes.containers, ([10, 40], [10, 20, 40]), ([few, many], [many, few, many]), strict=True
    ):
        assert bars.lines[0].get_xdata() == pytest.approx(images, rel=0.02)  # beside each other
        assert bars.lines[0].get_ydata() == pytest.approx(np.mean(dice, axis=1))


@pytest.mark.parametrize(("units", "drawn"), [("abcdef", "images"), ("aaabbc", "groups")])
def test_intervals_by_training_images_draw_the_units(write_run, units, drawn):
    run = read_run(write_run("0"))
    axes = images_figure([[System("unet", [run])] * 2], "cvc", list(units)).axes[0]
    bars = axes.containers[0].lines[2][0].get_segments()
    assert bars[0][:, 1] == pytest.approx(summary(run.dice, units=list(units))["ci95"])
    assert axes.get_ylabel().endswith(f"over the {drawn}")
