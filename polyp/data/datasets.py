"""Where each dataset keeps its pairs of image and mask."""

import hashlib
import re
from abc import ABC, abstractmethod
from bisect import bisect_left
from pathlib import Path

import numpy as np

from polyp.data.reading import SUFFIXES, read_image, read_mask
from polyp.data.sample import Sample
from polyp.errors import UserError


class Dataset(ABC):
    """Images with masks, by id."""

    name: str
    num_classes: int = 2
    external: bool = False

    @abstractmethod
    def samples(self) -> list[Sample]:
        """All samples, in an order that does not depend on the machine.

        Raises:
            UserError: there is no dataset at the place.
        """

    def faults(self) -> list[str]:
        """What is wrong with the dataset as a whole, such as missing partners: a line a fault."""
        return []

    @abstractmethod
    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [H, W, 3] and mask bool [H, W] of a sample.

        Raises:
            UserError: a file of it cannot be used.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes whenever what `read` returns may have changed."""


class PairedFolders(Dataset):
    """A folder of images and a folder of masks, paired by file name without suffix.

    Args:
        root: the dataset's folder.
        images, masks: the two folders, relative to `root`.
        mask_suffix: what a mask's name has more than its image's (`polyp1_mask.png`: "_mask").
        name: what messages call the dataset.
    """

    help = "data.root= names the folder that holds the two"

    def __init__(
        self,
        root: str | Path,
        images: str = "images",
        masks: str = "masks",
        mask_suffix: str = "",
        name: str = "folder",
    ):
        self.root, self.images, self.masks = Path(root), images, masks
        self.mask_suffix, self.name = mask_suffix, name

    def folders(self) -> tuple[Path, Path]:
        """The folder of images and the folder of masks."""
        folders = self.root / self.images, self.root / self.masks
        if not all(folder.is_dir() for folder in folders):
            raise self.not_found(f"{folders[0]} and {folders[1]}")
        return folders

    def not_found(self, places: str) -> UserError:
        return UserError(f"{self.name} not found: looked for {places}; {self.help}")

    def samples(self) -> list[Sample]:
        image_folder, mask_folder = self.folders()
        images, masks = _by_id(image_folder)[0], _by_id(mask_folder, self.mask_suffix)[0]
        if not images and not masks:
            raise UserError(
                f"{self.name}: no images in {image_folder} "
                f"(looked for {' '.join(sorted(SUFFIXES))}); {self.help}"
            )
        paired = sorted(images.keys() & masks, key=_natural)
        return [self.sample(id, images[id], masks[id]) for id in paired]

    def faults(self) -> list[str]:
        image_folder, mask_folder = self.folders()
        images, image_faults = _by_id(image_folder)
        masks, mask_faults = _by_id(mask_folder, self.mask_suffix)
        faults = image_faults + mask_faults
        faults += [f"{images[i]} has no mask in {mask_folder}" for i in images.keys() - masks]
        faults += [f"{masks[i]} has no image in {image_folder}" for i in masks.keys() - images]
        return sorted(faults, key=_natural)

    def sample(self, id: str, image: Path, mask: Path) -> Sample:
        return Sample(id, image, mask)

    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        image, mask = read_image(sample.image), read_mask(sample.mask)
        if image.shape[:2] != mask.shape:
            (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
            raise UserError(
                f"{sample.image} is {width}×{height} pixels, but its mask {sample.mask} is "
                f"{mask_width}×{mask_height}"
            )
        return image, mask

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for sample in self.samples():
            for path in (sample.image, sample.mask):
                stat = path.stat()
                digest.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class CVCClinicDB(PairedFolders):
    """CVC-ClinicDB: 612 frames of 384×288 pixels, from 29 sequences of 25 videos.

    J. Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy: Validation vs.
    saliency maps from physicians, Computerized Medical Imaging and Graphics 43, 2015.

    The folders `Original` and `Ground Truth` lie in `root`, or below it in `PNG` or `TIF`.
    """

    help = (
        "get it from https://polyp.grand-challenge.org/CVCClinicDB/ and lay it out as "
        "CVC-ClinicDB/Original/1.tif and CVC-ClinicDB/Ground Truth/1.tif (PNG works too), below "
        "the folder that POLYP_DATA names, or give its own folder as data.root="
    )

    # The last frame of each sequence, from the table in the dataset's README.
    last_frames = (
        *(25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317),
        *(342, 363, 383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612),
    )

    def __init__(self, root: str | Path):
        super().__init__(root, "Original", "Ground Truth", name="CVC-ClinicDB")

    def folders(self) -> tuple[Path, Path]:
        for place in (self.root, self.root / "PNG", self.root / "TIF"):
            folders = place / self.images, place / self.masks
            if all(folder.is_dir() for folder in folders):
                return folders
        raise self.not_found(
            f"'Original' and 'Ground Truth' in {self.root}, {self.root}/PNG and {self.root}/TIF"
        )

    def sample(self, id: str, image: Path, mask: Path) -> Sample:
        return Sample(id, image, mask, sequence=self.sequence(id))

    @classmethod
    def sequence(cls, id: str) -> str | None:
        """The number of a frame's sequence, 1 to 29; None for a file that isn't of the dataset."""
        if not id.isdecimal() or not 1 <= int(id) <= cls.last_frames[-1]:
            return None
        return str(bisect_left(cls.last_frames, int(id)) + 1)


class KvasirSEG(PairedFolders):
    """Kvasir-SEG: 1000 images of 332×352 to 1920×1072 pixels.

    D. Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MultiMedia Modeling 2020.
    """

    help = (
        "python scripts/download_data.py data=kvasir gets it; or unpack it from "
        "https://datasets.simula.no/kvasir-seg/ to Kvasir-SEG/images and Kvasir-SEG/masks below "
        "the folder that POLYP_DATA names, or give its own folder as data.root="
    )

    # Near-identical images, found by comparing all pairs.
    near_copies = (
        ("cju76lsehyia10987u54vn8rb", "cju772304yw5t0818vbw8kkjf"),
        ("cju886ryxnsl50801r93jai7q", "cju8amfdtqi4x09871tygrgqe"),
        ("cju30bmab08bi0835mvlr6e0r", "cju77k828z46w0871r0avuoo9"),
    )

    def __init__(self, root: str | Path):
        super().__init__(root, name="Kvasir-SEG")

    def sample(self, id: str, image: Path, mask: Path) -> Sample:
        twins = [copies for copies in self.near_copies if id in copies]
        return Sample(id, image, mask, twin=twins[0][0] if twins else "")


def _by_id(folder: Path, suffix: str = "") -> tuple[dict[str, Path], list[str]]:
    """The image files of a folder by id, their name without `suffix`; and a line a fault."""
    found: dict[str, Path] = {}
    faults = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if not path.stem.endswith(suffix):
            faults.append(f"{path}: its name does not end with data.dataset.mask_suffix={suffix}")
            continue
        id = path.stem.removesuffix(suffix)
        if id in found:
            faults.append(f"{found[id]} and {path} have the same id {id}; remove one")
        found[id] = path
    return found, faults


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorts numbers inside names by value: 2 before 10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]
