"""Splits: disjoint, whole, of the right sizes, and keeping together what belongs together."""

import itertools
import json

import numpy as np
import pytest

from polyp.data import CVCClinicDB, Sample
from polyp.data.splits import (
    PARTS,
    make_fold,
    make_split,
    read_split,
    take_fraction,
    with_validation,
)
from polyp.errors import UserError

CVC = [Sample(str(i), group=CVCClinicDB.sequence(str(i))) for i in range(1, 613)]
TWINS = [Sample(f"k{i:03d}", twin=f"t{i // 2}" if i < 40 else "") for i in range(1000)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("samples", "by"), [(CVC, "random"), (CVC, "sequence"), (TWINS, "random"), (CVC[:3], "random")]
)
def test_the_parts_never_overlap_and_leave_nothing_out(samples, by, seed):
    split = make_split(samples, by, seed)
    assert tuple(split) == PARTS
    for one, other in itertools.combinations(PARTS, 2):
        assert not set(split[one]) & set(split[other])
    assert sorted(itertools.chain(*split.values())) == sorted(s.id for s in samples)
    assert all(split.values())


@pytest.mark.parametrize(("count", "sizes"), [(612, (428, 92, 92)), (1000, (700, 150, 150))])
def test_random_splits_are_70_15_15_to_the_image(count, sizes):
    split = make_split([Sample(str(i)) for i in range(count)], "random", seed=3)
    assert tuple(len(split[part]) for part in PARTS) == sizes


@pytest.mark.parametrize("seed", range(20))
def test_sequences_stay_together(seed):
    split = make_split(CVC, "sequence", seed)
    sequences = {part: {s.group for s in CVC if s.id in set(split[part])} for part in PARTS}
    for one, other in itertools.combinations(PARTS, 2):
        assert not sequences[one] & sequences[other]
    for part, share in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
        assert len(split[part]) / len(CVC) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_twins_stay_together_also_in_the_random_split(seed):
    split = make_split(TWINS, "random", seed)
    part_of = {id: part for part in PARTS for id in split[part]}
    for i in range(0, 40, 2):
        assert part_of[f"k{i:03d}"] == part_of[f"k{i + 1:03d}"]


def test_the_split_depends_on_ids_and_seed_alone():
    shuffled = [CVC[i] for i in np.random.default_rng(0).permutation(len(CVC))]
    split, again = make_split(CVC, "random", 0), make_split(shuffled, "random", 0)
    assert {part: set(ids) for part, ids in split.items()} == {
        part: set(ids) for part, ids in again.items()
    }
    assert make_split(CVC, "random", 1) != split


def test_the_split_of_seed_0_never_changes():
    """Published numbers name their split by its seed."""
    split = make_split(CVC, "random", 0)
    assert split["test"][:8] == ["7", "12", "17", "20", "26", "31", "36", "39"]
    assert make_split(CVC, "sequence", 0)["test"][:3] == ["79", "80", "81"]


def test_a_random_split_leaks_neighbouring_frames():
    """Why the split by sequence exists: nearly all test frames have a neighbour in training."""
    train = {int(id) for id in make_split(CVC, "random", 0)["train"]}
    test = [int(id) for id in make_split(CVC, "random", 0)["test"]]
    assert np.mean([frame - 1 in train or frame + 1 in train for frame in test]) > 0.8


def test_read_back(tmp_path):
    split = make_split(CVC, "sequence", 0)
    (tmp_path / "split.json").write_text(json.dumps(split))
    assert read_split(tmp_path / "split.json", CVC) == split


FOLDS = [f"{k}/5" for k in range(1, 6)]


@pytest.mark.parametrize("seed", range(5))
def test_folds_are_a_cross_validation_by_group(seed):
    folds = [make_fold(CVC, fold, seed) for fold in FOLDS]
    assert sorted(id for fold in folds for id in fold["test"]) == sorted(s.id for s in CVC)
    for fold in folds:
        assert sorted(id for part in PARTS for id in fold[part]) == sorted(s.id for s in CVC)
        groups = {part: {s.group for s in CVC if s.id in set(fold[part])} for part in PARTS}
        assert all(groups.values())
        for one, other in itertools.combinations(PARTS, 2):
            assert not groups[one] & groups[other]
        assert len(fold["test"]) / len(CVC) == pytest.approx(0.2, abs=0.02)
        assert len(fold["val"]) / len(CVC) == pytest.approx(0.15, abs=0.02)


def test_folds_depend_on_ids_and_seed_alone():
    shuffled = [CVC[i] for i in np.random.default_rng(0).permutation(len(CVC))]
    fold, again = make_fold(CVC, "2/5", 0), make_fold(shuffled, "2/5", 0)
    assert {part: set(ids) for part, ids in fold.items()} == {
        part: set(ids) for part, ids in again.items()
    }
    assert make_fold(CVC, "2/5", 1) != fold


def test_folds_of_few_groups():
    samples = [Sample(f"{group}{i}", group=group) for group in "abc" for i in range(4)]
    for k in (1, 2, 3):
        assert all(len(ids) == 4 for ids in make_fold(samples, f"{k}/3", 0).values())
    with pytest.raises(UserError, match="3 groups of images are too few for 4 folds"):
        make_fold(samples, "1/4", 0)
    with pytest.raises(UserError, match="too few for 2 folds"):
        [make_fold(samples, f"{k}/2", 0) for k in (1, 2)]


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "5", "a/b", "1/5/2"])
def test_no_such_fold(fold):
    with pytest.raises(UserError, match=rf"data\.fold={fold}: must be k/K"):
        make_fold(CVC, fold, 0)


def test_folds_need_groups():
    with pytest.raises(UserError, match=r"data\.fold=1/5: the video sequence or patient of 1000"):
        make_fold(TWINS, "1/5", 0)


def test_validation_images_of_a_published_split():
    samples = [*CVC[:300], *TWINS]
    published = {"train": [s.id for s in samples[:-100]], "test": [s.id for s in samples[-100:]]}
    split = with_validation(published, samples, 0)
    assert split["test"] == published["test"]
    assert sorted(split["train"] + split["val"]) == sorted(published["train"])
    assert len(split["val"]) == pytest.approx(120, abs=12)
    part_of = {id: part for part in ("train", "val") for id in split[part]}
    for key in ("group", "twin"):
        parts: dict[str, set[str]] = {}
        for sample in samples[:-100]:
            parts.setdefault(getattr(sample, key) or sample.id, set()).add(part_of[sample.id])
        assert all(len(of_one) == 1 for of_one in parts.values())
    assert with_validation(published, samples, 1) != split
    assert with_validation({**published, "val": ["x"]}, samples, 0)["val"] == ["x"]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "sizes", [(10, 10, 10), (10, 10, 10, 10), (60, 5, 5, 5), (1, 2, 90), (256, 301, 457, 88, 99)]
)
def test_few_groups_leave_no_part_empty(sizes, seed):
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    samples = [Sample(str(i), group=group) for i, group in enumerate(groups)]
    split = make_split(samples, "sequence", seed)
    assert all(split.values())
    assert sum(map(len, split.values())) == sum(sizes)


def test_errors():
    with pytest.raises(UserError, match=r"data\.split=video"):
        make_split(CVC, "video", 0)
    with pytest.raises(UserError, match="at least 3"):
        make_split([Sample("a", twin="t"), Sample("b", twin="t"), Sample("c")], "random", 0)
    with pytest.raises(UserError, match=r"the first is k000.*data\.split=random"):
        make_split(TWINS, "sequence", 0)


@pytest.mark.parametrize("seed", range(10))
def test_fractions_of_groups(seed):
    group_of = {sample.id: sample.group for sample in CVC}
    ids = list(group_of)
    sizes = {group: list(group_of.values()).count(group) for group in group_of.values()}
    before: set[str] = set()
    for fraction in (0.1, 0.25, 0.5, 0.9):
        kept = take_fraction(ids, fraction, seed, group_of)
        assert kept == [id for id in ids if id in set(kept)]  # in their order
        groups = {group_of[id] for id in kept}
        assert len(kept) == sum(sizes[group] for group in groups)  # whole ones
        assert abs(len(kept) - fraction * len(ids)) <= max(sizes.values()) / 2 + 1
        assert before <= set(kept)
        before = set(kept)
    assert take_fraction(ids, 1.0, seed, group_of) == ids
    # Of single images it is the fraction to the image.
    assert len(take_fraction(ids, 0.1, seed)) == 61


def test_fraction_of_no_group():
    group_of = {sample.id: sample.group for sample in CVC}
    with pytest.raises(UserError, match="this is none of the 29 training groups"):
        take_fraction(list(group_of), 0.001, 0, group_of)
