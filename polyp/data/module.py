"""The data of a run: samples as tensors, batches, and the three parts of the split."""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils import data

from polyp.data.datasets import Dataset
from polyp.data.prepared import Prepared, prepare
from polyp.data.published import check_content, check_count
from polyp.data.splits import (
    Split,
    make_fold,
    make_split,
    read_split,
    take_fraction,
    with_validation,
)
from polyp.errors import UserError
from polyp.geometry import RESIZES


class DataModule(LightningDataModule):
    """Batches of one dataset, divided into training, validation and test set.

    A batch is a dict of `image` float [B, C, S, S] in [0, 1], `mask` uint8 [B, 1, S, S] of class
    indices, `valid` bool [B, 1, S, S] (False where the image was padded to a square), `id`, a list
    of names, and `group`, a list of the sequence or patient of each, "" where it is not known.
    There is no further normalisation: the batch normalisation after the first convolution does
    it, and black stays 0, the value of the padding and of the corners of turned images.

    Args:
        dataset: what to read.
        image_size: side S of the square images, in pixels.
        batch_size: images per batch.
        split: "random" or "sequence", see `make_split`; or "authors", the published one.
        split_seed: seed of the split; apart from `seed`, so that runs of different seeds are
            tested on the same images.
        split_file: a `split.json` to use instead.
        fold: "k/K", a fold of a cross-validation by group instead, see `make_fold`.
        train_fraction: part of the training set that is used, in (0, 1]; of whole groups if the
            split is by group. Smaller fractions are subsets of larger ones. An epoch has as many
            steps as with the whole set, in several passes, so that runs of all fractions train
            equally long, under the same schedule.
        resize: "pad", "crop" or "stretch", see `to_square`.
        augmentation: albumentations transforms, applied to training images in this order.
        channels: of the images; 1 makes them grey.
        partial: whether a published dataset may be incomplete or changed.
        seed: of shuffling and augmentation.
        num_workers: processes that prepare batches; 0 prepares them in the main process.
        cache: folder for decoded datasets; None keeps them in memory.
        root: not used here; it is the key `data.root`, from which the datasets' configs take
            their own argument of this name.
    """

    def __init__(
        self,
        dataset: Dataset,
        image_size: int,
        batch_size: int,
        split: str = "random",
        split_seed: int = 0,
        split_file: str | None = None,
        fold: str | None = None,
        train_fraction: float = 1.0,
        resize: str = "pad",
        augmentation: Sequence = (),
        channels: int = 3,
        partial: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        cache: str | None = None,
        root: str | None = None,
    ):
        super().__init__()
        _check_counts(image_size=image_size, batch_size=batch_size, channels=channels)
        _check_counts(minimum=0, split_seed=split_seed, num_workers=num_workers)
        if resize not in RESIZES:
            raise UserError(f"data.resize={resize}: must be one of {', '.join(RESIZES)}")
        if not isinstance(train_fraction, int | float) or not 0 < train_fraction <= 1:
            raise UserError(f"data.train_fraction={train_fraction}: must be above 0 and at most 1")
        if fold is not None and split_file is not None:
            raise UserError(
                f"data.fold={fold}: and data.split_file={split_file} exclude each other"
            )
        self.train_fraction, self.channels, self.partial = train_fraction, channels, partial
        self.dataset, self.image_size, self.batch_size = dataset, image_size, batch_size
        self.split_by, self.split_seed, self.split_file = split, split_seed, split_file
        self.fold, self.resize, self.augmentation = fold, resize, list(augmentation)
        self.seed, self.num_workers, self.cache = seed, num_workers, cache
        self.prepared: Prepared | None = None
        self.first_epoch, self.first_batch = 0, 0  # where a resumed run continues

    def setup(self, stage: str | None = None) -> None:
        """Reads and checks the dataset; a second call does nothing."""
        if self.prepared is not None:
            return
        if not self.partial:
            check_count(self.dataset)
        prepared = prepare(self.dataset, self.image_size, self.resize, self.cache, self.channels)
        if not self.partial:
            check_content(self.dataset, prepared)
        self.prepared = prepared

    @cached_property
    def digests(self) -> dict[str, tuple[str, str]]:
        """Digests of each image and mask, by id, after `setup`. They do not depend on paths."""
        pairs = zip(self.prepared.samples, self.prepared.digests.tolist(), strict=True)
        return {sample.id: (image, mask) for sample, (image, mask) in pairs}

    @property
    def split_name(self) -> str:
        """How the dataset is divided: "random", "sequence", "authors", "file", "fold k/K"; or
        "whole", which an external test set is."""
        if self.dataset.external:
            return "whole"
        if self.fold is not None:
            return f"fold {self.fold}"
        return self.split_by if self.split_file is None else "file"

    @cached_property
    def ids(self) -> Split:
        """The ids of the three parts, after `setup`. An external test set is all "test".

        Raises:
            UserError: the dataset cannot be split in this way.
        """
        split = self._split
        groups = None
        if self.split_file is None and (self.fold is not None or self.split_by == "sequence"):
            groups = {sample.id: sample.group for sample in self.prepared.samples}
        train = take_fraction(split["train"], self.train_fraction, self.split_seed, groups)
        return split | {"train": train}

    @property
    def epoch_images(self) -> int:
        """Images per epoch: the size of the training set before `train_fraction` is applied."""
        return len(self._split["train"])

    @cached_property
    def _split(self) -> Split:
        samples = self.prepared.samples
        if self.dataset.external:
            for key, value in {"fold": self.fold, "split_file": self.split_file}.items():
                if value is not None:
                    raise UserError(f"data.{key}={value}: {self._never_trained_on()}")
            return {"train": [], "val": [], "test": [sample.id for sample in samples]}
        if self.split_file is not None:
            return read_split(self.split_file, samples)
        if self.fold is not None:
            return make_fold(samples, self.fold, self.split_seed)
        if self.split_by != "authors":
            return make_split(samples, self.split_by, self.split_seed)
        split = self.dataset.authors_split()
        if split is None:
            raise UserError(
                f"data.split=authors: {self.dataset.name} has no published split; use data.split="
                "random or a data.split_file"
            )
        return with_validation(split, samples, self.split_seed)

    def _never_trained_on(self) -> str:
        return f"{self.dataset.name} is an external test set, on which nothing is trained"

    def part(self, name: str, augmentation: Sequence = ()) -> "PolypDataset":
        """The samples of "train", "val" or "test"; or "all", which needs no split.

        Raises:
            UserError: "train" or "val" of an external test set.
        """
        samples = self.prepared.samples
        if name == "all":
            return PolypDataset(self.prepared, list(range(len(samples))), augmentation)
        if self.dataset.external and name != "test":
            raise UserError(f"{self._never_trained_on()}: it has no part {name}")
        row_of = {sample.id: row for row, sample in enumerate(samples)}
        return PolypDataset(self.prepared, [row_of[id] for id in self.ids[name]], augmentation)

    def loader(self, name: str) -> data.DataLoader:
        """All of "train", "val", "test" or "all", in order and without augmentation."""
        return self._loader(self.part(name))

    def train_dataloader(self) -> data.DataLoader:
        """This process's share of the epochs, from where a resumed run continues."""
        part = self.part("train", self.augmentation)
        sampler = ShuffledEpochs(len(part), self.epoch_images, self.seed, *self._process())
        sampler.start(self.first_epoch, self.first_batch * self.batch_size)
        return self._loader(part, sampler)

    def val_dataloader(self) -> data.DataLoader:
        """This process's share of the validation set."""
        return self._loader(self.part("val").share(*self._process()))

    def test_dataloader(self) -> data.DataLoader:
        """The whole test set, as one process measures it."""
        return self.loader("test")

    def state_dict(self) -> dict[str, int]:
        """The epoch of training, and the number of its batches that are done."""
        epoch = self.trainer.current_epoch
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed
        if batches == self.trainer.num_training_batches:
            epoch, batches = epoch + 1, 0
        return {"epoch": epoch, "batches": batches, **self._division()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continues from a checkpoint.

        Raises:
            UserError: it was written within an epoch, and the batches of an epoch differ here.
        """
        was = {key: state_dict[key] for key in self._division()}
        if state_dict["batches"] and was != self._division():
            was, now = (
                "{images} training images, {batch_size} per batch, processes: {processes}".format(
                    **x
                )
                for x in (was, self._division())
            )
            raise UserError(
                f"resume: the checkpoint was written within an epoch ({was}), which can only be "
                f"resumed in the same way (here: {now}); see data.batch_size and trainer.devices"
            )
        self.first_epoch, self.first_batch = state_dict["epoch"], state_dict["batches"]

    def _division(self) -> dict[str, int]:
        """The facts that determine the batches of an epoch."""
        _, processes = self._process()
        images = len(self.ids["train"])
        return {"images": images, "batch_size": self.batch_size, "processes": processes}

    def _process(self) -> tuple[int, int]:
        """The rank of this process, and the number of processes that train together."""
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _loader(self, part: "PolypDataset", sampler: data.Sampler | None = None) -> data.DataLoader:
        return data.DataLoader(
            part,
            self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class PolypDataset(data.Dataset):
    """Rows of a prepared dataset as tensors.

    An item is requested by its index, or by (index, seed of the augmentation). It depends on
    these two alone, whichever process makes it.

    Args:
        prepared: the images.
        rows: indices of images; None is a blank image without valid pixels.
        augmentation: albumentations transforms.
    """

    def __init__(self, prepared: Prepared, rows: list[int | None], augmentation: Sequence = ()):
        self.prepared, self.rows = prepared, rows
        self.augment = None
        if augmentation:
            import albumentations  # takes a second to import, and most runs do not need it

            self.augment = albumentations.Compose(list(augmentation))

    def __len__(self) -> int:
        return len(self.rows)

    def share(self, rank: int, processes: int) -> "PolypDataset":
        """The share of one of several processes.

        All shares have the same length, with blank images at the end, because processes must make
        the same number of steps: each step starts with a broadcast of batch statistics.
        """
        blanks = [None] * (-len(self.rows) % processes)
        return PolypDataset(self.prepared, [*self.rows, *blanks][rank::processes])

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Tensor | str]:
        index, seed = item if isinstance(item, tuple) else (item, None)
        row = self.rows[index]
        if row is None:
            _, height, width, channels = self.prepared.images.shape
            return {
                "image": torch.zeros(channels, height, width),
                "mask": torch.zeros(1, height, width, dtype=torch.uint8),
                "valid": torch.zeros(1, height, width, dtype=torch.bool),
                "id": "",
                "group": "",
            }
        image, mask = self.prepared.images[row], self.prepared.masks[row]
        top, bottom, left, right = self.prepared.insides[row]
        valid = np.zeros_like(mask)
        valid[top:bottom, left:right] = True
        if self.augment is not None and seed is not None:
            # One generator for all transforms: with one each, from one seed, the choices of two
            # transforms would always agree.
            self.augment.set_random_state(np.random.default_rng(seed), random.Random(seed))
            both = np.stack([mask, valid], axis=2)
            turned = self.augment(image=np.ascontiguousarray(image), mask=both)
            image, mask, valid = turned["image"], turned["mask"][..., 0], turned["mask"][..., 1]
        sample = self.prepared.samples[row]
        return {
            "image": torch.tensor(image).permute(2, 0, 1).float().div_(255),
            "mask": torch.tensor(mask, dtype=torch.uint8)[None],
            "valid": torch.tensor(valid, dtype=torch.bool)[None],
            "id": sample.id,
            "group": sample.group or "",
        }


class ShuffledEpochs(data.Sampler):
    """The (index, augmentation seed) pairs of an epoch, a function of the seed and the epoch.

    No state is carried from epoch to epoch, so a resumed run sees what an uninterrupted one sees,
    whatever its `start`.

    Args:
        images: of the training set.
        length: images per epoch; if it is more than `images`, the set is repeated, in a new order
            each time.
        seed: of the order and of the augmentation.
        rank, processes: the rank of this process, and the number of processes that train
            together. They share an epoch; if it doesn't divide, its first images occur twice.
    """

    def __init__(self, images: int, length: int, seed: int, rank: int = 0, processes: int = 1):
        self.images, self.length, self.seed, self.epoch = images, length, seed, 0
        self.rank, self.processes = rank, processes
        self.first = (0, 0)

    def start(self, epoch: int, images: int) -> None:
        """Starts at `epoch`, after the images of it that this process has already seen."""
        self.first = (epoch, images)
        # Set now, as worker processes request the first batches before the trainer sets the epoch.
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.processes)  # rounded up

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        passes = -(-self.length // self.images)  # rounded up
        order = np.concatenate([rng.permutation(self.images) for _ in range(passes)])[: self.length]
        seeds = rng.integers(2**31, size=self.length)
        items = list(zip(order.tolist(), seeds.tolist(), strict=True))
        shared = np.resize(np.arange(self.length), len(self) * self.processes)
        mine = shared[self.rank :: self.processes]
        first, images = self.first
        rest = mine[images:] if self.epoch == first else mine
        return iter([items[position] for position in rest])


def _check_counts(minimum: int = 1, **values: object) -> None:
    for key, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise UserError(f"data.{key}={value}: must be a whole number of at least {minimum}")
