"""Run folders made by hand: what predict and export need of a run, without its training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

import polyp.resolvers  # noqa: F401  the configs use them
from polyp.data.synthetic import scene

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ["model.widths=[4,4]", "data.image_size=32", "trainer=cpu"]
MULTICLASS = ["task=multiclass", "task.classes=[background,polyp,tool]"]
GREY = ["++data.channels=1"]


def scenes(count: int, channels: int = 3, size: int = 32) -> torch.Tensor:
    """Images of generated scenes, float [count, channels, size, size] in [0, 1]."""
    pixels = np.stack([scene(0, index, size)[0] for index in range(count)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)[:, :channels] / 255


def write_trained_run(folder: Path, overrides: Sequence[str] = (), network: dict | None = None):
    """Writes a run folder around a network as after some training: what it finds depends on the
    image, and is neither nothing nor everything.

    Args:
        folder: where to.
        overrides: of configs/train.yaml, beside those that make the network small.
        network: the config of a network of a library, in place of ours.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [*SMALL, *overrides], return_hydra_config=True)
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    if network is not None:
        config.model = network
        choices["model"] = "library"
    torch.manual_seed(0)
    model = instantiate(config.model)
    images = scenes(16, config.data.get("channels", 3))
    with torch.no_grad():
        for _ in range(10):
            model(images)
        # The last layer of all is made such that each class is found somewhere.
        logits = model.eval()(images)
        last = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)][-1]
        middle = logits.transpose(0, 1).flatten(1).median(dim=1).values
        spread = logits.std()
        last.bias.copy_((last.bias - middle) / spread)
        last.weight.div_(spread)
    model.train()
    hydra = {"hydra": {"runtime": {"choices": choices}}}
    (folder / ".hydra").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create(hydra), folder / ".hydra" / "hydra.yaml")
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state}, folder / "checkpoints" / "best.ckpt")
    return folder


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> Path:
    """A binary run of p4unet. For tests that only read it."""
    return write_trained_run(
        tmp_path_factory.mktemp("trained") / "run", ["data=folder", "data.root=x"]
    )


@pytest.fixture(scope="session")
def multiclass_run(tmp_path_factory) -> Path:
    """A run of three classes: background, polyp and tool."""
    return write_trained_run(tmp_path_factory.mktemp("multiclass") / "run", MULTICLASS)


@pytest.fixture(scope="session")
def grey_run(tmp_path_factory) -> Path:
    """A binary run on grey images."""
    return write_trained_run(tmp_path_factory.mktemp("grey") / "run", GREY)


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Eight scenes of 36×48 pixels as PNG. For tests that only read them."""
    folder = tmp_path_factory.mktemp("images")
    for index in range(8):
        Image.fromarray(scene(0, index, 48)[0][:36]).save(folder / f"scene{index}.png")
    return folder
