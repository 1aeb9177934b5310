"""Dividing a dataset into training, validation and test set."""

import json
from pathlib import Path

import numpy as np

from polyp.data.sample import Sample
from polyp.errors import UserError

PARTS = ("train", "val", "test")
FRACTIONS = (0.70, 0.15, 0.15)

Split = dict[str, list[str]]  # the ids of each of the three parts


def make_split(samples: list[Sample], by: str, seed: int) -> Split:
    """Divides samples 70/15/15 at random, keeping together what belongs together.

    Args:
        samples: the whole dataset, in any order.
        by: "random" divides single images (of known near copies, the group); "sequence" whole
            video sequences, as neighbouring frames of a video are near copies of each other.
        seed: of the shuffling; the split depends on it and on the ids alone.

    Returns:
        Ids of "train", "val" and "test", each in the samples' order.

    Raises:
        UserError: an unknown `by`, no sequences known, or too few groups for three parts.
    """
    if by not in ("random", "sequence"):
        raise UserError(f"data.split={by}: must be random or sequence")
    if by == "sequence" and (unknown := [s.id for s in samples if s.sequence is None]):
        raise UserError(
            f"data.split=sequence: the video sequence of {len(unknown)} images is not known "
            f"(the first is {unknown[0]}); use data.split=random"
        )
    groups: dict[str, list[str]] = {}
    for sample in sorted(samples, key=lambda s: s.id):
        key = f"sequence {sample.sequence}" if by == "sequence" else sample.twin or sample.id
        groups.setdefault(key, []).append(sample.id)
    if len(groups) < len(PARTS):
        raise UserError(
            f"data.split={by}: {len(groups)} group(s) of images cannot be divided into training, "
            "validation and test set; at least 3 are needed"
        )
    # Each group in random order goes where most room is left: exact to the image for single
    # images, and as close to 70/15/15 as the sequences' lengths permit.
    room = dict(zip(PARTS, _sizes(len(samples)), strict=True))
    part_of: dict[str, str] = {}
    names = list(groups)
    for index in np.random.default_rng(seed).permutation(len(names)):
        ids = groups[names[index]]
        part = max(PARTS, key=room.__getitem__)
        room[part] -= len(ids)
        part_of |= dict.fromkeys(ids, part)
    return {part: [s.id for s in samples if part_of[s.id] == part] for part in PARTS}


def _sizes(count: int) -> tuple[int, int, int]:
    held_out = max(1, round(FRACTIONS[1] * count))
    return count - 2 * held_out, held_out, held_out


def take_fraction(ids: list[str], fraction: float, seed: int) -> list[str]:
    """Some of the ids, at random and at least one, in their order: a fraction in (0, 1].

    Those of a smaller fraction are among those of a larger one with the same seed.
    """
    count = max(1, round(fraction * len(ids)))
    kept = np.random.default_rng(seed).permutation(len(ids))[:count]
    return [ids[position] for position in sorted(kept)]


def read_split(path: str | Path, samples: list[Sample]) -> Split:
    """A split from a `split.json`, checked against the dataset.

    Images of the dataset that the file doesn't name are left out.

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
