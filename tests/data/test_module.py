"""Batches: what is in them, in which order, and what augmentation does to them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from polyp.data import CVCClinicDB, CVCColonDB, DataModule, KvasirSEG, PairedFolders, Synthetic
from polyp.data.module import ShuffledEpochs
from polyp.errors import UserError
from tests.conftest import write_pairs

CONFIGS = Path(__file__).parents[2] / "configs" / "augmentation"


def module(**options) -> DataModule:
    data = DataModule(
        **{"dataset": Synthetic(20, 32), "image_size": 32, "batch_size": 4, **options}
    )
    data.setup()
    return data


def augmentation(name: str) -> list:
    return list(instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml")).transforms)


def test_a_batch(folder_dataset):
    data = module(dataset=PairedFolders(folder_dataset))
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (2, 3, 32, 32)
    assert batch["image"].dtype == torch.float32
    assert 0.3 < batch["image"].max() <= 1
    for key, dtype in {"mask": torch.uint8, "valid": torch.bool}.items():
        assert batch[key].shape == (2, 1, 32, 32)
        assert batch[key].dtype == dtype
    assert batch["group"] == ["", ""]
    assert batch["valid"][:, :, 4:28].all()  # 36×48 padded to a square
    assert not batch["valid"][:, :, :4].any()
    assert not batch["valid"][:, :, 28:].any()
    assert batch["id"] == data.ids["val"][:2]
    prepared = data.prepared
    row = [sample.id for sample in prepared.samples].index(batch["id"][0])
    expected = torch.tensor(prepared.images[row]).permute(2, 0, 1) / 255
    torch.testing.assert_close(batch["image"][0], expected)


def test_loaders_cover_their_part_once():
    data = module()
    loaders = zip(
        ("train", "val", "test"),
        (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()),
        strict=True,
    )
    for part, loader in loaders:
        ids = [id for batch in loader for id in batch["id"]]
        assert sorted(ids) == data.ids[part]
        if part != "train":
            assert ids == data.ids[part]


def test_epochs_are_a_function_of_seed_and_epoch():
    def epoch(seed: int, number: int) -> list[tuple[int, int]]:
        sampler = ShuffledEpochs(50, 50, seed)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(0, 3) == epoch(0, 3)
    assert epoch(0, 3) != epoch(0, 4)
    assert epoch(0, 3) != epoch(1, 3)
    assert sorted(index for index, _ in epoch(0, 3)) == list(range(50))


@pytest.mark.parametrize("length", [50, 49])
def test_processes_share_an_epoch_out(length):
    shares = [list(ShuffledEpochs(length, length, 0, rank, processes=2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 25
    assert set(shares[0]) | set(shares[1]) == set(ShuffledEpochs(length, length, 0))
    assert len(set(shares[0]) & set(shares[1])) == 50 - length


def test_an_epoch_goes_on_where_it_was_stopped():
    whole, rest = (ShuffledEpochs(50, 50, 0, 1, processes=2) for _ in range(2))
    rest.start(3, images=10)
    prefetched = list(rest)
    for sampler in (whole, rest):
        sampler.set_epoch(3)
    assert prefetched == list(rest) == list(whole)[10:]
    for sampler in (whole, rest):
        sampler.set_epoch(4)
    assert list(rest) == list(whole)
    assert len(rest) == 25


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_share_the_validation_set_out(folder_dataset, processes):
    """Each image once, all shares of one length: 3 images, also for more processes than images."""
    data = module(dataset=PairedFolders(folder_dataset), split_file=None)
    part = data.part("val")
    shares = [part.share(rank, processes) for rank in range(processes)]
    assert {len(share) for share in shares} == {-(-len(part) // processes)}
    items = [share[i] for share in shares for i in range(len(share))]
    real = [item for item in items if item["valid"].any()]
    assert sorted(item["id"] for item in real) == sorted(data.ids["val"])
    for item in items:
        shapes = {key: tuple(value.shape) for key, value in item.items() if torch.is_tensor(value)}
        assert shapes == {"image": (3, 32, 32), "mask": (1, 32, 32), "valid": (1, 32, 32)}
        assert item["group"] == ""
        if item["id"] == "":
            assert not item["image"].any()
            assert not item["mask"].any()


def test_seed_changes_the_order_and_not_the_split():
    one, other = module(seed=1), module(seed=2)
    assert one.ids == other.ids
    first = [next(iter(data.train_dataloader()))["id"] for data in (one, other)]
    assert first[0] != first[1]


def test_a_fraction_of_the_training_set_keeps_the_steps_of_an_epoch():
    whole, half, tenth = module(), module(train_fraction=0.5), module(train_fraction=0.1)
    assert set(tenth.ids["train"]) < set(half.ids["train"]) < set(whole.ids["train"])
    assert len(half.ids["train"]) == round(0.5 * len(whole.ids["train"]))
    assert (half.ids["val"], half.ids["test"]) == (whole.ids["val"], whole.ids["test"])
    assert len(tenth.train_dataloader()) == len(whole.train_dataloader())
    seen = [id for batch in tenth.train_dataloader() for id in batch["id"]]
    assert len(seen) == len(whole.ids["train"])
    counts = [seen.count(id) for id in tenth.ids["train"]]
    assert sum(counts) == len(seen)
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("split", [{"split": "sequence"}, {"fold": "2/3"}], ids=["split", "fold"])
def test_a_fraction_of_a_training_set_by_group_has_whole_groups(cvc_dataset, split):
    options = {"dataset": CVCClinicDB(cvc_dataset), "partial": True, "split_seed": 1, **split}
    whole, half = (module(train_fraction=fraction, **options).ids["train"] for fraction in (1, 0.5))
    assert 0 < len(half) < len(whole)
    kept = {CVCClinicDB.sequence(id) for id in half}
    assert half == [id for id in whole if CVCClinicDB.sequence(id) in kept]


@pytest.mark.parametrize("fraction", [0, 1.5, "half"])
def test_no_such_fraction_of_the_training_set(fraction):
    with pytest.raises(UserError, match=r"data\.train_fraction=.*above 0 and at most 1"):
        module(train_fraction=fraction)


def test_images_seen_twice_in_an_epoch_are_augmented_differently():
    pairs = list(ShuffledEpochs(5, 20, seed=0))
    assert len(set(pairs)) == 20
    assert {index for index, _ in pairs} == set(range(5))


def test_split_seed_and_split_file(tmp_path):
    data = module(split_seed=5)
    assert data.ids != module().ids
    (tmp_path / "split.json").write_text(json.dumps(data.ids))
    assert json.loads((tmp_path / "split.json").read_text()) == data.ids
    assert module(split_file=str(tmp_path / "split.json")).ids == data.ids


@pytest.mark.parametrize("name", ["rot90", "rotate", "flip", "full"])
def test_augmentation_is_for_training_alone_and_repeatable(name):
    plain, augmented = module(), module(augmentation=augmentation(name))
    for part in ("val_dataloader", "test_dataloader"):
        batches = (next(iter(getattr(data, part)()))["image"] for data in (plain, augmented))
        assert torch.equal(*batches)
    batches = [next(iter(data.train_dataloader())) for data in (plain, augmented, augmented)]
    assert batches[0]["id"] == batches[1]["id"]
    assert not torch.equal(batches[0]["image"], batches[1]["image"])
    assert torch.equal(batches[1]["image"], batches[2]["image"])


@pytest.mark.parametrize("name", ["rot90", "flip"])
def test_mask_and_valid_turn_with_the_image(folder_dataset, name):
    """Each augmented sample is one of the eight turned and mirrored originals, all three alike."""
    data = module(dataset=PairedFolders(folder_dataset), augmentation=augmentation(name))
    plain, augmented = data.part("train"), data.part("train", data.augmentation)
    seen = set()
    for seed in range(40):
        sample, turned = plain[seed % len(plain)], augmented[seed % len(plain), seed]
        for k in range(8):

            def turn(x, k=k):
                return torch.rot90(x.flip(2) if k >= 4 else x, k % 4, (1, 2))

            if torch.equal(turn(sample["image"]), turned["image"]):
                assert torch.equal(turn(sample["mask"]), turned["mask"])
                assert torch.equal(turn(sample["valid"]), turned["valid"])
                seen.add(k)
                break
        else:
            pytest.fail("neither turned nor mirrored")
    # 0, 90, 180, 270°; or none, both mirrors (180°) and each of the two.
    assert seen == {"rot90": {0, 1, 2, 3}, "flip": {0, 2, 4, 6}}[name]


def test_rotation_by_any_angle_keeps_the_polyp(folder_dataset):
    data = module(dataset=PairedFolders(folder_dataset), augmentation=augmentation("rotate"))
    plain, turned = data.part("train"), data.part("train", data.augmentation)
    ratios = []
    for i in range(len(plain)):
        item = turned[i, i]
        assert not (item["mask"].bool() & ~item["valid"]).any()
        # Where the frame ends, the image is black.
        assert item["image"][:, ~item["valid"][0]].mean() < 0.05
        ratios.append(item["valid"].sum() / plain[i]["valid"].sum())
    assert 0.85 < np.mean(ratios) <= 1.02


def test_wrong_options():
    for option in (
        {"batch_size": 0},
        {"image_size": "big"},
        {"image_size": True},
        {"num_workers": -1},
        {"channels": 0},
        {"fold": "1/5", "split_file": "x"},
        {"resize": "x"},
    ):
        key = next(iter(option))
        with pytest.raises(UserError, match=rf"data\.{key}="):
            module(**option)


def test_three_classes_are_augmented_as_they_are():
    """Turned by any angle, a mask holds no class that was not there."""
    dataset = Synthetic(20, 32, labels=["background", "polyp", "instrument"])
    data = module(dataset=dataset, augmentation=augmentation("full"))
    assert {int(v) for batch in data.train_dataloader() for v in batch["mask"].unique()} == {
        0,
        1,
        2,
    }
    plain, turned = data.part("train"), data.part("train", data.augmentation)
    for i in range(len(plain)):
        assert set(turned[i, i]["mask"].unique().tolist()) <= {
            0,
            *plain[i]["mask"].unique().tolist(),
        }


@pytest.mark.parametrize("name", ["none", "full"])
def test_grey_images(name):
    data = module(channels=1, augmentation=augmentation(name))
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 1, 32, 32)
    assert data.part("val").share(0, 100)[0]["image"].shape == (1, 32, 32)


def test_groups_are_in_the_batch(cvc_dataset):
    data = module(dataset=CVCClinicDB(cvc_dataset), partial=True, split="sequence")
    for batch in data.loader("all"):
        assert batch["group"] == [CVCClinicDB.sequence(id) for id in batch["id"]]


def test_all_needs_no_split(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"])
    data = module(dataset=PairedFolders(tmp_path))
    assert [id for batch in data.loader("all") for id in batch["id"]] == ["a", "b"]
    with pytest.raises(UserError, match="at least 3 are needed"):
        data.ids  # noqa: B018


def test_an_external_test_set_is_not_trained_on(tmp_path):
    write_pairs(tmp_path / "images", tmp_path / "masks", ["1", "39"])
    data = module(dataset=CVCColonDB(tmp_path), partial=True)
    assert data.split_name == "whole"
    assert data.ids == {"train": [], "val": [], "test": ["1", "39"]}
    assert [id for batch in data.test_dataloader() for id in batch["id"]] == ["1", "39"]
    for part in ("train", "val"):
        with pytest.raises(UserError, match=r"CVC-ColonDB is an external test set.* no part "):
            data.part(part)
    with pytest.raises(UserError, match="external test set"):
        data.train_dataloader()
    with pytest.raises(UserError, match=r"data\.fold=1/2: CVC-ColonDB is an external"):
        module(dataset=CVCColonDB(tmp_path), partial=True, fold="1/2").part("test")


def test_a_part_of_a_dataset_has_to_be_meant(kvasir_dataset):
    with pytest.raises(UserError, match=r"Kvasir-SEG: 12 of 1000 images; data\.partial=true"):
        module(dataset=KvasirSEG(kvasir_dataset))
    assert len(module(dataset=KvasirSEG(kvasir_dataset), partial=True).part("all")) == 12


def test_split_names_and_folds(cvc_dataset, tmp_path):
    def cvc(**options) -> DataModule:
        return module(dataset=CVCClinicDB(cvc_dataset), partial=True, **options)

    names = [cvc().split_name, cvc(split="sequence").split_name, cvc(fold="1/5").split_name]
    assert names == ["random", "sequence", "fold 1/5"]
    data = cvc(fold="1/5")
    (tmp_path / "split.json").write_text(json.dumps(data.ids))
    again = cvc(split_file=str(tmp_path / "split.json"))
    assert (again.split_name, again.ids) == ("file", data.ids)
    tests = [id for k in range(1, 6) for id in cvc(fold=f"{k}/5").ids["test"]]
    assert sorted(tests) == sorted(sample.id for sample in data.prepared.samples)
    with pytest.raises(UserError, match=r"data\.split=authors: CVC-ClinicDB has no published"):
        cvc(split="authors").part("train")
