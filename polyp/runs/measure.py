"""The evaluation of a run, at the end of training and by `polyp evaluate`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig
from torch import nn

from polyp.errors import UserError
from polyp.evaluation import (
    check_angles,
    equivariance_figure,
    evaluate,
    evenly_spaced,
    examples,
    extremes,
    predictions_figure,
)
from polyp.evaluation.metrics import Metric
from polyp.models import collapse, multiply_adds
from polyp.runs.folder import RunFolder
from polyp.runs.test_sets import OWN, TestSet
from polyp.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationOptions:
    """The options under `evaluation` in a run's config.

    Attributes:
        angles: angles of the rotation sweep, in degrees.
        part_angles: angles at which the losses by image and corners are measured too.
        shifts: whether the shift consistency is measured.
        sample: the number of images of a test set on which the losses and the shifts are measured,
            evenly spaced; None: all images.
    """

    angles: list[float]
    part_angles: list[float]
    shifts: bool
    sample: int | None

    @classmethod
    def of(cls, config: DictConfig) -> "EvaluationOptions":
        """The checked options of a config. Older runs do not have all of them."""
        angles = sweep_angles(config, "angles")
        parts = [float(angle) for angle in config.evaluation.get("part_angles") or ()]
        if missing := [f"{angle:g}°" for angle in parts if angle not in angles]:
            log.info(
                "the parts of the loss are not measured at %s, which are not in evaluation.angles",
                ", ".join(missing),
            )
        parts = [angle for angle in parts if angle in angles]
        shifts = bool(config.evaluation.get("shifts", False))
        sample = config.evaluation.get("sample", "all")
        return cls(angles, parts, shifts, None if sample == "all" else sample)


def measure(
    model: nn.Module,
    task: Task,
    test_sets: Sequence[TestSet],
    metrics: Mapping[str, Metric],
    options: EvaluationOptions,
    device: torch.device,
    folder: RunFolder,
    title: str,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Evaluates a model on test sets; writes tables and figures into `folder`.

    Args:
        model: the trained model; it is not changed.
        task: the meaning of its logits.
        test_sets: "test" and "equivariance" in metrics.json are the results of the first one.
        metrics: metrics by name.
        options: how equivariance is measured.
        device: where the model runs, in float32.
        folder: where scores.csv, equivariance.csv and two figures per test set are written.
        title: title of the figures; for other test sets their names are added.
        facts: facts about the run and its training, which are copied to metrics.json.

    Returns:
        The content of metrics.json, see docs/run-folder.md.
    """
    # Collapsed once, because the sweep has thousands of forward passes.
    collapsed = collapse(model).to(device)
    results, figures = [], {}
    for test_set in test_sets:
        batches = test_set.batches()
        found = evaluate(
            collapsed,
            task,
            batches,
            metrics,
            options.angles,
            device,
            test_set.name,
            options.part_angles,
            getattr(model, "size_multiple", None) if options.shifts else None,
            evenly_spaced(test_set.ids(), options.sample),
        )
        results.append(found)
        named = title if test_set.name == OWN else f"{title}, tested on {test_set.name}"
        suffix = "" if test_set is test_sets[0] else f"-{test_set.name}"
        curve = equivariance_figure(found.sweep, named)
        figures |= {f"equivariance{suffix}.{form}": curve for form in ("png", "pdf")}
        ranked = (
            found.scores.by_image("dice")
            if "dice" in metrics
            else pd.Series(found.sweep.dice_truth.mean(axis=(1, 2)), found.sweep.ids)
        )
        pictured = examples(collapsed, task, batches, extremes(ranked), device)
        figures[f"predictions{suffix}.png"] = predictions_figure(pictured, named)
    folder.write_results(results, figures)

    first, *others = results
    data = test_sets[0].data
    summary = {
        **facts,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "multiply_adds": multiply_adds(model, data.image_size),
        "image_size": data.image_size,
        **first.summary(),
    }
    if others:
        summary["test_sets"] = {
            each.test_set: {**_part(test_set), **each.summary()}
            for each, test_set in zip(others, test_sets[1:], strict=True)
        }
    return summary


def _part(test_set: TestSet) -> dict[str, str]:
    """Which images of the dataset were tested, if not all."""
    if test_set.part == "all":
        return {}
    return {"part": test_set.part, "split": test_set.data.split_name}


def log_summary(metrics: dict[str, Any]) -> None:
    """Logs the main numbers of metrics.json."""
    log.info(
        "%s: %s parameters, %.2f G MACs per image of %d pixels",
        metrics["model"],
        f"{metrics['parameters']:,}",
        metrics["multiply_adds"] / 1e9,
        metrics["image_size"],
    )
    for name, found in {"": metrics, **metrics.get("test_sets", {})}.items():
        test, equivariance = found["test"], found["equivariance"]
        where = f"{name}: " if name else ""
        grouped = f" in {test['groups']} groups" if "groups" in test else ""
        scores = {key: value for key, value in test.items() if isinstance(value, dict)}
        if (dice := scores.pop("dice", None)) and dice["mean"] is not None:
            interval = ""
            if dice["ci95"] is not None:
                interval = "95% interval {:.4f} to {:.4f}, ".format(*dice["ci95"])
            log.info(
                "%stest Dice %.4f (%smedian %.4f) on %d images%s",
                where,
                dice["mean"],
                interval,
                dice["median"],
                test["images"],
                grouped,
            )
        for key, value in scores.items():
            if value["mean"] is not None:
                log.info("%stest %s %.4f", where, key, value["mean"])
        off_grid, mean = equivariance["off_grid"], equivariance["mean"]
        if mean is None:
            log.warning(
                "%sconsistency is undefined: the network finds nothing, or everything, in all "
                "images",
                where,
            )
            continue
        log.info(
            "%sconsistency %.4f on average, %.4f at the worst angle%s; %.1f %% undefined%s",
            where,
            mean,
            equivariance["min"],
            "" if off_grid is None else f", {off_grid:.4f} at angles that are not multiples of 90°",
            100 * equivariance["undefined"],
            "" if name else f"; split {metrics['split']}",
        )


def sweep_angles(config: DictConfig, key: str) -> list[float]:
    """The angles in evaluation.KEY, in degrees."""
    try:
        return check_angles(config.evaluation[key])
    except (TypeError, ValueError) as error:
        raise UserError(f"evaluation.{key}={config.evaluation[key]}: {error}") from error
