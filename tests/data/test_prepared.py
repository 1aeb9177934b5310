"""Decoding once: the cache, what invalidates it, and all faults at once."""

import logging
import os
import re

import numpy as np
import pytest

from polyp.data import PairedFolders
from polyp.data.prepared import prepare
from polyp.errors import UserError
from tests.conftest import write_pairs


@pytest.fixture
def counted(folder_dataset, monkeypatch):
    """A dataset of twelve pairs that counts its reads."""
    dataset = PairedFolders(folder_dataset)
    dataset.reads = 0
    read = dataset.read

    def counting(sample):
        dataset.reads += 1
        return read(sample)

    monkeypatch.setattr(dataset, "read", counting)
    return dataset


def test_arrays(counted):
    prepared = prepare(counted, 32, "pad", cache=None)
    assert prepared.images.shape == (12, 32, 32, 3)
    assert prepared.masks.shape == (12, 32, 32)
    assert prepared.insides.tolist() == [[4, 28, 0, 32]] * 12
    assert prepared.images.dtype == np.uint8
    assert prepared.masks.dtype == bool


def test_the_second_time_nothing_is_decoded(counted, tmp_path):
    first = prepare(counted, 32, "pad", tmp_path / "cache")
    assert counted.reads == 12
    second = prepare(counted, 32, "pad", tmp_path / "cache")
    assert counted.reads == 12
    for name in ("images", "masks", "insides"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.samples == second.samples
    in_memory = prepare(counted, 32, "pad", None)
    np.testing.assert_array_equal(first.images, in_memory.images)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_other_sizes_and_changed_files_are_read_anew(counted, tmp_path):
    cache = tmp_path / "cache"
    prepare(counted, 32, "pad", cache)
    prepare(counted, 48, "pad", cache)
    prepare(counted, 32, "crop", cache)
    assert counted.reads == 36
    changed = counted.root / "masks" / "polyp3.png"
    before = prepare(counted, 32, "pad", cache).masks[3].copy()
    write_pairs(counted.root / "x", counted.root / "masks", ["other", "polyp3"])
    (counted.root / "masks" / "other.png").unlink()
    os.utime(changed, ns=(0, 0))
    after = prepare(counted, 32, "pad", cache).masks[3]
    assert counted.reads == 48
    assert not np.array_equal(before, after)


def test_an_interrupted_preparation_leaves_no_entry(counted, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        prepare(counted, 32, "pad", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_all_faults_are_told_at_once(folder_dataset, caplog):
    for i in (1, 2, 3):
        path = folder_dataset / "images" / f"polyp{i}.png"
        path.write_bytes(path.read_bytes()[:200])
    for i in (4, 5, 6):
        (folder_dataset / "masks" / f"polyp{i}.png").unlink()
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(UserError, match="has 6 faults, all listed above") as error,
    ):
        prepare(PairedFolders(folder_dataset), 32, "pad", None)
    assert "\n" not in str(error.value)
    for i in range(1, 7):
        assert re.search(rf"polyp{i}\.png", caplog.text)


def test_a_new_fault_is_found_although_there_is_a_cache(counted, tmp_path):
    prepare(counted, 32, "pad", tmp_path / "cache")
    extra = counted.root / "images" / "extra.png"
    extra.write_bytes((counted.root / "images" / "polyp1.png").read_bytes())
    with pytest.raises(UserError, match=r"extra\.png has no mask"):
        prepare(counted, 32, "pad", tmp_path / "cache")
