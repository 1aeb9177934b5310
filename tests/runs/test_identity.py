"""resume= continues the same run alone, init_from= begins another; refusals leave nothing."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from polyp.commands import train
from polyp.data import DataModule, PairedFolders, Synthetic
from tests.conftest import TINY_SYNTHETIC, write_pairs


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run. For tests that only read it."""
    place = tmp_path_factory.mktemp("identity") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", *TINY_SYNTHETIC, f"hydra.run.dir={place}"])
        train.main()
    return place


@pytest.fixture
def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_identity_is_plain_values(last):
    for name in ("last.ckpt", "best.ckpt"):
        identity = torch.load(last.with_name(name), weights_only=True)["identity"]
        assert json.loads(json.dumps(identity)) == identity
    split = json.loads((last.parents[1] / "split.json").read_text())
    assert {part: list(images) for part, images in identity["split"].items()} == split
    assert identity["config"]["data.batch_size"] == 4
    assert not {"data.root", "trainer.devices", "trainer.max_epochs"} & identity["config"].keys()


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["data.batch_size=5"], "data.batch_size=4, here it is 5"),
        (["model.widths=[4,8]"], "model.widths=[4, 4], here it is [4, 8]"),
        (["seed=3"], "seed=0, here it is 3"),
        (["optimizer=sgd"], "optimizer._target_=torch.optim.AdamW, here it is torch.optim.SGD"),
        (["loss.dice=0.5"], "loss.dice=1.0, here it is 0.5"),
        (["augmentation=rot90"], "data.augmentation=[], here it is [{"),
        (["trainer.precision=bf16-auto"], "trainer.precision=auto, here it is bf16-auto"),
        (["data.split_seed=5"], "another split"),
        (["data.dataset.seed=1"], "data.dataset.seed=0, here it is 1"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_another_run_is_not_resumed(refused, tmp_path, last, options, difference):
    before = contents(last.parents[1])
    line = refused(*TINY_SYNTHETIC, *options, f"resume={last}")
    assert f"resume={last}: the run was trained with " in line
    assert difference in line
    assert line.endswith("init_from= starts a new run from its weights")
    assert contents(last.parents[1]) == before
    assert not (tmp_path / "run").exists()


def test_where_and_how_it_runs_does_not_count(command_line, last, tmp_path):
    options = ["data.cache=null", "data.num_workers=1", "logger=csv", "evaluation.angles=[0,30]"]
    options += ["metrics=[dice]", f"resume={last}"]
    assert (command_line(*TINY_SYNTHETIC, *options) / "metrics.json").exists()


def test_a_moved_dataset_is_the_same_and_a_changed_one_is_not(tmp_path):
    root = tmp_path / "one"
    write_pairs(root / "images", root / "masks", ["a", "b", "c"])
    shutil.copytree(root, tmp_path / "two")

    def digests(place: str) -> dict:
        data = DataModule(PairedFolders(tmp_path / place), image_size=32, batch_size=1)
        data.setup()
        return data.digests

    assert digests("one") == digests("two")
    shutil.copyfile(root / "masks" / "a.png", tmp_path / "two" / "masks" / "b.png")
    one, two = digests("one"), digests("two")
    assert [id for id in one if one[id] != two[id]] == ["b"]
    assert one["b"][0] == two["b"][0]


def test_a_changed_dataset_is_not_resumed(command_line, refused, folder_dataset, tmp_path):
    options = [o for o in TINY_SYNTHETIC if "dataset" not in o]
    options += ["data=folder", f"data.root={folder_dataset}", "data.cache=null"]
    last = command_line(*options, folder="first") / "checkpoints" / "last.ckpt"
    masks = folder_dataset / "masks"
    shutil.copyfile(masks / "polyp1.png", masks / "polyp2.png")
    assert "other images or masks of folder" in refused(*options, f"resume={last}")


def test_a_checkpoint_of_version_0_1_goes_on_with_a_warning(command_line, last, tmp_path):
    checkpoint = torch.load(last, weights_only=True)
    del checkpoint["identity"]
    old = tmp_path / "old" / "last.ckpt"
    shutil.copytree(last.parent, old.parent)
    torch.save(checkpoint, old)
    folder = command_line(*TINY_SYNTHETIC, f"resume={old}")
    assert "from an earlier version, which does not store" in (folder / "train.log").read_text()


def test_nothing_is_left_to_be_done(refused, last, tmp_path):
    """And the best epoch is not there to be measured."""
    shutil.copyfile(last, tmp_path / "last.ckpt")
    line = refused(*TINY_SYNTHETIC, f"resume={tmp_path / 'last.ckpt'}")
    assert "no epoch is left to train, and there is no best.ckpt beside it" in line
    assert not (tmp_path / "run").exists()


# --- init_from


def test_a_new_run_begins_with_given_weights(command_line, last):
    options = [*TINY_SYNTHETIC, "seed=1", "optimizer.lr=1e-30", "schedule=constant"]
    folder = command_line(*options, f"init_from={last}")
    source = torch.load(last, weights_only=True)
    new = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in source["state_dict"].items():
        if name.endswith("conv.weight"):
            assert torch.equal(value, new["state_dict"][name]), name
    assert new["epoch"] == 1
    record = json.loads((folder / "provenance.json").read_text())["init_from"]
    assert record["path"] == str(last)
    assert record["identity"] == source["identity"]
    # The same command resumes it, and the identity keeps the first checkpoint.
    resume = f"resume={folder / 'checkpoints' / 'last.ckpt'}"
    command_line(*options, f"init_from={last}", resume)
    assert json.loads((folder / "provenance.json").read_text())["init_from"] == record


def test_images_that_were_trained_on_are_not_tested(command_line, refused, last, tmp_path):
    options = [*TINY_SYNTHETIC, f"init_from={last}", "data.split_seed=5"]
    # Also where they are prepared otherwise.
    for more in ([], ["data.image_size=34"]):
        line = refused(*options, *more)
        assert f"init_from={last}: its run was trained on 3 of the 3 test images of own" in line
        assert "init_from_seen=true" in line
        assert not (tmp_path / "run").exists()
    folder = command_line(*options, "init_from_seen=true", folder="first")
    # A run that begins with this one has seen what both have.
    second = folder / "checkpoints" / "last.ckpt"
    line = refused(*TINY_SYNTHETIC, f"init_from={second}", "data.split_seed=0")
    assert "its run was trained on" in line
    # Other scenes of the same names are not the same images.
    command_line(*options, "data.dataset.seed=1", folder="others")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["init_from=nowhere.ckpt"], "init_from=nowhere.ckpt: no such file"),
        (["init_from={last}", "resume={last}"], "exclude each other"),
        (["init_from={last}", "model.widths=[4,8]"], "of a run with another model="),
    ],
)
def test_a_beginning_that_is_refused(refused, last, tmp_path, options, expected):
    options = [option.format(last=last) for option in options]
    assert expected in refused(*TINY_SYNTHETIC, *options)
    assert not (tmp_path / "run").exists()


# --- what is left


def test_a_refused_run_leaves_a_folder_as_it_was(refused, tmp_path, last):
    (tmp_path / "run").mkdir()
    assert "a one-cycle schedule" in refused(
        *TINY_SYNTHETIC, "trainer.max_epochs=3", f"resume={last}"
    )
    assert not list((tmp_path / "run").iterdir())


def test_scenes_have_a_digest_for_every_size():
    def digests(size: int, seed: int = 0) -> dict:
        data = DataModule(Synthetic(images=3, size=size, seed=seed), image_size=size, batch_size=1)
        data.setup()
        return data.digests

    assert digests(32) == digests(64)
    assert not set(digests(32).values()) & set(digests(32, seed=1).values())
