"""Evaluating a trained model on a test set, and writing what a run folder keeps of it."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from polyp.errors import UserError
from polyp.evaluation.equivariance import Sweep, check_angles, sweep_batch
from polyp.evaluation.figures import Example, Turned, equivariance_figure, predictions_figure
from polyp.evaluation.inference import evaluation_mode, predict, to_device
from polyp.evaluation.scores import dice, scores, summary
from polyp.files import atomic_path
from polyp.geometry import disc, rotate_image, rotate_mask

SCORES = ("dice", "iou", "precision", "recall")
PICTURED_ANGLES = (90, 45)


def evaluate(
    model: nn.Module,
    batches: Iterable[dict],
    angles: Sequence[float],
    device: torch.device | str,
    folder: str | Path,
    title: str = "",
    seed: int = 0,
) -> dict:
    """Score a model on a test set and write the results into `folder`.

    model, batches, angles: as for `rotation_sweep`; batches is iterated twice, so it has to be a
    list or a DataLoader. title heads the figures; seed is that of the bootstrap.

    Writes scores.csv (over the valid pixels; polyp_area is the part of them that is polyp),
    equivariance.csv, equivariance.png and predictions.png (the best, median and worst image).
    Returns {"test": {"images": n, "dice": summary, "iou": …, "precision": …, "recall": …},
    "equivariance": the sweep's summary}, ready for metrics.json.

    The test scores and the sweep share f(x): n images at a angles take n × a forward passes with 0
    among the angles, else n × (a + 1), and nine images more for predictions.png.
    """
    folder = Path(folder)
    angles = check_angles(angles)
    rows, sweeps = [], []
    with evaluation_mode(model):
        for batch in tqdm(batches, desc="evaluation", unit="batch", disable=None):
            batch = to_device(batch, device)
            prediction = predict(model, batch["image"])
            rows += _score_rows(batch, prediction)
            sweeps.append(sweep_batch(model, batch, prediction, angles))
        if not rows:
            raise UserError("there is nothing to evaluate: the test set is empty")
        examples = _examples(model, batches, rows, device)
    sweep = Sweep.join(sweeps)

    _write_csv(folder / "scores.csv", ("image", *SCORES, "polyp_area"), rows)
    _write_csv(folder / "equivariance.csv", ("image", "angle", "dice", "dice_truth"), sweep.rows())
    with atomic_path(folder / "equivariance.png") as temporary:
        equivariance_figure(sweep, title).savefig(temporary)
    with atomic_path(folder / "predictions.png") as temporary:
        predictions_figure(examples, title).savefig(temporary)

    columns = dict(zip(SCORES, list(zip(*rows, strict=True))[1:-1], strict=True))
    return {
        "test": {
            "images": len(rows),
            **{name: summary(values, seed) for name, values in columns.items()},
        },
        "equivariance": sweep.summary(),
    }


def _score_rows(batch: dict, prediction: Tensor) -> list[tuple]:
    """(image, dice, iou, precision, recall, polyp_area) of each image of a batch."""
    truth, valid = batch["mask"], batch["valid"]
    by_name = scores(prediction, truth, valid)
    pixels = torch.stack([truth & valid, valid]).sum(dim=(2, 3, 4)).tolist()
    area = [polyp / total for polyp, total in zip(*pixels, strict=True)]
    return list(zip(batch["id"], *(by_name[name].tolist() for name in SCORES), area, strict=True))


def _examples(
    model: nn.Module, batches: Iterable[dict], rows: list[tuple], device: torch.device | str
) -> list[Example]:
    """The best, median and worst image by Dice. They are read again: no images are kept."""
    ranked = [row[0] for row in sorted(rows, key=lambda row: row[1], reverse=True)]
    labels = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
    found = {}
    for batch in batches:
        for position, image in enumerate(batch["id"]):
            if image in labels.values():
                found[image] = {key: value[position : position + 1] for key, value in batch.items()}
        if found.keys() == set(labels.values()):
            break
    return [_example(model, label, to_device(found[labels[label]], device)) for label in labels]


def _example(model: nn.Module, label: str, batch: dict) -> Example:
    """What predictions.png shows of one image, given as a batch of one."""
    image, truth, valid = batch["image"], batch["mask"], batch["valid"]
    prediction = predict(model, image)
    turned = []
    for angle in PICTURED_ANGLES:
        turned_image = rotate_image(image, angle)
        rotated, found = rotate_mask(prediction, angle), predict(model, turned_image)
        region = disc(image.shape[-1], image.device) & rotate_mask(valid, angle)
        turned.append(
            Turned(
                angle=angle,
                image=_picture(turned_image),
                rotated=_map(rotated),
                found=_map(found),
                region=_map(region),
                dice=dice(rotated, found, region).item(),
            )
        )
    return Example(
        label=label,
        image=_picture(image),
        truth=_map(truth),
        prediction=_map(prediction),
        valid=_map(valid),
        dice=dice(prediction, truth, valid).item(),
        turned=turned,
    )


def _picture(image: Tensor) -> np.ndarray:
    """[1,3,S,S] as an array [S,S,3]."""
    return image[0].permute(1, 2, 0).cpu().numpy()


def _map(mask: Tensor) -> np.ndarray:
    """[1,1,S,S] as an array [S,S]."""
    return mask[0, 0].cpu().numpy()


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[tuple]) -> None:
    """Write a table; floats get the digits that they need to be read back unchanged."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
