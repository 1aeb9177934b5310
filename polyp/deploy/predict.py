"""Finding polyps in images from anywhere, with a trained network."""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from omegaconf import DictConfig
from PIL import Image
from scipy.ndimage import binary_dilation
from torch import nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from polyp.data import read_image
from polyp.data.reading import SUFFIXES
from polyp.errors import UserError
from polyp.evaluation import check_angles, dice
from polyp.files import atomic_path
from polyp.geometry import disc, from_square, rotate_image, rotate_mask, to_square
from polyp.models import collapse
from polyp.runs.saved import open_run

log = logging.getLogger(__name__)

COLUMNS = ("image", "polyp_area", "confidence", "agreement")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OUTLINE = "#56B4E9"  # sky blue: nothing in a colon has this colour, and colour-blind people see it


@dataclass(frozen=True)
class Prediction:
    """What a network finds in one image.

    Attributes:
        probability: of polyp, float32 [H, W], at the image's own size.
        mask: bool [H, W], probability > ½.
        agreement: the mean over the angles of Dice(R f(x), f(R x)), in [0, 1]: how far the mask
            turns with the image. None without angles. As in the rotation sweep of the evaluation,
            it is taken at the network's image size, inside the inscribed disc, without padding.
    """

    probability: np.ndarray
    mask: np.ndarray
    agreement: float | None

    @property
    def polyp_area(self) -> float:
        """The part of the image that is polyp, in [0, 1]."""
        return float(self.mask.mean())

    @property
    def confidence(self) -> float | None:
        """The mean probability of the polyp's pixels, in (½, 1]; None if there is no polyp."""
        return float(self.probability[self.mask].mean()) if self.mask.any() else None


class Predictor:
    """A trained network for images of any size.

    Args:
        model: maps images [B, 3, S, S] to logits [B, 1, S, S].
        image_size, resize: as in the data that it was trained on; see `to_square`.
        angles: of the agreement, in degrees.
        device: where it runs.
        precision: of the network. bfloat16 is faster where the processor has it, and may decide
            otherwise on pixels at the edge of a mask.
    """

    def __init__(
        self,
        model: nn.Module,
        image_size: int,
        resize: str,
        angles: Sequence[float],
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ):
        self.model, self.precision = collapse(model).to(device, precision), precision
        self.image_size, self.resize = image_size, resize
        self.angles, self.device = list(angles), device

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> Prediction:
        """What is found in an image uint8 [H, W, 3], RGB."""
        height, width, _ = pixels.shape
        no_mask = np.zeros((height, width), bool)
        square, _, (top, bottom, left, right) = to_square(
            pixels, no_mask, self.image_size, self.resize
        )
        image = torch.tensor(square, device=self.device).permute(2, 0, 1).float().div_(255)[None]
        valid = torch.zeros_like(image[:, :1], dtype=torch.bool)
        valid[..., top:bottom, left:right] = True

        turned = [rotate_image(image, angle) for angle in self.angles]
        batch = torch.cat([image, *turned])  # one an image, of all its turns
        logits = self.model(batch.to(self.precision)).float()
        probability = from_square(logits[0, 0].sigmoid().cpu().numpy(), height, width, self.resize)
        masks = logits > 0
        agreements = [
            dice(
                rotate_mask(masks[:1], angle),
                found[None],
                disc(self.image_size, self.device) & rotate_mask(valid, angle),
            ).item()
            for angle, found in zip(self.angles, masks[1:], strict=True)
        ]
        agreement = float(np.mean(agreements)) if agreements else None
        return Prediction(probability, probability > 0.5, agreement)


def predict_files(config: DictConfig) -> None:
    """Writes masks, overlays and predictions.csv of a file or a folder; configs/predict.yaml.

    One image is in memory at a time. A file that cannot be read is reported and skipped.

    Raises:
        UserError: at the end, if a file could not be read; at once, if nothing can be done.
    """
    saved = open_run(str(config.run))
    files, output = _files(Path(str(config.input))), Path(str(config.output))
    table = output / "predictions.csv"
    if table.exists() or output.is_file():
        raise UserError(f"output={output}: already holds predictions or is a file; name a folder")
    try:
        angles = check_angles(config.angles) if config.angles else []
    except (TypeError, ValueError) as error:
        raise UserError(f"angles={config.angles}: {error}") from error
    if config.precision not in PRECISIONS:
        raise UserError(f"precision={config.precision}: must be {' or '.join(PRECISIONS)}")
    data = saved.config.data
    predictor = Predictor(
        saved.model(),
        data.image_size,
        data.resize,
        angles,
        saved.device(config.device),
        PRECISIONS[config.precision],
    )

    faults = 0
    with (
        logging_redirect_tqdm(),
        atomic_path(table) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as rows,
    ):
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(COLUMNS)
        previous = None
        for path in tqdm(files, desc="Predicting", unit="image", disable=None):
            try:
                if previous is not None and previous.stem == path.stem:
                    raise UserError(f"{path}: would get the same mask file as {previous}")
                pixels = read_image(path)
            except UserError as fault:
                if len(files) == 1:
                    raise
                log.error("skipped: %s", fault)
                faults += 1
                continue
            found, previous = predictor(pixels), path
            _save(found.mask.astype(np.uint8) * 255, output / "masks" / f"{path.stem}.png")
            _save(outlined(pixels, found.mask), output / "overlays" / f"{path.stem}.jpg")
            # None becomes an empty cell.
            writer.writerow((path.name, found.polyp_area, found.confidence, found.agreement))
        if faults == len(files):
            raise UserError(f"input={config.input}: none of {faults} files can be used, see above")
    log.info("%d predictions written to %s", len(files) - faults, output)
    if faults:
        raise UserError(f"skipped {faults} of {len(files)} files, listed above")


def outlined(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image uint8 [H, W, 3] with a line around its mask, bool [H, W]."""
    width = max(2, round(max(mask.shape) / 250))  # to be seen at any size
    line = binary_dilation(mask, iterations=width) & ~mask  # outside, so as to hide no polyp
    picture = pixels.copy()
    picture[line] = np.round(255 * np.array(to_rgb(OUTLINE)))
    return picture


def _files(place: Path) -> list[Path]:
    """The image files at a place, by name. Other files of a folder are left alone."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"input={place}: no such file or folder")
    files = sorted(
        (
            path
            for path in place.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ),
        key=lambda path: (path.stem, path.suffix),
    )
    if not files:
        raise UserError(f"input={place}: no images in it (looked for {' '.join(sorted(SUFFIXES))})")
    return files


def _save(pixels: np.ndarray, path: Path) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, quality=90)  # of JPEG; PNG has none
