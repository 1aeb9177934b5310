"""The public datasets in small, and the real ones where they are."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyp.data import CVCClinicDB, CVCColonDB, DataModule, ETISLarib, PolypGen, PraNet
from polyp.data.pranet import TEST_IDS
from polyp.data.synthetic import scene
from polyp.errors import UserError
from tests.conftest import write_pairs

COLONDB = [  # the table of CVC-ColonDB's README: first and last frame, sequence
    *[(1, 38, 1), (39, 60, 2), (61, 76, 3), (77, 97, 5), (98, 148, 6), (149, 155, 7)],
    *[(156, 203, 9), (204, 208, 10), (209, 263, 11), (264, 273, 14), (274, 300, 15)],
    *[(301, 320, 4), (321, 340, 8), (341, 360, 12), (361, 380, 13)],
]


def write_flat(root: Path, ids: list[int], image_suffix=".tiff", mask_suffix=".tiff") -> None:
    """Pairs in CVC-ColonDB's layout, with the contours and the README that lie among them."""
    root.mkdir(parents=True, exist_ok=True)
    for id in ids:
        image, mask = scene(0, id, 24)
        Image.fromarray(image).save(root / f"{id}{image_suffix}")
        Image.fromarray(mask * 255).save(root / f"p{id}{mask_suffix}")
        Image.fromarray(mask * 255).save(root / f"cp{id}{mask_suffix}")
    (root / "README.txt").write_text("CVC-ColonDB")


def test_colondb_sequences():
    for first, last, sequence in COLONDB:
        for frame in (first, last):
            assert CVCColonDB.sequence(str(frame)) == str(sequence)
    for other in ("0", "381", "p1"):
        assert CVCColonDB.sequence(other) is None


@pytest.mark.parametrize("suffix", [".tiff", ".tif", ".png"])
def test_colondb_is_flat(tmp_path, suffix):
    write_flat(tmp_path, [1, 10, 39], suffix)
    write_flat(tmp_path, [77], ".tif")
    dataset = CVCColonDB(tmp_path)
    assert [(s.id, s.group) for s in dataset.samples()] == [
        ("1", "1"),
        ("10", "1"),
        ("39", "2"),
        ("77", "5"),
    ]
    assert dataset.faults() == []
    assert dataset.external
    image, mask = dataset.read(dataset.samples()[0])
    np.testing.assert_array_equal(image, scene(0, 1, 24)[0])
    np.testing.assert_array_equal(mask, scene(0, 1, 24)[1])
    (tmp_path / "p39.tiff").unlink()
    (fault,) = dataset.faults()
    assert "39" in fault
    assert "has no mask" in fault


def test_colondb_counts_identical_frames_once(tmp_path, caplog):
    caplog.set_level("INFO")
    write_flat(tmp_path, [1, 2, 3, 4])
    shutil.copy(tmp_path / "2.tiff", tmp_path / "4.tiff")
    dataset = CVCColonDB(tmp_path)
    assert [sample.id for sample in dataset.samples()] == ["1", "2", "3"]
    assert [sample.id for sample in dataset.samples()] == ["1", "2", "3"]
    assert caplog.messages == [
        "CVC-ColonDB: 3 of 4 frames are distinct; bit-identical ones are counted once"
    ]
    assert len(CVCColonDB(tmp_path, distinct=False).samples()) == 4


def test_colondb_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="CVC-ColonDB not found: looked for"):
        CVCColonDB(tmp_path).samples()


def test_etis_layouts(tmp_path):
    write_pairs(tmp_path / "a" / "images", tmp_path / "a" / "masks", ["1", "2"])
    folders = [tmp_path / "b" / name for name in ("ETIS-LaribPolypDB", "Ground Truth")]
    write_pairs(*folders, ["1", "2"], ".tif")
    write_pairs(*(tmp_path / "c" / folder.name for folder in folders), ["1", "2"], ".tif")
    for mask in folders[1].iterdir():
        mask.rename(mask.with_stem(f"p{mask.stem}"))
    for layout in "abc":
        dataset = ETISLarib(tmp_path / layout)
        assert [sample.id for sample in dataset.samples()] == ["1", "2"]
        assert dataset.faults() == []
        assert dataset.external


@pytest.mark.parametrize("below", ["", "PolypGen2021_MultiCenterData_v3"])
def test_polypgen(tmp_path, below):
    for centre, ids in {"C1": ["a", "b"], "C3": ["a", "x_"]}.items():
        folder = tmp_path / below / f"data_{centre}"
        write_pairs(folder / f"images_{centre}", folder / f"masks_{centre}", ids, ".jpg")
        for mask in (folder / f"masks_{centre}").iterdir():
            mask.rename(mask.with_stem(f"{mask.stem.rstrip('_')}_mask"))
        (folder / f"masks_{centre}" / "a.txt").write_text("boxes")
        (folder / f"bbox_{centre}").mkdir()
    dataset = PolypGen(tmp_path)
    assert [(sample.id, sample.group) for sample in dataset.samples()] == [
        ("C1/a", "C1"),
        ("C1/b", "C1"),
        ("C3/a", "C3"),
        ("C3/x", "C3"),
    ]
    assert dataset.faults() == []
    shutil.rmtree(tmp_path / below / "data_C3" / "masks_C3")
    with pytest.raises(UserError, match=r"PolypGen not found: looked for .*masks_C3"):
        dataset.samples()


# --- PraNet


def write_originals(root: Path) -> None:
    kvasir, cvc = TEST_IDS["Kvasir"][:2], TEST_IDS["CVC-ClinicDB"][:2]
    kvasir = [*kvasir, "cju00", "cju01", "cju02"]
    write_pairs(root / "Kvasir-SEG" / "images", root / "Kvasir-SEG" / "masks", kvasir, ".png")
    cvc = [*cvc, *(str(i) for i in range(26, 31))]
    folder = root / "CVC-ClinicDB"
    write_pairs(folder / "Original", folder / "Ground Truth", cvc)
    write_flat(root / "CVC-ColonDB", [1, 80, 149, 208])


def write_distributed(root: Path, originals: Path, singular: bool) -> None:
    for sample in PraNet(originals, tests=TESTS).samples():
        name, id = sample.id.split("/")
        test = name not in TEST_IDS or id in TEST_IDS[name]
        place = root / (f"TestDataset/{name}" if test else "TrainDataset")
        folders = ("image", "mask") if singular and not test else ("images", "masks")
        for folder, source in zip(folders, (sample.image, sample.mask), strict=True):
            (place / folder).mkdir(parents=True, exist_ok=True)
            Image.open(source).save(place / folder / f"{id}.png")


TESTS = ["Kvasir", "CVC-ClinicDB", "CVC-300", "CVC-ColonDB"]


@pytest.mark.parametrize("singular", [True, False])
def test_pranet_is_the_same_in_both_layouts(tmp_path, singular):
    write_originals(tmp_path / "originals")
    write_distributed(tmp_path / "pranet", tmp_path / "originals", singular)
    for tests in (["Kvasir", "CVC-ClinicDB"], ["CVC-300"], TESTS):
        original, distributed = (PraNet(tmp_path / name, tests) for name in ("originals", "pranet"))
        assert original.faults() == distributed.faults() == []
        assert original.authors_split() == distributed.authors_split()
        pairs = zip(original.samples(), distributed.samples(), strict=True)
        for one, other in pairs:
            assert (one.id, one.group, one.twin) == (other.id, other.group, other.twin)
            for a, b in zip(original.read(one), distributed.read(other), strict=True):
                np.testing.assert_array_equal(a, b)
    split = PraNet(tmp_path / "pranet", ["CVC-300", "CVC-ColonDB"]).authors_split()
    assert split["test"] == [
        *["CVC-300/149", "CVC-300/208"],
        *["CVC-ColonDB/1", "CVC-ColonDB/149", "CVC-ColonDB/208"],
    ]


def test_pranet_of_one_hospital(tmp_path):
    write_originals(tmp_path / "originals")
    write_distributed(tmp_path / "pranet", tmp_path / "originals", singular=False)
    splits = [
        PraNet(tmp_path / name, ["Kvasir"], trains=["Kvasir"]).authors_split()
        for name in ("originals", "pranet")
    ]
    assert splits[0] == splits[1]
    assert splits[0]["train"] == ["Kvasir/cju00", "Kvasir/cju01", "Kvasir/cju02"]
    assert set(splits[0]["test"]) == {f"Kvasir/{id}" for id in TEST_IDS["Kvasir"][:2]}
    with pytest.raises(UserError, match="must be a list of Kvasir, CVC-ClinicDB"):
        PraNet(tmp_path, trains=["ETIS"])


def test_pranet_is_divided_as_published(tmp_path):
    write_originals(tmp_path)
    data = DataModule(PraNet(tmp_path), 32, 2, split="authors", partial=True)
    data.setup()
    assert data.split_name == "authors"
    published = {f"{name}/{id}" for name, ids in TEST_IDS.items() for id in ids}
    assert set(data.ids["test"]) <= published
    assert len(data.ids["test"]) == 4
    assert not published & {*data.ids["train"], *data.ids["val"]}
    assert len(data.ids["val"]) == 1
    assert len(data.ids["train"]) == 7


def test_pranet_faults(tmp_path):
    with pytest.raises(UserError, match=r"PraNet not found: looked for .*TrainDataset"):
        PraNet(tmp_path).samples()
    with pytest.raises(UserError, match=r"data\.dataset\.tests=\['CVC'\]: must be a list of Kv"):
        PraNet(tmp_path, ["CVC"])
    for place in ("TrainDataset", "TestDataset/Kvasir"):
        write_pairs(tmp_path / place / "images", tmp_path / place / "masks", ["cju1"])
    assert PraNet(tmp_path, ["Kvasir"]).faults() == ["Kvasir/cju1 is a training and a test image"]


# --- the real datasets


@pytest.fixture
def colondb(real_data) -> Path:
    if not (real_data / "CVC-ColonDB").is_dir():
        pytest.skip("POLYP_DATA names no folder with CVC-ColonDB")
    return real_data / "CVC-ColonDB"


def test_the_real_colondb(colondb):
    dataset = CVCColonDB(colondb)
    samples = dataset.samples()
    assert len(CVCColonDB(colondb, distinct=False).samples()) == 380
    assert len(samples) == dataset.expected == 346
    assert len({sample.group for sample in samples}) == 15
    assert dataset.faults() == []
    assert samples[-1].id == "380"


def test_the_real_pranet(real_data, colondb):
    dataset = PraNet(real_data)
    split = dataset.authors_split()
    assert {part: len(ids) for part, ids in split.items()} == {"train": 1450, "test": 162}
    train = [id.split("/")[0] for id in split["train"]]
    assert (train.count("Kvasir"), train.count("CVC-ClinicDB")) == (900, 550)
    assert len(dataset.samples()) == dataset.expected
    groups = {sample.id: sample.group for sample in dataset.samples()}
    seen = {groups[id] for id in split["train"]}
    assert all(groups[id] in seen for id in split["test"] if id.startswith("CVC"))  # it leaks
    tests = PraNet(real_data, ["CVC-300", "CVC-ColonDB"])
    assert len(tests.authors_split()["test"]) == 60 + 359
    one = PraNet(real_data, ["Kvasir"], trains=["Kvasir"])
    assert [len(one.authors_split()[part]) for part in ("train", "test")] == [900, 100]
    assert len(one.samples()) == one.expected == 1000
    assert CVCClinicDB.sequence("100") == "5"
