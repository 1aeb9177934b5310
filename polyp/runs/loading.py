"""Rebuilds the network of a run without running code from the run folder."""

import re
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from polyp.errors import UserError
from polyp.layers import LayerFamily
from polyp.runs.folder import RunFolder
from polyp.runs.identity import Identity, identity_of
from polyp.tasks import Binary, Task

# The Lightning module that is trained, polyp.training.Segmentation, holds the network as `model`.
PREFIX = "model."


def load_task(run: RunFolder) -> Task:
    """The task of a run."""
    if "task" not in run.config:  # runs of version 0.1
        return Binary()
    return build(run.config, "task", (Task,))


def load_model(run: RunFolder) -> nn.Module:
    """The network of a run with the weights of its best epoch, in evaluation mode, on the CPU."""
    if not run.best.is_file():
        raise UserError(f"run={run}: there is no {run.best}; no epoch is finished yet")
    model: nn.Module = build(run.config, "model", (nn.Module, LayerFamily))
    load_checkpoint(model, run.best)
    return model.eval()


def use_split(config: DictConfig, run: RunFolder) -> None:
    """Changes a config to use the split of a run, from its split.json."""
    config.data.split_file = str(run.path / "split.json")
    config.data.fold = None  # the file has the split
    config.data.train_fraction = 1.0  # the file has only the used training images


def choose_device(run: RunFolder, asked: str) -> torch.device:
    """The device of that name; "auto" is a GPU, unless the run was trained with trainer=cpu."""
    if asked == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if run.config.trainer.accelerator == "cpu" or accelerator is None:
            return torch.device("cpu")
        return accelerator
    try:
        return torch.empty(0, device=asked).device
    except (RuntimeError, AssertionError, TypeError) as error:  # AssertionError: CUDA builds
        raise UserError(f"device={asked}: not available; use device=auto") from error


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Loads the weights of a checkpoint into its network. No code in the file is run.

    Raises:
        UserError: the file is damaged, not a checkpoint, of another network, or contains code.
    """
    put_weights(model, read_checkpoint(path), path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a run's checkpoint. No code in the file is run.

    Raises:
        UserError: the file is damaged, not a checkpoint, or contains code.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        names = checkpoint["state_dict"].keys()
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a name that is not text")
    except Exception as error:  # a damaged file can make the reader raise almost anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is not None:
            raise UserError(
                f"{path}: rejected, because it would run code ({code[1]}); a checkpoint contains "
                "only weights; get it again from a source that you trust"
            ) from error
        raise UserError(f"{path}: not a checkpoint of a run, or damaged") from error
    return checkpoint


def load_identity(run: RunFolder) -> Identity | None:
    """The identity of a run; None if it is of an early version."""
    return identity_of(read_checkpoint(run.best))


def put_weights(model: nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Loads the weights of a checkpoint, which was read from `path`, into the network.

    Raises:
        UserError: they are of another network.
    """
    state = checkpoint["state_dict"]
    weights = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: of a run with another model= ({reason})") from error


def build(config: DictConfig, key: str, allowed: tuple[type, ...]) -> Any:
    """The object that config[key] describes. It may only name subclasses of the allowed classes.

    A run folder may come from somebody else, and Hydra would call anything that a config names,
    even `_target_: os.system`.
    """

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "_target_" in node:
                _check_class(key, node["_target_"], allowed)
            for value in node.values():
                check(value)
        elif isinstance(node, list):
            for value in node:
                check(value)

    check(OmegaConf.to_container(config[key], resolve=True))
    return instantiate(config[key])


def _check_class(key: str, target: Any, allowed: tuple[type, ...]) -> None:
    """Raises UserError if the target is not a subclass of the allowed classes."""
    place = f"the run's config.yaml: {key} names _target_={target}"
    try:
        found = get_class(target)
    except ImportError as error:
        raise UserError(
            f"{place}, which cannot be imported; add the folder of its code to PYTHONPATH"
        ) from error
    except Exception:  # not a name, not a class
        found = None
    if found is None or not issubclass(found, allowed):
        names = " or ".join(f"{c.__module__}.{c.__qualname__}" for c in allowed)
        raise UserError(f"{place}, which is rejected: it is not a subclass of {names}")
