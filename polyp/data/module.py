"""The data of a run: samples as tensors, batches, and the three parts of the split."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils import data

from polyp.data.datasets import Dataset
from polyp.data.prepared import Prepared, prepare
from polyp.data.splits import Split, make_split, read_split, take_fraction
from polyp.errors import UserError
from polyp.files import atomic_path
from polyp.geometry import RESIZES


class DataModule(LightningDataModule):
    """Batches of one dataset, divided into training, validation and test set.

    A batch is a dict of `image` float [B, 3, S, S] in [0, 1], `mask` bool [B, 1, S, S], `valid`
    bool [B, 1, S, S] (False where the image was padded to a square) and `id`, a list of names.
    There is no further normalisation: the batch normalisation after the first convolution does
    it, and black stays 0, the value of the padding and of the corners of turned images.

    Args:
        dataset: what to read.
        image_size: side S of the square images, in pixels.
        batch_size: images a batch.
        split: "random" or "sequence", see `make_split`.
        split_seed: seed of the split; apart from `seed`, so that runs of different seeds are
            tested on the same images.
        split_file: a `split.json` to use instead.
        train_fraction: part of the training set that is used, in (0, 1]. A smaller one is within
            every larger one. An epoch has as many steps as with the whole set, in several passes,
            so that runs of all fractions train equally long, under the same schedule.
        resize: "pad", "crop" or "stretch", see `to_square`.
        augmentation: albumentations transforms, applied to training images in this order.
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
        train_fraction: float = 1.0,
        resize: str = "pad",
        augmentation: Sequence = (),
        seed: int = 0,
        num_workers: int = 0,
        cache: str | None = None,
        root: str | None = None,
    ):
        super().__init__()
        _check_counts(image_size=image_size, batch_size=batch_size)
        _check_counts(minimum=0, split_seed=split_seed, num_workers=num_workers)
        if resize not in RESIZES:
            raise UserError(f"data.resize={resize}: must be one of {', '.join(RESIZES)}")
        if not isinstance(train_fraction, int | float) or not 0 < train_fraction <= 1:
            raise UserError(f"data.train_fraction={train_fraction}: must be above 0 and at most 1")
        self.train_fraction = train_fraction
        self.dataset, self.image_size, self.batch_size = dataset, image_size, batch_size
        self.split_by, self.split_seed, self.split_file = split, split_seed, split_file
        self.resize, self.augmentation = resize, list(augmentation)
        self.seed, self.num_workers, self.cache = seed, num_workers, cache
        self.prepared: Prepared | None = None
        self.ids: Split = {}
        self.first_epoch, self.first_batch = 0, 0  # where a resumed run goes on

    def setup(self, stage: str | None = None) -> None:
        """Reads and checks the dataset and divides it; a second call does nothing."""
        if self.prepared is not None:
            return
        self.prepared = prepare(self.dataset, self.image_size, self.resize, self.cache)
        samples = self.prepared.samples
        if self.split_file is None:
            self.ids = make_split(samples, self.split_by, self.split_seed)
        else:
            self.ids = read_split(self.split_file, samples)
        self.epoch_images = len(self.ids["train"])
        self.ids["train"] = take_fraction(self.ids["train"], self.train_fraction, self.split_seed)

    def write_split(self, path: Path) -> None:
        """Writes the ids of the three parts as `split.json`."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.ids, indent=1) + "\n", encoding="utf-8")

    @property
    def split_name(self) -> str:
        return "file" if self.split_file else self.split_by

    def part(self, name: str, augmentation: Sequence = ()) -> "PolypDataset":
        """The samples of "train", "val" or "test"."""
        row_of = {sample.id: row for row, sample in enumerate(self.prepared.samples)}
        return PolypDataset(self.prepared, [row_of[id] for id in self.ids[name]], augmentation)

    def loader(self, name: str) -> data.DataLoader:
        """All of "train", "val" or "test", in its order and as it is."""
        return self._loader(self.part(name))

    def train_dataloader(self) -> data.DataLoader:
        """This process's share of the epochs, from where a resumed run goes on."""
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
        """Where training is: the epoch, and how many batches of it are done."""
        epoch = self.trainer.current_epoch
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed
        if batches == self.trainer.num_training_batches:
            epoch, batches = epoch + 1, 0
        return {"epoch": epoch, "batches": batches, **self._division()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes on from there.

        Raises:
            UserError: it is within an epoch, and here an epoch is divided otherwise.
        """
        was = {key: state_dict[key] for key in self._division()}
        if state_dict["batches"] and was != self._division():
            was, now = (
                "{images} training images, {batch_size} a batch, processes: {processes}".format(**x)
                for x in (was, self._division())
            )
            raise UserError(
                f"resume: the checkpoint was written within an epoch ({was}), which can only go on "
                f"as it began (here: {now}); see data.batch_size and trainer.devices"
            )
        self.first_epoch, self.first_batch = state_dict["epoch"], state_dict["batches"]

    def _division(self) -> dict[str, int]:
        """What makes the batches of an epoch."""
        _, processes = self._process()
        images = len(self.ids["train"])
        return {"images": images, "batch_size": self.batch_size, "processes": processes}

    def _process(self) -> tuple[int, int]:
        """Which of how many processes that train together this one is."""
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

    An item is asked for by its index, or by (index, seed), where the seed is that of its
    augmentation: the item is a function of the two, in whichever process it is made.

    Args:
        prepared: the images.
        rows: which of them; None is a blank image, of which no pixel is valid.
        augmentation: albumentations transforms.
    """

    def __init__(self, prepared: Prepared, rows: list[int | None], augmentation: Sequence = ()):
        self.prepared, self.rows = prepared, rows
        self.augment = None
        if augmentation:
            import albumentations  # takes a second to import, and most runs do without

            self.augment = albumentations.Compose(list(augmentation))

    def __len__(self) -> int:
        return len(self.rows)

    def share(self, rank: int, processes: int) -> "PolypDataset":
        """The share of one of several processes.

        All shares are of one length, filled up with blank images, because processes must make the
        same number of steps: each begins by sending the first one's batch statistics to the others.
        """
        blanks = [None] * (-len(self.rows) % processes)
        return PolypDataset(self.prepared, [*self.rows, *blanks][rank::processes])

    def __getitem__(self, item: int | tuple[int, int]) -> dict[str, Tensor | str]:
        index, seed = item if isinstance(item, tuple) else (item, None)
        row = self.rows[index]
        if row is None:
            size = self.prepared.images.shape[1]
            nowhere = torch.zeros(1, size, size, dtype=torch.bool)
            return {
                "image": torch.zeros(3, size, size),
                "mask": nowhere.byte(),
                "valid": nowhere,
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
            channels = np.stack([mask, valid], axis=2).astype(np.uint8)
            turned = self.augment(image=np.ascontiguousarray(image), mask=channels)
            image, mask, valid = turned["image"], turned["mask"][..., 0], turned["mask"][..., 1]
        return {
            "image": torch.tensor(image).permute(2, 0, 1).float().div_(255),
            "mask": torch.tensor(mask, dtype=torch.uint8)[None],
            "valid": torch.tensor(valid, dtype=torch.bool)[None],
            "id": self.prepared.samples[row].id,
            "group": self.prepared.samples[row].sequence or "",
        }


class ShuffledEpochs(data.Sampler):
    """The (index, augmentation seed) pairs of an epoch, a function of the seed and the epoch.

    No state is carried from epoch to epoch, so a resumed run sees what an uninterrupted one sees,
    wherever it is told to `start`.

    Args:
        images: of the training set.
        length: images an epoch; if it is more, the set is gone through several times, in a new
            order each time.
        seed: of the order and of the augmentation.
        rank, processes: which of how many processes that train together this one is. They share
            an epoch out; if it doesn't divide, the first images of it are taken twice.
    """

    def __init__(self, images: int, length: int, seed: int, rank: int = 0, processes: int = 1):
        self.images, self.length, self.seed, self.epoch = images, length, seed, 0
        self.rank, self.processes = rank, processes
        self.begun = (0, 0)

    def start(self, epoch: int, images: int) -> None:
        """Makes `epoch` the first, without the images that this process has already had of it."""
        self.begun = (epoch, images)
        # Now, as worker processes ask for the first batches before the trainer sets the epoch.
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
        begun, images = self.begun
        rest = mine[images:] if self.epoch == begun else mine
        return iter([items[position] for position in rest])


def _check_counts(minimum: int = 1, **values: object) -> None:
    for key, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise UserError(f"data.{key}={value}: must be a whole number of at least {minimum}")
