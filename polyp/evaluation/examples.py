"""Single test images with their masks, upright and turned, for figures and the viewer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from polyp.evaluation.inference import evaluation_mode, to_device
from polyp.evaluation.scores import dice
from polyp.evaluation.sweep import consistency
from polyp.geometry import disc, rotate_image, rotate_mask
from polyp.tasks import Task

PICTURED_ANGLES = (90, 45)


@dataclass(frozen=True)
class Turned:
    """One image x, turned by the rotation R. f(x) is the mask of the network, t the true one.

    Attributes:
        angle: in degrees, counter-clockwise.
        image: R x, float [S, S, 3] in [0, 1].
        rotated: R f(x), bool [K, S, S] of K classes.
        found: f(R x), the same shape.
        truth: R t, the same shape.
        region: bool [S, S], where masks are compared: the inscribed disc without padding.
        consistency: Dice(R f(x), f(R x)) in the region, the mean over classes; nan if undefined.
        dice: Dice(f(R x), R t) in the region, the mean over classes.
    """

    angle: float
    image: np.ndarray
    rotated: np.ndarray
    found: np.ndarray
    truth: np.ndarray
    region: np.ndarray
    consistency: float
    dice: float


@dataclass(frozen=True)
class Example:
    """One test image with its masks.

    Attributes:
        label: why it was chosen, such as "best".
        id: of the image.
        image: float [S, S, 3] in [0, 1].
        truth, prediction: bool [K, S, S] of K classes.
        valid: bool [S, S], false on padding.
        dice: Dice(prediction, truth), the mean over classes.
        turned: the same image, turned.
    """

    label: str
    id: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    valid: np.ndarray
    dice: float
    turned: list[Turned]


def extremes(scores: pd.Series) -> dict[str, str]:
    """Ids of the "best", "median" and "worst" image.

    scores: a score per image, indexed by id; of equal scores the first counts.
    """
    ranked = list(scores.sort_values(ascending=False, kind="stable").index)
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}


def examples(
    model: nn.Module,
    task: Task,
    batches: Iterable[dict],
    chosen: Mapping[str, str],
    device: torch.device | str,
    angles: Sequence[float] = PICTURED_ANGLES,
) -> list[Example]:
    """Masks of some test images, upright and at each angle.

    Args:
        model, task, batches, device: as in `evaluate`. The batches are read again.
        chosen: image ids by label, such as {"best": "frame7"}.
        angles: in degrees, counter-clockwise.
    """
    found = {}
    for batch in batches:
        for position, image in enumerate(batch["id"]):
            if image in chosen.values():
                found[image] = {key: value[position : position + 1] for key, value in batch.items()}
        if found.keys() == set(chosen.values()):
            break
    with evaluation_mode(model):
        return [
            _example(model, task, label, to_device(found[image], device), angles)
            for label, image in chosen.items()
        ]


def _example(
    model: nn.Module, task: Task, label: str, batch: dict, angles: Sequence[float]
) -> Example:
    """Of an image that is given as a batch of one."""
    image, truth, valid = batch["image"], task.one_hot(batch["mask"]), batch["valid"]
    prediction = task.masks(model(image))
    return Example(
        label=label,
        id=batch["id"][0],
        image=_picture(image),
        truth=_classes(truth),
        prediction=_classes(prediction),
        valid=_classes(valid)[0],
        dice=dice(prediction, truth, valid).mean().item(),
        turned=[_turned(model, task, image, truth, valid, prediction, angle) for angle in angles],
    )


def _turned(
    model: nn.Module,
    task: Task,
    image: Tensor,
    truth: Tensor,
    valid: Tensor,
    prediction: Tensor,
    angle: float,
) -> Turned:
    turned_image = rotate_image(image, angle)
    found = task.masks(model(turned_image))
    rotated, turned_truth = rotate_mask(prediction, angle), rotate_mask(truth, angle)
    region = disc(image.shape[-1], image.device) & rotate_mask(valid, angle)
    return Turned(
        angle=angle,
        image=_picture(turned_image),
        rotated=_classes(rotated),
        found=_classes(found),
        truth=_classes(turned_truth),
        region=_classes(region)[0],
        consistency=consistency(rotated, found, region).nanmean().item(),
        dice=dice(found, turned_truth, region).mean().item(),
    )


def _picture(image: Tensor) -> np.ndarray:
    """[1, C, S, S] as an array [S, S, 3]: in colour where there are three channels, else the first
    one in grey."""
    channels = image[0] if image.shape[1] == 3 else image[0, :1].expand(3, -1, -1)
    return channels.permute(1, 2, 0).cpu().numpy()


def _classes(masks: Tensor) -> np.ndarray:
    """[1, K, S, S] as an array [K, S, S]."""
    return masks[0].cpu().numpy()
