"""Measures the memory of a training step relative to its lower bound, and of many predictions."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from benchmarks.result import Result
from benchmarks.steps import floor_of
from benchmarks.timing import TrainingStep, in_fresh_process, peak_megabytes
from polyp.data.synthetic import scene

STEP_TARGET = 1.1
PREDICTION_TARGET = 1.05


def measure(config: DictConfig) -> list[Result]:
    """Peak of two training steps / of the lower bound; peak of many predictions / of few."""
    results = []
    sizes = config.batch_size, config.image_size, config.device
    for name, model_config in config.models.items():
        plain = OmegaConf.to_container(model_config, resolve=True)
        step = in_fresh_process(step_peak, plain, False, *sizes)
        floor = in_fresh_process(step_peak, plain, True, *sizes)
        results.append(
            Result(
                "memory",
                f"{name}: peak of a training step / lower bound",
                step / floor,
                "×",
                STEP_TARGET,
                detail=f"{step:.0f} MB / {floor:.0f} MB, without the memory in use before",
            )
        )
    few, many = sorted(config.memory.predictions)
    with tempfile.TemporaryDirectory() as place:
        tiny_run(Path(place) / "run")
        peaks = [in_fresh_process(_prediction_peak, Path(place), n) for n in (few, many)]
    results.append(
        Result(
            "memory",
            f"peak of predicting {many:,} images / {few:,} images",
            peaks[1] / peaks[0],
            "×",
            PREDICTION_TARGET,
            detail=f"{peaks[1]:.0f} MB / {peaks[0]:.0f} MB, the whole process",
        )
    )
    return results


def step_peak(plain: dict, floor: bool, batch_size: int, image_size: int, device: str) -> float:
    """The memory of building and training a model, in megabytes."""
    model_config = OmegaConf.create(plain)
    torch.ones(1, device=device)  # starts the device
    before = peak_megabytes(device)
    model = floor_of(model_config) if floor else instantiate(model_config)
    step = TrainingStep(model, batch_size, image_size, device)
    for _ in range(2):  # in the second step the optimiser has its moments
        step()
    return peak_megabytes(device) - before


def tiny_run(folder: Path) -> None:
    """A run folder of the smallest network, untrained, with the files that prediction needs."""
    config = {
        "model": {
            "_target_": "polyp.models.UNet",
            "widths": [2, 2],
            "layers": {"_target_": "polyp.layers.P4Layers"},
        },
        "data": {"image_size": 32, "resize": "pad"},
        "trainer": {"accelerator": "cpu"},
    }
    hydra = {"hydra": {"runtime": {"choices": {"model": "p4unet", "data": "folder"}}}}
    for name, content in (("config", config), ("hydra", hydra)):
        (folder / ".hydra").mkdir(parents=True, exist_ok=True)
        OmegaConf.save(OmegaConf.create(content), folder / ".hydra" / f"{name}.yaml")
    weights = instantiate(config["model"]).state_dict()
    (folder / "checkpoints").mkdir()
    state = {f"model.{name}": value for name, value in weights.items()}
    torch.save({"state_dict": state}, folder / "checkpoints" / "best.ckpt")


def _prediction_peak(place: Path, count: int) -> float:
    """Megabytes of a process that has predicted `count` images with the run in `place`."""
    from polyp.deploy.predict import predict_files

    images = place / f"images-{count}"
    images.mkdir()
    image, _ = scene(0, 0, 32)
    Image.fromarray(np.ascontiguousarray(image)).save(images / "0.png")
    for index in range(1, count):
        (images / f"{index}.png").hardlink_to(images / "0.png")
    paths = {"run": place / "run", "input": images, "output": place / f"found-{count}"}
    options = {"angles": [], "device": "cpu", "precision": "float32", "recursive": False}
    options |= {"threshold": None, "probabilities": False}
    predict_files(OmegaConf.create({**{key: str(path) for key, path in paths.items()}, **options}))
    return peak_megabytes("cpu")
