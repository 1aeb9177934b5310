"""What makes two runs the same system."""

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from polyp.report.run import Run

# Keys that do not change a run's numbers, or that the section and the image lists already show.
NOT_OF_THE_SYSTEM = (
    "name",
    "seed",
    "resume",
    "evaluation.",
    "metrics",
    "test_sets",
    "logger",
    "data.seed",
    "data.root",
    "data.dataset.root",
    "data.dataset._target_",
    "data.cache",
    "data.num_workers",
    "data.split",  # and split_seed, split_file: the lists of images count
    "data.fold",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.log_every_n_steps",
)

# Keys that differ between systems that were trained on more or fewer images.
OF_TRAINING_IMAGES = ("train_images", "train_and_val_set", "data.train_fraction")


def identity(run: Run) -> dict[str, Any]:
    """What makes two runs the same system: config and images, but not the seed."""
    config = {k: v for k, v in run.config.items() if not k.startswith(NOT_OF_THE_SYSTEM)}
    return {
        "model": run.model,
        "trained_on": run.trained_on,
        "augmentation": run.augmentation,
        "train_images": len(run.parts["train"]),
        "val_images": len(run.parts["val"]),
        "train_and_val_set": digest([*sorted(run.parts["train"]), "", *sorted(run.parts["val"])]),
        **config,
    }


def identity_key(run: Run, without: Collection[str] = ()) -> tuple:
    """The identity as a key of a dict, without some of its entries: equal for runs of one system.

    An option that is null counts as absent. A new option that is null by default therefore does not
    separate new runs from earlier ones.
    """
    own = {k: v for k, v in identity(run).items() if k not in without and v is not None}
    return tuple(sorted((k, repr(v)) for k, v in own.items()))


def digest(ids: Sequence[str]) -> str:
    """Six hexadecimal digits that stand for a list of image ids."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:6]
