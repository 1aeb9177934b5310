"""The rotation sweep: does the mask turn with the image?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from polyp.errors import UserError
from polyp.evaluation.inference import evaluation_mode, to_device
from polyp.evaluation.scores import dice
from polyp.geometry import disc, rotate_image, rotate_mask
from polyp.tasks import Binary, Task


@dataclass(frozen=True)
class Sweep:
    """Dice of every image and class at every angle, each array float64 [images, angles, classes].

    With a model f, an image x, its true mask t and the rotation R by one angle:
    dice: the consistency, Dice(R f(x), f(R x)).
    dice_truth: Dice(f(R x), R t).
    ceiling: what a perfectly equivariant network would score under the same rotations. The true
        mask stands in for its prediction: Dice(R⁻¹ R t, t). That is resampled twice and R f(x)
        only once, so the estimate is conservative: a network may come out slightly above it.
    All are taken inside the inscribed disc, over pixels that are not padding.
    """

    ids: list[str]
    classes: list[str]
    angles: list[float]
    dice: np.ndarray
    dice_truth: np.ndarray
    ceiling: np.ndarray

    @classmethod
    def join(cls, parts: Sequence["Sweep"]) -> "Sweep":
        """One sweep from those of several batches, all with the same angles."""
        return cls(
            ids=[image for part in parts for image in part.ids],
            classes=parts[0].classes,
            angles=parts[0].angles,
            dice=np.concatenate([part.dice for part in parts]),
            dice_truth=np.concatenate([part.dice_truth for part in parts]),
            ceiling=np.concatenate([part.ceiling for part in parts]),
        )

    def curve(self) -> dict[str, list[float]]:
        """Means over images and classes: {"angles", "dice", "dice_truth", "ceiling"}, one per
        angle."""
        return {
            "angles": self.angles,
            "dice": self.dice.mean(axis=(0, 2)).tolist(),
            "dice_truth": self.dice_truth.mean(axis=(0, 2)).tolist(),
            "ceiling": self.ceiling.mean(axis=(0, 2)).tolist(),
        }

    def summary(self) -> dict:
        """{"mean", "min", "at_90", "ceiling", "curve"}, ready for metrics.json; where there are
        several classes also "by_class" with the first three of each.

        mean, ceiling: over the images and all angles but multiples of 360°, where nothing turns.
        min: the lowest mean of an angle. at_90: the mean at 90°, None if that isn't among them.
        """
        turned = [not _is_full_turn(angle) for angle in self.angles]
        by_class = {
            name: self._means(self.dice[..., index], turned)
            for index, name in enumerate(self.classes)
        }
        return {
            **self._means(self.dice.mean(axis=2), turned),
            "ceiling": float(self.ceiling[:, turned].mean()),
            **({"by_class": by_class} if len(by_class) > 1 else {}),
            "curve": self.curve(),
        }

    def _means(self, consistency: np.ndarray, turned: list[bool]) -> dict:
        """Of [images, angles]."""
        by_angle = dict(zip(self.angles, consistency.mean(axis=0).tolist(), strict=True))
        return {
            "mean": float(consistency[:, turned].mean()),
            "min": min(by_angle.values()),
            "at_90": by_angle.get(90.0),
        }


def rotation_sweep(
    model: nn.Module,
    batches: Iterable[dict],
    angles: Sequence[float],
    device: torch.device | str,
    task: Task | None = None,
) -> Sweep:
    """Rotate every image by every angle and compare the masks that the model finds.

    model: maps images to logits, and lies on `device`; its train or eval mode is left as found.
    batches: yields {"image": float [B,C,S,S] in [0,1], "mask": class indices [B,1,S,S], "id": B
        names} and, where images have padding, "valid": bool [B,1,S,S], false there.
    angles: degrees, counter-clockwise. At least one must not be a multiple of 360.
    task: what the logits mean; None: a binary task.

    f(x) is computed once an image and serves as the answer at 0° too: n images at a angles take
    n × a forward passes with 0 among the angles, n × (a + 1) without.
    """
    angles, task = check_angles(angles), task or Binary()
    with evaluation_mode(model):
        parts = []
        for batch in tqdm(batches, desc="rotation sweep", unit="batch", disable=None):
            batch = to_device(batch, device)
            prediction = task.masks(model(batch["image"]))
            parts.append(sweep_batch(model, task, batch, prediction, angles))
    if not parts:
        raise UserError("the rotation sweep got no images: the set to evaluate is empty")
    return Sweep.join(parts)


def sweep_batch(
    model: nn.Module,
    task: Task,
    batch: dict[str, Tensor],
    prediction: Tensor,
    angles: list[float],
) -> Sweep:
    """The sweep of one batch, given the model's masks for it: bool [B,K,S,S].

    To be called within `evaluation_mode(model)`, with a batch from `to_device`.
    """
    image, truth, valid = batch["image"], task.one_hot(batch["mask"]), batch["valid"]
    classes = truth.shape[1]
    inside = disc(image.shape[-1], image.device)
    masks = torch.cat([valid, truth, prediction], dim=1)
    consistency, accuracy, ceiling = [], [], []
    for angle in angles:
        turned = (
            prediction if _is_full_turn(angle) else task.masks(model(rotate_image(image, angle)))
        )
        # In one call, as channels: three would each work out the same weights anew.
        turned_valid, turned_truth, turned_prediction = rotate_mask(masks, angle).split(
            [1, classes, classes], dim=1
        )
        region = inside & turned_valid
        consistency.append(dice(turned_prediction, turned, region))
        accuracy.append(dice(turned, turned_truth, region))
        ceiling.append(dice(rotate_mask(turned_truth, -angle), truth, inside & valid))
    return Sweep(
        ids=list(batch["id"]),
        classes=task.foreground,
        angles=angles,
        dice=torch.stack(consistency, dim=1).numpy(),
        dice_truth=torch.stack(accuracy, dim=1).numpy(),
        ceiling=torch.stack(ceiling, dim=1).numpy(),
    )


def check_angles(angles: Sequence[float]) -> list[float]:
    """The angles as floats; refuses a list in which nothing turns."""
    angles = [float(angle) for angle in angles]
    if all(_is_full_turn(angle) for angle in angles):
        raise UserError(
            f"angles {angles} of the rotation sweep hold no rotation: "
            "name at least one that is not a multiple of 360"
        )
    return angles


def _is_full_turn(degrees: float) -> bool:
    return degrees % 360 == 0
