"""What makes two runs the same system."""

import hashlib
import inspect
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from polyp.report.run import Run

# Keys that do not change a run's numbers, or that the section and the image lists already show.
NOT_OF_THE_SYSTEM = (
    "name",
    "seed",
    "resume",
    "init_from_seen",
    "logit_channels",  # follows from the task
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
    config = {k: v for k, v in _filled(run.config).items() if not k.startswith(NOT_OF_THE_SYSTEM)}
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
    An option that is null counts as absent."""
    own = {k: v for k, v in identity(run).items() if k not in without and v is not None}
    return tuple(sorted((k, repr(v)) for k, v in own.items()))


def _filled(config: Mapping[str, Any]) -> dict[str, Any]:
    """A flat config with the options that are newer than the run, at their defaults."""
    config = {"task._target_": "polyp.tasks.Binary", **config}
    filled = dict(config)
    for key, target in config.items():
        if key.endswith("_target_") and str(target).startswith("polyp."):
            place = key.removesuffix("_target_")
            for name, default in _defaults(str(target)).items():
                if not any(f"{other}.".startswith(f"{place}{name}.") for other in config):
                    filled[place + name] = default
    return filled


@cache
def _defaults(target: str) -> dict[str, Any]:
    """The arguments of a class or function that have a default; {} if there is none of this name,
    in this version."""
    module, _, name = target.rpartition(".")
    try:
        parameters = inspect.signature(getattr(import_module(module), name)).parameters.values()
    except (ImportError, AttributeError):
        return {}
    simple = (bool, int, float, str, type(None))
    return {each.name: each.default for each in parameters if isinstance(each.default, simple)}


def digest(ids: Sequence[str]) -> str:
    """Six hexadecimal digits that stand for a list of image ids."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:6]
