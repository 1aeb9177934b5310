"""Measures the cost of the rotation sweep, relative to bare forward passes."""

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from benchmarks.result import Result
from benchmarks.timing import alternating, images
from polyp.evaluation import rotation_sweep
from polyp.models import collapse

TARGET = 1.15


def measure(config: DictConfig) -> list[Result]:
    """The sweep of n images at a angles, relative to n × (a + 1) passes of the collapsed model."""
    options, device = config.sweep, config.device
    angles = list(options.angles)
    image = images(options.batch_size, options.image_size, device)
    names = [str(index) for index in range(len(image))]
    batch = {"image": image.cpu(), "mask": image[:, :1].cpu() > 0.5, "id": names}
    results = []
    for name, model_config in options.models.items():
        model = collapse(instantiate(model_config)).to(device)

        def sweep(model=model) -> None:
            rotation_sweep(model, [batch], angles, device)

        def bare(model=model) -> None:
            with torch.inference_mode():
                for _ in range(len(angles) + 1):
                    model(image)

        seconds = alternating({"sweep": sweep, "bare": bare}, options.rounds, device)
        results.append(
            Result(
                "sweep",
                f"{name}: rotation sweep / bare forward passes",
                seconds["sweep"] / seconds["bare"],
                "×",
                TARGET,
                detail=(
                    f"{seconds['sweep']:.2f} s / {seconds['bare']:.2f} s; {len(image)} images of "
                    f"{options.image_size} px, {len(angles)} angles"
                ),
            )
        )
    return results
