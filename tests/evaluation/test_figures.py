"""Figures show the numbers of the run, without warnings and without covering anything."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from polyp.evaluation import (
    Example,
    Sweep,
    Turned,
    equivariance_figure,
    overlay,
    predictions_figure,
)
from polyp.evaluation.figures import class_colours, rotation_error_figure
from polyp.style import SKY, VERMILLION, YELLOW
from tests.figures import assert_boxes


def draw(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def swept(ids, angles, dice, masks) -> Sweep:
    """A sweep of one class, with consistency and true masks there and back [images, angles]."""
    none = np.empty((len(ids), 0, 1))
    return Sweep(
        ids=ids,
        classes=["polyp"],
        angles=angles,
        dice=dice[..., None],
        dice_truth=1 - dice[..., None],
        masks=masks[..., None],
        logit_error=1 - dice,
        part_angles=[],
        image=none,
        corners=none,
    )


def fake_sweep(angles, images):
    """Consistency as of a p4 network: high at multiples of 90°, lowest between them."""
    shape = (images, len(angles))
    mean = 0.97 - 0.2 * np.abs(np.sin(2 * np.radians(angles)))
    dice = np.random.default_rng(0).beta(8 * mean, 8 * (1 - mean), size=shape)
    ids = [str(i) for i in range(images)]
    return swept(ids, [float(a) for a in angles], dice, np.full(shape, 0.99))


@pytest.mark.parametrize(
    "angles",
    [[30], [0, 45, 90], range(0, 360, 10), range(91), [180, 0, 2.5, 5, 45, 90]],
    ids=["1", "3", "36", "91", "uneven"],
)
@pytest.mark.parametrize("images", [1, 20])
def test_equivariance_figure(angles, images):
    figure = draw(equivariance_figure(fake_sweep(angles, images), "p4"))
    (axes,) = figure.axes
    assert axes.get_xlabel().startswith("rotation angle (degrees)")
    assert axes.get_ylabel() == "consistency: Dice of rotated mask\nand mask of rotated image"
    assert axes.get_ylim()[0] < 0.8
    for label in axes.get_xticklabels() + axes.get_yticklabels() + figure.legends[0].get_texts():
        assert label.get_fontsize() >= 12
    assert not figure.legends[0].get_window_extent().overlaps(axes.get_tightbbox())


def test_curves_follow_the_angles_also_when_those_are_unsorted():
    sweep = fake_sweep([90, 0, 45], 5)
    lines = equivariance_figure(sweep, "").axes[0].lines
    mean = next(line for line in lines if line.get_marker() == "o")
    assert mean.get_xdata().tolist() == [0, 45, 90]
    assert mean.get_ydata().tolist() == sweep.dice.mean(axis=(0, 2))[[1, 2, 0]].tolist()


def test_predictions_figure():
    generator = np.random.default_rng(0)

    def mask():
        return generator.random((1, 16, 16)) < 0.5

    def image():
        return generator.random((16, 16, 3))

    examples = [
        Example(
            label,
            f"frame {label}",
            image(),
            mask(),
            mask(),
            np.ones((16, 16), bool),
            0.5,
            [
                Turned(angle, image(), mask(), mask(), mask(), mask()[0], 0.25, 0.75)
                for angle in (90, 45)
            ],
        )
        for label in ("best", "median", "worst")
    ]
    figure = draw(predictions_figure(examples, "p4 on synthetic"))
    assert len(figure.axes) == 3 * 7
    assert [axes.get_ylabel() for axes in figure.axes[::7]] == [
        f"{label}: frame {label}" for label in ("best", "median", "worst")
    ]
    titles = [axes.get_title() for axes in figure.axes[:7]]
    assert titles[3:] == ["rotated by 90°", "masks at 90°", "rotated by 45°", "masks at 45°"]
    captions = [axes.get_xlabel() for axes in figure.axes[:7]]
    assert captions == ["", "", "Dice 0.500", "", "consistency 0.250", "", "consistency 0.250"]
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes += [figure.legends[0].get_window_extent()]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_overlay_tells_the_masks_apart_inside_the_region_only():
    found = np.array([[[1, 1, 0, 0, 1]]], dtype=bool)
    reference = np.array([[[1, 0, 1, 0, 1]]], dtype=bool)
    region = np.array([[1, 1, 1, 1, 0]], dtype=bool)
    both, extra, missed, background, outside = overlay(
        np.ones((1, 5, 3)), found, reference, region
    )[0]
    assert both.argmax() == 2  # blue
    assert extra[0] > 0.8 > 0.6 > extra[2]  # yellow: red and green
    assert extra[1] > 0.8 > 0.5 > missed[1]  # vermillion: red alone
    assert background.tolist() == [0.75] * 3
    assert outside.tolist() == pytest.approx([0.3] * 3)


# --- what they show


def test_equivariance_figure_shows_the_numbers_of_the_sweep():
    """Of unsorted angles, and with no two numbers alike."""
    generator = np.random.default_rng(0)
    dice, masks = generator.uniform(0.62, 1, size=(2, 7, 4))
    dice[0] = 0.01  # an outlier at each angle, too low to be drawn
    angles = [90.0, 0.0, 180.0, 45.0]
    dice[1, 3] = np.nan  # nothing found at 45°
    sweep = swept(list("abcdefg"), angles, dice, masks)
    figure = equivariance_figure(sweep, "p4 on synthetic")
    (axes,) = figure.axes
    order, shown = [1, 3, 0], [0, 45, 90]
    assert axes.get_title(loc="left") == "p4 on synthetic"
    defined = [column[~np.isnan(column)] for column in dice[:, order].T]
    assert_boxes(axes, defined, shown)
    dashed, mean = axes.lines[-2:]
    assert (dashed.get_linestyle(), mean.get_color()) == ("--", VERMILLION)
    assert list(dashed.get_xdata()) == list(mean.get_xdata()) == shown
    assert dashed.get_ydata() == pytest.approx(masks[:, order].mean(axis=0))
    assert mean.get_ydata() == pytest.approx([column.mean() for column in defined])
    entries = {
        text.get_text(): handle
        for text, handle in zip(figure.legends[0].get_texts(), handles(figure), strict=True)
    }
    assert list(entries) == [
        "mean",
        "quartiles of 7 test images",
        "true masks turned there and back",
    ]
    assert axes.get_xlabel().splitlines() == [
        "rotation angle (degrees)",
        f"mean at 180° {dice[:, 2].mean():.3f}; 1 of 21 values undefined; "
        "3 of 21 values below 0.6, not drawn",
    ]
    assert axes.get_ylim()[0] == pytest.approx(0.6 - 0.02 * 0.4)
    assert entries["mean"].get_color() == VERMILLION
    assert entries["true masks turned there and back"].get_linestyle() == "--"


def handles(figure):
    return figure.legends[0].legend_handles


def test_rotation_error_figure_shows_the_errors():
    errors = {"p4": [0.0, 0.4, 0.1], "SE(2,12)": [0.02, 0.2, 0.03]}
    figure = rotation_error_figure([0, 45, 90], errors)
    lines = figure.axes[0].lines
    assert {line.get_label(): list(line.get_ydata()) for line in lines} == errors
    assert all(list(line.get_xdata()) == [0, 45, 90] for line in lines)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(errors)


def test_predictions_figure_shows_the_images_and_masks_of_each_example():
    generator = np.random.default_rng(0)

    def mask():
        return generator.random((1, 8, 8)) < 0.5

    def image():
        return generator.random((8, 8, 3))

    def turned(angle, dice):
        return Turned(angle, image(), mask(), mask(), mask(), mask()[0], dice, 0.75)

    examples = [
        Example(
            "best", "7", image(), mask(), mask(), mask()[0], 0.9, [turned(90, 0.8), turned(45, 0.7)]
        ),
        Example(
            "worst",
            "7",
            image(),
            mask(),
            mask(),
            mask()[0],
            0.6,
            [turned(90, 0.5), turned(45, 0.4)],
        ),
    ]
    figure = predictions_figure(examples, "p4 on synthetic")
    assert figure.get_suptitle() == "p4 on synthetic"
    rows = [figure.axes[:7], figure.axes[7:]]
    titles = [axes.get_title() for axes in rows[0]]
    assert titles[:5] == ["image", "truth", "prediction", "rotated by 90°", "masks at 90°"]
    captions = [[axes.get_xlabel() for axes in row] for row in rows]
    assert captions[0] == ["", "", "Dice 0.900", "", "consistency 0.800", "", "consistency 0.700"]
    assert captions[1] == ["", "", "Dice 0.600", "", "consistency 0.500", "", "consistency 0.400"]
    for row, example in zip(rows, examples, strict=True):
        expected = [
            example.image,
            np.stack([example.truth[0]] * 3, axis=-1),
            overlay(example.image, example.prediction, example.truth, example.valid),
        ]
        for t in example.turned:
            expected += [t.image, overlay(t.image, t.found, t.rotated, t.region)]
        for axes, picture in zip(row, expected, strict=True):
            assert np.array_equal(axes.images[0].get_array(), picture)
    colours = {
        text.get_text(): handle.get_facecolor()
        for text, handle in zip(figure.legends[0].get_texts(), handles(figure), strict=True)
    }
    assert {text.split(" or ")[0]: to_hex(colour).upper() for text, colour in colours.items()} == {
        "in both masks": SKY,
        "only in the prediction": YELLOW,
        "only in the truth": VERMILLION,
    }


def test_classes_have_colours_of_their_own_in_the_truth():
    truth = np.zeros((2, 4, 4), bool)
    truth[0, 0], truth[1, 1] = True, True
    blank = np.zeros((4, 4, 3))
    turned = Turned(90, blank, truth, truth, truth, truth[0], 1.0, 1.0)
    example = Example("best", "a", blank, truth, truth, truth[0], 1.0, [turned])
    picture = predictions_figure([example], "").axes[1].images[0].get_array()
    assert [tuple(picture[row, 0]) for row in (0, 1)] == class_colours(2)
    assert (picture[2:] == 0).all()


def test_a_class_found_in_place_of_another_is_wrong():
    found, reference = np.array([[[True]], [[False]]]), np.array([[[False]], [[True]]])
    (pixel,) = overlay(np.zeros((1, 1, 3)), found, reference, np.array([[True]]))[0]
    assert to_hex(pixel / pixel.max()).upper() == to_hex(np.array([240, 228, 66]) / 240).upper()
