"""The folds of a cross-validation become one run per seed, which tests each image once."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

import pandas as pd

from polyp.errors import UserError
from polyp.report.identity import OF_TRAINING_IMAGES, identity_key
from polyp.report.run import Run, machines


def pool_folds(runs: Sequence[Run]) -> tuple[list[Run], list[tuple[Run, str]]]:
    """Pools runs that differ only in `data.fold`: one run per seed. Also returns skipped runs.

    Their test images are put together. On another test set, on which the networks of all folds were
    tested, the score of an image is their mean. `parts` are those of the first fold. Of two runs of
    the same fold the later one counts. A seed without a fold that other runs have is skipped, so
    that all runs are tested on the same images.

    Returns:
        The pooled runs, and the skipped runs with the reason.

    Raises:
        UserError: two folds of one seed have a test image in common.
    """
    pooled = [run for run in runs if run.fold is None]
    skipped = []
    seeds: dict[tuple, dict[int, Run]] = defaultdict(dict)
    known: dict[tuple, set[int]] = defaultdict(set)
    for run in sorted(runs, key=lambda run: (run.started, str(run.folder))):
        if run.fold is None:
            continue
        number, _ = run.fold
        folds = seeds[_test_set(run), _system_and_seed(run)]
        if number in folds:
            reason = f"the same system, seed and fold as {run.folder}, which is newer"
            skipped.append((folds[number], reason))
        folds[number] = run
        known[_test_set(run)].add(number)
    for folds in seeds.values():
        same = [folds[number] for number in sorted(folds)]
        missing = known[_test_set(same[0])] - folds.keys()
        if missing:
            reason = f"seed {same[0].seed} lacks {_folds(missing)}, which other runs have"
            skipped += [(run, reason) for run in same]
        else:
            pooled.append(_pool(same))
    return pooled, skipped


def describe_folds(runs: Sequence[Run]) -> str:
    """`5 folds`, or for an incomplete cross-validation `folds 1, 3 of 5`."""
    numbers = [run.fold[0] for run in runs if run.fold]
    count = runs[0].fold[1] if runs[0].fold else 0
    if len(numbers) == count:
        return f"{count} folds"
    return f"{_folds(numbers)} of {count}"


def fold_of_images(run: Run) -> dict[str, int]:
    """The fold that tests each image; {} if `run` is not pooled, or of another test set."""
    own = [each for each in run.folds if each.tests_own_fold]
    return {image: each.fold[0] for each in own if each.fold for image in each.images}


def _folds(numbers: Collection[int]) -> str:
    """`fold 2`, `folds 1, 3`."""
    listed = ", ".join(str(number) for number in sorted(numbers))
    return f"fold{'s' if len(numbers) > 1 else ''} {listed}"


def _test_set(run: Run) -> tuple:
    count = run.fold[1] if run.fold else None
    return run.data, run.part, run.tests_own_fold, run.image_size, count


def _system_and_seed(run: Run) -> tuple:
    fraction = run.config.get("data.train_fraction")
    return run.seed, fraction, identity_key(run, (*OF_TRAINING_IMAGES, "val_images"))


def _pool(folds: list[Run]) -> Run:
    first = folds[0]
    if first.tests_own_fold:
        _check_disjoint(folds)
    groups = pd.concat([run.groups for run in folds])
    losses = set.intersection(*(set(run.losses) for run in folds))
    shifts = [run.shifts for run in folds if run.shifts is not None]
    sizes = [len(run.images) for run in folds]
    ceilings = pd.concat([run.ceiling for run in folds], axis=1, join="inner")
    split = f"cross-validation, {describe_folds(folds)}"
    return replace(
        first,
        split=split if first.tests_own_fold else first.split,
        folds=tuple(folds),
        scores=_joined([run.scores for run in folds]),
        groups=groups[~groups.index.duplicated()],
        consistency=_joined([run.consistency for run in folds]),
        turned_dice=_joined([run.turned_dice for run in folds]),
        losses={name: _joined([run.losses[name] for run in folds]) for name in losses},
        shifts=_joined(shifts) if len(shifts) == len(folds) else None,
        ceiling=(ceilings * sizes).sum(axis=1) / (ceilings.notna() * sizes).sum(axis=1),
        training_seconds=sum(run.training_seconds for run in folds) / len(folds),
        machine=machines(folds),
    )


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all tables, with their common columns; the rows of one image are averaged."""
    table = pd.concat(tables, join="inner")
    if not table.index.is_unique:
        table = pd.DataFrame(table.groupby(level=0, sort=False).mean())
    return table


def _check_disjoint(folds: Sequence[Run]) -> None:
    tested: dict[str, Run] = {}
    for run in folds:
        for image in run.images:
            if image in tested:
                raise UserError(
                    f"{tested[image].folder} and {run.folder}: two folds of seed {run.seed} have "
                    f"the test image {image} in common; they are from different cross-validations"
                )
            tested[image] = run
