"""Copies of the published datasets: complete, in any of their layouts, or refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from polyp.data import CVCClinicDB, CVCColonDB, DataModule, KvasirSEG, PairedFolders
from polyp.data import published as module
from polyp.data.prepared import prepare
from polyp.data.published import check_content, checksums
from polyp.errors import UserError


@pytest.fixture
def listed(cvc_dataset, monkeypatch) -> Path:
    """A dataset of 25 pairs that counts as the published CVC-ClinicDB."""
    prepared = prepare(CVCClinicDB(cvc_dataset), 16, "pad", None)
    pairs = zip(prepared.samples, prepared.digests.tolist(), strict=True)
    known = {sample.id: (image[:8], mask[:8]) for sample, (image, mask) in pairs}
    monkeypatch.setattr(module, "checksums", {"CVC-ClinicDB": known}.get)
    monkeypatch.setattr(CVCClinicDB, "expected", len(known))
    return cvc_dataset


def set_up(root: Path, **options) -> None:
    DataModule(CVCClinicDB(root), image_size=16, batch_size=1, **options).setup()


def test_files_of_another_kind_hold_the_same(listed):
    for folder in ("Original", "Ground Truth"):
        for path in (listed / folder).glob("*.png"):
            tifffile.imwrite(path.with_suffix(".tif"), np.asarray(Image.open(path)))
            path.unlink()
    set_up(listed)


@pytest.mark.parametrize("folder", ["Original", "Ground Truth"])
def test_a_changed_file_is_named(listed, folder, tmp_path):
    path = listed / folder / "26.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save(path)
    message = f"CVC-ClinicDB: 1 file differs from the published dataset, the first is {path};"
    for _ in range(2):  # also where it is prepared already
        with pytest.raises(UserError, match=r"data\.partial=true") as refusal:
            set_up(listed, cache=str(tmp_path / "cache"))
        assert str(refusal.value).startswith(message)
    set_up(listed, cache=str(tmp_path / "cache"), partial=True)


def test_other_images_of_the_same_number(listed):
    for folder in ("Original", "Ground Truth"):
        (listed / folder / "1.png").rename(listed / folder / "2.png")
    with pytest.raises(UserError, match=r"2 files differ .* the first is \S+/Original/2\.png"):
        set_up(listed)


def test_a_part_of_it(listed):
    for folder in ("Original", "Ground Truth"):
        (listed / folder / "1.png").unlink()
    with pytest.raises(UserError, match=r"CVC-ClinicDB: 24 of 25 images; data\.partial=true"):
        set_up(listed)
    set_up(listed, partial=True)


def test_the_command_line_refuses_alien_images(refused, kvasir_dataset, monkeypatch):
    monkeypatch.setattr(KvasirSEG, "expected", 12)
    line = refused("data=kvasir", f"data.root={kvasir_dataset}", "data.cache=null", "trainer=cpu")
    assert "Kvasir-SEG: 24 files differ from the published dataset, the first is" in line


def test_other_datasets_are_free(folder_dataset):
    data = PairedFolders(folder_dataset)
    check_content(data, prepare(data, 16, "pad", None))


@pytest.mark.parametrize(
    ("name", "count"), [("CVC-ClinicDB", 612), ("Kvasir-SEG", 1000), ("CVC-ColonDB", 380)]
)
def test_the_lists(name, count):
    known = checksums(name)
    assert len(known) == count
    assert all(len(digest) == 8 for pair in known.values() for digest in pair)


@pytest.mark.parametrize("kind", [CVCClinicDB, KvasirSEG, CVCColonDB])
def test_the_real_datasets_pass(real_data, kind, monkeypatch):
    options = {"distinct": False} if kind is CVCColonDB else {}
    dataset = kind(real_data / kind.title, **options)
    some = dataset.samples()[::20]
    monkeypatch.setattr(dataset, "samples", lambda: some)
    check_content(dataset, prepare(dataset, 16, "pad", None))


def test_the_original_tiffs_pass(real_data):
    root = real_data / "CVC-ClinicDB-tif"
    if not root.is_dir():
        pytest.skip("there are no TIFFs")
    dataset = CVCClinicDB(root)
    prepared = prepare(dataset, 16, "pad", None)
    assert len(prepared.samples) == 8
    check_content(dataset, prepared)


def test_a_copy_with_a_swapped_pair_of_masks_is_refused(listed):
    masks = listed / "Ground Truth"
    shutil.copyfile(masks / "26.png", masks / "51.png")
    with pytest.raises(UserError, match=r"1 file differs .*Ground Truth/51\.png"):
        set_up(listed)
