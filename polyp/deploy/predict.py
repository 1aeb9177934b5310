"""Segments images with a trained network and writes masks, overlays and a table."""

import csv
import logging
from pathlib import Path, PurePosixPath
from typing import TextIO

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from scipy.ndimage import binary_dilation
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from polyp.deploy.images import Found, Search, read_on_black
from polyp.deploy.network import load_trained
from polyp.deploy.output import writing
from polyp.deploy.predictor import Measures, Prediction, Predictor
from polyp.errors import UserError
from polyp.evaluation import check_angles
from polyp.evaluation.figures import class_colours
from polyp.files import atomic_path
from polyp.runs.folder import RunFolder
from polyp.runs.loading import choose_device

log = logging.getLogger(__name__)

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FOLDERS = ("masks", "overlays", "probabilities")
BITS = {False: None, True: np.uint8, 8: np.uint8, 16: np.uint16}  # of probabilities=


def predict_files(config: DictConfig) -> None:
    """Writes masks, overlays and predictions.csv of images, see configs/predict.yaml.

    One image is in memory at a time. A file that cannot be read is reported and skipped.

    Raises:
        UserError: at the end, if a file could not be read; at once, if an option is wrong.
    """
    run = RunFolder.open(str(config.run))
    output = _free_output(config.output)
    angles, depth = _angles(config), BITS[config.probabilities]
    search = Search(config.recursive, without=output)
    images = search(config.input)
    search.log_skipped()
    trained = load_trained(run)
    predictor = Predictor(
        trained,
        angles,
        choose_device(run, config.device),
        PRECISIONS[config.precision],
        config.threshold,
    )
    writer = Writer(output, trained.task.foreground, depth)
    with (
        logging_redirect_tqdm(),
        writing(str(output)),
        atomic_path(output / "predictions.csv") as temporary,
        # File names may contain bytes that are not text.
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as table,
    ):
        faults = _predict(predictor, images, writer, table)
        if faults == len(images):
            raise UserError(f"input={config.input}: none of {faults} files can be used, see above")
    log.info("%d predictions written to %s", len(images) - faults, output)
    if faults:
        raise UserError(f"skipped {faults} of {len(images)} files, listed above")


def _predict(predictor: Predictor, images: list[Found], writer: "Writer", table: TextIO) -> int:
    """Predicts and writes all images; returns how many could not be used."""
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(writer.columns())
    faults = 0
    for image in tqdm(images, desc="Predicting", unit="image", disable=None):
        try:
            pixels = read_on_black(image.path)
            writer.claim(image)
        except UserError as fault:
            if len(images) == 1:
                raise
            log.error("skipped: %s", fault)
            faults += 1
            continue
        found = predictor(pixels)
        writer.write(image, pixels, found)
        rows.writerow(writer.row(image, found))
    return faults


class Writer:
    """Writes the results of images to a folder, under the images' names.

    Args:
        folder: where to.
        names: of the foreground classes.
        depth: the pixel type of maps of probabilities; None: without them.
    """

    def __init__(self, folder: Path, names: list[str], depth: type | None):
        self.folder, self.names, self.depth = folder, names, depth
        self.owners: dict[str, Path] = {}  # of names of masks

    def claim(self, image: Found) -> None:
        """Raises UserError if another image has the same name with another ending."""
        owner = self.owners.setdefault(_renamed(image, ""), image.path)
        if owner is not image.path:
            raise UserError(f"{image.path}: would get the same mask file as {owner}")

    def columns(self) -> list[str]:
        """Of predictions.csv; those of single classes only where there are several."""
        several = self.names if len(self.names) > 1 else []
        by_class = [f"{field}.{name}" for name in several for field in Measures._fields]
        return ["image", "polyp_area", "confidence", "agreement", *by_class]

    def row(self, image: Found, found: Prediction) -> list:
        """None becomes an empty cell."""
        several = found.by_class() if len(self.names) > 1 else []
        return [image.name, *found.overall(), *(value for each in several for value in each)]

    def write(self, image: Found, pixels: np.ndarray, found: Prediction) -> None:
        """Writes the mask, the overlay on pixels uint8 [H, W, 3], and maps if they are wanted."""
        _save(as_picture(found), self.folder / "masks" / _renamed(image, ".png"))
        overlay = Image.fromarray(outlined(pixels, found.masks))
        _save(overlay, self.folder / "overlays" / _renamed(image, ".jpg"))
        if self.depth is None:
            return
        for name, probability in zip(self.names, found.probabilities, strict=True):
            # A folder per class, for each to be a folder of maps for `polyp evaluate maps=`.
            folder = self.folder / "probabilities"
            if len(self.names) > 1:
                folder /= name.replace("/", "_")
            _save(as_map(probability, self.depth), folder / _renamed(image, ".png"))


def as_picture(found: Prediction) -> Image.Image:
    """Polyp white on black; of several classes their indices, shown in colours by a palette."""
    if len(found.probabilities) == 1:
        return Image.fromarray(found.labels * np.uint8(255))
    picture = Image.fromarray(found.labels)
    colours = [(0.0, 0.0, 0.0), *class_colours(len(found.probabilities))]
    picture.putpalette(_bytes(colours).tobytes())
    return picture


def as_map(probability: np.ndarray, depth: type) -> Image.Image:
    """Probabilities [H, W] as grey, 1 as white. One half is rounded down: not above the half."""
    white = np.iinfo(depth).max
    return Image.fromarray(np.ceil(probability.astype(np.float64) * white - 0.5).astype(depth))


def outlined(pixels: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """An image uint8 [H, W, 3] with a line around each of its masks, bool [K, H, W]."""
    width = max(2, round(max(pixels.shape) / 250))  # to be seen at any size
    picture = pixels.copy()
    for mask, colour in zip(masks, _bytes(class_colours(len(masks))), strict=True):
        line = binary_dilation(mask, iterations=width) & ~mask  # outside, so as to hide no polyp
        picture[line] = colour
    return picture


def _bytes(colours: list[tuple[float, float, float]]) -> np.ndarray:
    return np.round(255 * np.array(colours)).astype(np.uint8)


def _renamed(image: Found, suffix: str) -> str:
    return str(PurePosixPath(image.name).with_suffix(suffix))


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, quality=90)  # of JPEG; PNG has none


# --- options


def _free_output(output: object) -> Path:
    if not isinstance(output, str | int | float) or output == "":
        raise UserError(f"output={output}: must be a folder")
    folder = Path(str(output))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output={output}: is a file; name a folder")
    if (folder / "predictions.csv").exists():
        raise UserError(f"output={output}: already holds predictions; name another folder")
    for name in FOLDERS:
        # Such as the true masks of a dataset.
        if (folder / name).exists():
            raise UserError(f"output={output}: already holds {name}; name another folder")
    return folder


def _angles(config: DictConfig) -> list[float]:
    if not config.angles:
        return []
    try:
        return check_angles(config.angles)
    except ValueError as error:
        raise UserError(f"angles={config.angles}: {error}") from error
