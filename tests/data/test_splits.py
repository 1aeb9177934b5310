"""Splits: disjoint, whole, of the right sizes, and keeping together what belongs together."""

import itertools
import json

import numpy as np
import pytest

from polyp.data import CVCClinicDB, Sample
from polyp.data.splits import PARTS, make_split, read_split
from polyp.errors import UserError

CVC = [Sample(str(i), sequence=CVCClinicDB("").sequence(str(i))) for i in range(1, 613)]
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
    sequences = {part: {s.sequence for s in CVC if s.id in set(split[part])} for part in PARTS}
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


def test_errors():
    with pytest.raises(UserError, match=r"data\.split=video"):
        make_split(CVC, "video", 0)
    with pytest.raises(UserError, match="at least 3"):
        make_split([Sample("a", twin="t"), Sample("b", twin="t"), Sample("c")], "random", 0)
    with pytest.raises(UserError, match=r"the first is k000.*data\.split=random"):
        make_split(TWINS, "sequence", 0)
