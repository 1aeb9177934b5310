"""Finding pairs in the layouts that datasets are met in."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from polyp.data import CVCClinicDB, KvasirSEG, PairedFolders
from polyp.data.datasets import natural
from polyp.errors import UserError
from tests.conftest import KVASIR_TWINS, write_pairs

SEQUENCES = [  # the table of CVC-ClinicDB's README: first and last frame
    *[(1, 25), (26, 50), (51, 67), (68, 78), (79, 103), (104, 126), (127, 151), (152, 177)],
    *[(178, 199), (200, 205), (206, 227), (228, 252), (253, 277), (278, 297), (298, 317)],
    *[(318, 342), (343, 363), (364, 383), (384, 408), (409, 428), (429, 447), (448, 466)],
    *[(467, 478), (479, 503), (504, 528), (529, 546), (547, 571), (572, 591), (592, 612)],
]


@pytest.mark.parametrize("below", ["", "PNG", "TIF"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_cvc_layouts(tmp_path: Path, below, suffix):
    place = tmp_path / below
    write_pairs(place / "Original", place / "Ground Truth", ["10", "2", "1"], suffix)
    (place / "metadata.csv").write_text("frame_id\n")
    (place / "Original" / "Thumbs.db").write_text("")
    (place / "Original" / ".hidden.png").write_text("")
    dataset = CVCClinicDB(tmp_path)
    assert [sample.id for sample in dataset.samples()] == ["1", "2", "10"]
    assert dataset.faults() == []
    image, mask = dataset.read(dataset.samples()[0])
    assert image.shape == (36, 48, 3)
    assert mask.shape == (36, 48)


def test_cvc_sequences(tmp_path: Path):
    dataset = CVCClinicDB(tmp_path)
    for number, (first, last) in enumerate(SEQUENCES, start=1):
        for frame in (first, (first + last) // 2, last):
            assert dataset.sequence(str(frame)) == str(number)
    for other in ("0", "613", "polyp", "-1"):
        assert dataset.sequence(other) is None


def test_pairs_go_by_name_and_not_by_position(tmp_path: Path):
    """With one image and one mask too many, positions would pair all the wrong files."""
    write_pairs(tmp_path / "images", tmp_path / "masks", ["b", "c", "d"])
    write_pairs(tmp_path / "images", tmp_path / "elsewhere", ["a"])
    write_pairs(tmp_path / "elsewhere", tmp_path / "masks", ["e"])
    dataset = PairedFolders(tmp_path)
    assert all(sample.image.stem == sample.mask.stem for sample in dataset.samples())
    faults = dataset.faults()
    assert len(faults) == 2
    assert re.search(r"images/a\.png has no mask", faults[0])
    assert re.search(r"masks/e\.png has no image", faults[1])


def test_masks_with_a_suffix(tmp_path: Path):
    write_pairs(tmp_path / "in", tmp_path / "out", ["a", "b"])
    for mask in (tmp_path / "out").iterdir():
        mask.rename(mask.with_stem(f"{mask.stem}_mask"))
    dataset = PairedFolders(tmp_path, images="in", masks="out", mask_suffix="_mask")
    assert [sample.mask.stem for sample in dataset.samples()] == ["a_mask", "b_mask"]
    assert dataset.faults() == []
    for mask in (tmp_path / "out").iterdir():
        mask.rename(mask.with_stem(f"p{mask.stem.removesuffix('_mask')}"))
    prefixed = PairedFolders(tmp_path, images="in", masks="out", mask_prefix="p")
    assert [sample.id for sample in prefixed.samples()] == ["a", "b"]
    assert prefixed.faults() == []
    without = PairedFolders(tmp_path, images="in", masks="out")
    assert len(without.faults()) == 4


def test_groups_by_name(tmp_path: Path):
    ids = ["p1_01", "p1_02", "p2_1_01", "x"]
    write_pairs(tmp_path / "images", tmp_path / "masks", ids)
    samples = PairedFolders(tmp_path, group="(.+)_").samples()
    assert [sample.group for sample in samples] == ["p1", "p1", "p2_1", None]
    for group, expected in {"(": "not a regular expression", "p1": "needs a part in par"}.items():
        with pytest.raises(UserError, match=expected):
            PairedFolders(tmp_path, group=group)
    with pytest.raises(UserError, match=r"group=\(\.\+\)-: matches none of the 4 names"):
        PairedFolders(tmp_path, group="(.+)-").samples()
    unpaired = PairedFolders(tmp_path, mask_suffix="_mask", group="(.+)_")
    assert unpaired.samples() == []
    assert unpaired.faults()


def test_nothing_there(tmp_path: Path):
    for dataset in (KvasirSEG(tmp_path), CVCClinicDB(tmp_path), PairedFolders(tmp_path)):
        with pytest.raises(UserError, match=re.escape(str(tmp_path))):
            dataset.samples()


def test_the_fingerprint_follows_the_files(tmp_path: Path):
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"])
    dataset = PairedFolders(tmp_path)
    before = dataset.fingerprint()
    assert PairedFolders(tmp_path).fingerprint() == before
    (tmp_path / "masks" / "a.png").touch()
    touched = dataset.fingerprint()
    assert touched != before
    shutil.copy(tmp_path / "images" / "a.png", tmp_path / "images" / "c.png")
    shutil.copy(tmp_path / "masks" / "a.png", tmp_path / "masks" / "c.png")
    assert dataset.fingerprint() not in (before, touched)


def test_kvasir_near_copies_are_twins(kvasir_dataset: Path):
    twins = {s.id: s.twin for s in KvasirSEG(kvasir_dataset).samples() if s.twin}
    assert set(twins) == set(KVASIR_TWINS)
    assert len(set(twins.values())) == 1


# --- the real datasets


def test_the_real_datasets_are_whole(real_data: Path):
    cvc = CVCClinicDB(real_data / "CVC-ClinicDB")
    assert [sample.id for sample in cvc.samples()] == [str(i) for i in range(1, 613)]
    assert len({sample.group for sample in cvc.samples()}) == 29
    kvasir = KvasirSEG(real_data / "Kvasir-SEG")
    assert len(kvasir.samples()) == 1000
    assert sum(bool(sample.twin) for sample in kvasir.samples()) == 6
    assert cvc.faults() == kvasir.faults() == []


def test_known_near_copies_look_alike(real_data: Path):
    """The list in KvasirSEG, checked against the pixels."""
    from PIL import Image

    def small(id: str) -> np.ndarray:
        with Image.open(real_data / "Kvasir-SEG" / "images" / f"{id}.jpg") as image:
            return np.asarray(image.convert("L").resize((24, 24)), float)

    twins = [[small(id) for id in ids] for ids in KvasirSEG.near_copies]
    for one, other in twins:
        assert np.abs(one - other).mean() < 8
    assert np.abs(twins[0][0] - twins[1][0]).mean() > 20


def test_ids_of_the_same_number_have_one_order():
    """Sets of text have another order in each process."""
    expected = ["001", "01", "1", "2", "10", "a1", "a02"]
    for shift in range(len(expected)):
        assert sorted(expected[shift:] + expected[:shift], key=natural) == expected
