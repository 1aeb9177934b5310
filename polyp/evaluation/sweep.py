"""The rotation sweep: do the masks turn with the image, and if not, where is the loss?

Related measures: EQ-R of T. Karras et al., Alias-Free Generative Adversarial Networks, NeurIPS 2021
(a signal-to-noise ratio of rotated outputs); the Lie derivative of N. Gruver et al., The Lie
Derivative for Measuring Learned Equivariance, ICLR 2023; T. Edixhoven et al., Using and Abusing
Equivariance, ICCVW 2023 (networks that are exact at 90° only); the Rotation Difference
of PreCM (arXiv 2411.01624). Here it is the Dice of masks, which is what a user of the masks sees.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from polyp.errors import UserError
from polyp.evaluation.inference import evaluation_mode, to_device
from polyp.evaluation.scores import defined_mean, defined_means, dice, image_means
from polyp.geometry import disc, rotate, rotate_image, rotate_mask
from polyp.tasks import Binary, Task


@dataclass(frozen=True)
class Sweep:
    """Measurements of every image at every angle.

    With a model f, an image x, its true mask t and the rotation R by one angle, all taken inside
    the inscribed disc, over pixels that are not padding:

    Attributes:
        ids: of the images.
        classes: names of the foreground classes.
        angles: in degrees, counter-clockwise.
        dice: the consistency, Dice(R f(x), f(R x)): float64 [images, angles, classes]. It is
            undefined (nan) where both masks are empty, or both are full: such masks always agree.
        dice_truth: Dice(f(R x), R t), [images, angles, classes].
        masks: the interpolation of masks, Dice(R⁻¹ R t, t), [images, angles, classes]; nan where
            the true mask is empty or fills the disc.
        logit_error: ‖R g(x) − g(R x)‖ / ‖g(R x)‖ of the logits g, which needs no threshold:
            float64 [images, angles].
        part_angles: the angles at which the two below are measured.
        image: Dice(f(x), f(R⁻¹ R x)), the effect of resampling the image twice and of losing its
            corners: [images, part_angles, classes]; nan if undefined, and for images outside the
            sample.
        corners: Dice(f(x), f(x without the corners that R loses)), the effect of the latter alone,
            the same shape.
    """

    ids: list[str]
    classes: list[str]
    angles: list[float]
    dice: np.ndarray
    dice_truth: np.ndarray
    masks: np.ndarray
    logit_error: np.ndarray
    part_angles: list[float]
    image: np.ndarray
    corners: np.ndarray

    @classmethod
    def join(cls, batches: Sequence["Sweep"]) -> "Sweep":
        """One sweep from those of several batches, all with the same angles."""
        first = batches[0]
        joined = {}
        for field in fields(cls):
            if isinstance(getattr(first, field.name), np.ndarray):
                arrays = [getattr(batch, field.name) for batch in batches]
                joined[field.name] = np.concatenate(arrays)
        ids = [image for batch in batches for image in batch.ids]
        return cls(
            ids=ids,
            classes=first.classes,
            angles=first.angles,
            part_angles=first.part_angles,
            **joined,
        )

    def curve(self) -> dict[str, Any]:
        """Means over images and classes, one per angle, as {"angles", "dice", "dice_truth",
        "ceiling", "logit_error"}; None where the consistency, or the ceiling, of no image is
        defined."""
        return {
            "angles": self.angles,
            "dice": self._by_angle(self.dice),
            "dice_truth": self.dice_truth.mean(axis=(0, 2)).tolist(),
            "ceiling": self._by_angle(self.masks),
            "logit_error": self.logit_error.mean(axis=0).tolist(),
        }

    def summary(self) -> dict:
        """What metrics.json says of the sweep.

        All are means over the images; the value of an image is the mean over the classes and angles
        for which the measure is defined. mean: the consistency over all angles except multiples of
        360°. min: the mean at the worst angle. at_90: the mean at 90°, None if 90° is not measured.
        off_grid, dice_truth, logit_error: over the angles that are not multiples of 90°; None if
        there are none. undefined: the share of images and angles off the grid (or of all angles, if
        there are none) at which the consistency is undefined. ceiling: the upper bound, the mean of
        `masks`. parts: see `parts`. by_class: mean, min, at_90 and off_grid of each class, if there
        are several.
        """
        turned, off = turning(self.angles), off_grid(self.angles)
        counted = self.dice[:, off if off.any() else turned]
        summary = {
            **self._means(self.dice),
            "ceiling": defined_mean(image_means(self.masks[:, turned])),
            "dice_truth": float(self.dice_truth[:, off].mean()) if off.any() else None,
            "logit_error": float(self.logit_error[:, off].mean()) if off.any() else None,
            "undefined": float(np.isnan(counted).mean()),
            "parts": self.parts(),
            "curve": self.curve(),
        }
        if len(self.classes) > 1:
            summary["by_class"] = {
                name: self._means(self.dice[..., index : index + 1])
                for index, name in enumerate(self.classes)
            }
        return summary

    def parts(self) -> dict[str, float | None] | None:
        """The means of `decomposition` over the images; None if it is measured at no angle off the
        grid."""
        chosen = [a for a in self.part_angles if a % 90 and a in self.angles]
        if not chosen:
            return None
        of_sweep = [self.angles.index(angle) for angle in chosen]
        of_parts = [self.part_angles.index(angle) for angle in chosen]
        parts = decomposition(
            defined_means(self.dice[:, of_sweep]),
            masks=defined_means(self.masks[:, of_sweep]),
            image=defined_means(self.image[:, of_parts]),
            corners=defined_means(self.corners[:, of_parts]),
        )
        return {name: defined_mean(defined_means(values)) for name, values in parts.items()}

    def _by_angle(self, values: np.ndarray) -> list[float | None]:
        """The mean of each angle over the images, of [images, angles, classes]."""
        return [defined_mean(of_angle) for of_angle in defined_means(values).T]

    def _means(self, consistency: np.ndarray) -> dict:
        """Of [images, angles, classes]."""
        turned, off = turning(self.angles), off_grid(self.angles)
        means = self._by_angle(consistency)
        defined = [mean for mean in means if mean is not None]
        return {
            "mean": defined_mean(image_means(consistency[:, turned])),
            "min": min(defined) if defined else None,
            "at_90": dict(zip(self.angles, means, strict=True)).get(90.0),
            "off_grid": defined_mean(image_means(consistency[:, off])) if off.any() else None,
        }


def decomposition(
    consistency: np.ndarray, *, masks: np.ndarray, image: np.ndarray, corners: np.ndarray
) -> dict[str, np.ndarray]:
    """The parts of the loss of consistency, each as a Dice: 1 means that nothing is lost.

    Args: as in the attributes of `Sweep`, [images, angles] or any other shape, the same for all.

    Returns:
        masks, image, corners: as given. network: what would remain without the losses of masks and
        image, 1 − (1 − consistency) + (1 − masks) + (1 − image); the image has lost its corners
        too. The masks and the image are resampled twice for their parts but once for the
        consistency, so the network's own loss is rather underestimated, and the value may be
        slightly above 1. If one of the given values is nan, all four are nan, so that their means
        are over the same images and angles.
    """
    network = consistency + (1 - masks) + (1 - image)
    parts = {"masks": masks, "image": image, "corners": corners, "network": network}
    undefined = np.isnan(network) | np.isnan(corners)
    return {name: np.where(undefined, np.nan, values) for name, values in parts.items()}


def rotation_sweep(
    model: nn.Module,
    batches: Iterable[dict],
    angles: Sequence[float],
    device: torch.device | str,
    task: Task | None = None,
    part_angles: Sequence[float] = (),
) -> Sweep:
    """Rotate every image by every angle and compare the masks that the model finds.

    model: maps images to logits, on `device`; its train or eval mode is not changed.
    batches: yields {"image": float [B,C,S,S] in [0,1], "mask": class indices [B,1,S,S], "id": B
        names} and, where images have padding, "valid": bool [B,1,S,S], false there.
    angles: degrees, counter-clockwise. At least one must not be a multiple of 360.
    task: the meaning of the logits; None: a binary task.
    part_angles: angles at which the losses by the image and its corners are measured too.

    f(x) is computed once per image and serves as the answer at 0° too: n images at a angles take
    n × a forward passes with 0 among the angles, n × (a + 1) without, and two more for each of the
    part_angles.
    """
    angles, task = check_angles(angles), task or Binary()
    with evaluation_mode(model):
        parts = []
        for batch in tqdm(batches, desc="rotation sweep", unit="batch", disable=None):
            batch = to_device(batch, device)
            logits = model(batch["image"])
            parts.append(sweep_batch(model, task, batch, logits, angles, part_angles))
    if not parts:
        raise UserError("the rotation sweep got no images: the set to evaluate is empty")
    return Sweep.join(parts)


def sweep_batch(
    model: nn.Module,
    task: Task,
    batch: dict[str, Any],
    logits: Tensor,
    angles: Sequence[float],
    part_angles: Sequence[float] = (),
    sample: Sequence[int] | None = None,
) -> Sweep:
    """The sweep of one batch, given the model's logits for it.

    To be called within `evaluation_mode(model)`, with a batch from `to_device`. sample: the
    positions of the images at which image and corners are measured; None: all.
    """
    image, truth, valid = batch["image"], task.one_hot(batch["mask"]), batch["valid"]
    prediction, classes = task.masks(logits), truth.shape[1]
    inside = disc(image.shape[-1], image.device)
    masks = torch.cat([valid, truth, prediction], dim=1)
    measured: dict[str, list[Tensor]] = {
        name: [] for name in ("dice", "dice_truth", "masks", "logit_error")
    }
    for angle in angles:
        found = logits if is_full_turn(angle) else model(rotate_image(image, angle))
        turned = task.masks(found)
        # In one call, as channels: three would each work out the same weights anew.
        turned_valid, turned_truth, turned_prediction = rotate_mask(masks, angle).split(
            [1, classes, classes], dim=1
        )
        region = inside & turned_valid
        measured["dice"].append(consistency(turned_prediction, turned, region))
        measured["dice_truth"].append(dice(turned, turned_truth, region))
        there_and_back = rotate_mask(turned_truth, -angle)
        measured["masks"].append(consistency(there_and_back, truth, inside & valid))
        error = relative_error(rotate(logits.float(), angle), found.float(), region)
        measured["logit_error"].append(error)
    sample = list(range(len(image)) if sample is None else sample)
    lost = np.full((2, len(image), len(part_angles), classes), np.nan)
    if sample and part_angles:
        lost[:, sample] = _losses(
            model, task, image[sample], prediction[sample], valid[sample], part_angles
        )
    return Sweep(
        ids=list(batch["id"]),
        classes=task.foreground,
        angles=list(angles),
        part_angles=list(part_angles),
        image=lost[0],
        corners=lost[1],
        **{name: torch.stack(values, dim=1).numpy() for name, values in measured.items()},
    )


def _losses(
    model: nn.Module,
    task: Task,
    image: Tensor,
    prediction: Tensor,
    valid: Tensor,
    angles: Sequence[float],
) -> np.ndarray:
    """`Sweep.image` and `Sweep.corners`: float64 [2, images, angles, classes]."""
    region = disc(image.shape[-1], image.device) & valid
    found: list[Tensor] = []
    for angle in angles:
        there_and_back = rotate_image(rotate_image(image, angle), -angle)
        # The corners that R loses are black in the image turned there and back.
        kept = rotate_mask(rotate_mask(torch.ones_like(valid), angle), -angle)
        changed = there_and_back, image * kept
        found += [consistency(prediction, task.masks(model(each)), region) for each in changed]
    return torch.stack([torch.stack(found[part::2], dim=1) for part in (0, 1)]).numpy()


def consistency(one: Tensor, other: Tensor, region: Tensor) -> Tensor:
    """Dice of two masks, float64 [B, K]; nan where both are empty or both full in the region.

    one, other: bool [B, K, H, W]; region: bool, broadcastable to them.
    """
    either, both = (one | other) & region, one & other
    meaningless = ~either.any(dim=(2, 3)) | (both | ~region).all(dim=3).all(dim=2)
    values = dice(one, other, region)
    return torch.where(meaningless.cpu(), torch.nan, values)


def relative_error(one: Tensor, other: Tensor, region: Tensor) -> Tensor:
    """‖one − other‖ / ‖other‖ over the region and all channels: float64 [B] on the CPU."""
    region = region.expand_as(one)
    difference = ((one - other) * region).flatten(1).norm(dim=1)
    scale = (other * region).flatten(1).norm(dim=1).clamp(min=1e-12)
    return (difference / scale).cpu().double()


def check_angles(angles: Sequence[float]) -> list[float]:
    """The angles as floats; rejects a list without a rotation, or with the same rotation twice."""
    angles = [float(angle) for angle in angles]
    if not all(map(math.isfinite, angles)):
        raise UserError(f"angles {angles} of the rotation sweep must be finite numbers of degrees")
    if all(is_full_turn(angle) for angle in angles):
        raise UserError(
            f"angles {angles} of the rotation sweep contain no rotation: "
            "give at least one that is not a multiple of 360"
        )
    turns = [angle % 360 for angle in angles]
    for index, (angle, turn) in enumerate(zip(angles, turns, strict=True)):
        if turn in turns[:index] or (turn == 0 and angle != 0):
            fault = "is there twice" if angle in angles[:index] else f"is the same as {turn:g}°"
            raise UserError(
                f"angles {angles} of the rotation sweep: {angle:g}° {fault}; each rotation counts "
                "once"
            )
    return angles


def is_full_turn(degrees: float) -> bool:
    """Whether nothing turns."""
    return degrees % 360 == 0


def turning(angles: Sequence[float]) -> np.ndarray:
    """Which angles are not multiples of 360°, where nothing turns: bool [angles]."""
    return np.array([not is_full_turn(angle) for angle in angles], dtype=bool)


def off_grid(angles: Sequence[float]) -> np.ndarray:
    """Which angles are not multiples of 90°, where pixels do not fall on pixels: bool [angles]."""
    return np.array([angle % 90 != 0 for angle in angles], dtype=bool)
