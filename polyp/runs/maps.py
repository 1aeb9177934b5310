"""Scores prediction maps of any method against the masks of a dataset."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from tqdm import tqdm

from polyp.data import Sample, read_image
from polyp.errors import UserError
from polyp.evaluation.evaluate import score_rows
from polyp.evaluation.metrics import Maps
from polyp.evaluation.results import Scores
from polyp.files import atomic_path
from polyp.runs.folder import RunFolder
from polyp.runs.provenance import provenance
from polyp.tasks import Binary

log = logging.getLogger(__name__)


def evaluate_maps(options: DictConfig, data_choice: str | None) -> dict[str, Any]:
    """Scores 8-bit probability maps with the names of the images, at the size of the masks.

    A pixel's value divided by 255 is its probability. A map of another size than its mask is
    resized bilinearly. Images without a map are skipped and counted. Writes scores.csv,
    metrics.json and provenance.json.

    Args:
        options: configs/evaluate.yaml, with `maps`, `output` and `metrics`.
        data_choice: the value of `data=`.

    Returns:
        The content of metrics.json: "test" with the summary of each metric.

    Raises:
        UserError: an option is missing, or no image has a map.
    """
    if data_choice is None or options.output is None:
        raise UserError(
            "maps= needs data= and output=: polyp evaluate maps=FOLDER data=NAME output=FOLDER"
        )
    maps, output = Path(str(options.maps)), Path(str(options.output))
    if not maps.is_dir():
        raise UserError(f"maps={maps}: no such folder")
    if output.exists():
        raise UserError(f"output={output}: exists; choose a new folder")
    if not options.get("metrics"):
        raise UserError("metrics= is missing, for example metrics=[dice_256,iou_256]")
    metrics = instantiate(options.metrics)
    task = Binary()
    dataset = instantiate(options.data.dataset)
    if dataset.num_classes != len(task.names):
        raise UserError(f"data={data_choice}: maps have one class, but its masks have several")
    samples = _samples(options, dataset)
    files = {sample.id: maps / f"{sample.id}.png" for sample in samples}
    found = [sample for sample in samples if files[sample.id].is_file()]
    if not found:
        raise UserError(f"maps={maps}: no PNG in it has the name of an image in {dataset.name}")

    rows = []
    for sample in tqdm(found, desc="maps", unit="image", disable=None):
        pixels = dataset.read(sample)[1]
        probability = _probability(files[sample.id], pixels.shape)
        mask = torch.from_numpy(pixels)[None, None]
        predicted = Maps(probability, probability > 0.5, task.one_hot(mask), mask >= 0)
        batch = {"id": [sample.id], "group": [sample.group or ""]}
        rows += score_rows(predicted, metrics, batch, task, data_choice)
    scores = Scores(data_choice, task.foreground, pd.concat(rows, ignore_index=True))
    summary = {"maps": str(maps), "data": data_choice, "test": scores.summary()}
    summary["test"]["without_map"] = len(samples) - len(found)

    folder = RunFolder(output)
    with atomic_path(output / "scores.csv") as temporary:
        scores.table().to_csv(temporary, index=False, lineterminator="\n")
    folder.write_metrics(summary, provenance())
    for name, value in summary["test"].items():
        if isinstance(value, dict) and value["mean"] is not None:
            log.info("%s %.4f on %d images", name, value["mean"], len(found))
    if missing := len(samples) - len(found):
        log.info("%d of %d images have no map and are skipped", missing, len(samples))
    return summary


def _samples(options: DictConfig, dataset: Any) -> list[Sample]:
    """The samples of `part=`; all of them for "own", which refers to a run."""
    if options.part in ("own", "all"):
        return dataset.samples()
    raise UserError(
        f"part={options.part}: maps are scored on all images that have one; remove part="
    )


def _probability(path: Path, size: tuple[int, ...]) -> torch.Tensor:
    """The map in a file at height × width `size`: float64 [1, 1, H, W]."""
    pixels = read_image(path)
    grey = pixels[..., 0]
    if (pixels != grey[..., None]).any():
        raise UserError(f"{path}: in colour; a map must be grey, with 255 for a probability of 1")
    if grey.shape != size:
        picture = Image.fromarray(grey).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        grey = np.asarray(picture)
    return torch.from_numpy(grey.astype(np.float64) / 255)[None, None]
