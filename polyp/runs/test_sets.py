"""The test sets of a run: the test part of its own split, and any other datasets."""

import copy
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from polyp.data import DataModule
from polyp.errors import UserError
from polyp.runs.identity import Identity, seen_images
from polyp.tasks import Task

log = logging.getLogger(__name__)

OWN = "own"  # the name of the test part of the run's own split
PARTS = ("all", "train", "val", "test")

# Options of the run that hold for every test set.
GEOMETRY = ("image_size", "resize", "batch_size", "channels", "cache")


@dataclass(frozen=True)
class TestSet:
    """Images to test on: a part of a dataset.

    Attributes:
        name: its name in the column test_set of the results.
        data: the data module.
        part: "all", or "train", "val" or "test" of its split.
    """

    __test__ = False  # for pytest: this class has no tests

    name: str
    data: DataModule
    part: str

    def batches(self) -> Iterable[dict]:
        """All of its images, in order."""
        return self.data.loader(self.part)

    def ids(self) -> list[str]:
        """Ids of its images, in order."""
        assert self.data.prepared is not None  # after `setup`
        samples = self.data.prepared.samples
        return [samples[row].id for row in self.data.part(self.part).rows if row is not None]

    def seen(self, identity: Identity | None) -> list[str]:
        """Ids of its images that a run was trained or selected on, by their content."""
        seen = seen_images(identity)
        return [id for id in self.ids() if self.data.digests[id][0] in seen]


def make_test_sets(
    config: DictConfig, own: DataModule, task: Task, build: Callable[[DictConfig, str], Any]
) -> list[TestSet]:
    """The run's own test part, then those in `config.test_sets`, read and checked.

    Args:
        config: of the run.
        own: its data module, after `setup`.
        task: the classes that the masks must have.
        build: (config, key) → the object that config[key] describes.

    Raises:
        UserError: a dataset is missing or damaged, its masks have another number of classes than
            the task, or a part is unknown.
    """
    _check_classes(task, own)
    sets = [TestSet(OWN, own, "test")]
    for name, entry in (config.get("test_sets") or {}).items():
        if name == OWN:
            continue
        part = entry.get("part", "all")
        if part not in PARTS:
            raise UserError(f"test_sets.{name}.part={part}: must be one of {', '.join(PARTS)}")
        described = copy.deepcopy(config)
        described.data = OmegaConf.masked_copy(entry, [key for key in entry if key != "part"])
        for key in GEOMETRY:
            if key in config.data:
                described.data[key] = config.data[key]
        described.data.augmentation = []
        data = build(described, "data")
        data.setup()
        _check_classes(task, data)
        if not len(data.part(part)):
            raise UserError(f"test_sets.{name}: part={part} has no images")
        sets.append(TestSet(name, data, part))
    return sets


def warn_of_seen(test_sets: Iterable[TestSet], identity: Identity | None) -> None:
    """Logs a warning for each test set with images that the run was trained or selected on."""
    for test_set in test_sets:
        if known := test_set.seen(identity):
            log.warning(
                "%s: %d of the %d test images were in the training or validation set of the run, "
                "for example %s",
                test_set.name,
                len(known),
                len(test_set.ids()),
                known[0],
            )


def warn_of_shared_groups(data: DataModule) -> None:
    """Logs a warning if groups, such as patients, are in the training and in the test set."""
    assert data.prepared is not None  # after `setup`
    samples = data.prepared.samples
    group = {sample.id: sample.group for sample in samples if sample.group}
    trained = {group[id] for id in data.ids["train"] if id in group}
    shared = sum(group.get(id) in trained for id in data.ids["test"])
    if shared:
        remedy = "; data.split=sequence or data.fold=1/5 separates them"
        log.warning(
            "%d of %d test images have other images of their group (sequence, patient or centre) "
            "in the training set, so that scores are too high%s",
            shared,
            len(data.ids["test"]),
            remedy if len(group) == len(samples) else "",
        )


def warn_of_unknown(option: str) -> None:
    """Logs a warning that `option`, run=… or init_from=…, has no identity to search."""
    log.warning(
        "%s: from an earlier version, which does not store the training images; make sure that "
        "none of them is a test image here",
        option,
    )


def _check_classes(task: Task, data: DataModule) -> None:
    if data.dataset.num_classes != len(task.names):
        raise UserError(
            f"task.classes={task.names}: {len(task.names)} classes, but the masks of "
            f"{data.dataset.name} have {data.dataset.num_classes}"
        )
