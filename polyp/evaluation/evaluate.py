"""Measuring a trained network on a test set."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from polyp.errors import UserError
from polyp.evaluation.inference import evaluation_mode, to_device
from polyp.evaluation.metrics import Maps, Metric
from polyp.evaluation.results import AREA, Results, Scores, make_rows
from polyp.evaluation.shifts import Shifts, sampled_shifts, shift_batch
from polyp.evaluation.sweep import Sweep, check_angles, sweep_batch
from polyp.tasks import Task


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
    sample: Collection[str] | None = None,
) -> Results:
    """Score a model on a test set and turn its images.

    Args:
        model: maps images to logits, on `device`; its train or eval mode is not changed.
        task: the meaning of the logits.
        batches: yields {"image": float [B, C, S, S] in [0, 1], "mask": class indices [B, 1, S, S],
            "id": B names} and, where known, "group": B names and "valid": bool [B, 1, S, S], False
            on padding.
        metrics: by name.
        angles: of the rotation sweep in degrees, counter-clockwise.
        test_set: its name.
        part_angles: angles at which the parts of the loss are measured, see `Sweep`.
        stride: stride of the network, for the shift consistency; image sizes are multiples of it.
            None: no shifts.
        sample: ids of the images for which the parts and the shifts are measured. None: all.

    The scores and the sweep share f(x): n images at a angles take n × a forward passes with 0
    among the angles, else n × (a + 1). Each image of the sample takes two more per part angle, and
    five for the shifts, on a canvas that is larger by four strides.

    Raises:
        UserError: there are no images, or no angle that turns them.
    """
    angles = check_angles(angles)
    rows, sweeps, moved = [], [], []
    with evaluation_mode(model):
        for batch in tqdm(batches, desc=f"evaluation ({test_set})", unit="batch", disable=None):
            batch = to_device(batch, device)
            logits = model(batch["image"])
            chosen = [i for i, name in enumerate(batch["id"]) if sample is None or name in sample]
            rows += score_rows(predicted_maps(task, logits, batch), metrics, batch, task, test_set)
            sweeps.append(sweep_batch(model, task, batch, logits, angles, part_angles, chosen))
            if stride is not None:
                shifts = sampled_shifts(stride)
                moved.append(shift_batch(model, task, batch, stride, shifts, chosen))
    if not rows:
        raise UserError(f"there is nothing to evaluate: the test set {test_set} is empty")
    scores = Scores(test_set, task.foreground, pd.concat(rows, ignore_index=True))
    return Results(scores, Sweep.join(sweeps), Shifts.join(moved) if moved else None)


def evenly_spaced(ids: Sequence[str], count: int | None) -> set[str]:
    """At most `count` of the ids, evenly spaced, the first and the last among them; None: all."""
    if count is None or count >= len(ids):
        return set(ids)
    return {ids[round(float(position))] for position in np.linspace(0, len(ids) - 1, count)}


def predicted_maps(task: Task, logits: Tensor, batch: dict[str, Tensor]) -> Maps:
    """The maps of a batch from `to_device`, for the metrics."""
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
