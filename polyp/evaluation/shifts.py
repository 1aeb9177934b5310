"""Shift consistency: do the masks move with the image?

Convolutions are equivariant under shifts by whole pixels, pooling is not: R. Zhang, Making
Convolutional Networks Shift-Invariant Again, ICML 2019. EQ-T of T. Karras et al., Alias-Free
Generative Adversarial Networks, NeurIPS 2021, is the same question about generated images.

The image lies on a larger canvas of zeros, two strides wide on each side: nothing is lost or
wrapped when it moves, and it stays a stride away from the border. A shift by the network's stride
is the control: pooling is aligned there, so what is still lost has another cause, as the zero
padding at the border of the canvas, which a network sees from as far as its kernels reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from polyp.evaluation.scores import defined_mean, image_means
from polyp.evaluation.sweep import consistency
from polyp.geometry import shift
from polyp.tasks import Task

Shift = tuple[float, float]  # rows down, columns right, in pixels


def sampled_shifts(stride: int) -> list[Shift]:
    """The fixed sample of shifts for a network that halves the image log₂(stride) times.

    One pixel down; about a third of the stride up and two thirds to the right, in whole pixels;
    half a pixel in both directions; and the stride itself, the control.
    """
    third = max(1, round(stride / 3))
    two_thirds = max(1, round(2 * stride / 3))
    return [
        (1.0, 0.0),
        (-float(third), float(two_thirds)),
        (0.5, 0.5),
        (float(stride), float(stride)),
    ]


@dataclass(frozen=True)
class Shifts:
    """Consistency of every image under every shift, Dice(T f(x), f(T x)).

    Attributes:
        ids: of the images.
        shifts: (rows, columns), in pixels.
        stride: of the network: whole multiples of it do not disturb pooling.
        dice: float64 [images, shifts, classes]; nan where both masks are empty, or both full, and
            at images that were not measured.
    """

    ids: list[str]
    shifts: list[Shift]
    stride: int
    dice: np.ndarray

    @classmethod
    def join(cls, batches: Sequence["Shifts"]) -> "Shifts":
        """One from those of several batches."""
        ids = [image for batch in batches for image in batch.ids]
        dice = np.concatenate([batch.dice for batch in batches])
        return cls(ids, batches[0].shifts, batches[0].stride, dice)

    def summary(self) -> dict:
        """Means over the images, each of them the mean over its classes and shifts.

        images: how many were measured and are defined. mean: over all shifts but the control.
        one_pixel, half_pixel, control: over those shifts alone. curve: the mean of each shift.
        """
        kinds = {
            "mean": [not self._is_control(each) for each in self.shifts],
            "one_pixel": [max(map(abs, each)) == 1 for each in self.shifts],
            "half_pixel": [any(pixels % 1 for pixels in each) for each in self.shifts],
            "control": [self._is_control(each) for each in self.shifts],
        }
        return {
            "images": int((~np.isnan(self.dice)).any(axis=(1, 2)).sum()),
            **{name: self._mean(chosen) for name, chosen in kinds.items()},
            "curve": {
                "shifts": [list(each) for each in self.shifts],
                "dice": [self._mean([index]) for index in range(len(self.shifts))],
            },
        }

    def _mean(self, shifts: list[bool] | list[int]) -> float | None:
        return defined_mean(image_means(self.dice[:, shifts]))

    def _is_control(self, each: Shift) -> bool:
        return all(pixels % self.stride == 0 for pixels in each)


def shift_batch(
    model: nn.Module,
    task: Task,
    batch: dict[str, Any],
    stride: int,
    shifts: Sequence[Shift],
    sample: Sequence[int] | None = None,
) -> Shifts:
    """The shift consistency of one batch.

    To be called within `evaluation_mode(model)`, with a batch from `to_device`.

    Args:
        stride: the network takes sizes that are multiples of it.
        shifts: none is longer than the stride.
        sample: the positions of the images to measure; None: all.
    """
    ids = list(batch["id"])
    sample = list(range(len(ids)) if sample is None else sample)
    dice = np.full((len(ids), len(shifts), len(task.foreground)), np.nan)
    if sample:
        dice[sample] = _consistencies(
            model, task, batch["image"][sample], batch["valid"][sample], stride, shifts
        )
    return Shifts(ids, list(shifts), stride, dice)


def _consistencies(
    model: nn.Module,
    task: Task,
    image: Tensor,
    valid: Tensor,
    stride: int,
    shifts: Sequence[Shift],
) -> np.ndarray:
    """Float64 [images, shifts, classes]."""
    margins = [2 * stride] * 4
    canvas, valid = functional.pad(image, margins), functional.pad(valid, margins)
    masks = task.masks(model(canvas))
    found = []
    for rows, columns in shifts:
        moved = model(shift(canvas, rows, columns).clamp(0, 1))
        both = torch.cat([masks, valid], dim=1).float()
        both = shift(both, rows, columns, "bilinear") >= 0.5
        found.append(consistency(both[:, :-1], task.masks(moved), both[:, -1:]))
    return torch.stack(found, dim=1).numpy()
