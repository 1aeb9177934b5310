"""Figures show the numbers of the runs, and with many systems and long names nothing is covered."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color

from polyp.report.bootstrap import hierarchical_interval
from polyp.report.comparisons import compare_systems
from polyp.report.figures import (
    BAND_RESAMPLES,
    boxes_figure,
    curves_figure,
    dice_figure,
    images_figure,
)
from polyp.report.forest import _short, forest_figure
from polyp.report.sections import Section, make_sections
from polyp.report.systems import System
from polyp.style import WIDTH
from tests.figures import assert_boxes
from tests.report.runs import read_run

LONG = "steerable U-Net rotations=continuous widths=[8,16,32,64,128] frequencies_cutoff=null"
TITLE = "CVC-ClinicDB: random split by image or split by sequence, 6 test images, 64 px, padded"


def section_of(systems: list[System], units: str = "abcdef") -> Section:
    return Section(TITLE, "cvc", systems, [], list(units))


@pytest.fixture
def section(write_run):
    run = read_run(write_run("0", angles=range(0, 360, 10)))

    def make(number: int) -> Section:
        return section_of(
            [
                System(
                    f"{LONG} #{i}" if i % 2 else "plain U-Net",
                    [replace(run, scores=run.scores * 0.9**i)] * (1 + i % 2),
                    i,
                )
                for i in range(number)
            ]
        )

    return make


def texts(figure):
    """Boxes of all that is written beside the axes, by what it is."""
    axes = figure.axes[0]
    low, high = sorted(axes.get_ylim())
    shown = [text for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
    title = {} if figure._suptitle is None else {"title": figure._suptitle.get_window_extent()}
    return title | {
        "legend": figure.legends[0].get_window_extent(),
        **{f"plot{i}": panel.get_window_extent() for i, panel in enumerate(figure.axes)},
        **{f"y{i}": text.get_window_extent() for i, text in enumerate(shown)},
        **{
            f"text{i}": text.get_window_extent()
            for i, text in enumerate(figure.texts)
            if text is not figure._suptitle
        },
    }


@pytest.mark.parametrize("number", [1, 3, 10])
@pytest.mark.parametrize("draw", ["dice", "curves", "boxes", "images", "forest"])
def test_nothing_overlaps_or_leaves_the_figure(section, number, draw):
    shown = section(number)
    pairs = section(min(number + 1, 4))
    figure = {
        "dice": lambda: dice_figure(shown, 0.5),
        "curves": lambda: curves_figure(shown),
        "boxes": lambda: boxes_figure(shown.systems[-2:], TITLE),
        "images": lambda: images_figure([[system] * 2 for system in shown.systems], shown),
        "forest": lambda: forest_figure(
            [(TITLE, compare_systems([pairs], None, MEASURES, 0.5)[0])] * min(number, 3)
        ),
    }[draw]()
    FigureCanvasAgg(figure).draw()
    boxes = texts(figure)
    for name, box in boxes.items():
        others = [
            other
            for key, other in boxes.items()
            if key != name
            # The names in a forest plot are within its panels.
            and {name[:4], key[:4]} != {"text", "plot"}
        ]
        assert not any(box.overlaps(other) for other in others), name
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= figure.bbox.width, name
        assert box.y1 <= figure.bbox.height, name
    assert figure.get_figwidth() == WIDTH
    for label in figure.axes[0].get_xticklabels() + figure.axes[0].get_yticklabels():
        assert label.get_fontsize() * 3.5 / WIDTH >= 6  # points in a column of a paper


MEASURES = ["dice", "consistency_off_grid", "dice_on_turned"]


# --- what they show


ANGLES = [0.0, 45.0, 90.0, 135.0]
CEILING = [1.0, 0.97, 0.98, 0.96]
DICE = {
    "plain U-Net": [[0.95, 0.9, 0.86, 0.85, 0.7, 0.1], [0.9, 0.8, 0.6, 0.85, 0.75, 0.2]],
    "p4 U-Net": [[0.97, 0.9, 0.92, 0.8, 0.88, 0.3], [0.93, 0.96, 0.9, 0.84, 0.8, 0.4]],
    "SE(2) U-Net": [[0.5, 0.4, 0.3, 0.6, 0.7, 0.8]],
}


@pytest.fixture
def measured(write_run) -> Section:
    """Three systems with one or two seeds, the best first. No score is like another."""
    curve = {"angles": ANGLES, "ceiling": CEILING}
    models = {"plain U-Net": "unet", "p4 U-Net": "p4unet", "SE(2) U-Net": "se2unet"}
    runs = [
        write_run(
            f"{models[name]}{seed}",
            models[name],
            seed,
            dice=dice,
            angles=ANGLES,
            equivariance={"curve": curve},
        )
        for name, seeds in DICE.items()
        for seed, dice in enumerate(seeds)
    ]
    (section,), _ = make_sections([read_run(folder) for folder in runs])
    assert [system.label for system in section.systems] == LABELS
    return section


LABELS = ["p4 U-Net", "plain U-Net", "SE(2) U-Net"]


def dice_of(system: System) -> np.ndarray:
    """Of each image, as it was written."""
    return np.mean(DICE[system.label], axis=0)


def test_dice_figure_shows_the_dice_of_the_images(measured):
    figure = dice_figure(measured, 0.55)
    axes = figure.axes[0]
    dice = [dice_of(system) for system in measured.systems]
    assert [text.get_text() for text in axes.get_yticklabels()] == LABELS
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
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "outliers: Dice below 0.55" in legend


def test_curves_figure_shows_means_intervals_and_seeds(measured):
    figure = curves_figure(measured)
    axes = figure.axes[0]
    reference, *lines = axes.lines
    assert list(reference.get_xdata()) == ANGLES
    assert list(reference.get_ydata()) == CEILING
    curves = [line for line in lines if not line.get_label().startswith("_")]
    thin = [line for line in lines if line.get_label().startswith("_")]
    told = ["2 seeds", "2 seeds", "one run"]
    assert [curve.get_label() for curve in curves] == [
        f"{label}, {seeds}" for label, seeds in zip(LABELS, told, strict=True)
    ]
    runs = [run for system in measured.systems[:2] for run in system.runs]
    for line, run in zip(thin, runs, strict=True):  # that of one run is the curve
        assert line.get_ydata() == pytest.approx(run.consistency.mean().to_numpy())
    for curve, band, system in zip(curves, axes.collections, measured.systems, strict=True):
        values = np.stack([run.consistency for run in system.runs])
        assert list(curve.get_xdata()) == ANGLES
        assert curve.get_ydata() == pytest.approx(values.mean(axis=(0, 1)))
        vertices = band.get_paths()[0].vertices
        found = hierarchical_interval(values[:, :, 1], measured.units, resamples=BAND_RESAMPLES)
        at_angle = vertices[vertices[:, 0] == ANGLES[1], 1]
        assert (at_angle.min(), at_angle.max()) == pytest.approx((found.low, found.high))
        assert same_color(band.get_facecolor()[0][:3], curve.get_color())
    low, high = axes.get_ylim()
    assert low < min(line.get_ydata().min() for line in lines)
    assert high > 1


@pytest.mark.parametrize(
    ("angles", "exact", "shown"),
    [
        ([0, 45, 90, 135, 180, 225], True, [0, 45, 90]),
        ([0, 45, 90, 135, 180, 225], False, [0, 45, 90, 135, 180, 225]),
        ([0, 45, 90, 180, 270], False, [0, 45, 90]),  # as most runs are measured
        ([0, 90, 180], False, [0, 90, 180]),
    ],
)
def test_figures_show_one_quarter_turn_unless_a_network_needs_four(write_run, angles, exact, shown):
    run = read_run(write_run("0", angles=angles))
    if exact:
        run.consistency[[0.0, 90.0, 180.0]] = 1.0
    system = System("plain U-Net", [run])
    for figure in (curves_figure(section_of([system])), boxes_figure([system], TITLE)):
        assert list(figure.axes[0].lines[-1].get_xdata()) == shown


@pytest.mark.parametrize("number", [1, 2])
def test_boxes_figure_shows_the_consistency_of_the_images(measured, number):
    shown = measured.systems[1 : 1 + number]
    figure = boxes_figure(shown, TITLE)
    assert figure.get_suptitle().replace("\n", " ") == TITLE
    for axes, system in zip(figure.axes, shown, strict=True):
        consistency = np.mean([run.consistency for run in system.runs], axis=0)
        assert axes.get_title(loc="left") == system.label
        assert_boxes(axes, consistency.T, ANGLES)
        reference, mean = axes.lines[-2:]
        assert (reference.get_linestyle(), mean.get_linestyle()) == ("--", "-")
        assert list(reference.get_xdata()) == list(mean.get_xdata()) == ANGLES
        assert list(reference.get_ydata()) == CEILING
        assert mean.get_ydata() == pytest.approx(consistency.mean(axis=0))
        assert axes.get_ylim()[0] < consistency.min()


def test_a_system_has_one_colour_in_all_figures(measured):
    lines = curves_figure(measured).axes[0].lines[1:]
    colours = [line.get_color() for line in lines if not line.get_label().startswith("_")]
    assert len(set(colours)) == 3
    edges = [box.get_edgecolor() for box in dice_figure(measured, 0.5).axes[0].patches]
    panels = boxes_figure(measured.systems[:2], TITLE).axes
    assert all(map(same_color, edges, colours))
    for axes, colour in zip(panels, colours[:2], strict=True):
        assert all(same_color(box.get_edgecolor(), colour) for box in axes.patches)


@pytest.mark.parametrize("units", ["abcdef", "aaabbc"])
def test_images_figure_shows_mean_dice_by_training_images(write_run, units):
    def system(name: str, images: int, *dice: list[float]) -> System:
        train = [f"t{i}" for i in range(images)]
        runs = [
            read_run(write_run(f"{name}{images}-{seed}", name, seed, dice=d, train=train))
            for seed, d in enumerate(dice)
        ]
        return System(name, runs, style=("unet", "p4unet").index(name))

    few, many = [0.1, 0.5, 0.4, 0.3, 0.2, 0.9], [0.8, 0.9, 0.4, 0.6, 0.9, 0.95]
    lines = [
        [system("unet", 10, few), system("unet", 40, many, few)],
        [system("p4unet", 10, many), system("p4unet", 20, few), system("p4unet", 40, many)],
    ]
    figure = images_figure(lines, section_of([system for line in lines for system in line], units))
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10", "20", "40"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["unet", "p4unet"]
    for bars, line, images in zip(axes.containers, lines, ([10, 40], [10, 20, 40]), strict=True):
        found = [s.interval("dice", list(units)) for s in line]
        assert bars.lines[0].get_xdata() == pytest.approx(images, rel=0.02)  # beside each other
        means = [np.mean([run.dice for run in s.runs]) for s in line]
        assert bars.lines[0].get_ydata() == pytest.approx(means)
        ends = [segment[:, 1] for segment in bars.lines[2][0].get_segments()]
        assert ends == [pytest.approx((each.low, each.high)) for each in found]


def test_forest_figure_shows_each_difference_with_its_interval(measured, write_run):
    other, _ = make_sections([read_run(write_run(m, m, data="kvasir")) for m in ("unet", "p4unet")])
    pairs = [("p4 U-Net", "plain U-Net"), ("SE(2) U-Net", "plain U-Net")]
    measures = ["dice", "consistency_off_grid"]
    made = compare_systems([measured, *other], pairs, measures, 0.5)
    test_sets = list(zip(("CVC", "Kvasir"), made, strict=True))
    figure = forest_figure(test_sets)
    names = [text.get_text() for text in figure.texts]
    assert names == ["p4 U-Net − plain U-Net", "SE(2) U-Net − plain U-Net"]
    tops = [text.get_position()[1] for text in figure.texts]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["CVC", "Kvasir", "hollow: a system has one run"]
    for axes, measure in zip(figure.axes, measures, strict=True):
        bars = [line.get_xdata() for line in axes.lines[1::2]]
        marks = axes.lines[2::2]
        expected = [each for each in made[0] + made[1] if each.measure == measure]
        assert len(expected) == 3
        for bar, mark, each in zip(bars, marks, expected, strict=True):
            assert list(bar) == [each.estimate.low, each.estimate.high]
            assert list(mark.get_xdata()) == [each.estimate.difference]
            row = pairs.index((each.a.label, each.b.label))
            below = [top for top in tops if top < mark.get_ydata()[0]]
            assert len(below) == row + 1  # between its name and the next one
            assert (mark.get_markerfacecolor() == "white") == each.estimate.one_run
        colours = [mark.get_color() for mark in marks]
        assert colours[0] == colours[1] != colours[2]


def test_numbers_on_the_axis_of_the_forest_figure():
    values = (-0.2, 0.0, 0.05, 1.0, 10.5, -20.5)
    assert [_short(value) for value in values] == ["−.2", "0", ".05", "1", "10.5", "−20.5"]
