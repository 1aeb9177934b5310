"""Evaluates a finished run again: in the same way, on other datasets, or at other angles."""

import copy
import logging
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from omegaconf import DictConfig, OmegaConf

from polyp.data import Dataset
from polyp.errors import UserError
from polyp.evaluation.metrics import Dice, IoU, Metric, Precision, Recall
from polyp.names import dataset_name, system_name
from polyp.runs.folder import TABLES, RunFolder
from polyp.runs.identity import Identity, data_identity
from polyp.runs.loading import (
    build,
    choose_device,
    load_identity,
    load_model,
    load_task,
    use_split,
)
from polyp.runs.measure import EvaluationOptions, log_summary, measure
from polyp.runs.provenance import provenance
from polyp.runs.test_sets import (
    GEOMETRY,
    OWN,
    TestSet,
    make_test_sets,
    warn_of_seen,
    warn_of_unknown,
)

log = logging.getLogger(__name__)

SPLIT = ("split", "split_seed", "split_file", "fold")
ALLOWED = (LightningDataModule, Dataset)


def evaluate_run(options: DictConfig, data_choice: str | None, named: set[str]) -> dict[str, Any]:
    """Evaluates the best checkpoint of a run, and writes a folder like that of a run.

    Args:
        options: the config, configs/evaluate.yaml.
        data_choice: the value of `data=`; None means the run's own dataset.
        named: the keys on the command line, such as {"run", "data.root"}.

    Returns:
        The content of its metrics.json.
    """
    if options.run is None:
        raise UserError("run= is missing: give the folder of a run, or maps= and data=")
    saved = RunFolder.open(str(options.run))
    trained_on = saved.choices["data"]
    data_choice = data_choice or trained_on
    model = load_model(saved)
    identity = load_identity(saved)
    config, own_split = _config(saved, options, data_choice, named, identity)
    evaluation = EvaluationOptions.of(config)
    output = _output(options.output, saved, data_choice)
    task, metrics = load_task(saved), _metrics(config, options)
    training = _training(saved)
    device = choose_device(saved, options.device)

    data: LightningDataModule = build(config, "data", ALLOWED)
    try:
        model.check_size(data.image_size, data.image_size)
    except ValueError as error:
        raise UserError(f"data.image_size={data.image_size}: {error}") from error
    data.setup()
    part = _part(options.part, data)
    name = OWN if own_split and part == "test" else f"{data_choice}"
    others = make_test_sets(
        config, data, task, lambda described, key: build(described, key, ALLOWED)
    )
    test_sets = [TestSet(name, data, part), *others[1:]]
    warn_of_seen(test_sets, identity)
    if identity is None and not (own_split and part == "test"):
        warn_of_unknown(f"run={saved}")

    facts = {
        "model": saved.choices["model"],
        "data": data_choice,
        "augmentation": saved.choices["augmentation"],
        "split": _split_name(saved, data, part, own_split),
        "seed": config.seed,
        **({} if part == "test" else {"part": part}),
        **({} if data.resize == saved.config.data.get("resize") else {"resize": data.resize}),
        **training,
    }
    title = f"{system_name(facts['model'], config.get('name'))} on {dataset_name(data_choice)}"
    if data_choice != trained_on or not (own_split or _has_its_images(data, identity)):
        facts["trained_on"] = trained_on
        title += f", trained on {dataset_name(trained_on)}"
    record = {
        **provenance(data_identity(data), device),
        "run": str(saved.path.resolve()),
        "device": str(device),
    }
    with _new_folder(output) as path:
        folder = RunFolder(path)
        folder.write_split(_ids(data, part))
        measured = measure(
            model, task, test_sets, metrics, evaluation, device, folder, title, facts
        )
        folder.write_metrics(measured, record)
    log_summary(measured)
    return measured


def _config(
    saved: RunFolder,
    options: DictConfig,
    data_choice: str,
    named: set[str],
    identity: Identity | None,
) -> tuple[DictConfig, bool]:
    """The run's config with the user's options, and whether the split is the run's own."""
    config = copy.deepcopy(saved.config)
    given = OmegaConf.to_container(options.data)  # not resolved: ${seed} is the seed of the run
    if "_target_" in given:  # data= was given
        config.data = given
        kept = [key for key in GEOMETRY if key in saved.config.data and f"data.{key}" not in named]
        config.data.update({key: saved.config.data[key] for key in kept})
    else:
        config.data.update({k: v for k, v in given.items() if v is not None})
    config.data.augmentation = []  # only for training
    split = {key for key in SPLIT if f"data.{key}" in named}
    own_split = data_choice == saved.choices["data"] and not split
    if own_split and _moved(config, saved):
        data: LightningDataModule = build(config, "data", ALLOWED)
        data.setup()
        own_split = _has_its_images(data, identity)
    if own_split:
        use_split(config, saved)
    elif split != {"split_seed"}:  # the other options replace the run's fold or split file
        config.data.update({key: None for key in ("fold", "split_file") if key not in split})
    config.evaluation.update({k: v for k, v in options.evaluation.items() if v is not None})
    if options.get("test_sets"):
        config.test_sets = options.test_sets
    elif not own_split or options.part not in (OWN, "test"):
        config.test_sets = {}  # only the dataset of data= and part=
    return config, own_split


def _moved(config: DictConfig, saved: RunFolder) -> bool:
    """Whether the dataset is in another folder than that of the run."""
    here, there = (each.data.get("root") for each in (config, saved.config))
    return here != there and Path(str(here)).resolve() != Path(str(there)).resolve()


def _has_its_images(data: LightningDataModule, identity: Identity | None) -> bool:
    """Whether a dataset is that of the run, or a changed copy of it: at least one image is the
    same. True for runs of early versions, which did not store what their images are."""
    if identity is None:
        return True
    of_run = {digest for ids in identity["split"].values() for digest in ids.values()}
    return any(image in of_run for image, _ in data.digests.values())


def _metrics(config: DictConfig, options: DictConfig) -> Mapping[str, Metric]:
    """The metrics of the options, or those of the run."""
    if options.get("metrics"):
        return build(options, "metrics", (Metric,))
    if config.get("metrics"):
        return build(config, "metrics", (Metric,))
    # Runs of version 0.1 name none.
    return {"dice": Dice(), "iou": IoU(), "precision": Precision(), "recall": Recall()}


def _part(options: str, data: LightningDataModule) -> str:
    """The part of the dataset to test on. `part=own` is the test part, or the whole of an external
    test set."""
    if options == OWN:
        return "all" if data.dataset.external else "test"
    return options


def _split_name(saved: RunFolder, data: LightningDataModule, part: str, own_split: bool) -> str:
    if part == "all":
        return "all images"
    if not own_split:
        return data.split_name
    trained = copy.deepcopy(saved.config)
    trained.data.augmentation = []  # only for training; it names classes of other packages
    return build(trained, "data", ALLOWED).split_name


def _tested(data: LightningDataModule, part: str) -> list[str]:
    """Ids of the images of a part."""
    return [data.prepared.samples[row].id for row in data.part(part).rows]


def _ids(data: LightningDataModule, part: str) -> dict[str, list[str]]:
    """split.json of an evaluation, with the tested images as the test part."""
    if part == "test":
        return data.ids
    return {"train": [], "val": [], "test": _tested(data, part)}


def _output(options: str | None, saved: RunFolder, data_choice: str) -> Path:
    if options is None:
        time = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        return saved.path / "evaluation" / f"{data_choice}_{time}"
    output = Path(str(options))
    if output.exists() and not (output / "metrics.json").is_file():
        raise UserError(f"output={output}: exists, but is not an evaluation; choose a new folder")
    return output


def _training(saved: RunFolder) -> dict[str, Any]:
    """The keys about training from the run's metrics.json."""
    if not saved.finished:
        log.warning("%s: the run is not finished; its best epoch so far is evaluated", saved)
        return {}
    metrics = saved.json("metrics.json")
    return {key: metrics[key] for key in ("epochs", "best_epoch", "val") if key in metrics}


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `path` if the block ends without an error.

    An existing folder is not changed. It must have the same results.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        if not path.exists():
            temporary.rename(path)
            log.info("evaluation written to %s", path)
            return
        for name in TABLES:
            if not _same(temporary / name, path / name):
                raise UserError(
                    f"output={path}: has other results ({name} differs) and was not changed; "
                    "choose a new folder"
                )
        log.info("the same results as in %s, to the last digit; nothing was written", path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _same(a: Path, b: Path) -> bool:
    return b.is_file() and a.read_bytes() == b.read_bytes()
