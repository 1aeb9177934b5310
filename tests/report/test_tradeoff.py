"""The trade-off figure shows the numbers of systems.csv, and no label covers anything."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import same_color
from matplotlib.text import Text

from polyp.evaluation.sweep import off_grid
from polyp.report.figures import colour_of
from polyp.report.run import Run
from polyp.report.sections import Section, make_sections
from polyp.report.systems import System
from polyp.report.tables import systems_table
from polyp.report.tradeoff import LARGEST, RUN, UNKNOWN, key_sizes, tradeoff_figure
from polyp.style import WIDTH
from tests.report.runs import read_run

ANGLES = (0, 30, 60, 90)
MODELS = {"p4unet": (0.9, 0.85), "unet": (0.8, 0.7, 0.75), "se2unet": (0.5,)}
SECONDS = {"p4unet": 40.0, "unet": 10.0, "se2unet": 160.0}


@pytest.fixture
def section(write_run) -> Section:
    """Three systems with two, three and one run, whose trainings take 40, 10 and 160 seconds."""
    runs = []
    for model, seeds in MODELS.items():
        for seed, dice in enumerate(seeds):
            values = np.linspace(dice - 0.1, dice + 0.1, 6)
            run = read_run(write_run(f"{model}{seed}", model, seed, dice=values, angles=ANGLES))
            runs.append(replace(run, training_seconds=SECONDS[model] + seed))
    (section,), left_out = make_sections(runs)
    assert not left_out
    return section


def records(section: Section) -> list[dict]:
    """The rows of systems.csv, those that take longest first: as points are drawn."""
    text = systems_table(section, 0.5).files("systems")["systems.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    return sorted(rows, key=lambda row: -float(row["seconds_per_image"] or 0))


def scatters(figure) -> list[PathCollection]:
    return [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]


def points(figure) -> list[PathCollection]:
    """Those of the systems; those of single runs are smaller."""
    return [each for each in scatters(figure) if len(each.get_offsets()) == 1]


def test_points_and_areas_are_those_of_systems_csv(section):
    figure, rows = tradeoff_figure(section), records(section)
    drawn = points(figure)
    at = [point.get_offsets()[0].tolist() for point in drawn]
    assert at == [
        pytest.approx([float(row["consistency_off_grid"]), float(row["dice"])]) for row in rows
    ]
    seconds = np.array([float(row["seconds_per_image"]) for row in rows])
    # 10 epochs of 2 images; the mean over the seeds.
    assert seconds == pytest.approx(np.array([160, 40.5, 11]) / 20)
    areas = np.array([point.get_sizes()[0] for point in drawn]) * math.pi / 4
    assert areas == pytest.approx(LARGEST * seconds / seconds.max())


def test_lines_are_the_intervals_of_systems_csv(section):
    lines = [line.get_xydata() for line in tradeoff_figure(section).axes[0].lines]
    for row, across, up in zip(records(section), lines[::2], lines[1::2], strict=True):
        x, y = float(row["consistency_off_grid"]), float(row["dice"])
        ends = {f"{n}{e}": float(row[f"{n}{e}"]) for n in X_AND_Y for e in ("_low", "_high")}
        assert across.ravel() == pytest.approx(
            [ends["consistency_off_grid_low"], y, ends["consistency_off_grid_high"], y]
        )
        assert up.ravel() == pytest.approx([x, ends["dice_low"], x, ends["dice_high"]])


X_AND_Y = ("consistency_off_grid", "dice")


def of_run(run: Run) -> list[float]:
    consistency = run.consistency.loc[:, off_grid(run.angles)].to_numpy()
    return [consistency.mean(), run.dice.mean()]


def test_small_points_are_the_runs_of_systems_that_have_several(section):
    small = [each for each in scatters(tradeoff_figure(section)) if len(each.get_offsets()) > 1]
    systems = [section.systems[0], section.systems[1]]
    assert [len(system.runs) for system in systems] == [2, 3]
    for drawn, system in zip(small, systems, strict=True):
        assert np.array(drawn.get_offsets()) == pytest.approx(
            np.array([of_run(run) for run in system.runs])
        )
        assert drawn.get_sizes() == [RUN]
        assert same_color(drawn.get_facecolor()[0][:3], colour_of(system))


def test_folds_are_small_points_too(write_run):
    images = {1: ["a", "b", "c"], 2: ["d", "e"]}
    runs = [
        read_run(
            write_run(
                f"{number}",
                test=test,
                angles=ANGLES,
                split=f"fold {number}/2",
                config={"data.fold": f"{number}/2"},
                epochs=number,
            )
        )
        for number, test in images.items()
    ]
    (section,), _ = make_sections(runs)
    figure = tradeoff_figure(section)
    (small,) = [each for each in scatters(figure) if len(each.get_offsets()) > 1]
    assert np.array(small.get_offsets()) == pytest.approx(np.array([of_run(run) for run in runs]))
    assert "single training" in legend(figure)
    (row,) = records(section)
    assert float(row["seconds_per_image"]) == (60 / 2 + 60 / 4) / 2  # one epoch, and two


def legend(figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts() if text.get_text().strip()]


def test_colours_are_those_of_the_other_figures_and_one_run_is_hollow(section):
    systems = {system.label: system for system in section.systems}
    figure = tradeoff_figure(section)
    for row, point in zip(records(section), points(figure), strict=True):
        system = systems[row["system"]]
        assert same_color(point.get_edgecolor()[0], colour_of(system))
        hollow = same_color(point.get_facecolor()[0], "white")
        assert hollow == (len(system.runs) == 1)
    assert {"hollow: one run", "single run", "95 % interval"} < set(legend(figure))


def test_the_key_has_the_areas_of_round_times(section):
    figure = tradeoff_figure(section)
    (found,) = figure.legends
    assert found.get_title().get_text() == "area: training time per image, validation included"
    names = [text.get_text() for text in found.get_texts()]
    handles = dict(zip(names, found.legend_handles, strict=True))
    for name, seconds in {"500 ms": 0.5, "2 s": 2.0, "5 s": 5.0}.items():
        area = math.pi / 4 * handles[name].get_markersize() ** 2
        assert area == pytest.approx(LARGEST * seconds / 8)


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        ([0.03, 0.25], [0.02, 0.05, 0.2]),
        ([0.2], [0.2]),
        ([0.001, 1.0], [0.001, 0.02, 1.0]),
        ([2.1, 4.9], [2.0]),
        ([], []),
    ],
)
def test_key_sizes(seconds, sizes):
    assert key_sizes(seconds) == pytest.approx(sizes)


def test_a_system_of_unknown_time_is_a_square(section):
    first, *others = section.systems
    unknown = replace(first, runs=[replace(run, epochs=None) for run in first.runs])
    changed = replace(section, systems=[unknown, *others])
    assert records(changed)[-1]["seconds_per_image"] == ""
    figure = tradeoff_figure(changed)
    assert points(figure)[-1].get_sizes() == [UNKNOWN]
    assert "time not known" in legend(figure)
    all_unknown = tradeoff_figure(replace(section, systems=[unknown]))
    assert all_unknown.legends[0].get_title().get_text() == ""


def test_no_figure_without_a_consistency_off_the_grid(write_run):
    (section,), _ = make_sections([read_run(write_run("0", angles=[0, 90]))])
    assert tradeoff_figure(section) is None


def test_an_epoch_of_a_fraction_has_as_many_images(write_run):
    """They are repeated, so the time of an image does not depend on the fraction."""
    whole = read_run(write_run("0", train=[f"t{n}" for n in range(8)]))
    part = read_run(write_run("1", train=["t0", "t1"], config={"data.train_fraction": 0.25}))
    assert whole.seconds_per_image == part.seconds_per_image == 60 / (10 * 8)


# --- labels

LONG = "steerable U-Net rotations=continuous widths=[8,16,32,64,128]"


def crowd(write_run, number: int, spread: float) -> Section:
    run = read_run(write_run("0", angles=ANGLES))
    generator = np.random.default_rng(0)

    def near(values):
        return values + spread * generator.uniform(-1, 1)

    systems = [
        System(
            f"{LONG} #{i}" if i % 3 == 2 else f"plain U-Net {i}",
            [
                replace(
                    run,
                    scores=run.scores.assign(dice=near(run.scores["dice"])),
                    consistency=near(run.consistency),
                    training_seconds=60.0 * 1.5**i,
                )
            ],
            i,
        )
        for i in range(number)
    ]
    return Section("CVC-ClinicDB: random split by image", "cvc", systems, [], list("abcdef"))


def rim(axes, box, point) -> float:
    """Pixels from a box to the rim of a point, below 0 where it covers it."""
    x, y = axes.transData.transform(point.get_offsets()[0])
    radius = math.sqrt(point.get_sizes()[0]) / 2 * axes.figure.dpi / 72
    gap = math.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))
    return gap - radius


@pytest.mark.parametrize("number", [1, 3, 6, 10])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.2])
def test_no_label_covers_a_label_a_point_or_leaves_the_axes(write_run, number, spread):
    section = crowd(write_run, number, spread)
    figure = tradeoff_figure(section)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    frame = axes.get_window_extent()
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line to the point
    assert sorted(text.get_text().replace("\n", " ") for text in axes.texts) == sorted(
        system.label for system in section.systems
    )
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert frame.y0 <= box.y0
        assert box.y1 <= frame.y1
        for point in points(figure):
            assert rim(axes, box, point) >= 0


def test_no_line_crosses_the_label_of_another_point(write_run):
    figure = tradeoff_figure(crowd(write_run, 6, 0.02))
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    lines = 0
    for i, text in enumerate(axes.texts):
        if text.arrow_patch is None:
            continue
        lines += 1
        start, end = axes.transData.transform(text.xy), np.mean(boxes[i].get_points(), axis=0)
        for share in np.linspace(0, 1, 100):
            x, y = start + share * (end - start)
            assert not any(box.contains(x, y) for j, box in enumerate(boxes) if j != i)
    assert lines


def test_a_label_is_nearer_to_its_point_than_to_others_or_has_a_line_to_it(write_run):
    figure = tradeoff_figure(crowd(write_run, 6, 0.2))
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    at = {tuple(point.get_offsets()[0]) for point in points(figure)}
    assert {text.xy for text in axes.texts} == at
    for text in axes.texts:
        box = Text.get_window_extent(text)
        gaps = {tuple(point.get_offsets()[0]): rim(axes, box, point) for point in points(figure)}
        assert text.arrow_patch is not None or min(gaps, key=gaps.get) == text.xy


def test_it_is_legible_as_a_column(section):
    figure = tradeoff_figure(section)
    FigureCanvasAgg(figure).draw()
    assert figure.get_figwidth() == WIDTH
    texts = [*figure.axes[0].texts, *figure.axes[0].get_xticklabels(), *figure.legends[0].texts]
    assert all(text.get_fontsize() * 3.5 / WIDTH >= 6 for text in texts)
    whole = figure.bbox
    box = figure.legends[0].get_window_extent()
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1
    assert not box.overlaps(figure.axes[0].get_tightbbox())
