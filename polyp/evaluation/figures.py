"""The figures of a run. Each function takes results and returns a matplotlib Figure."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from polyp.evaluation.examples import Example
from polyp.evaluation.scores import defined_mean, defined_means
from polyp.evaluation.sweep import Sweep
from polyp.style import (
    BLUE,
    GREEN,
    GRID,
    ORANGE,
    OUTLIERS,
    PINK,
    REFERENCE_LINE,
    SKY,
    STYLE,
    VERMILLION,
    YELLOW,
)

# Colours of pixels in both masks, only in the predicted mask, only in the reference mask.
DIFFERENCES = (SKY, YELLOW, VERMILLION)


def equivariance_figure(sweep: Sweep, title: str, has_truth: bool = True) -> Figure:
    """Consistency against the rotation angle: a box per angle, the means, and the upper bound: the
    true masks turned there and back.

    If the other angles are within a quarter turn, multiples of 90° beyond 90° are not drawn but
    given below the axes. Without true masks (`has_truth`) there is no upper bound.
    """
    order = np.argsort(sweep.angles)
    angles = np.array(sweep.angles)[order]
    dice, masks = defined_means(sweep.dice)[:, order], defined_means(sweep.masks)[:, order]
    within = angles <= 90
    noted = {}
    if (angles[~within] % 90 == 0).all() and within.sum() > 1:
        noted = {f"{angle:g}°": dice[:, angles == angle] for angle in angles[~within]}
        angles, dice, masks = angles[within], dice[:, within], masks[:, within]
    span = max(np.ptp(angles), 10.0)
    # Boxes side by side, but no hairlines where two angles are close, and no slabs where few are.
    width = np.clip(0.6 * np.diff(angles, append=np.inf).min(), 0.006 * span, 0.03 * span)

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 6))
        axes = figure.add_subplot()
        boxes = axes.boxplot(
            [column[~np.isnan(column)] for column in dice.T],
            positions=angles,
            widths=width,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": "#CFE6F5", "edgecolor": SKY},
            medianprops={"color": BLUE, "linewidth": 1.5},
            whiskerprops={"color": SKY},
            capprops={"color": SKY},
            flierprops=OUTLIERS,
        )
        if has_truth:
            axes.plot(angles, defined_means(masks.T), **REFERENCE_LINE)
        means = defined_means(dice.T)
        axes.plot(
            angles,
            means,
            color=VERMILLION,
            linewidth=2.2,
            marker="o",
            markersize=5 if len(angles) <= 40 else 3,
        )
        axes.set_title(title, loc="left")
        axes.set_ylabel("consistency: Dice of rotated mask\nand mask of rotated image")
        axes.set_xlim(angles[0] - width, angles[-1] + width)
        whiskers = [value for line in boxes["whiskers"] for value in line.get_ydata()]
        lowest = _axis_start([*whiskers, *means, *defined_means(masks.T)])
        axes.set_ylim(lowest - 0.02 * (1 - lowest), 1 + 0.02 * (1 - lowest))
        notes = _notes(dice, noted, lowest)
        axes.set_xlabel("\n".join(["rotation angle (degrees)", *filter(None, [notes])]))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=13, steps=[1, 1.5, 3, 4.5, 10]))
        axes.yaxis.set_major_locator(MultipleLocator(0.2 if lowest < 0.5 else 0.1))
        axes.tick_params(labelsize=STYLE["font.size"])
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        images = len(sweep.ids)
        entries: list[Artist] = [
            Line2D([], [], color=VERMILLION, linewidth=2.2, marker="o", label="mean"),
            Patch(
                facecolor="#CFE6F5",
                edgecolor=SKY,
                label=f"quartiles of {images} test image{'s' if images > 1 else ''}",
            ),
        ]
        if has_truth:
            limit = Line2D([], [], **REFERENCE_LINE, label="true masks turned there and back")
            entries.append(limit)
        # Below the axes, where it cannot cover a box.
        figure.legend(handles=entries, loc="outside lower center", ncols=3)
    return figure


def _notes(dice: np.ndarray, noted: dict[str, np.ndarray], lowest: float) -> str:
    """Notes on what the axes do not show: other angles, and values that are not drawn.

    dice: the consistencies that are drawn; noted: those of other angles, by angle; lowest: the
    start of the axis.
    """
    means = {name: defined_mean(values) for name, values in noted.items()}
    words = [f"{n} undefined" if mean is None else f"{n} {mean:.3f}" for n, mean in means.items()]
    notes = [f"mean at {', '.join(words)}"] if words else []
    counts = {
        "undefined": np.isnan(dice).sum(),
        f"below {lowest:g}, not drawn": (dice < lowest).sum(),
    }
    notes += [f"{n} of {dice.size} values {what}" for what, n in counts.items() if n]
    return "; ".join(notes)


def _axis_start(values: Sequence[float]) -> float:
    """The tenth at or below the lowest value, at most 0.8, so that the boxes fill the axes."""
    return min(0.8, np.floor(10 * np.nanmin(values) + 1e-9) / 10)


def rotation_error_figure(angles: Sequence[float], errors: dict[str, Sequence[float]]) -> Figure:
    """Relative equivariance error against the rotation angle, a curve per layer family."""
    colours = ("black", ORANGE, SKY, BLUE, VERMILLION, GREEN)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 6))
        axes = figure.add_subplot()
        for index, (name, values) in enumerate(errors.items()):
            axes.plot(
                angles,
                values,
                color=colours[index % len(colours)],
                linestyle="-" if index < len(colours) else "--",
                linewidth=2.2,
                marker="o",
                label=name,
            )
        axes.set_title("Random networks of four layers, rotated images", loc="left")
        axes.set_xlabel("rotation angle (degrees)")
        axes.set_ylabel("relative equivariance error")
        axes.xaxis.set_major_locator(MultipleLocator(15))
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=GRID)
        figure.legend(loc="outside right center")
    return figure


def predictions_figure(examples: Sequence[Example], title: str) -> Figure:
    """A row per example: image, truth and prediction, then each rotation with its two masks."""
    rows, columns = len(examples), 3 + 2 * len(examples[0].turned)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.8 + 2.5 * columns, 1.7 + 2.75 * rows))
        grid = figure.subplots(rows, columns, squeeze=False)
        for row, example in zip(grid, examples, strict=True):
            panels = [
                ("image", example.image, ""),
                ("truth", _in_colours(example.truth), ""),
                (
                    "prediction",
                    overlay(example.image, example.prediction, example.truth, example.valid),
                    f"Dice {example.dice:.3f}",
                ),
            ]
            for turned in example.turned:
                masks = overlay(turned.image, turned.found, turned.rotated, turned.region)
                panels += [
                    (f"rotated by {turned.angle:g}°", turned.image, ""),
                    (f"masks at {turned.angle:g}°", masks, _consistency_text(turned.consistency)),
                ]
            for axes, (name, picture, caption) in zip(row, panels, strict=True):
                axes.imshow(picture)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.spines[:].set_visible(False)
                axes.set_xlabel(caption)
                if axes in grid[0]:
                    axes.set_title(name)
            row[0].set_ylabel(f"{example.label}: {shortened(example.id)}")
        figure.suptitle(title)
        figure.legend(
            handles=[
                Patch(color=SKY, label="in both masks"),
                Patch(color=YELLOW, label="only in the prediction or mask of the rotated image"),
                Patch(color=VERMILLION, label="only in the truth or rotated mask"),
            ],
            loc="outside lower center",
            ncols=3,
        )
    return figure


def _consistency_text(consistency: float) -> str:
    return "consistency undefined" if np.isnan(consistency) else f"consistency {consistency:.3f}"


def shortened(id: str, most: int = 20) -> str:
    """An image's id for a label; a long id is cut."""
    return id if len(id) <= most else id[: most - 1] + "…"


def _in_colours(masks: np.ndarray) -> np.ndarray:
    """Masks bool [K,S,S] as a picture float [S,S,3]: white, or a colour per class if several."""
    picture = np.zeros((*masks.shape[1:], 3))
    colours = class_colours(len(masks)) if len(masks) > 1 else [(1.0, 1.0, 1.0)]
    for mask, colour in zip(masks, colours, strict=True):
        picture[mask] = colour
    return picture


def class_colours(count: int) -> list[tuple[float, float, float]]:
    """A colour in [0,1] per foreground class, for label maps and overlays."""
    colours = (SKY, ORANGE, GREEN, PINK, VERMILLION, BLUE, YELLOW)
    return [to_rgb(colours[index % len(colours)]) for index in range(count)]


def overlay(
    image: np.ndarray, found: np.ndarray, reference: np.ndarray, region: np.ndarray
) -> np.ndarray:
    """The image in grey with two masks in colour, and darker where they are not compared.

    image: float [H,W,3] in [0,1]; found, reference: bool [K,H,W]; region: bool [H,W]. Returns float
    [H,W,3]: blue in both masks of a class, yellow only in found, vermillion only in the reference.
    """
    grey = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    picture = np.where(region[..., None], 0.75, 0.3) * grey
    which = differences(found, reference, region)
    for value, colour in enumerate(DIFFERENCES, start=1):
        mask = which == value
        picture[mask] = 0.15 * picture[mask] + 0.85 * np.array(to_rgb(colour))
    return picture


def differences(found: np.ndarray, reference: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Where two masks differ, uint8 [H,W]: 1 in both masks of a class, 2 only in found, 3 only in
    the reference, 0 in neither and outside the region. Shapes as in `overlay`."""
    both, either = (found & reference).any(axis=0), found.any(axis=0)
    only_reference = reference.any(axis=0) & ~either
    which = np.select([both, either, only_reference], [1, 2, 3], 0)
    return (which * region).astype(np.uint8)
