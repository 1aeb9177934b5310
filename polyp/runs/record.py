"""The record of what a run was told: `.hydra/` in its folder, as Hydra itself would write it.

Hydra would write it before anything is checked, also over the record of a run that is there
already; so configs/train.yaml forbids it to, and the run writes it once it has the folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from polyp.errors import UserError
from polyp.files import atomic_path

FOLDER = ".hydra"
CONFIG = f"{FOLDER}/config.yaml"


def write_record(config: DictConfig, folder: Path) -> None:
    """Writes config.yaml and, where Hydra composed it, hydra.yaml and overrides.yaml."""
    texts = {"config.yaml": OmegaConf.to_yaml(config)}  # not resolved: what ${seed} is stays told
    if HydraConfig.initialized():
        hydra = HydraConfig.instance().cfg
        texts["hydra.yaml"] = OmegaConf.to_yaml(hydra)
        texts["overrides.yaml"] = OmegaConf.to_yaml(hydra.hydra.overrides.task)
    for name, text in texts.items():
        with atomic_path(folder / FOLDER / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def differences(
    config: DictConfig, folder: Path, ignored: Callable[[str], bool]
) -> dict[str, tuple[Any, Any]]:
    """Where a config is not that of the run in `folder`: {"data.batch_size": (there, here)}.

    Interpolations are compared unresolved, and None stands for what one of them lacks.

    Args:
        ignored: whether a key, such as "data.cache", does not count.

    Raises:
        UserError: the run's config is missing or damaged.
    """
    path = folder / CONFIG
    try:
        there = flat(OmegaConf.to_container(OmegaConf.load(path)))
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing, so nobody can tell what the run there is") from error
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, AttributeError) as error:
        raise UserError(f"{path}: damaged, so nobody can tell what the run there is") from error
    # Through the same text, for it to have the same types.
    here = flat(OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(config))))
    return {
        key: (there.get(key), here.get(key))
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and not ignored(key)
    }


def flat(config: dict, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}; lists stay values."""
    pairs: dict[str, Any] = {}
    for key, value in config.items():
        pairs |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return pairs
