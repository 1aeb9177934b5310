"""Measuring a finished run again: the same way, on another dataset, or at other angles."""

import copy
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from omegaconf import DictConfig, OmegaConf

from polyp.data import Dataset
from polyp.errors import UserError
from polyp.files import write_json
from polyp.runs.measure import log_summary, measure, provenance, split_name, sweep_angles
from polyp.runs.saved import SavedRun, build, open_run

log = logging.getLogger(__name__)

# Kept from the run on any dataset, as the network is used to them, if not named by the user.
GEOMETRY = ("image_size", "resize", "batch_size")
SPLIT = ("split", "split_seed", "split_file")

# What two evaluations that agree have in common, byte for byte.
TABLES = ("metrics.json", "scores.csv", "equivariance.csv", "split.json")


def reevaluate(asked: DictConfig, data_choice: str | None, named: set[str]) -> dict[str, Any]:
    """Measures the best checkpoint of a run, and writes a folder as a run's, without checkpoints.

    Args:
        asked: configs/evaluate.yaml.
        data_choice: what was given as `data=`; None is the run's own dataset.
        named: the keys that the user gave a value, such as {"run", "data.root"}.

    Returns:
        What is in its metrics.json.
    """
    saved = open_run(str(asked.run))
    trained_on = saved.choices["data"]
    data_choice = data_choice or trained_on
    config, split = _config(saved, asked, data_choice, named)
    angles = sweep_angles(config, "angles")
    output = _output(asked.output, saved, data_choice)
    training = _training(saved)
    model = saved.model()
    device = saved.device(asked.device)

    data: LightningDataModule = build(config, "data", (LightningDataModule, Dataset))
    try:
        model.check_size(data.image_size, data.image_size)
    except ValueError as error:
        raise UserError(f"data.image_size={data.image_size}: {error}") from error
    data.setup()
    if data_choice == trained_on:
        _warn_of_trained_images(saved, data.ids["test"])

    facts = {
        "model": saved.choices["model"],
        "data": data_choice,
        "augmentation": saved.choices["augmentation"],
        "split": split,
        "seed": config.seed,
    }
    title = f"{facts['model']} on {data_choice}"
    if data_choice != trained_on:
        facts["trained_on"] = trained_on
        title += f", trained on {trained_on}"
    record = {**provenance(), "run": str(saved.folder.resolve()), "device": str(device)}
    with _new_folder(output) as folder:
        data.write_split(folder / "split.json")
        metrics = measure(model, data, angles, device, folder, title, facts, training)
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "provenance.json", record)
    log_summary(metrics)
    log.info("evaluation written to %s", output)
    return metrics


def _config(
    saved: SavedRun, asked: DictConfig, data_choice: str, named: set[str]
) -> tuple[DictConfig, str]:
    """The run's config with what was asked for in its place, and how its data is divided."""
    config = copy.deepcopy(saved.config)
    given = OmegaConf.to_container(asked.data)  # not resolved: ${seed} is the run's
    if "_target_" in given:  # data= was given
        config.data = given
        config.data.update({k: saved.config.data[k] for k in GEOMETRY if f"data.{k}" not in named})
    else:
        config.data.update({k: v for k, v in given.items() if v is not None})
    split = split_name(config)
    if data_choice == saved.choices["data"] and not named & {f"data.{key}" for key in SPLIT}:
        split = split_name(saved.config)
        config.data.split_file = str(saved.folder / "split.json")
        config.data.train_fraction = 1.0  # the file names no other training images
    config.data.augmentation = []  # of training images
    if asked.evaluation.angles is not None:
        config.evaluation.angles = asked.evaluation.angles
    return config, split


def _output(asked: str | None, saved: SavedRun, data_choice: str) -> Path:
    if asked is None:
        time = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        return saved.folder / "evaluation" / f"{data_choice}_{time}"
    output = Path(str(asked))
    if output.exists() and not (output / "metrics.json").is_file():
        raise UserError(f"output={output}: exists, and is no evaluation; name a new folder")
    return output


def _training(saved: SavedRun) -> dict[str, Any]:
    """How the training went, from the run's metrics.json."""
    metrics = saved.json("metrics.json")
    if not metrics:
        log.warning("%s: the run is not finished; its best epoch so far is measured", saved.folder)
    return {key: metrics[key] for key in ("epochs", "best_epoch", "val") if key in metrics}


def _warn_of_trained_images(saved: SavedRun, test: list[str]) -> None:
    split = saved.json("split.json")
    seen = set(test) & {*split.get("train", ()), *split.get("val", ())}
    if seen:
        log.warning(
            "%d of the %d test images were in the training or validation set of the run",
            len(seen),
            len(test),
        )


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the name `path` when the block ends well.

    A folder that is there already is left as it is: it has to hold the same results.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        if not path.exists():
            temporary.rename(path)
            return
        for name in TABLES:
            if not _same(temporary / name, path / name):
                raise UserError(
                    f"output={path}: holds other results ({name} differs), which are kept; name a "
                    "new folder"
                )
        log.info("the same results as in %s, to the last digit", path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _same(a: Path, b: Path) -> bool:
    return b.is_file() and a.read_bytes() == b.read_bytes()
