"""The base class of datasets, and datasets of a folder of images and a folder of masks."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polyp.data.labels import Labels
from polyp.data.reading import SUFFIXES, check_sizes, read_image, read_mask
from polyp.data.sample import Sample
from polyp.data.splits import Split
from polyp.errors import UserError

DIGITS = 16  # of a digest, hexadecimal


class Dataset(ABC):
    """Images with masks, by id.

    Attributes:
        name: the name of the dataset in messages.
        num_classes: number of classes in its masks, with the background.
        external: whether it is only a test set; training on it is an error.
        expected: the number of samples in the whole dataset; None if unknown.
    """

    name: str
    num_classes: int = 2
    external: bool = False
    expected: int | None = None

    @abstractmethod
    def samples(self) -> list[Sample]:
        """All samples, in an order that does not depend on the machine.

        Raises:
            UserError: there is no dataset in the folder.
        """

    def faults(self) -> list[str]:
        """Problems of the dataset as a whole, such as images without a mask: a line per problem."""
        return []

    def authors_split(self) -> Split | None:
        """The published ids of "train", "test" and, where the authors name one, "val"."""
        return None

    @abstractmethod
    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 [H, W, C] and mask uint8 [H, W] of class indices, 0 for the background.

        Raises:
            UserError: a file of the sample cannot be used.
        """

    def digests(self, sample: Sample, image: np.ndarray, mask: np.ndarray) -> tuple[str, str]:
        """Digests of a sample's image and mask. They do not depend on the file format.

        Args:
            sample: which one.
            image, mask: as returned by `read`.
        """
        return digest(image), digest(mask)

    @abstractmethod
    def fingerprint(self) -> str:
        """A text that changes whenever the result of `read` may have changed."""


def digest(array: np.ndarray) -> str:
    """The first digits of the SHA-256 of an array's shape and values."""
    content = repr(array.shape).encode() + array.tobytes()
    return hashlib.sha256(content).hexdigest()[:DIGITS]


@dataclass(frozen=True)
class Layout:
    """Where pairs are stored, and how the names of their files, without suffix, give an id.

    Attributes:
        images, masks: the two folders, relative to the dataset's folder; they may be the same.
        prefix, suffix: added to the id in the name of a mask.
        id: a regular expression of the ids.
        tail: a regular expression of what may follow the id in both names, and is ignored.
    """

    images: str = "images"
    masks: str = "masks"
    prefix: str = ""
    suffix: str = ""
    id: str = ".+"
    tail: str = ""

    def folders(self, root: Path) -> tuple[Path, Path]:
        """The folder of images and the folder of masks."""
        return root / self.images, root / self.masks

    def files(self, root: Path) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
        """The files of images and of masks, by id, and a line per fault."""
        image_folder, mask_folder = self.folders(root)
        images, image_faults = self._by_id(image_folder, "", "")
        masks, mask_faults = self._by_id(mask_folder, self.prefix, self.suffix)
        return images, masks, image_faults + mask_faults

    def _by_id(self, folder: Path, prefix: str, suffix: str) -> tuple[dict[str, Path], list[str]]:
        pattern = re.compile(f"{re.escape(prefix)}({self.id}){self.tail}{re.escape(suffix)}")
        found: dict[str, Path] = {}
        faults = []
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            match = pattern.fullmatch(path.stem)
            if match is None:
                if self.images != self.masks:  # otherwise it may be of the other kind
                    faults.append(f"{path}: its name without the suffix is not {prefix}ID{suffix}")
                continue
            id = match[1]
            if id in found:
                faults.append(f"{found[id]} and {path} have the same id {id}; remove one")
            found[id] = path
        return found, faults


class PairedFolders(Dataset):
    """A folder of images and a folder of masks, paired by file name without suffix.

    Args:
        root: the dataset's folder.
        images, masks: the two folders, relative to `root`.
        mask_suffix: appended to an image's name in that of its mask (`polyp1_mask.png`: "_mask").
        mask_prefix: the same, in front of the name (`p1.png`: "p").
        name: the name of the dataset in messages.
        labels: names of the classes of the masks, or their values or colours: see `Labels`. None
            means binary: polyp is where the mask's grey value is above 127.
        foreground: the value of the foreground in binary masks, if it is not 255.
        group: a regular expression; its first part in parentheses is the video sequence or patient
            in an id: "(.+)_" for patient7_03.
    """

    help = "data.root= names the folder that holds the two"
    layouts: tuple[Layout, ...] = (Layout(),)

    def __init__(
        self,
        root: str | Path,
        images: str = "images",
        masks: str = "masks",
        mask_suffix: str = "",
        mask_prefix: str = "",
        name: str = "folder",
        labels: Sequence[str] | Mapping[str, int | Sequence[int]] | None = None,
        foreground: int | None = None,
        group: str | None = None,
    ):
        if labels is not None and foreground is not None:
            raise UserError(
                f"data.dataset.foreground={foreground}: for binary masks only; "
                "data.dataset.labels= already gives the values"
            )
        self.root, self.name = Path(root), name
        self.layouts = (Layout(images, masks, mask_prefix, mask_suffix),)
        self.labels = None if labels is None else Labels(labels)
        if foreground is not None:
            self.labels = Labels({"background": 0, "polyp": foreground})
        self.num_classes = 2 if self.labels is None else len(self.labels.names)
        try:
            self.group = None if group is None else re.compile(group)
        except re.error as error:
            raise UserError(
                f"data.dataset.group={group}: not a regular expression ({error})"
            ) from error
        if self.group is not None and not self.group.groups:
            raise UserError(
                f"data.dataset.group={group}: needs a part in parentheses, such as (.+)_"
            )

    def parts(self) -> dict[str, Layout]:
        """The layouts of the dataset's pairs, by the prefix of their ids.

        Raises:
            UserError: the dataset's folder has none of the known layouts.
        """
        met = [
            layout
            for layout in self.layouts
            if all(folder.is_dir() for folder in layout.folders(self.root))
        ]
        for layout in met:
            images, masks, _ = layout.files(self.root)
            if images.keys() & masks:
                return {"": layout}
        if met and met[0].images != met[0].masks:  # `faults` reports what is wrong
            return {"": met[0]}
        raise self.not_found(
            ", or ".join(
                dict.fromkeys(
                    " and ".join(dict.fromkeys(map(str, layout.folders(self.root))))
                    for layout in self.layouts
                )
            )
        )

    def not_found(self, places: str) -> UserError:
        return UserError(f"{self.name} not found: looked for {places}; {self.help}")

    def samples(self) -> list[Sample]:
        samples = []
        for before, layout in self.parts().items():
            images, masks, _ = layout.files(self.root)
            if not images and not masks:
                raise UserError(
                    f"{self.name}: no images in {self.root / layout.images} "
                    f"(looked for {' '.join(sorted(SUFFIXES))}); {self.help}"
                )
            for id in images.keys() & masks:
                samples.append(self.sample(before + id, images[id], masks[id]))
        if samples and self.group is not None and all(s.group is None for s in samples):
            raise UserError(
                f"data.dataset.group={self.group.pattern}: matches none of the {len(samples)} "
                f"names; the first is {samples[0].id}"
            )
        return sorted(samples, key=lambda sample: natural(sample.id))

    def faults(self) -> list[str]:
        faults = []
        for layout in self.parts().values():
            image_folder, mask_folder = layout.folders(self.root)
            images, masks, of_names = layout.files(self.root)
            faults += of_names
            faults += [f"{images[i]} has no mask in {mask_folder}" for i in images.keys() - masks]
            faults += [f"{masks[i]} has no image in {image_folder}" for i in masks.keys() - images]
        return sorted(faults, key=natural)

    def sample(self, id: str, image: Path, mask: Path) -> Sample:
        match = None if self.group is None else self.group.search(id)
        return Sample(id, image, mask, group=match[1] if match else None)

    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        image = read_image(sample.image)
        if self.labels is None:
            mask = read_mask(sample.mask).astype(np.uint8)
        else:
            mask = self.labels.read(sample.mask)
        check_sizes(image, mask, sample.image, sample.mask)
        return image, mask

    def fingerprint(self) -> str:
        digest = hashlib.sha256(str(self.labels).encode())
        for sample in self.samples():
            for path in (sample.image, sample.mask):
                stat = path.stat()
                digest.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers inside names by value: 2 before 10; and 001 before 1."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], text
