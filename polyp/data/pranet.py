"""The protocol of PraNet: its training and test images from the public datasets."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from polyp.data.datasets import PairedFolders, natural
from polyp.data.polyps import CVCClinicDB, CVCColonDB, ETISLarib, KvasirSEG
from polyp.data.sample import Sample
from polyp.data.splits import Split
from polyp.errors import UserError

# The published test images of the two datasets that are divided; of the others all are.
TEST_IDS: dict[str, list[str]] = json.loads(
    files("polyp.data").joinpath("pranet_test_ids.json").read_text(encoding="utf-8")
)

# The datasets that are trained on, and their numbers of training images.
TRAINS = {"Kvasir": 900, "CVC-ClinicDB": 550}

# The test sets and their numbers of images.
TESTS = {
    "Kvasir": 100,
    "CVC-ClinicDB": 62,
    "CVC-300": 60,
    "CVC-ColonDB": 359,
    "ETIS-LaribPolypDB": 196,
}


class PraNet(PairedFolders):
    """The datasets of PraNet's protocol, with 900 and 550 training images from two of them.

    D.-P. Fan et al., PraNet: Parallel Reverse Attention Network for Polyp Segmentation, MICCAI
    2020.

    The folder holds either what its authors distribute: `TrainDataset` with the folders `image`
    and `mask` (or `images` and `masks`), and `TestDataset` with a folder for each test set, of
    `images` and `masks`; or the original datasets, as `Kvasir-SEG`, `CVC-ClinicDB` and, if
    needed, `CVC-ColonDB` and `ETIS-LaribPolypDB`. Both give the same ids, such as "Kvasir/cju0…"
    and "CVC-ClinicDB/100". The first layout is known from programs that read it; whether its
    images are the originals to the last bit could not be checked.

    "CVC-300" is frames 149 to 208 of CVC-ColonDB, and "CVC-ColonDB" is its frames without 77 to 97
    (359 frames); identical frames count as often as they occur. All 62 test frames of CVC-ClinicDB
    have neighbours of their sequence among the training images: see `sequence`.

    Args:
        root: the folder.
        tests: names of the test sets that make up the test part, of `TESTS`.
        trains: names of the datasets that are trained on, of `TRAINS`: both, as published, or one,
            so that the other comes from an unseen hospital.
    """

    help = (
        "data.root= names the folder that holds TrainDataset and TestDataset, or Kvasir-SEG and "
        "CVC-ClinicDB"
    )

    def __init__(
        self,
        root: str | Path,
        tests: Sequence[str] = ("Kvasir", "CVC-ClinicDB"),
        trains: Sequence[str] = ("Kvasir", "CVC-ClinicDB"),
    ):
        super().__init__(root, name="PraNet")
        self.tests = _chosen("tests", tests, TESTS)
        self.trains = _chosen("trains", trains, TRAINS)
        self.expected = sum(TRAINS[name] for name in self.trains)
        self.expected += sum(TESTS[name] for name in self.tests)

    def samples(self) -> list[Sample]:
        train, test = self._divided()
        return _sorted(train + test)

    def faults(self) -> list[str]:
        faults = [fault for dataset in self._sources().values() for fault in dataset.faults()]
        train, test = self._divided()
        both = {sample.id for sample in train} & {sample.id for sample in test}
        faults += [f"{id} is a training and a test image" for id in both]
        return sorted(faults, key=natural)

    def authors_split(self) -> Split:
        """The training images, and the test images of the chosen sets; "val" is not published."""
        parts = zip(("train", "test"), self._divided(), strict=True)
        return {part: [sample.id for sample in samples] for part, samples in parts}

    def _sources(self) -> dict[str, PairedFolders]:
        """The folders, by the name of the test set; "train" is the authors' training set."""
        train = self.root / "TrainDataset"
        if train.is_dir():
            images, masks = (
                f"{kind}s" if (train / f"{kind}s").is_dir() else kind for kind in ("image", "mask")
            )
            places = {"train": train} | {t: self.root / "TestDataset" / t for t in self.tests}
            return {
                name: PairedFolders(
                    place,
                    images if name == "train" else "images",
                    masks if name == "train" else "masks",
                    name=f"{self.name} {name}",
                )
                for name, place in places.items()
            }
        if not any((self.root / name).is_dir() for name in ("Kvasir-SEG", "CVC-ClinicDB")):
            raise self.not_found(f"{train}, and Kvasir-SEG and CVC-ClinicDB in {self.root}")
        originals = {
            "Kvasir": KvasirSEG(self.root / "Kvasir-SEG"),
            "CVC-ClinicDB": CVCClinicDB(self.root / "CVC-ClinicDB"),
            "CVC-300": CVCColonDB(self.root / "CVC-ColonDB", distinct=False),
            "CVC-ColonDB": CVCColonDB(self.root / "CVC-ColonDB", distinct=False),
            "ETIS-LaribPolypDB": ETISLarib(self.root / "ETIS-LaribPolypDB"),
        }
        return {name: originals[name] for name in TESTS if name in {*self.trains, *self.tests}}

    def _divided(self) -> tuple[list[Sample], list[Sample]]:
        """The training and the test samples."""
        train, test = [], []
        sources = self._sources()
        for source, dataset in sources.items():
            for sample in dataset.samples():
                name = source
                if source == "train":
                    name = "CVC-ClinicDB" if sample.id.isdecimal() else "Kvasir"
                is_test = source != "train" if "train" in sources else _is_test(name, sample.id)
                if is_test is None or name not in (self.tests if is_test else self.trains):
                    continue
                (test if is_test else train).append(_sample(name, sample))
        return _sorted(train), _sorted(test)


def _chosen(key: str, names: Sequence[str], known: dict[str, int]) -> list[str]:
    """The names in the order of `known`."""
    if isinstance(names, str) or not names or not set(names) <= known.keys():
        raise UserError(f"data.dataset.{key}={names}: must be a list of {', '.join(known)}")
    return [name for name in known if name in names]


def _sorted(samples: list[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: natural(sample.id))


def _is_test(name: str, id: str) -> bool | None:
    """Whether an image of an original dataset is a test image; None if it is not used."""
    if name in TEST_IDS:
        return id in TEST_IDS[name]
    frame = int(id) if id.isdecimal() else 0
    left_out = {
        "CVC-300": not 149 <= frame <= 208,
        "CVC-ColonDB": 77 <= frame <= 97,
    }
    return None if left_out.get(name) else True


def _sample(name: str, sample: Sample) -> Sample:
    """A sample with the same id and group in both layouts."""
    id, group, twin = sample.id, None, ""
    if name == "Kvasir":
        twin = next((copies[0] for copies in KvasirSEG.near_copies if id in copies), "")
    elif name == "CVC-ClinicDB":
        group = CVCClinicDB.sequence(id)
    elif name in ("CVC-300", "CVC-ColonDB"):
        group = CVCColonDB.sequence(id)
    video = "CVC-ColonDB" if name == "CVC-300" else name
    group = None if group is None else f"{video} {group}"
    return Sample(f"{name}/{id}", sample.image, sample.mask, twin, group)
