"""Opening a run again: its config, its network, and the weights of its best epoch."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from polyp.errors import UserError
from polyp.layers import LayerFamily

# The Lightning module that is trained, polyp.training.Segmentation, holds the network as `model`.
PREFIX = "model."


@dataclass(frozen=True)
class SavedRun:
    """A run folder; outputs/README.md says what is in it.

    Attributes:
        folder: where it lies.
        config: the composed config that it was trained with.
        choices: names of the chosen configs, such as {"model": "p4unet", "data": "kvasir"}.
    """

    folder: Path
    config: DictConfig
    choices: dict[str, str]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "best.ckpt"

    def model(self) -> nn.Module:
        """The network with the weights of the best epoch, in evaluation mode, on the CPU."""
        if not self.checkpoint.is_file():
            raise UserError(f"run={self.folder}: no {self.checkpoint}; it has finished no epoch")
        model: nn.Module = build(self.config, "model", (nn.Module, LayerFamily))
        load_checkpoint(model, self.checkpoint)
        return model.eval()

    def json(self, name: str) -> dict[str, Any]:
        """What a JSON file of the run holds; empty if there is none."""
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: damaged ({error})") from error

    def device(self, asked: str) -> torch.device:
        """The device of that name; with "auto" a GPU, but not if the run was told to use none."""
        if asked == "auto":
            if self.config.trainer.accelerator == "cpu" or not torch.accelerator.is_available():
                return torch.device("cpu")
            return torch.accelerator.current_accelerator()
        try:
            return torch.empty(0, device=asked).device
        except (RuntimeError, AssertionError, TypeError) as error:  # CUDA builds raise the second
            raise UserError(f"device={asked}: there is none here; device=auto takes any") from error


def open_run(path: str | Path) -> SavedRun:
    """The run in a folder.

    Raises:
        UserError: there is no run, or its config cannot be read.
    """
    folder = Path(path)
    configs = folder / ".hydra" / "config.yaml", folder / ".hydra" / "hydra.yaml"
    missing = [file for file in configs if not file.is_file()]
    if missing:
        raise UserError(
            f"run={folder}: not a run, {missing[0]} is missing; give a folder that train.py wrote, "
            "as outputs/DATA-MODEL/DATE_TIME"
        )
    try:
        config, hydra = (OmegaConf.load(file) for file in configs)
        choices = OmegaConf.to_container(hydra.hydra.runtime.choices)
        for key in ("model", "data", "trainer"):
            config[key]  # raises if it is not a config of train.py
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, KeyError) as error:
        raise UserError(f"run={folder}: the configs in .hydra are damaged ({error})") from error
    return SavedRun(folder, config, choices)


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Puts the weights of a checkpoint into the network that it is of. No code in it is run.

    Raises:
        UserError: the file is damaged, not a checkpoint, of another network, or carries code.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        weights = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
    except Exception as error:  # a damaged file can make the reader raise almost anything
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is not None:
            raise UserError(
                f"{path}: refused, as it would run code ({code[1]}); a checkpoint holds nothing "
                "but weights: get it anew from where you trust it"
            ) from error
        raise UserError(f"{path}: not a checkpoint of a run, or damaged") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{path}: of a run with another model= ({reason})") from error


def build(config: DictConfig, key: str, allowed: tuple[type, ...]) -> Any:
    """What config[key] describes, if it names nothing but classes derived from those allowed.

    A run folder may come from somebody else, and Hydra would call whatever its config names:
    `_target_: os.system` is code as much as a pickle is.
    """

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "_target_" in node and not _is_class(node["_target_"], allowed):
                names = " or ".join(f"{c.__module__}.{c.__qualname__}" for c in allowed)
                raise UserError(
                    f"the run's config.yaml: {key} names _target_={node['_target_']}, which is "
                    f"refused, as it is no class derived from {names}"
                )
            for value in node.values():
                check(value)
        elif isinstance(node, list):
            for value in node:
                check(value)

    check(OmegaConf.to_container(config[key], resolve=True))
    return instantiate(config[key])


def _is_class(target: Any, allowed: tuple[type, ...]) -> bool:
    try:
        return issubclass(get_class(target), allowed)
    except Exception:  # not a name, no such module, not a class
        return False
