"""Decodes and resizes a whole dataset once, for all epochs."""

import hashlib
import json
import logging
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from polyp.data.datasets import Dataset
from polyp.data.sample import Sample
from polyp.errors import UserError
from polyp.geometry import to_square

log = logging.getLogger(__name__)

VERSION = 3  # of the arrays: increase it when `prepare` changes, and caches are renewed
SHOWN_FAULTS = 5


@dataclass(frozen=True)
class Prepared:
    """A dataset as arrays, at one size; row i of each belongs to samples[i].

    Attributes:
        samples: sorted by id.
        images: uint8 [n, size, size, C].
        masks: uint8 [n, size, size] of class indices.
        insides: int [n, 4], the (top, bottom, left, right) that is image and not padding.
        digests: str [n, 2], the digests of image and mask, see `Dataset.digests`.
    """

    samples: list[Sample]
    images: np.ndarray
    masks: np.ndarray
    insides: np.ndarray
    digests: np.ndarray


def prepare(
    dataset: Dataset, size: int, resize: str, cache: str | Path | None, channels: int = 3
) -> Prepared:
    """Reads a dataset at size×size pixels, checking every file of it.

    Args:
        dataset: the dataset.
        size, resize: as in `polyp.geometry.to_square`.
        cache: a folder that keeps the arrays for the next run; None keeps them in memory only.
            The key of an entry has the names, sizes and times of the files, so a changed dataset
            is read anew.
        channels: of the images; 1 makes them grey.

    Raises:
        UserError: problems of the dataset, all at once: images without a mask and masks without an
            image, unreadable files, images and masks of different size, images with other channels,
            duplicate ids. Or all masks are empty. Or the cache cannot be written.
    """
    samples = dataset.samples()
    if cache is None:
        return Prepared(samples, **_read_all(dataset, samples, size, resize, channels))
    key = json.dumps([VERSION, dataset.name, dataset.fingerprint(), size, resize, channels])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    entry = Path(cache) / f"{dataset.name}-{size}-{resize}-{digest}"
    if dataset.faults() or not entry.is_dir():
        arrays = _read_all(dataset, samples, size, resize, channels)
        try:
            _keep(entry, arrays)
        except OSError as error:  # raised by numpy for an incomplete write, without strerror
            raise UserError(
                f"data.cache={cache}: cannot be written ({error.strerror or error}); free some "
                "space, name another folder, or data.cache=null keeps the images in memory"
            ) from error
    # Mapped, not loaded: workers and parallel runs share one copy in memory.
    names = ("images", "masks", "insides", "digests")
    return Prepared(samples, **{n: np.load(entry / f"{n}.npy", mmap_mode="r") for n in names})


def _read_all(
    dataset: Dataset, samples: list[Sample], size: int, resize: str, channels: int
) -> dict[str, np.ndarray]:
    """The arrays of `Prepared`; or a UserError that lists the dataset's faults."""
    count = len(samples)
    arrays = {
        "images": np.zeros((count, size, size, channels), np.uint8),
        "masks": np.zeros((count, size, size), np.uint8),
        "insides": np.zeros((count, 4), np.int64),
    }
    digests = [("", "")] * count

    def read(row: int) -> str | None:
        try:
            image, mask = dataset.read(samples[row])
            digests[row] = dataset.digests(samples[row], image, mask)
            image = with_channels(image, channels, str(samples[row].image or samples[row].id))
            if mask.max() >= dataset.num_classes:
                raise UserError(
                    f"{samples[row].mask or samples[row].id}: a mask of class {mask.max()}, but "
                    f"{dataset.name} has {dataset.num_classes} classes, from 0"
                )
        except UserError as error:
            return str(error)
        square = to_square(image, mask, size, resize, dataset.num_classes)
        for array, value in zip(arrays.values(), square, strict=True):
            array[row] = value
        return None

    with ThreadPoolExecutor() as pool:  # the decoders release the interpreter lock
        bar = tqdm(pool.map(read, range(count)), f"Reading {dataset.name}", count, disable=None)
        faults = dataset.faults() + [fault for fault in bar if fault]
    if faults:
        raise _faulty(dataset, faults)
    if count and not arrays["masks"].any():
        raise UserError(f"{dataset.name}: the masks of all {count} images are empty")
    return arrays | {"digests": np.array(digests).reshape(count, 2)}


def with_channels(image: np.ndarray, channels: int, name: str) -> np.ndarray:
    """An image uint8 [H, W, C] with so many channels: colours can become grey.

    Raises:
        UserError: it has others; `name` is what the message calls it.
    """
    if image.shape[2] == channels:
        return image
    if (image.shape[2], channels) == (3, 1):
        return np.asarray(Image.fromarray(image).convert("L"))[..., None]
    raise UserError(f"data.channels={channels}: {name} has {image.shape[2]} channels")


def _keep(entry: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a cache entry under a temporary name, then renames it."""
    temporary = entry.with_name(f".{entry.name}-{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        try:
            temporary.rename(entry)
        except OSError:
            if not entry.is_dir():  # otherwise another run has written the same entry
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _faulty(dataset: Dataset, faults: list[str]) -> UserError:
    if len(faults) == 1:
        return UserError(f"{dataset.name}: {faults[0]}")
    if len(faults) <= SHOWN_FAULTS:
        return UserError(f"{dataset.name} has {len(faults)} faults: {'; '.join(faults)}")
    for fault in faults:
        log.error("%s", fault)
    return UserError(
        f"{dataset.name} has {len(faults)} faults, all listed above: "
        f"{'; '.join(faults[:SHOWN_FAULTS])}; …"
    )
