"""Measuring a trained network on a test set."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from polyp.errors import UserError
from polyp.evaluation.figures import Example, Turned
from polyp.evaluation.inference import evaluation_mode, to_device
from polyp.evaluation.metrics import Maps, Metric
from polyp.evaluation.results import AREA, Results, Scores, make_rows
from polyp.evaluation.scores import dice
from polyp.evaluation.shifts import Shifts, sampled_shifts, shift_batch
from polyp.evaluation.sweep import Sweep, check_angles, consistency, sweep_batch
from polyp.geometry import disc, rotate_image, rotate_mask
from polyp.tasks import Task

PICTURED_ANGLES = (90, 45)


def evaluate(
    model: nn.Module,
    task: Task,
    batches: Iterable[dict],
    metrics: Mapping[str, Metric],
    angles: Sequence[float],
    device: torch.device | str,
    test_set: str = "own",
    part_angles: Sequence[float] = (),
    stride: int | None = None,
) -> Results:
    """Score a model on a test set and turn its images.

    Args:
        model: maps images to logits, and lies on `device`; its train or eval mode is left as found.
        task: what the logits mean.
        batches: yields {"image": float [B, C, S, S] in [0, 1], "mask": class indices [B, 1, S, S],
            "id": B names} and, where known, "group": B names and "valid": bool [B, 1, S, S], False
            on padding.
        metrics: by name.
        angles: of the rotation sweep in degrees, counter-clockwise.
        test_set: its name.
        part_angles: those at which the losses are measured apart, see `Sweep`.
        stride: of the network, for the shift consistency: it takes image sizes that are multiples
            of it. None: no shifts.

    The scores and the sweep share f(x): n images at a angles take n × a forward passes with 0
    among the angles, else n × (a + 1); two more for each of the part_angles; and one for each of
    the shifts and one besides, on a canvas that is larger by four strides.

    Raises:
        UserError: there are no images, or no angle that turns them.
    """
    angles = check_angles(angles)
    rows, sweeps, moved = [], [], []
    with evaluation_mode(model):
        for batch in tqdm(batches, desc=f"evaluation ({test_set})", unit="batch", disable=None):
            batch = to_device(batch, device)
            logits = model(batch["image"])
            rows += score_rows(predicted_maps(task, logits, batch), metrics, batch, task, test_set)
            sweeps.append(sweep_batch(model, task, batch, logits, angles, part_angles))
            if stride is not None:
                moved.append(shift_batch(model, task, batch, stride, sampled_shifts(stride)))
    if not rows:
        raise UserError(f"there is nothing to evaluate: the test set {test_set} is empty")
    scores = Scores(test_set, task.foreground, pd.concat(rows, ignore_index=True))
    return Results(scores, Sweep.join(sweeps), Shifts.join(moved) if moved else None)


def predicted_maps(task: Task, logits: Tensor, batch: dict[str, Tensor]) -> Maps:
    """What the metrics see of a batch from `to_device`."""
    return Maps(
        probabilities=task.probabilities(logits.float()),
        masks=task.masks(logits),
        truth=task.one_hot(batch["mask"]),
        region=batch["valid"],
    )


def score_rows(
    maps: Maps, metrics: Mapping[str, Metric], batch: dict, task: Task, test_set: str
) -> list[pd.DataFrame]:
    """The rows of each metric, and of the area of each class, on a batch."""
    pixels = (maps.truth & maps.region).sum(dim=(2, 3)).cpu().double()
    values = {name: metric(maps) for name, metric in metrics.items()}
    values[AREA] = pixels / maps.region.sum(dim=(2, 3)).cpu()
    return [make_rows(test_set, batch, task.foreground, *pair) for pair in values.items()]


def examples(
    model: nn.Module,
    task: Task,
    batches: Iterable[dict],
    ranked_by: pd.Series,
    device: torch.device | str,
) -> list[Example]:
    """The best, median and worst image, for predictions.png. They are read again: none are kept.

    Args:
        model, task, batches, device: as in `evaluate`.
        ranked_by: a score per image, indexed by id.
    """
    ranked = list(ranked_by.sort_values(ascending=False, kind="stable").index)
    labels = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
    found = {}
    for batch in batches:
        for position, image in enumerate(batch["id"]):
            if image in labels.values():
                found[image] = {key: value[position : position + 1] for key, value in batch.items()}
        if found.keys() == set(labels.values()):
            break
    with evaluation_mode(model):
        return [
            _example(model, task, label, to_device(found[image], device))
            for label, image in labels.items()
        ]


def _example(model: nn.Module, task: Task, label: str, batch: dict) -> Example:
    """What predictions.png shows of one image, given as a batch of one."""
    image, truth, valid = batch["image"], task.one_hot(batch["mask"]), batch["valid"]
    prediction = task.masks(model(image))
    turned = []
    for angle in PICTURED_ANGLES:
        turned_image = rotate_image(image, angle)
        rotated, found = rotate_mask(prediction, angle), task.masks(model(turned_image))
        region = disc(image.shape[-1], image.device) & rotate_mask(valid, angle)
        turned.append(
            Turned(
                angle=angle,
                image=_picture(turned_image),
                rotated=_classes(rotated),
                found=_classes(found),
                region=_classes(region)[0],
                consistency=consistency(rotated, found, region).nanmean().item(),
            )
        )
    return Example(
        label=label,
        id=batch["id"][0],
        image=_picture(image),
        truth=_classes(truth),
        prediction=_classes(prediction),
        valid=_classes(valid)[0],
        dice=dice(prediction, truth, valid).mean().item(),
        turned=turned,
    )


def _picture(image: Tensor) -> np.ndarray:
    """[1, C, S, S] as an array [S, S, 3]: in colour where there are three channels, else the first
    one in grey."""
    channels = image[0] if image.shape[1] == 3 else image[0, :1].expand(3, -1, -1)
    return channels.permute(1, 2, 0).cpu().numpy()


def _classes(masks: Tensor) -> np.ndarray:
    """[1, K, S, S] as an array [K, S, S]."""
    return masks[0].cpu().numpy()
