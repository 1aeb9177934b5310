"""The configs hold what their comments, README.md and docs say: every preset, and the defaults."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from polyp.layers import SE2Layers, SteerableLayers

CONFIGS = Path(__file__).parents[1] / "configs"
DATA = "/data"  # POLYP_DATA, where nothing is read

FULL_TURN = list(range(0, 360, 10))
QUARTER = [*range(0, 91, 5), 180, 270]
FAMILY = {
    "p4unet": "P4Layers",
    "unet": "PlainLayers",
    "se2unet": "SE2Layers",
    "se2unet_bilinear": "SE2Layers",
    "steerableunet": "SteerableLayers",
    "steerableunet_matched": "SteerableLayers",
    "so2unet": "SteerableLayers",
    "unet_wide": "PlainLayers",
    "p4munet": "P4Layers",
    "isounet": "IsotropicLayers",
    "se2unet_separable": "SeparableSE2Layers",
    "lieunet": "LieLayers",
}


@pytest.fixture
def composed(monkeypatch):
    """Composes a config as the command line would; with what Hydra itself is told, if asked."""
    monkeypatch.setenv("POLYP_DATA", DATA)

    def run(*overrides: str, name: str = "train", hydra: bool = False) -> DictConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose(name, list(overrides), return_hydra_config=hydra)

    return run


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def plain(config: DictConfig) -> dict:
    return OmegaConf.to_container(config)


def test_the_defaults(composed):
    config = composed()
    assert (config.seed, config.resume, config.early_stopping_patience) == (0, None, None)
    assert config.model == composed("model=p4unet").model
    assert plain(config.loss) == {"_target_": "polyp.training.BCEDiceLoss", "bce": 1, "dice": 1}
    assert plain(config.optimizer) == {
        "_target_": "torch.optim.AdamW",
        "_partial_": True,
        "lr": 3e-3,
        "weight_decay": 1e-4,
    }
    assert plain(config.schedule) == {
        "_target_": "polyp.training.one_cycle",
        "_partial_": True,
        "warmup": 0.3,
    }
    assert plain(config.augmentation) == {"transforms": []}
    assert plain(config.trainer) == {
        "_target_": "polyp.training.make_trainer",
        "accelerator": "auto",
        "devices": 1,
        "max_epochs": 8,  # of the synthetic set
        "precision": "auto",
        "gradient_clip_val": None,
        "log_every_n_steps": 10,
    }
    assert config.evaluation.angles == QUARTER
    assert config.evaluation.part_angles == [15, 45]
    assert config.evaluation.shifts is True
    assert plain(config.task) == {"_target_": "polyp.tasks.Binary", "classes": None}
    assert list(config.metrics) == ["dice", "iou", "precision", "recall"]
    assert plain(config.test_sets) == {"own": {"part": "test"}}
    assert list(config.logger) == ["tensorboard"]
    assert config.evaluation.every_n_epochs == 0
    assert config.evaluation.drift_angles == [30, 45, 90]
    assert (config.data.image_size, config.data.dataset.images) == (64, 240)


# --- experiments


SMALL = ["p4unet_small", "unet_small", "se2unet_small", "se2unet_bilinear_small"]
SMALL += ["steerableunet_small"]
# Image size, epochs, accelerator, precision and angles; what a sweep goes through.
EXPERIMENTS = {
    "deck": (
        (256, 60, "gpu", "auto", QUARTER),
        {
            "model": "p4unet,unet,se2unet,se2unet_bilinear,steerableunet",
            "data": "cvc,kvasir",
            "seed": "0,1,2",
        },
    ),
    "deck_small": (
        (96, 20, "cpu", "bf16-auto", QUARTER),
        {"model": ",".join(SMALL), "data": "cvc,kvasir"},
    ),
    "folds": (
        (96, 20, "cpu", "bf16-auto", QUARTER),
        {
            "model": "unet_small,p4unet_small",
            "data": "cvc",
            "data.fold": "1/5,2/5,3/5,4/5,5/5",
            "seed": "0,1,2",
        },
    ),
    "hospitals": (
        (96, 20, "cpu", "bf16-auto", [0, 15, 30, 45, 60, 75, 90]),
        {"model": "unet_small,p4unet_small", "data": "pranet", "seed": "0,1,2"},
    ),
    "small": ((96, 10, "auto", "auto", QUARTER), None),
}


def test_every_experiment_is_tested_here():
    assert names("experiment") == sorted(EXPERIMENTS)


@pytest.mark.parametrize("data", ["cvc", "kvasir"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_sizes_epochs_and_sweep_of_an_experiment(composed, name, data):
    expected, swept = EXPERIMENTS[name]
    config = composed(f"experiment={name}", f"data={data}", hydra=True)
    trainer = config.trainer
    assert (
        config.data.image_size,
        trainer.max_epochs,
        trainer.accelerator,
        trainer.precision,
        config.evaluation.angles,
    ) == expected
    assert config.hydra.sweeper.params == swept


@pytest.mark.parametrize("name", ["deck", "folds", "hospitals"])
def test_the_runs_of_a_study_are_where_its_comparison_looks(composed, name):
    text = (CONFIGS / "study" / f"{name}.yaml").read_text(encoding="utf-8")
    folder = composed(f"experiment={name}", hydra=True).hydra.sweep.dir
    assert f" runs={folder} " in text


def test_hospitals_are_trained_on_one_and_tested_on_three(composed):
    config = composed("experiment=hospitals")
    assert config.data.dataset._target_ == "polyp.data.PraNet"
    assert (config.data.dataset.trains, config.data.dataset.tests) == (["Kvasir"], ["Kvasir"])
    tested = {name: test_set.get("dataset") for name, test_set in config.test_sets.items()}
    assert tested["own"] is None
    assert tested["cvc"]._target_ == "polyp.data.CVCClinicDB"
    assert tested["colondb"]._target_ == "polyp.data.CVCColonDB"


@pytest.mark.parametrize("name", sorted(EXPERIMENTS.keys() - {"hospitals"}))
def test_an_experiment_changes_nothing_else(composed, name):
    """All but what is tested above is as in a run of the defaults on the same dataset."""
    config = composed(f"experiment={name}", "data=cvc")
    other = composed("data=cvc", f"trainer={config.trainer.accelerator}")
    other.data.image_size = config.data.image_size
    other.trainer.max_epochs = config.trainer.max_epochs
    other.trainer.precision = config.trainer.precision
    other.evaluation.angles = config.evaluation.angles
    if name == "folds":
        other.evaluation.sample = "all"
    assert config == other


@pytest.mark.parametrize("name", ["deck", "deck_small"])
def test_the_experiments_of_the_deck_are_on_cvc_unless_told_otherwise(composed, name):
    config = composed(f"experiment={name}")
    assert config.data.dataset._target_ == "polyp.data.CVCClinicDB"
    assert config.data.root == f"{DATA}/CVC-ClinicDB"


@pytest.mark.parametrize(("name", "data"), [("deck", "kvasir"), ("deck_small", "cvc")])
def test_every_job_of_an_experiment_is_the_network_that_its_name_says(composed, name, data):
    experiment = composed(f"experiment={name}", hydra=True)
    for model in experiment.hydra.sweeper.params.model.split(","):
        config = composed(f"experiment={name}", f"model={model}", f"data={data}")
        family = FAMILY[model.removesuffix("_small")]
        assert config.model.layers._target_ == f"polyp.layers.{family}"
        assert config.model == composed(f"model={model}").model
        if name == "deck_small":  # the full ones take long, and have tests of their own
            network = instantiate(config.model)
            assert type(network).__name__ == "UNet"
            network.check_size(config.data.image_size, config.data.image_size)


def test_the_trainer_and_optimiser_of_the_small_deck(composed):
    config = composed("experiment=deck_small")
    trainer = instantiate(config.trainer, logger=False)
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    precision = "bf16-mixed" if native else "32-true"
    assert (trainer.max_epochs, trainer.precision, trainer.num_devices) == (20, precision, 1)
    assert type(trainer.accelerator).__name__ == "CPUAccelerator"
    network = instantiate(config.model)
    optimizer = instantiate(config.optimizer)(network.parameters())
    assert type(optimizer).__name__ == "AdamW"
    schedule = instantiate(config.schedule)(optimizer, 100)
    rates = schedule.get_last_lr()
    for _ in range(99):
        optimizer.step()
        schedule.step()
        rates += schedule.get_last_lr()
    assert max(rates) == pytest.approx(3e-3, rel=1e-3)
    assert rates.index(max(rates)) == pytest.approx(30, abs=1)


# --- models


# Widths and kernel size; rotations and interpolation where there are some.
MODELS = {
    "p4unet": ([8, 16, 32, 64, 128], 3, None, None),
    "p4unet_small": ([4, 8, 16, 32, 64], 3, None, None),
    "unet": ([16, 32, 64, 128, 256], 3, None, None),
    "unet_small": ([8, 16, 32, 64, 128], 3, None, None),
    "se2unet": ([8, 16, 32, 64, 128], 5, 12, "gaussian"),
    "se2unet_small": ([2, 4, 6, 11, 21], 5, 12, "gaussian"),
    "se2unet_bilinear": ([8, 16, 32, 64, 128], 5, 12, "bilinear"),
    "se2unet_bilinear_small": ([2, 4, 6, 11, 21], 5, 12, "bilinear"),
    "steerableunet": ([8, 16, 32, 64, 128], 5, 12, None),
    "steerableunet_small": ([2, 4, 6, 11, 21], 5, 12, None),
    "steerableunet_matched_small": ([2, 4, 8, 16, 35], 5, 12, None),
    "so2unet": ([8, 16, 32, 64, 128], 5, "continuous", None),
    "so2unet_small": ([4, 7, 15, 30, 57], 5, "continuous", None),
    "unet_wide": ([32, 64, 128, 256, 512], 3, None, None),
    "p4munet": ([6, 11, 23, 45, 91], 3, None, None),
    "p4munet_small": ([2, 6, 12, 23, 44], 3, None, None),
    "isounet": ([16, 32, 64, 128, 256], 5, None, None),
    "isounet_small": ([14, 28, 55, 110, 222], 5, None, None),
    "se2unet_separable": ([8, 16, 32, 64, 128], 5, 12, "gaussian"),
    "se2unet_separable_small": ([4, 8, 16, 32, 64], 5, 12, "gaussian"),
    "lieunet": ([8, 16, 32, 64, 128], 5, 12, None),
    "lieunet_small": ([4, 8, 16, 32, 64], 5, 12, None),
}


LIBRARIES = ["monai_dynunet", "smp"]  # optional extras: tests/models/test_library.py


def test_every_model_is_tested_here():
    assert names("model") == sorted([*MODELS, "canonicalized", "symmetrized", *LIBRARIES])


def test_a_symmetrized_network_wraps_any_other(composed):
    model = composed("model=symmetrized", "model@model.model=p4unet_small", "data.channels=1").model
    assert (model.group, model.in_training) == ("c4", False)
    assert model.model.widths == [4, 8, 16, 32, 64]
    assert model.model.in_channels == 1


@pytest.mark.parametrize("name", MODELS)
def test_sizes_of_a_model(composed, name):
    model = composed(f"model={name}").model
    layers = model.layers
    assert (
        model.widths,
        layers.kernel_size,
        layers.get("rotations"),
        layers.get("interpolation"),
    ) == MODELS[name]
    assert layers._target_ == f"polyp.layers.{FAMILY[name.removesuffix('_small')]}"
    assert layers.get("reflections", False) is name.startswith("p4mu")
    assert layers.get("sigma", 0.7) == 0.7


# --- the other groups


@pytest.mark.parametrize(
    ("data", "dataset", "folder"),
    [("cvc", "CVCClinicDB", "CVC-ClinicDB"), ("kvasir", "KvasirSEG", "Kvasir-SEG")],
)
def test_a_real_dataset(composed, data, dataset, folder):
    config = composed(f"data={data}", "seed=7", "augmentation=rot90")
    assert config.trainer.max_epochs == 60
    assert OmegaConf.to_container(config, resolve=True)["data"] == {
        "_target_": "polyp.data.DataModule",
        "image_size": 256,
        "resize": "pad",
        "batch_size": 8,
        "split": "random",
        "split_seed": 0,
        "split_file": None,
        "channels": 3,
        "fold": None,
        "partial": False,
        "train_fraction": 1.0,
        "augmentation": [{"_target_": "albumentations.RandomRotate90", "p": 1.0}],
        "seed": 7,
        "num_workers": 0,
        "cache": "outputs/cache",
        "root": f"{DATA}/{folder}",
        "dataset": {"_target_": f"polyp.data.{dataset}", "root": f"{DATA}/{folder}"},
    }
    elsewhere = composed(f"data={data}", "data.root=elsewhere").data
    assert elsewhere.dataset.root == "elsewhere"


AUGMENTATIONS = {
    "none": {},
    "rot90": {"RandomRotate90": {"p": 1.0}},
    "rotate": {"Rotate": {"limit": [-180, 180], "interpolation": 2, "p": 1.0}},
    "flip": {"HorizontalFlip": {"p": 0.5}, "VerticalFlip": {"p": 0.5}},
    "full": {
        "HorizontalFlip": {"p": 0.5},
        "Affine": {"rotate": [-180, 180], "scale": [0.8, 1.25], "interpolation": 2, "p": 1.0},
        "ColorJitter": {
            "brightness": [0.8, 1.2],
            "contrast": [0.8, 1.2],
            "saturation": [0.8, 1.2],
            "hue": [-0.03, 0.03],
            "p": 0.8,
        },
    },
}


def test_augmentations(composed):
    found = {}
    for name in names("augmentation"):
        config = composed(f"augmentation={name}")
        assert config.data.augmentation == config.augmentation.transforms
        found[name] = {
            transform.pop("_target_").removeprefix("albumentations."): transform
            for transform in plain(config.augmentation)["transforms"]
        }
    assert found == AUGMENTATIONS


def test_optimisers_and_schedules(composed):
    assert names("optimizer") == ["adamw", "sgd"]
    sgd = plain(composed("optimizer=sgd").optimizer)
    assert sgd.pop("_target_") == "torch.optim.SGD"
    assert sgd.pop("_partial_")
    assert sgd == {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    warmups = {"constant": None, "cosine": 0.05, "one_cycle": 0.3}
    assert names("schedule") == sorted(warmups)
    for name, warmup in warmups.items():
        schedule = composed(f"schedule={name}").schedule
        assert schedule._target_ == f"polyp.training.{name}"
        assert schedule.get("warmup") == warmup


def test_a_recipe_belongs_to_a_model_and_an_optimiser(composed):
    pairs = {f"{model}_{optimizer}" for model in names("model") for optimizer in names("optimizer")}
    assert names("recipe") == ["lieunet_adamw", "lieunet_small_adamw"]
    assert set(names("recipe")) <= pairs
    for model in ("lieunet", "lieunet_small"):
        for experiment in ([], ["experiment=folds"], ["experiment=hospitals"]):
            assert composed(*experiment, f"model={model}").optimizer.lr == 0.01
        assert composed(f"model={model}", "optimizer=sgd") == composed(
            f"model={model}", "optimizer=sgd", "~recipe"
        )
        assert composed(f"model={model}", "optimizer.lr=0.02").optimizer.lr == 0.02
        assert composed(f"model={model}", "~recipe").optimizer.lr == 3e-3
    assert composed("model=unet").optimizer.lr == 3e-3


def test_rotation_sweeps(composed):
    assert names("evaluation") == ["full_turn", "quarter", "quarter_turn"]
    assert composed("evaluation=quarter").evaluation.angles == QUARTER
    assert composed("evaluation=full_turn").evaluation.angles == FULL_TURN
    quarter = composed("evaluation=quarter_turn").evaluation
    assert quarter.angles == list(range(0, 91, 3))
    assert (quarter.every_n_epochs, quarter.drift_angles) == (0, [30, 45, 90])


def test_trainers(composed):
    assert names("trainer") == ["auto", "cpu", "ddp", "gpu"]
    auto = plain(composed("data=cvc", "trainer=auto").trainer)
    for name, own in {
        "cpu": {"accelerator": "cpu"},
        "gpu": {"accelerator": "gpu"},
        "ddp": {"devices": "auto", "num_nodes": 1, "strategy": "ddp", "sync_batchnorm": True},
    }.items():
        assert plain(composed("data=cvc", f"trainer={name}").trainer) == {**auto, **own}


def test_a_search_is_for_the_highest_validation_dice(composed):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    sweeper = composed("sweep=optuna", hydra=True).hydra.sweeper
    assert (sweeper.direction, sweeper.n_trials, sweeper.n_jobs) == ("maximize", 30, 1)
    assert (sweeper.storage, sweeper.max_failure_rate, sweeper.sampler.seed) == (None, 1.0, 0)
    assert plain(sweeper.params) == {
        "optimizer.lr": "tag(log, interval(1e-4, 1e-1))",
        "optimizer.weight_decay": "tag(log, interval(1e-6, 1e-2))",
    }


def test_jobs_side_by_side_have_a_core_each(composed):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    hydra = composed("sweep=joblib", hydra=True).hydra
    assert hydra.launcher.n_jobs == -1
    assert hydra.job.env_set == {"OMP_NUM_THREADS": "1"}


def test_jobs_on_a_cluster(composed):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    launcher = composed("sweep=slurm", hydra=True).hydra.launcher
    expected = {
        "timeout_min": 240,
        "signal_delay_s": 120,
        "max_num_timeout": 20,
        "gpus_per_node": 1,
        "tasks_per_node": 1,
        "cpus_per_task": 8,
        "mem_gb": 32,
        "array_parallelism": 16,
        "additional_parameters": {"requeue": True},
    }
    assert {key: launcher[key] for key in expected} == expected


def test_defaults_of_the_scripts(composed):
    assert composed(name="compare").outlier_dice == 0.5
    predict = composed(name="predict")
    assert predict.angles == list(range(45, 360, 45))
    assert (predict.device, predict.precision) == ("auto", "float32")
    errors = composed(name="rotation_error")
    assert (errors.angles, errors.seeds) == (list(range(0, 91, 5)), 8)
    evaluate = plain(composed(name="evaluate"))
    assert evaluate.pop("device") == "auto"
    assert evaluate.pop("part") == "own"
    assert set(evaluate.pop("data").values()) == set(evaluate.pop("evaluation").values()) == {None}
    assert evaluate == {"run": None, "maps": None, "output": None}


def test_each_family_of_the_rotation_error_is_what_it_is_called(composed):
    families = plain(composed(name="rotation_error").families)
    found = {
        name: (options.pop("_target_").removeprefix("polyp.layers."), options)
        for name, options in families.items()
    }
    assert found == {
        "p4, 3×3": ("P4Layers", {"kernel_size": 3}),
        "SE(2,12) bilinear, 5×5": ("SE2Layers", {"interpolation": "bilinear"}),
        "SE(2,12) cubic B-spline, 5×5": ("SE2Layers", {"interpolation": "bspline"}),
        "SE(2,12) Gaussian, 5×5": ("SE2Layers", {"interpolation": "gaussian"}),
        "steerable C₁₂, 5×5": ("SteerableLayers", {"rotations": 12}),
        "steerable SO(2), 5×5": ("SteerableLayers", {"rotations": "continuous"}),
        "SE(2,12) separable, 5×5": ("SeparableSE2Layers", {"first": "depthwise"}),
        "SE(2,12) pointwise first, 5×5": ("SeparableSE2Layers", {"first": "pointwise"}),
        "continuous, 5×5": ("LieLayers", {"omega": 8}),
        "continuous separable, 5×5": ("LieLayers", {"omega": 8, "separable": True}),
        "isotropic, 5×5": ("IsotropicLayers", {"kernel_size": 5}),
    }
    for family in (SE2Layers(), SteerableLayers()):  # what the names say and the config does not
        assert family.kernel_size == 5
    assert SE2Layers().order == 12
