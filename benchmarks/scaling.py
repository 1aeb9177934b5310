"""The cost per image in training and inference, against size, batch and group."""

import warnings
from dataclasses import dataclass

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from benchmarks.result import Result
from benchmarks.timing import TrainingStep, alternating, exponent, images
from polyp.models import collapse, multiply_adds

TARGET = 1.1  # the arithmetic is 1; memory that falls out of the caches adds a little
AXES = {
    "image_size": "image size (pixels)",
    "batch_size": "batch (images)",
    "rotations": "rotations",
}


@dataclass(frozen=True)
class Curve:
    """The cost of an image along one axis.

    Attributes:
        axis: what varies, a key of AXES.
        fixed: what does not, for a title.
        values: of the axis.
        work: MACs of a forward pass, per image.
        training, inference: seconds per image.
    """

    axis: str
    fixed: str
    values: list[int]
    work: list[float]
    training: list[float]
    inference: list[float]


def measure(config: DictConfig) -> tuple[list[Result], list[Curve]]:
    """The curves, and as results their points and exponents: the cost grows as work^exponent.

    The work is the MACs of a whole batch, so a batch that is twice as large may take twice as long.
    """
    curves = [_curve(axis, config) for axis in AXES]
    results = []
    for curve in curves:
        batches = curve.values if curve.axis == "batch_size" else [1] * len(curve.values)
        work = [w * b for w, b in zip(curve.work, batches, strict=True)]
        for task in ("training", "inference"):
            seconds = getattr(curve, task)
            cost = [s * b for s, b in zip(seconds, batches, strict=True)]
            span = f"{AXES[curve.axis]} {curve.values[0]} to {curve.values[-1]}"
            what = f"{task} over {span}: cost grows as MACs to the power of"
            results.append(
                Result("scaling", what, exponent(work, cost), "", TARGET, detail=curve.fixed)
            )
            results += [
                Result("scaling", f"{task} of an image at {curve.axis}={value}", taken, "s")
                for value, taken in zip(curve.values, seconds, strict=True)
            ]
    return results, curves


def _curve(axis: str, config: DictConfig) -> Curve:
    options = config.scaling
    values = list(options.axes[axis])
    steps, passes, work = {}, {}, []
    for value in values:
        setting = {**options.base, axis: value}
        batch, size = setting["batch_size"], setting["image_size"]
        model = _model(options.model, setting["rotations"])
        work.append(float(multiply_adds(model, size)))
        plain, image = collapse(model).to(config.device), images(batch, size, config.device)
        steps[value] = TrainingStep(model, batch, size, config.device)
        passes[value] = lambda plain=plain, image=image: plain(image)
    training = alternating(steps, options.rounds, config.device)
    with torch.inference_mode():
        inference = alternating(passes, options.rounds, config.device)
    batches = {v: v if axis == "batch_size" else options.base.batch_size for v in values}
    names = {
        "image_size": "{} px",
        "batch_size": "batches of {}",
        "rotations": "{} rotations",
    }
    fixed = [names[name].format(options.base[name]) for name in names if name != axis]
    return Curve(
        axis,
        ", ".join(fixed),
        values,
        work,
        [training[v] / batches[v] for v in values],
        [inference[v] / batches[v] for v in values],
    )


def _model(model_config: DictConfig, rotations: int) -> torch.nn.Module:
    changed = OmegaConf.merge(model_config, {"layers": {"rotations": rotations}})
    with warnings.catch_warnings():
        # Of equivariance under quarter turns, which is not what is measured here.
        warnings.filterwarnings("ignore", message="rotations=")
        return instantiate(changed)
