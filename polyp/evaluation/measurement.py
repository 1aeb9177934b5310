"""Measures the equivariance of any network, also outside of this package's runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor, nn

from polyp.evaluation.figures import equivariance_figure
from polyp.evaluation.inference import evaluation_mode, to_device
from polyp.evaluation.scores import defined_means
from polyp.evaluation.shifts import Shifts, sampled_shifts, shift_batch
from polyp.evaluation.sweep import Sweep, check_angles, sweep_batch
from polyp.tasks import Binary, Task

QUARTER_TURN = tuple(range(0, 91, 5))


@dataclass(frozen=True)
class Equivariance:
    """The result of `equivariance`; see `Sweep` and `Shifts` for the definitions.

    Attributes:
        sweep: values per image, angle and class.
        shifts: values per image, shift and class; None if no stride was given.
        has_truth: whether true masks were given; without them there is no `dice_truth`.
    """

    sweep: Sweep
    shifts: Shifts | None
    has_truth: bool

    def summary(self) -> dict:
        """Means: {"mean", "min", "off_grid", …} and, if measured, "shift"."""
        summary = self.sweep.summary()
        if not self.has_truth:
            for key in ("dice_truth", "ceiling", "parts"):
                del summary[key]
            for key in ("dice_truth", "ceiling"):
                del summary["curve"][key]
        return {**summary, **({} if self.shifts is None else {"shift": self.shifts.summary()})}

    def table(self) -> pd.DataFrame:
        """A row per angle: consistency (with its standard deviation over the images), the Dice on
        turned images if true masks were given, and the relative error of the logits."""
        sweep = self.sweep
        consistency = defined_means(sweep.dice)
        table = {
            "angle": sweep.angles,
            "consistency": pd.DataFrame(consistency).mean().to_numpy(),
            "std": pd.DataFrame(consistency).std().to_numpy(),
            "logit_error": sweep.logit_error.mean(axis=0),
        }
        if self.has_truth:
            table["dice_on_turned"] = sweep.dice_truth.mean(axis=(0, 2))
        return pd.DataFrame(table)

    def plot(self, title: str = "") -> Figure:
        """Consistency against the angle, with boxes over the images."""
        return equivariance_figure(self.sweep, title, self.has_truth)


def equivariance(
    model: nn.Module,
    images: ArrayLike | Tensor,
    masks: ArrayLike | Tensor | None = None,
    angles: Sequence[float] = QUARTER_TURN,
    task: Task | None = None,
    stride: int | None = None,
    batch_size: int = 8,
    device: torch.device | str | None = None,
) -> Equivariance:
    """How far the masks of a segmentation network turn, and move, with the image.

        result = polyp.evaluation.equivariance(my_network, images)
        print(result.table())
        result.plot().savefig("equivariance.png")

    Args:
        model: any module from images [B, C, S, S] to logits; its train or eval mode is kept.
        images: square images [N, C, S, S], floats in [0, 1].
        masks: class indices [N, S, S], if known.
        angles: in degrees, counter-clockwise.
        task: the meaning of the logits; None: one logit, foreground against background.
        stride: the factor by which the network reduces the resolution; if given, the shift
            consistency is measured too.
        batch_size: images per forward pass.
        device: the device of the images; None: that of the model's first parameter, or the CPU.

    Raises:
        ValueError: images or masks have another shape, or no angle turns anything.
    """
    images = torch.as_tensor(np.asarray(images) if not isinstance(images, Tensor) else images)
    if images.ndim != 4 or images.shape[2] != images.shape[3] or not len(images):
        raise ValueError(f"images must be [N, C, S, S], N at least 1, got {list(images.shape)}")
    if masks is None:
        truth = torch.zeros(len(images), *images.shape[2:], dtype=torch.uint8)
    else:
        truth = torch.as_tensor(np.asarray(masks) if not isinstance(masks, Tensor) else masks)
    if truth.shape != (len(images), *images.shape[2:]):
        raise ValueError(
            f"masks must be [N, S, S] as the images, {[len(images), *images.shape[2:]]}, got "
            f"{list(truth.shape)}"
        )
    angles, task = check_angles(angles), task or Binary()
    if device is None:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
    sweeps, moved = [], []
    with evaluation_mode(model):
        for start in range(0, len(images), batch_size):
            chosen = slice(start, start + batch_size)
            batch = {
                "image": images[chosen].float(),
                "mask": truth[chosen, None].to(torch.uint8),
                "id": [str(index) for index in range(len(images))[chosen]],
            }
            batch = to_device(batch, device)
            sweeps.append(sweep_batch(model, task, batch, model(batch["image"]), angles))
            if stride is not None:
                moved.append(shift_batch(model, task, batch, stride, sampled_shifts(stride)))
    return Equivariance(
        Sweep.join(sweeps), Shifts.join(moved) if moved else None, masks is not None
    )
