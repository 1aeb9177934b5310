"""Decoding once: the cache, what invalidates it, and all faults at once."""

import logging
import os
import re

import numpy as np
import pytest
from PIL import Image

from polyp.data import Dataset, PairedFolders, Sample
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
    assert prepared.masks.dtype == np.uint8
    assert set(np.unique(prepared.masks)) == {0, 1}


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


def test_other_labels_and_channels_are_read_anew(folder_dataset, tmp_path):
    cache = tmp_path / "cache"
    labels = {"background": 0, "polyp": 255}
    swapped = {"polyp": 255, "background": 0}
    masks = [
        prepare(PairedFolders(folder_dataset, labels=of), 32, "pad", cache).masks
        for of in (labels, swapped)
    ]
    np.testing.assert_array_equal(masks[0][:, 4:28], 1 - masks[1][:, 4:28])
    colour = prepare(PairedFolders(folder_dataset), 32, "pad", cache).images
    grey = prepare(PairedFolders(folder_dataset), 32, "pad", cache, channels=1).images
    assert grey.shape == (12, 32, 32, 1)
    assert abs(grey[..., 0] - colour @ np.array([0.299, 0.587, 0.114])).max() < 3
    assert len(list(cache.iterdir())) == 4


def test_images_of_other_channels_are_refused(folder_dataset):
    with pytest.raises(UserError, match=r"data\.channels=4: .*polyp0\.png has 3 channels"):
        prepare(PairedFolders(folder_dataset), 32, "pad", None, channels=4)


class Layered(Dataset):
    """A dataset of a user's own: two samples of five channels, without files."""

    name = "layered"
    num_classes = 3

    def samples(self):
        return [Sample("a"), Sample("b")]

    def read(self, sample):
        image = np.repeat(np.arange(5, dtype=np.uint8) * 50, 64).reshape(5, 8, 8)
        mask = np.zeros((8, 8), np.uint8)
        mask[:4], mask[4:, :4] = 1, 2 if sample.id == "a" else 3
        return image.transpose(1, 2, 0), mask

    def fingerprint(self):
        return "layered"


def test_any_number_of_channels_but_no_unknown_class():
    dataset = Layered()
    with pytest.raises(UserError, match="b: a mask of class 3, but layered has 3 classes, from 0"):
        prepare(dataset, 16, "pad", None, channels=5)
    dataset.num_classes = 4
    prepared = prepare(dataset, 16, "pad", None, channels=5)
    assert prepared.images[0, 3, 3].tolist() == [0, 50, 100, 150, 200]
    assert [int(prepared.masks[0][at]) for at in ((2, 2), (14, 2), (14, 14))] == [1, 2, 0]


def test_empty_masks_alone_are_refused(folder_dataset):
    for path in (folder_dataset / "masks").iterdir():
        Image.new("L", (48, 36)).save(path)
    with pytest.raises(UserError, match="folder: the masks of all 12 images are empty"):
        prepare(PairedFolders(folder_dataset), 32, "pad", None)
