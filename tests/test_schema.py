"""Nothing nonsensical passes: one line that helps, exit status 1, and nothing left behind."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from polyp import schema
from polyp.errors import UserError
from tests.conftest import CONFIGS, TINY_SYNTHETIC

EPOCHS = "must be a whole number from 1 to 1000000"
POSITIVE = "must be a number above 0"
LIST = "must be a list, and each element a finite number"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        *((f"trainer.max_epochs={value}", EPOCHS) for value in (-1, "abc", 1.5, "null", 0, "")),
        *((f"evaluation.angles=[0,{value}]", LIST) for value in ("nan", "inf", "null", "x")),
        ("evaluation.angles=90", LIST),
        ("evaluation.angles=[0,720]", "contain no rotation"),
        ("evaluation.angles=[0,90,720]", "720° is the same as 0°"),
        ("evaluation.angles=[0,90,450]", "450° is the same as 90°"),
        ("evaluation.angles=[0,45,45]", "45° is there twice"),
        ("evaluation.shifts=perhaps", "must be true or false"),
        *(
            (f"early_stopping_patience={value}", "from 1 to 1000000, or null")
            for value in ("abc", -1, 0)
        ),
        *(
            (f"evaluation.every_n_epochs={value}", "from 0 to 1000000")
            for value in ("abc", -1, "null")
        ),
        *((f"loss.dice={value}", "a number at least 0") for value in ("abc", -1, "nan", "null")),
        ("loss.dice=0 loss.bce=0", "loss.bce=0, dice=0: one of them must be above 0"),
        *(
            (f"trainer.gradient_clip_val={value}", f"{POSITIVE}, or null")
            for value in ("nan", -1, 0, "inf", "x")
        ),
        *((f"optimizer.lr={value}", POSITIVE) for value in (0, "abc", "inf", -1, "null", "nan")),
        ("optimizer.weight_decay=-1", "a number at least 0 and at most 10"),
        ("optimizer=sgd optimizer.momentum=2", "below 1"),
        ("schedule.warmup=2", "above 0 and below 1"),
        ("model=se2unet_small model.layers.sigma=1e6", "at least 0.1 and at most 10"),
        ("model=se2unet_small model.layers.rotations=1000", "from 1 to 36"),
        ("model=steerableunet_small model.layers.rotations=1000", "from 1 to 36, or continuous"),
        ("model.layers.reflections=maybe", "must be true or false"),
        *((f"model.layers.kernel_size={value}", "from 1 to 15") for value in (99, 4, -1, "x", 3.0)),
        *((f"model.in_channels={value}", "from 1 to 4096") for value in (0, -3, "x")),
        ("model.widths=[4,0]", "each element a whole number from 1"),
        ("data.train_fraction=1e-9", "this is none of the 14 training images"),
        ("data.train_fraction=0", "above 0"),
        *((f"data.image_size={value}", "from 8 to 16384") for value in (0, -1, 1e9, "null", "x")),
        *(
            (f"data.batch_size={value}", "from 1 to 65536")
            for value in (0, 2.5, "x", "null", "true")
        ),
        *((f"seed={value}", "from 0 to 4294967295") for value in (-1, 0.5, "x", 2**32, "null")),
        ("data.seed=-1", "data.seed=-1: must be a whole number"),
        *(
            (f"data.augmentation={value}", f"data.augmentation={value}: must be a list, and each")
            for value in ("rot90", "[null]")
        ),
        ("recipe=typo", "recipe=typo: no such config; choose one of lieunet_adamw, "),
        ("metrics=1", "metrics=1: metrics= names a file of configs/metrics: dice, "),
        *((f"metrics={value}", "names a file of configs/metrics") for value in ("{}", "[nan]")),
        ("metrics=[]", "metrics=null: must be a mapping of at least 1"),
        ("metrics.dice=5", "metrics={dice: 5, iou: {_target_: "),
        ("model.layers=3", "model.layers=3: must be a mapping with the _target_"),
        ("~seed", "seed=null: must be a whole number"),
        ("name=ü", "name=ü: cannot be parsed"),
        ("trainer.devices=true", "trainer.devices=true: must be a whole number from 1"),
        ("+optimizer.foreach=[]", "optimizer.foreach=[]: must be true or false, or null"),
        *((f"data.cache={value}", "must be a path (./5 of") for value in (5, "true", "nan")),
        ("test_sets.own.part=val", "test_sets.own.part=val: must be test"),
        ("data.dataset={a:1}", "data.dataset: unknown key in its value"),
        ("init_from_seen=maybe", "must be true or false"),
        ("trainer.max_epoch=3", "no such key; did you mean trainer.max_epochs?"),
        ("modle=unet", "modle: no such key; did you mean model?"),
        ("optimizer.weigth_decay=0", "did you mean optimizer.weight_decay?"),
        ("xyzzyx=0", "xyzzyx: no such key; --cfg job shows all keys"),
        ("metrics=[hd59]", "metrics=hd59: no such config; choose one of dice, "),
        ("test_sets=[nowhere]", "test_sets=nowhere: no such config; choose one of "),
        ("data=folder ~data.dataset.images", "data.root= is missing: add data.root=VALUE"),
        ("task=multiclass", "task.classes= is missing: add task.classes=VALUE"),
    ],
)
def test_training_refuses(refused, tmp_path: Path, options, expected):
    asked = options.split()
    keys = {option.split("=")[0] for option in asked}
    if "data=folder" in asked:
        keys.add("data.dataset.images")
    line = refused(*(o for o in TINY_SYNTHETIC if o.split("=")[0] not in keys), *asked)
    assert expected in line
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["5", "true", "???"])
def test_a_run_folder_that_is_no_path(script_refused, tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    assert f"hydra.run.dir={value}: must be a path" in script_refused(
        "train", *TINY_SYNTHETIC, f"hydra.run.dir={value}"
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_several_gpus_where_there_is_none(refused, tmp_path):
    options = [o for o in TINY_SYNTHETIC if o != "trainer=cpu"]
    assert "trainer=auto" in refused(*options, "trainer=ddp")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("evaluate", "", "run= or maps= is missing: polyp evaluate"),
        ("evaluate", "run=x part=some", "part=some: must be own, all, train, val or test"),
        ("evaluate", "run=x evaluation.angles=[0,inf]", "evaluation.angles=[0, inf]: must be"),
        ("evaluate", "run=x data.batch_size=x", "data.batch_size=x: must be a whole number"),
        ("predict", "run=x input=y", "output= is missing: polyp predict run=PATH"),
        ("predict", "", "input= and output= and run= are missing: polyp predict run=PATH"),
        *(
            ("predict", f"run=x input=y output=z angles=[{value}]", f"angles=[{value}]: must be")
            for value in ("inf", "nan", "x")
        ),
        ("predict", "run=x input=y output=z threshold=2", "above 0 and below 1"),
        ("predict", "run=x input=y output=z thresold=2", "did you mean threshold?"),
        ("export", "run=x", "output= is missing: polyp export run=PATH output=FILE.onnx"),
        ("export", "run=x output=y overwrite=maybe", "overwrite=maybe: must be true or false"),
        ("compare", "runs=x output=y outlier_dice=nan", "outlier_dice=nan: must be a number"),
        ("view", "runs=[] output=x.html", "runs=[]: must be a path, or a list of at least one"),
        ("rotation_error", "output=x.txt", "output=x.txt: must be a file that ends with .png"),
        ("rotation_error", "output=x.png seeds=0", "seeds=0: must be a whole number from 1"),
    ],
)
def test_the_other_commands_refuse(
    script_refused, tmp_path, monkeypatch, command, options, expected
):
    monkeypatch.chdir(tmp_path)
    assert expected in script_refused(command, *options.split())
    assert not any(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(script_refused, finished_run):
    line = script_refused("export", f"run={finished_run}", "output=/proc/a.onnx")
    assert "output=/proc/a.onnx: cannot be written" in line


def composed(command: str, *options: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(command, list(options))


def test_the_arguments_of_own_classes_are_free():
    """Also where a class of ours has one of the name."""
    config = composed("train")
    model = {"_target_": "mine.UNet", "in_channels": 0, "sigma": "wide"}
    with open_dict(config):
        config.model = model
        schema.check("train", config, "")
        config.model = model | {"layers": {"_target_": "polyp.layers.P4Layers", "kernel_size": 4}}
        with pytest.raises(UserError, match=r"model\.layers\.kernel_size=4: must be an odd"):
            schema.check("train", config, "")


# Arguments of other libraries.
FREE = ("monai.", "segmentation_models_pytorch.")


def without_rule(command: str, node: DictConfig, above: str = "") -> list[str]:
    """The keys of a composed config that the schema does not know."""
    target = str(node.get("_target_", ""))
    found = []
    for name in set(node) - {"_target_", "_partial_"}:
        key = f"{above}{name}"
        open_value = OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name)
        value = None if open_value else node[name]
        if isinstance(value, DictConfig):
            found += without_rule(command, value, f"{key}.")
        elif not target.startswith(FREE) and not (
            name in schema.CLASSES.get(target, {}) or key in schema.COMMANDS[command]
        ):
            found.append(key)
    return found


@pytest.mark.parametrize(
    "group", ["model", "data", "optimizer", "schedule", "trainer", "evaluation", "task"]
)
def test_every_key_of_a_config_has_a_rule(group):
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        if path.stem != "base":
            assert without_rule("train", composed("train", f"{group}={path.stem}")) == [], path


@pytest.mark.parametrize("command", sorted(schema.COMMANDS))
def test_every_key_of_a_command_has_a_rule(command):
    options = {
        "download_data": ["data=kvasir"],
        "train": ["logger=[csv,mlflow,tensorboard,wandb]", "metrics=[surface_dice]"],
    }
    config = composed(command, *options.get(command, []))
    assert without_rule(command, config) == []
    if command in ("train", "benchmark"):
        schema.check(command, config, "")  # which the defaults keep
