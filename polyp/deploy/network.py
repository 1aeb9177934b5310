"""Loads the trained network of a run for prediction and export."""

import copy
from dataclasses import dataclass

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from polyp.errors import UserError
from polyp.layers import ExpandedConv, Norm
from polyp.models import collapse
from polyp.runs.folder import RunFolder
from polyp.runs.loading import load_model, load_task
from polyp.tasks import Task


@dataclass(frozen=True)
class Trained:
    """A trained network, and the format of its images and logits.

    Attributes:
        model: maps images [B, channels, S, S] to logits [B, task.channels, S, S], S = image_size;
            in evaluation mode, on the CPU.
        task: what the logits mean.
        image_size, resize: as in the data that it was trained on; see `to_square`.
        channels: of its images: 1 (grey) or 3 (RGB).
    """

    model: nn.Module
    task: Task
    image_size: int
    resize: str
    channels: int


def load_trained(run: RunFolder) -> Trained:
    """The network of a run's best epoch.

    Raises:
        UserError: it cannot be loaded, or its images are neither grey nor RGB.
    """
    data = run.config.data
    channels = OmegaConf.select(data, "channels", default=3)
    if channels not in (1, 3):
        raise UserError(
            f"run={run}: its images have data.channels={channels}; grey (1) or RGB (3) is needed"
        )
    model = load_model(run)
    return Trained(model, load_task(run), data.image_size, data.resize, channels)


def ordinary(model: nn.Module) -> nn.Module:
    """A fast copy of a network for inference: `collapse` if it is built from our layers; networks
    of libraries already consist of ordinary layers."""
    if any(isinstance(module, ExpandedConv | Norm) for module in model.modules()):
        return collapse(model)
    with torch.no_grad():
        return copy.deepcopy(model).eval()


def logits_of(model: nn.Module, image: Tensor, task: Task) -> Tensor:
    """Logits [B, task.channels, S, S] of images [B, C, S, S].

    Raises:
        UserError: the network gives anything else, or numbers that are not finite.
    """
    logits = model(image)
    expected = (len(image), task.channels, *image.shape[2:])
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != expected:
        raise UserError(f"the run's network gives {shape} for its logits; {expected} is needed")
    if not logits.isfinite().all():
        raise UserError("the run's network gives logits that are not finite; train it again")
    return logits
