"""The cost of a training step of each network, relative to its lower bound.

The lower bound is the plain U-Net with the same number of channels (fields times orientations) and
the same kernel size: its convolutions are the same work, done by the same library routine. The
rest is the price of equivariance.
"""

from hydra.utils import instantiate
from omegaconf import DictConfig

from benchmarks.result import Result
from benchmarks.timing import TrainingStep, alternating
from polyp.layers import PlainLayers
from polyp.models import UNet, multiply_adds

TARGETS = {"p4unet": 1.03, "se2unet": 1.06, "steerableunet": 1.08}


def measure(config: DictConfig) -> list[Result]:
    """The time of a step of each model relative to its lower bound, in float32."""
    results = []
    for name, model_config in config.models.items():
        model = instantiate(model_config)
        networks = {"step": model, "floor": floor_of(model_config)}
        tasks = {
            task: TrainingStep(network, config.batch_size, config.image_size, config.device)
            for task, network in networks.items()
        }
        seconds = alternating(tasks, config.rounds, config.device)
        parameters = sum(p.numel() for p in model.parameters())
        work = multiply_adds(model, config.image_size) / 1e9
        detail = (
            f"{seconds['step']:.3f} s / {seconds['floor']:.3f} s; {parameters:,} parameters, "
            f"{work:.2f} G MACs per image"
        )
        what = f"{name}: training step / lower bound"
        ratio = seconds["step"] / seconds["floor"]
        results.append(Result("steps", what, ratio, "×", TARGETS.get(name), detail=detail))
    return results


def floor_of(model_config: DictConfig) -> UNet:
    """The plain U-Net with as many channels as the model has fields times orientations."""
    order = instantiate(model_config.layers).order
    widths = [order * fields for fields in model_config.widths]
    return UNet(widths, PlainLayers(model_config.layers.kernel_size))
