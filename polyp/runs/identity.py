"""The identity of a run: stored in its checkpoints, and compared when the run is resumed.

This module does not import torch, so that finished jobs of a sweep are skipped quickly.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from polyp.errors import UserError
from polyp.runs.folder import flat

if TYPE_CHECKING:
    from polyp.data import DataModule

Identity = dict[str, Any]  # of JSON values, which a checkpoint can hold

VERSION = 2  # identities of other versions are not compared

# Options that say where and how a run runs; they do not change its results.
WHERE_AND_HOW = frozenset(
    {
        *("resume", "sweep", "name", "data.root", "data.cache", "data.num_workers"),
        *("trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
        *("trainer.strategy", "trainer.sync_batchnorm"),
    }
)

# The parts of a config that determine the weights, in the order in which they are compared.
GROUPS = ("seed", "data", "task", "model", "loss", "optimizer", "schedule", "trainer")

# Keys of these parts that are not compared.
IGNORED = WHERE_AND_HOW | {
    # The identity holds the ids of the three parts and the content of the images instead.
    *("data.split", "data.split_seed", "data.split_file", "data.fold", "data.partial"),
    "data.dataset.root",
    # When a run ends, and what it logs.
    *("trainer.max_epochs", "trainer.log_every_n_steps"),
}


def make_identity(config: DictConfig, data: "DataModule") -> Identity:
    """The identity of a run.

    Args:
        config: the composed config.
        data: its data module, after `setup`.

    Returns:
        `config`, {"data.batch_size": 8}; `data`, the name and the checksum of the dataset, which
        does not depend on where the files are or on data.image_size; `split`, the digest of the
        image of each id in "train", "val" and "test"; and `init_from`, None, or set by the caller
        to `path`, `sha256` and `identity` of the checkpoint that the run started from.
    """
    digests = data.digests
    return {
        "version": VERSION,
        "config": _config(config),
        "data": data_identity(data),
        "split": {part: {id: digests[id][0] for id in ids} for part, ids in data.ids.items()},
        "init_from": None,
    }


def data_identity(data: "DataModule") -> dict[str, str]:
    """`name` of the dataset and `checksum` of all its images and masks."""
    content = json.dumps(sorted(data.digests.items())).encode()
    return {"name": data.dataset.name, "checksum": hashlib.sha256(content).hexdigest()}


def identity_of(checkpoint: Mapping[str, Any]) -> Identity | None:
    """The identity in a checkpoint; None if it has none, or one of another version."""
    identity = checkpoint.get("identity")
    return identity if identity is not None and identity["version"] == VERSION else None


def check_continues(there: Identity, here: Identity) -> None:
    """Checks that a checkpoint belongs to the run that is to be resumed.

    Args:
        there: the identity in the checkpoint.
        here: the identity of the run that is to be resumed.

    Raises:
        UserError: they differ; it names the first difference.
    """
    for key in [*here["config"], *there["config"]]:
        one, other = there["config"].get(key), here["config"].get(key)
        if one != other:
            raise UserError(
                f"the run was trained with {key}={_shown(one)}, here it is {_shown(other)}"
            )
    if there["data"] != here["data"]:
        raise UserError(
            f"the run was trained on other images or masks of {there['data']['name']} "
            f"(checksum {there['data']['checksum'][:8]}, here {here['data']['checksum'][:8]})"
        )
    for part, images in there["split"].items():
        if list(images) != list(here["split"][part]):
            strangers = len(images.keys() - here["split"][part].keys())
            raise UserError(
                f"the run was trained with another split ({strangers} of its {len(images)} {part} "
                "images are in another part here; see data.split, data.split_seed and "
                "data.split_file)"
            )


def seen_images(identity: Identity | None) -> set[str]:
    """Digests of all images that the weights were trained or selected on, in earlier runs too."""
    if identity is None:
        return set()
    before = (identity["init_from"] or {}).get("identity")
    parts = (identity["split"]["train"], identity["split"]["val"])
    return {digest for part in parts for digest in part.values()} | seen_images(before)


def _config(config: DictConfig) -> dict[str, Any]:
    whole: Any = OmegaConf.to_container(config, resolve=True)
    pairs = flat({group: whole[group] for group in GROUPS if group in whole})
    counted = {key: value for key, value in pairs.items() if key not in IGNORED}
    return json.loads(json.dumps(counted, default=str))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
