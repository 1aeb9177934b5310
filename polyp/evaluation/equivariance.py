"""The rotation sweep: does the mask turn with the image?"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from polyp.errors import UserError
from polyp.evaluation.inference import evaluation_mode, predict, to_device
from polyp.evaluation.scores import dice
from polyp.geometry import disc, rotate_image, rotate_mask


@dataclass(frozen=True)
class Sweep:
    """Dice of every image at every angle, each array float64 [images, angles].

    With a model f, an image x, its true mask t and the rotation R by one angle:
    dice: the consistency, Dice(R f(x), f(R x)).
    dice_truth: Dice(f(R x), R t).
    ceiling: what a perfectly equivariant network would score under the same rotations. The true
        mask stands in for its prediction: Dice(R⁻¹ R t, t). That is resampled twice and R f(x)
        only once, so the estimate is conservative: a network may come out slightly above it.
    All are taken inside the inscribed disc, over pixels that are not padding.
    """

    ids: list[str]
    angles: list[float]
    dice: np.ndarray
    dice_truth: np.ndarray
    ceiling: np.ndarray

    @classmethod
    def join(cls, parts: Sequence["Sweep"]) -> "Sweep":
        """One sweep from those of several batches, all with the same angles."""
        return cls(
            ids=[image for part in parts for image in part.ids],
            angles=parts[0].angles,
            dice=np.concatenate([part.dice for part in parts]),
            dice_truth=np.concatenate([part.dice_truth for part in parts]),
            ceiling=np.concatenate([part.ceiling for part in parts]),
        )

    def curve(self) -> dict[str, list[float]]:
        """The means over the images: {"angles", "dice", "dice_truth", "ceiling"}, one an angle."""
        return {
            "angles": self.angles,
            "dice": self.dice.mean(axis=0).tolist(),
            "dice_truth": self.dice_truth.mean(axis=0).tolist(),
            "ceiling": self.ceiling.mean(axis=0).tolist(),
        }

    def summary(self) -> dict:
        """{"mean", "min", "at_90", "ceiling", "curve"}, ready for metrics.json.

        mean, ceiling: over the images and all angles but multiples of 360°, where nothing turns.
        min: the lowest mean of an angle. at_90: the mean at 90°, None if that isn't among them.
        """
        turned = [not _is_full_turn(angle) for angle in self.angles]
        curve = self.curve()
        by_angle = dict(zip(self.angles, curve["dice"], strict=True))
        return {
            "mean": float(self.dice[:, turned].mean()),
            "min": min(curve["dice"]),
            "at_90": by_angle.get(90.0),
            "ceiling": float(self.ceiling[:, turned].mean()),
            "curve": curve,
        }

    def rows(self) -> Iterator[tuple[str, float, float, float]]:
        """(image, angle, dice, dice_truth) of every image at every angle, for equivariance.csv."""
        for image, consistency, accuracy in zip(
            self.ids, self.dice.tolist(), self.dice_truth.tolist(), strict=True
        ):
            for values in zip(self.angles, consistency, accuracy, strict=True):
                yield image, *values


def rotation_sweep(
    model: nn.Module,
    batches: Iterable[dict],
    angles: Sequence[float],
    device: torch.device | str,
) -> Sweep:
    """Rotate every image by every angle and compare the masks that the model finds.

    model: maps images to logits, and lies on `device`; its train or eval mode is left as found.
    batches: yields {"image": float [B,3,S,S] in [0,1], "mask": bool [B,1,S,S], "id": B names} and,
        where images have padding, "valid": bool [B,1,S,S], false there.
    angles: degrees, counter-clockwise. At least one must not be a multiple of 360.

    f(x) is computed once an image and serves as the answer at 0° too: n images at a angles take
    n × a forward passes with 0 among the angles, n × (a + 1) without.
    """
    angles = check_angles(angles)
    with evaluation_mode(model):
        parts = []
        for batch in tqdm(batches, desc="rotation sweep", unit="batch", disable=None):
            batch = to_device(batch, device)
            parts.append(sweep_batch(model, batch, predict(model, batch["image"]), angles))
    if not parts:
        raise UserError("the rotation sweep got no images: the set to evaluate is empty")
    return Sweep.join(parts)


def sweep_batch(
    model: nn.Module, batch: dict[str, Tensor], prediction: Tensor, angles: list[float]
) -> Sweep:
    """The sweep of one batch, given the model's prediction for it: bool [B,1,S,S].

    To be called within `evaluation_mode(model)`, with a batch from `to_device`.
    """
    image, truth, valid = batch["image"], batch["mask"], batch["valid"]
    inside = disc(image.shape[-1], image.device)
    masks = torch.cat([valid, truth, prediction], dim=1)
    consistency, accuracy, ceiling = [], [], []
    for angle in angles:
        turned = prediction if _is_full_turn(angle) else predict(model, rotate_image(image, angle))
        # In one call, as channels: three would each work out the same weights anew.
        turned_masks = rotate_mask(masks, angle)
        region = inside & turned_masks[:, :1]
        turned_truth, turned_prediction = turned_masks[:, 1:2], turned_masks[:, 2:]
        consistency.append(dice(turned_prediction, turned, region))
        accuracy.append(dice(turned, turned_truth, region))
        ceiling.append(dice(rotate_mask(turned_truth, -angle), truth, inside & valid))
    return Sweep(
        ids=list(batch["id"]),
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
