"""Predicts masks of images of any size, and measures whether they turn with the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polyp.deploy.network import Trained, logits_of, ordinary
from polyp.evaluation import evaluation_mode
from polyp.evaluation.sweep import consistency
from polyp.geometry import disc, from_square, rotate_image, rotate_mask, to_square


class Measures(NamedTuple):
    """Measures of a mask, each in [0, 1].

    area: the part of the image that it covers. confidence: the mean probability of its pixels;
    None if it has none. agreement: see `Prediction`.
    """

    area: float
    confidence: float | None
    agreement: float | None


@dataclass(frozen=True)
class Prediction:
    """What a network finds in one image.

    Attributes:
        probabilities: of the K foreground classes, float32 [K, H, W], at the image's own size.
        labels: class indices, uint8 [H, W]; 0 is background.
        agreements: per class, the mean over the angles of Dice(R f(x), f(R x)), in [0, 1]: how far
            the mask turns with the image. As in the rotation sweep of the evaluation, it is taken
            at the network's image size, inside the inscribed disc, without padding. An angle at
            which both masks are empty, or both are full, does not count. None if no angle counts,
            and for an image of a single colour, which looks the same at all angles.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    agreements: list[float | None]

    @property
    def masks(self) -> np.ndarray:
        """A mask per foreground class, bool [K, H, W]."""
        return self.labels == np.arange(1, len(self.probabilities) + 1)[:, None, None]

    def by_class(self) -> list[Measures]:
        """Of the mask of each class."""
        return [
            Measures(float(mask.mean()), _mean(probability[mask]), agreement)
            for probability, mask, agreement in zip(
                self.probabilities, self.masks, self.agreements, strict=True
            )
        ]

    def overall(self) -> Measures:
        """Of all that is not background; the agreement is the mean over classes that have one."""
        own = np.take_along_axis(self.probabilities, np.maximum(self.labels, 1)[None] - 1, axis=0)
        found = self.labels > 0
        defined = [agreement for agreement in self.agreements if agreement is not None]
        return Measures(float(found.mean()), _mean(own[0][found]), _mean(np.array(defined)))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


class Predictor:
    """A trained network for images of any size.

    Args:
        trained: the network.
        angles: of the agreement, in degrees.
        device: where it runs.
        precision: of the network. bfloat16 is faster where the processor has it, and may decide
            otherwise on pixels at the edge of a mask.
        threshold: a pixel is of its most probable foreground class where the probability of that is
            above the threshold. None: as the task decides, so above ½ for a binary task.
    """

    def __init__(
        self,
        trained: Trained,
        angles: Sequence[float],
        device: torch.device,
        precision: torch.dtype = torch.float32,
        threshold: float | None = None,
    ):
        self.trained, self.precision, self.threshold = trained, precision, threshold
        self.model = ordinary(trained.model).to(device, precision)
        self.angles, self.device = list(angles), device

    def __call__(self, pixels: np.ndarray) -> Prediction:
        """What is found in an image uint8 [H, W, 3], RGB.

        Raises:
            UserError: the network's logits are of a wrong shape, or not finite.
        """
        with evaluation_mode(self.model):
            return self._predict(pixels)

    def _predict(self, pixels: np.ndarray) -> Prediction:
        height, width, _ = pixels.shape
        image, valid = self._square(pixels)
        turned = [rotate_image(image, angle) for angle in self.angles]
        batch = torch.cat([image, *turned])  # one per image, of all its turns
        logits = logits_of(self.model, batch.to(self.precision), self.trained.task).float()
        squares = self.trained.task.probabilities(logits)
        probabilities = np.stack(
            [
                from_square(map, height, width, self.trained.resize)
                for map in squares[0].cpu().numpy()
            ]
        )
        masks = self._masks(torch.from_numpy(probabilities)[None])[0].numpy()
        agreements: list[float | None] = [None] * len(probabilities)
        if self.angles and (pixels != pixels[0, 0]).any():
            agreements = self._agreements(self._masks(squares), valid)
        return Prediction(probabilities, labels(probabilities, masks), agreements)

    def _square(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        """The network's input [1, C, S, S], and where that is not padding, bool [1, 1, S, S]."""
        trained = self.trained
        if trained.channels == 1:  # as in training: grey first, then resized
            grey = np.asarray(Image.fromarray(pixels).convert("L"))
            pixels = np.repeat(grey[..., None], 3, axis=2)
        no_mask = np.zeros(pixels.shape[:2], np.uint8)
        square, _, (top, bottom, left, right) = to_square(
            pixels, no_mask, trained.image_size, trained.resize
        )
        image = torch.tensor(square, device=self.device).permute(2, 0, 1).float().div_(255)[None]
        image = image[:, : trained.channels]
        valid = torch.zeros_like(image[:, :1], dtype=torch.bool)
        valid[..., top:bottom, left:right] = True
        return image, valid

    def _masks(self, probabilities: Tensor) -> Tensor:
        """Bool [B, K, H, W] of probabilities [B, K, H, W]."""
        if self.threshold is None:
            return self.trained.task.decide(probabilities)
        best = probabilities == probabilities.amax(dim=1, keepdim=True)
        return best & (probabilities > self.threshold)

    def _agreements(self, masks: Tensor, valid: Tensor) -> list[float | None]:
        """Per class, of the masks bool [1 + angles, K, S, S] of the image and its turns."""
        inside = disc(valid.shape[-1], self.device)
        values = []
        for angle, found in zip(self.angles, masks[1:, None], strict=True):
            expected, region = rotate_mask(masks[:1], angle), inside & rotate_mask(valid, angle)
            values.append(consistency(expected, found, region)[0].numpy())
        return [_mean(column[~np.isnan(column)]) for column in np.stack(values, axis=1)]


def labels(probabilities: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Class indices uint8 [H, W] from probabilities and masks [K, H, W]: where masks overlap, of
    the most probable of their classes."""
    best = np.where(masks, probabilities, -1).argmax(axis=0) + 1
    return np.where(masks.any(axis=0), best, 0).astype(np.uint8)
