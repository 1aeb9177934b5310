"""Splits of a dataset into training, validation and test set."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from polyp.data.sample import Sample
from polyp.errors import UserError

PARTS = ("train", "val", "test")
FRACTIONS = (0.70, 0.15, 0.15)
AUTHORS_VAL = 0.1  # of the training images, if the authors published no validation set

Split = dict[str, list[str]]  # the ids of each of the three parts


def make_split(samples: list[Sample], by: str, seed: int) -> Split:
    """Splits samples 70/15/15 at random, and keeps near copies or groups together.

    Args:
        samples: the whole dataset, in any order.
        by: "random" splits by image (known near copies stay together); "sequence" splits by
            group, as neighbouring frames of a video are near copies of each other.
        seed: of the shuffling; the split depends only on it and on the ids.

    Returns:
        Ids of "train", "val" and "test", each in the samples' order.

    Raises:
        UserError: an unknown `by`, unknown groups, or too few groups for three parts.
    """
    if by not in ("random", "sequence"):
        raise UserError(f"data.split={by}: must be random, sequence or authors")
    if by == "sequence":
        _check_groups(samples, "data.split=sequence", "video sequence")
    groups: dict[str, list[str]] = {}
    for sample in sorted(samples, key=lambda s: s.id):
        key = f"sequence {sample.group}" if by == "sequence" else sample.twin or sample.id
        groups.setdefault(key, []).append(sample.id)
    if len(groups) < len(PARTS):
        raise UserError(
            f"data.split={by}: {len(groups)} group(s) of images cannot be divided into training, "
            "validation and test set; at least 3 are needed"
        )
    # In random order, each group goes to the part that lacks most images. This is exact for single
    # images, and as close to 70/15/15 as the lengths of sequences permit.
    room: dict[str, int] = dict(zip(PARTS, _sizes(len(samples)), strict=True))
    part_of: dict[str, str] = {}
    empty = set(PARTS)
    names = list(groups)
    for number, index in enumerate(np.random.default_rng(seed).permutation(len(names))):
        ids = groups[names[index]]
        # The last groups go to the parts that have none.
        last = len(names) - number == len(empty)
        part = max((p for p in room if p in empty or not last), key=lambda part: room[part])
        empty.discard(part)
        room[part] -= len(ids)
        part_of |= dict.fromkeys(ids, part)
    return _in_order(samples, part_of)


def _sizes(count: int) -> tuple[int, int, int]:
    held_out = max(1, round(FRACTIONS[1] * count))
    return count - 2 * held_out, held_out, held_out


def make_fold(samples: list[Sample], fold: str, seed: int) -> Split:
    """One fold of a cross-validation by group.

    Each group is in the test part of exactly one of the K folds, and these parts have nearly equal
    numbers of images. Other groups, with about 15 % of the images, are for validation.

    Args:
        samples: the whole dataset, in any order.
        fold: "k/K", k from 1 to K.
        seed: the folds depend on it and on the ids alone.

    Returns:
        As `make_split`.

    Raises:
        UserError: not a fold, unknown groups, or too few groups.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", str(fold))
    number, folds = (int(n) for n in match.groups()) if match else (0, 0)
    if folds < 2 or not 1 <= number <= folds:
        raise UserError(f"data.fold={fold}: must be k/K, for example 1/5")
    _check_groups(samples, f"data.fold={fold}", "video sequence or patient")
    groups = _grouped(samples)
    order = [list(groups)[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    # The largest group first, each to the smallest fold. Groups of equal size come in random order.
    tests: list[list[str]] = [[] for _ in range(folds)]
    for name in sorted(order, key=lambda name: -len(groups[name])):
        smallest = min(tests, key=lambda names: sum(len(groups[n]) for n in names))
        smallest.append(name)
    test = tests[number - 1]
    rest = {name: ids for name, ids in groups.items() if name not in test}
    if not all(tests) or len(rest) < 2:
        raise UserError(
            f"data.fold={fold}: {len(groups)} groups of images are too few for {folds} folds, each "
            "with training, validation and test groups of its own"
        )
    val = _draw(rest, FRACTIONS[1] * len(samples), np.random.default_rng([seed, number]))
    part_of = {
        id: "test" if name in test else "val" if name in val else "train"
        for name, ids in groups.items()
        for id in ids
    }
    return _in_order(samples, part_of)


def with_validation(split: Split, samples: list[Sample], seed: int) -> Split:
    """A published split. If it has no validation images, some training images are used.

    Groups and near copies stay together. The choice depends on the seed and the ids alone.
    """
    if "val" in split:
        return {part: split[part] for part in PARTS}
    train = set(split["train"])
    groups = _grouped(sample for sample in samples if sample.id in train)
    if len(groups) < 2:
        raise UserError("data.split=authors: too few training images to validate on some of them")
    val = _draw(groups, AUTHORS_VAL * len(train), np.random.default_rng(seed))
    held_out = {id for name in val for id in groups[name]}
    return {
        "train": [id for id in split["train"] if id not in held_out],
        "val": [id for id in split["train"] if id in held_out],
        "test": split["test"],
    }


def _check_groups(samples: list[Sample], option: str, what: str) -> None:
    if unknown := [sample.id for sample in samples if sample.group is None]:
        raise UserError(
            f"{option}: the {what} of {len(unknown)} images is not known "
            f"(the first is {unknown[0]}); use data.split=random"
        )


def _grouped(samples: Iterable[Sample]) -> dict[str, list[str]]:
    """Ids by group. Without a group: by near copies, or each by itself."""
    groups: dict[str, list[str]] = {}
    for sample in sorted(samples, key=lambda s: s.id):
        key = f"image {sample.twin or sample.id}" if sample.group is None else sample.group
        groups.setdefault(key, []).append(sample.id)
    return groups


def _draw(groups: dict[str, list[str]], images: float, rng: np.random.Generator) -> list[str]:
    """Some, but not all groups: in random order, those that bring the sum nearer to `images`."""
    names = list(groups)
    drawn, count = [], 0
    for index in rng.permutation(len(names)):
        size = len(groups[names[index]])
        if abs(count + size - images) < abs(count - images) and len(drawn) < len(names) - 1:
            drawn.append(names[index])
            count += size
    return drawn or [min(names, key=lambda name: len(groups[name]))]


def _in_order(samples: list[Sample], part_of: dict[str, str]) -> Split:
    return {part: [s.id for s in samples if part_of[s.id] == part] for part in PARTS}


def take_fraction(
    ids: list[str], fraction: float, seed: int, group_of: Mapping[str, str] | None = None
) -> list[str]:
    """Some of the ids, at random, in their order: a fraction in (0, 1].

    With the same seed, smaller fractions are subsets of larger ones.

    Args:
        ids: all of them.
        fraction: of their number.
        seed: of the choice.
        group_of: the group of each id. Whole groups are then taken, as many as are nearest to the
            fraction: frames of a sequence are near copies, so a few frames of each sequence would
            teach nearly as much as all frames.

    Raises:
        UserError: the nearest number is 0.
    """
    groups: dict[str, list[str]] = {}
    for id in ids:
        groups.setdefault(group_of[id] if group_of else id, []).append(id)
    names = list(groups)
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    counts = np.cumsum([0, *(len(groups[name]) for name in order)])
    number = int(np.abs(counts - round(fraction * len(ids))).argmin())
    if ids and not number:
        raise UserError(
            f"data.train_fraction={fraction}: this is none of the {len(names)} training "
            f"{'groups' if group_of else 'images'}"
        )
    kept = {id for name in order[:number] for id in groups[name]}
    return [id for id in ids if id in kept]


def read_split(path: str | Path, samples: list[Sample]) -> Split:
    """A split from a `split.json`, checked against the dataset.

    Images of the dataset that the file does not name are not used.

    Raises:
        UserError: the file is missing, not of this form, names images that the dataset doesn't
            have, or names one twice.
    """
    try:
        split = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"data.split_file={path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"data.split_file={path}: not a JSON file ({error})") from error
    if (
        not isinstance(split, dict)
        or set(split) != set(PARTS)
        or not all(isinstance(ids, list) and ids for ids in split.values())
        or not all(isinstance(id, str) for ids in split.values() for id in ids)
    ):
        raise UserError(
            f'data.split_file={path}: must be {{"train": [...], "val": [...], "test": [...]}} '
            "with at least one image id in each"
        )
    named = [id for part in PARTS for id in split[part]]
    if unknown := sorted(set(named) - {sample.id for sample in samples}):
        raise UserError(
            f"data.split_file={path}: {len(unknown)} ids are not in this dataset, the first is "
            f"{unknown[0]}; is it the split of another dataset?"
        )
    if twice := sorted(id for id in set(named) if named.count(id) > 1):
        raise UserError(f"data.split_file={path}: {twice[0]} is named more than once")
    return split
