"""Images that were sent by a browser, prepared for the networks. Nothing is written to a disk."""

import io
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

from polyp.data import Sample, read_mask
from polyp.data.prepared import Prepared, with_channels
from polyp.data.reading import check_sizes, is_tiff
from polyp.deploy.images import read_on_black
from polyp.errors import UserError
from polyp.geometry import to_square
from polyp.viewer.networks import Geometry

MAX_IMAGES = 9  # one for each key
MAX_PIXELS = 80_000_000  # of an image, however small its file


class Upload(NamedTuple):
    """A file as it was sent: its name, without folders, and its bytes."""

    name: str
    content: bytes


def prepare_uploads(
    images: Sequence[Upload], masks: Sequence[Upload], geometry: Geometry
) -> Prepared:
    """Images and their masks, as the networks take them.

    Args:
        images: at least one.
        masks: of some of them, or none. The mask of a single image may have any name, that of one
            of several has the name of its image, but for the ending.
        geometry: of the networks.

    Returns:
        A sample for each image, whose `mask` is None where there is none; its mask is then empty.

    Raises:
        UserError: there is no image or there are too many, a file is not an image or too large, or
            a mask is of no image or of another size.
    """
    if not images:
        raise UserError("no image was sent: choose at least one")
    if len(images) > MAX_IMAGES:
        raise UserError(f"{len(images)} images were sent: at most {MAX_IMAGES} fit a page")
    names = _distinct([image.name for image in images])
    mask_of = _pairs(images, masks)
    samples, rows = [], []
    for index, (name, image) in enumerate(zip(names, images, strict=True)):
        mask = mask_of.get(index)
        rows.append(_square(image, mask, geometry))
        samples.append(Sample(name, Path(image.name), None if mask is None else Path(mask.name)))
    squares, square_masks, insides = (np.stack(arrays) for arrays in zip(*rows, strict=True))
    digests = np.full((len(samples), 2), "")
    return Prepared(samples, squares, square_masks, insides, digests)


def _square(
    image: Upload, mask: Upload | None, geometry: Geometry
) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int, int]]:
    """See `to_square`."""
    for upload in (image, mask):
        if upload is not None:
            _check_pixels(upload)
    pixels = read_on_black(Path(image.name), image.content)
    truth = np.zeros(pixels.shape[:2], bool)
    if mask is not None:
        truth = _read_mask(mask)
        check_sizes(pixels, truth, image.name, mask.name)
    pixels = with_channels(pixels, geometry.channels, image.name)
    return to_square(pixels, truth, geometry.image_size, geometry.resize)


def _read_mask(upload: Upload) -> np.ndarray:
    """See `read_mask`."""
    try:
        return read_mask(upload.name, upload.content)
    except UserError as fault:
        reason = str(fault).partition("; ")[0]  # what follows are options of datasets
        raise UserError(reason) from fault


def _pairs(images: Sequence[Upload], masks: Sequence[Upload]) -> dict[int, Upload]:
    """The masks, by the index of their image."""
    if len(images) == len(masks) == 1:
        return {0: masks[0]}
    stems = [PurePath(image.name).stem for image in images]
    pairs: dict[int, Upload] = {}
    for mask in masks:
        found = [index for index, stem in enumerate(stems) if stem == PurePath(mask.name).stem]
        if len(found) != 1 or found[0] in pairs:
            raise UserError(
                f"{mask.name}: it is not clear which image this mask belongs to; give it the name "
                "of its image, but for the ending"
            )
        pairs[found[0]] = mask
    return pairs


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number where one occurs again."""
    distinct: list[str] = []
    for name in names:
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        distinct.append(next(n for n in itertools.chain([name], numbered) if n not in distinct))
    return distinct


def _check_pixels(upload: Upload) -> None:
    """Refuses an image that may not fit the memory, before it is decoded.

    Raises:
        UserError: it has more than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            pixels = _count_pixels(upload)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # Pillow's own limits
        pixels = np.inf
    except (OSError, ValueError, SyntaxError, IndexError, tifffile.TiffFileError):
        return  # damaged: the reader says so
    if pixels > MAX_PIXELS:
        raise UserError(
            f"{upload.name}: too large, more than {MAX_PIXELS // 1_000_000} million pixels"
        )


def _count_pixels(upload: Upload) -> int:
    content = io.BytesIO(upload.content)
    if is_tiff(upload.name):
        with tifffile.TiffFile(content) as tiff:
            return tiff.pages.first.imagewidth * tiff.pages.first.imagelength
    with Image.open(content) as image:
        return image.width * image.height
